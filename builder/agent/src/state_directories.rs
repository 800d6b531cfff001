//! Directories of the sites that outlive a slot. Those of the host are made by `systemd-tmpfiles` before the agent runs.
//!
//! Where state is btrfs, as on every disk that we partition, a site's directory is a subvolume: it is copied in a moment, and simple
//! quotas (btrfs(5), since Linux 6.7) keep what is written there below the site's limit.

use std::path::Path;

use hostconf::DiskLimit;
use tools::Tool;
use tools::ToolError;

use crate::host::Host;
use crate::sites::Site;
use crate::sites::volume;
use crate::work::Directory;

/// Makes what is missing and sets mode, owner and limit. Nothing below a directory is touched: it belongs to the site.
///
/// Returns what cannot be made or kept. What is in a site's directory is the site's affair: a file in the way, or a full quota, must not
/// keep the host and all other sites from starting.
pub fn make(host: Host<'_>, directories: &[Directory]) -> Vec<String> {
    directories.iter().filter_map(|directory| make_one(host, directory).unwrap_or_else(Some)).collect()
}

fn make_one(host: Host<'_>, directory: &Directory) -> Result<Option<String>, String> {
    refuse_links(host, &directory.path)?;
    let is_new = !directory.path.is_dir();
    if is_new && directory.subvolume.is_some() {
        make_subvolume(host, &directory.path)?;
    }
    host.files.make_directory(&directory.path, directory.access).map_err(|error| error.to_string())?;
    if is_new && directory.nocow {
        // Only files that are made later are concerned; a file system without the flag works as well, only slower.
        let _ = host.runner.run(&Tool::new("chattr").arg("+C").arg(&directory.path));
    }
    Ok(directory.subvolume.and_then(|limit| keep(host, &directory.path, limit)))
}

/// Root changes owners here. All parents are root's, so nobody can put a link there meanwhile; one that stands there is not followed.
fn refuse_links(host: Host<'_>, path: &Path) -> Result<(), String> {
    let state = host.paths.state();
    let below = path.ancestors().take_while(|part| part.starts_with(&state) && *part != state);
    match below.filter(|part| part.is_symlink()).last() {
        Some(link) => Err(format!("`{}` is a link: remove it", link.display())),
        None => Ok(()),
    }
}

/// A cut leaves an empty subvolume at its place, which the next run goes on with.
fn make_subvolume(host: Host<'_>, path: &Path) -> Result<(), String> {
    if !path.parent().is_some_and(volume::is_btrfs) {
        return Ok(());
    }
    let tool = Tool::new("btrfs").args(["--quiet", "subvolume", "create", "--"]).arg(path);
    host.runner.run(&tool).map(drop).map_err(|error| error.to_string())
}

/// Gives the copy of a site's directory the site's limit.
pub fn set_quota(host: Host<'_>, path: &Path, site: &Site) -> anyhow::Result<()> {
    let wanted = site.settings.as_ref().and_then(|settings| settings.limits.disk);
    match keep(host, path, wanted.map_or(DiskLimit::None, |size| DiskLimit::Bytes(size.bytes()))) {
        Some(notice) if volume::is_subvolume(path) => anyhow::bail!(notice),
        _ => Ok(()),
    }
}

/// Sets the limit of a subvolume; says why where it cannot be kept.
fn keep(host: Host<'_>, path: &Path, limit: DiskLimit) -> Option<String> {
    let DiskLimit::Bytes(bytes) = limit else {
        // Without a limit before, and without quotas, there is none to lift.
        let _ = limit_to(host, path, "none");
        return None;
    };
    if !volume::is_subvolume(path) {
        return Some(format!("the disk limit of `{}` is not kept: it is not a subvolume of btrfs", path.display()));
    }
    let wanted = bytes.to_string();
    let set = limit_to(host, path, &wanted).or_else(|_| {
        // The first limit of this file system.
        host.runner.run(&Tool::new("btrfs").args(["--quiet", "quota", "enable", "--simple", "--"]).arg(path))?;
        limit_to(host, path, &wanted)
    });
    set.err().map(|error| format!("the disk limit of `{}` is not kept: {error}", path.display()))
}

fn limit_to(host: Host<'_>, path: &Path, limit: &str) -> Result<(), ToolError> {
    if !volume::is_subvolume(path) {
        return Ok(());
    }
    host.runner.run(&Tool::new("btrfs").args(["--quiet", "qgroup", "limit", limit]).arg(path)).map(drop)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::files::Access;
    use crate::testing::Tree;

    fn directory(tree: &Tree, path: &str) -> Directory {
        let path = tree.paths.at(path);
        Directory { path, access: Access { mode: 0o750, ..Access::PUBLIC_DIRECTORY }, nocow: false, subvolume: None }
    }

    #[test]
    fn a_link_in_a_site_leads_root_nowhere_and_the_other_sites_are_made() {
        let tree = Tree::new();
        tree.put("/var/lib/casemate/home/admin/.profile", "");
        let home = tree.paths.at("/var/lib/casemate/home/admin");
        let before = tree.listing();
        let one = directory(&tree, "/var/lib/casemate/sites/site001/htdocs/uploads");
        std::fs::create_dir_all(one.path.parent().unwrap()).unwrap();
        symlink(&home, &one.path).unwrap();
        let two = directory(&tree, "/var/lib/casemate/sites/site002/htdocs");
        let said = make(tree.host(), &[one, two.clone()]);
        assert!(said.len() == 1 && said[0].contains("uploads` is a link"), "{said:?}");
        assert!(two.path.is_dir());
        let after = tree.listing();
        assert_eq!(before.get("var/lib/casemate/home/admin"), after.get("var/lib/casemate/home/admin"));
    }

    #[test]
    fn a_file_in_the_way_is_told_and_keeps_nobody_else() {
        let tree = Tree::new();
        tree.put("/var/lib/casemate/sites/site001/htdocs", "a file");
        let all = ["site001", "site002"].map(|id| directory(&tree, &format!("/var/lib/casemate/sites/{id}/htdocs")));
        let said = make(tree.host(), &all);
        assert!(said.len() == 1 && said[0].contains("site001"), "{said:?}");
        assert!(all[1].path.is_dir());
    }
}
