//! Pages of a `WordPress` that are kept as files for visitors without a name; Apache serves them without PHP.

use std::fs;
use std::path::Path;

use super::Site;
use crate::host::Host;

/// Below the site's directory; what is in it belongs to the site's PHP.
const FOLDER: &str = "pages";
/// Whoever makes a page looks whether this is what it was before (`pages.php`): gone, it is another.
const MARK: &str = ".mark";

/// Whoever keeps a page meanwhile is in the way of the removal: it is tried again.
const TRIES: u32 = 3;

/// Forgets all pages: for each, the next visitor asks PHP.
///
/// What cannot be removed stays. It is the site's own PHP that keeps it there, and that may show its visitors whatever it likes; nothing that
/// was done for the site must fail by it.
pub fn forget(host: Host<'_>, site: &Site) {
    forget_in(host, &host.paths.site(&site.account.id()));
}

/// The same in a copy of the site's directory.
pub fn forget_in(host: Host<'_>, files: &Path) {
    let folder = files.join(FOLDER);
    if folder.is_symlink() {
        return;
    }
    // First of all: what is being made now is not kept (`pages.php`).
    let _ = host.files.remove(&folder.join(MARK));
    for _ in 0..TRIES {
        let Ok(entries) = fs::read_dir(&folder) else { return };
        let left = entries.flatten().filter(|entry| host.files.remove(&entry.path()).is_err()).count();
        if left == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::sites::tests::sites;
    use crate::testing::Tree;

    #[test]
    fn all_pages_go_and_what_a_link_leads_to_stays() {
        let (tree, sites) = (Tree::new(), sites());
        for path in ["pages/.mark", "pages/index.html", "pages/2026/11/post/index.html.gz", "htdocs/index.php"] {
            tree.put(&format!("/var/lib/casemate/sites/site002/{path}"), "x");
        }
        let files = tree.paths.site("site002");
        symlink(files.join("htdocs"), files.join("pages/link")).unwrap();
        forget(tree.host(), sites.find("site002").unwrap());
        assert_eq!(fs::read_dir(files.join("pages")).unwrap().count(), 0);
        assert!(files.join("htdocs/index.php").exists());
        fs::remove_dir(files.join("pages")).unwrap();
        symlink("htdocs", files.join("pages")).unwrap();
        forget(tree.host(), sites.find("site002").unwrap());
        assert!(files.join("htdocs/index.php").exists());
    }
}
