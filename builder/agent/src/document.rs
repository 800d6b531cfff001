//! The accepted document on the state partition, its history, and the highest serial ever accepted.
//!
//! `history/<serial>-<digest>/` appears whole, then the link `accepted` moves to it, then the counter grows. A cut between any
//! two of these leaves a document that can be used and a counter that does not shut it out.

use std::fs;
use std::path::Path;

use sha2::Digest as _;
use sha2::Sha256;

use crate::files::Access;
use crate::files::FileError;
use crate::host::Host;
use crate::paths::Paths;
use crate::source::Candidate;

/// Keeps a document that passed every check.
pub fn store(host: Host<'_>, candidate: &Candidate, serial: u64) -> Result<(), FileError> {
    let paths = host.paths;
    host.files.make_directory(&paths.history(), Access::SECRET_DIRECTORY)?;
    let name = folder_name(candidate, serial);
    let folder = paths.history().join(&name);
    if !folder.is_dir() {
        write_folder(host, candidate, &folder)?;
    }
    host.files.link(&Path::new("history").join(&name), &paths.accepted())?;
    for name in ["host.toml", "host.toml.sig"] {
        host.files.link(&Path::new("accepted").join(name), &paths.state().join(name))?;
    }
    if highest_serial(paths) < serial || !paths.serial().exists() {
        host.files.write(&paths.serial(), format!("{serial}\n").as_bytes(), Access::PUBLIC)?;
    }
    Ok(())
}

/// Keeps the id of this host, in case its source cannot be read the next time.
pub fn store_host_id(host: Host<'_>, id: Option<&str>) -> Result<(), FileError> {
    id.map_or(Ok(()), |id| host.files.write(&host.paths.host_id(), format!("{id}\n").as_bytes(), Access::PUBLIC))
}

/// The highest serial that this host ever accepted; 0 before the first.
pub fn highest_serial(paths: &Paths) -> u64 {
    fs::read_to_string(paths.serial()).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

fn write_folder(host: Host<'_>, candidate: &Candidate, folder: &Path) -> Result<(), FileError> {
    let new = host.paths.history().join(".new");
    host.files.remove(&new)?;
    host.files.make_directory(&new, Access::SECRET_DIRECTORY)?;
    host.files.write(&new.join("host.toml"), &candidate.document, Access::SECRET)?;
    if let Some(signature) = &candidate.signature {
        host.files.write(&new.join("host.toml.sig"), signature, Access::SECRET)?;
    }
    host.files.rename(&new, folder)
}

/// Twenty digits hold every serial, so the names sort by age; the digest covers the signature too, which may be renewed.
fn folder_name(candidate: &Candidate, serial: u64) -> String {
    let mut digest = Sha256::new();
    digest.update(&candidate.document);
    digest.update(candidate.signature.as_deref().unwrap_or_default());
    let digest = hex::encode(digest.finalize());
    format!("{serial:020}-{}", digest.get(..16).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Gathered;
    use crate::source::Origin;
    use crate::source::state;
    use crate::testing::Tree;

    fn candidate(text: &str) -> Candidate {
        Candidate { origin: Origin::Esp, document: text.into(), signature: Some(b"signature".to_vec()) }
    }

    fn accepted(paths: &Paths) -> Option<Vec<u8>> {
        let mut gathered = Gathered::default();
        state::read(paths, &mut gathered);
        gathered.candidates.pop().map(|candidate| candidate.document)
    }

    #[test]
    fn remembers_the_last_document_and_the_highest_serial() {
        let tree = Tree::new();
        store(tree.host(), &candidate("one"), 1).unwrap();
        store(tree.host(), &candidate("seven"), 7).unwrap();
        assert_eq!(highest_serial(&tree.paths), 7);
        assert_eq!(accepted(&tree.paths).unwrap(), b"seven");
        assert_eq!(fs::read(tree.paths.state().join("host.toml")).unwrap(), b"seven");
        assert_eq!(fs::read_dir(tree.paths.history()).unwrap().count(), 2);
    }

    #[test]
    fn storing_again_changes_nothing() {
        let tree = Tree::new();
        store(tree.host(), &candidate("one"), 1).unwrap();
        let before = tree.listing();
        store(tree.host(), &candidate("one"), 1).unwrap();
        assert_eq!(tree.listing(), before);
    }

    #[test]
    fn a_cut_at_any_step_leaves_a_document_that_the_counter_does_not_shut_out() {
        for steps in 0.. {
            let tree = Tree::new();
            store(tree.host(), &candidate("old"), 1).unwrap();
            tree.cut_after(steps);
            let done = store(tree.host(), &candidate("new"), 2).is_ok();
            let (document, serial) = (accepted(&tree.paths).unwrap(), highest_serial(&tree.paths));
            assert!(document == b"new" || (document == b"old" && serial == 1), "after {steps} steps");
            tree.cut_after(u64::MAX);
            store(tree.host(), &candidate("new"), 2).unwrap();
            assert_eq!((accepted(&tree.paths).unwrap(), highest_serial(&tree.paths)), (b"new".to_vec(), 2));
            if done {
                return assert!(steps > 10);
            }
        }
    }
}
