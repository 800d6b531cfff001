//! Writes the rendered configuration and puts it in place as a whole.
//!
//! All files are written beside the ones in use; then the two directories change places in one step.

use std::path::Path;

use crate::files::Access;
use crate::files::FileError;
use crate::host::Host;
use crate::work::File;
use crate::work::Work;

/// Replaces the configuration with that of this work and nothing else.
pub fn render(host: Host<'_>, work: &Work) -> Result<(), FileError> {
    host.files.make_directory(&host.paths.run(), Access::PUBLIC_DIRECTORY)?;
    let new = host.paths.rendering();
    host.files.remove(&new)?;
    write_tree(host, &new, work)?;
    host.files.swap_directory(&new, &host.paths.rendered())
}

fn write_tree(host: Host<'_>, new: &Path, work: &Work) -> Result<(), FileError> {
    host.files.make_directory(new, Access::PUBLIC_DIRECTORY)?;
    for folder in &work.folders {
        host.files.make_directory(&new.join(folder), Access::PUBLIC_DIRECTORY)?;
    }
    for file in &work.files {
        let path = new.join(&file.path);
        if let Some(parent) = path.parent() {
            host.files.make_directory(parent, Access::PUBLIC_DIRECTORY)?;
        }
        host.files.write(&path, &file.bytes, file.access)?;
    }
    Ok(())
}

/// Names of files in use that differ from what would be rendered.
pub fn differences(host: Host<'_>, files: &[File]) -> Vec<String> {
    let place = host.paths.rendered();
    let differs = |file: &&File| std::fs::read(place.join(&file.path)).ok().as_ref() != Some(&file.bytes);
    files.iter().filter(differs).map(|file| format!("/etc/{}", file.path.display())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;

    fn file(path: &str, text: &str) -> File {
        File { path: path.into(), bytes: text.into(), access: Access::PUBLIC }
    }

    fn work(files: &[File]) -> Work {
        Work { files: files.to_vec(), folders: vec!["sites".into()], ..Work::default() }
    }

    #[test]
    fn rendering_twice_changes_nothing() {
        let tree = Tree::new();
        let files = work(&[file("ssh/sshd_config", "Port 22\n"), file("hostname", "web1\n")]);
        render(tree.host(), &files).unwrap();
        let before = tree.listing();
        assert_eq!(tree.text("/run/casemate/etc/ssh/sshd_config"), "Port 22\n");
        assert!(tree.paths.rendered().join("sites").is_dir());
        render(tree.host(), &files).unwrap();
        assert_eq!(tree.listing(), before);
    }

    #[test]
    fn what_is_no_longer_rendered_is_gone() {
        let tree = Tree::new();
        render(tree.host(), &work(&[file("a", "1"), file("b", "2")])).unwrap();
        render(tree.host(), &work(&[file("a", "1")])).unwrap();
        assert!(!tree.paths.rendered().join("b").exists());
    }

    #[test]
    fn a_cut_at_any_step_leaves_the_old_or_the_new_configuration() {
        for steps in 0.. {
            let tree = Tree::new();
            render(tree.host(), &work(&[file("a", "old"), file("d/b", "old")])).unwrap();
            tree.cut_after(steps);
            let done = render(tree.host(), &work(&[file("a", "new"), file("d/b", "new")])).is_ok();
            assert_eq!(tree.text("/run/casemate/etc/a"), tree.text("/run/casemate/etc/d/b"), "after {steps} steps");
            tree.cut_after(u64::MAX);
            render(tree.host(), &work(&[file("a", "new"), file("d/b", "new")])).unwrap();
            assert_eq!(tree.text("/run/casemate/etc/a"), "new");
            if done {
                return assert!(steps > 10);
            }
        }
    }

    #[test]
    fn names_what_would_change() {
        let tree = Tree::new();
        render(tree.host(), &work(&[file("a", "old"), file("b", "same")])).unwrap();
        assert_eq!(differences(tree.host(), &[file("a", "new"), file("b", "same")]), ["/etc/a"]);
    }
}
