//! Python's compiled files: those of sources that are there stay, and are believed without a look at the source.
//!
//! By itself an interpreter compares the time of a source with that in the compiled file, and compiles anew where they differ: on
//! a sealed root, whose files all have one time and where nothing can be stored, that would be at every start of a program. Nobody
//! can change either of the two on a host. Header (PEP 552, 16 bytes): magic number, flags, and for flags 0 time and size of the
//! source, for flags 1 a hash of it that is not compared.

use anyhow::Result;
use fs_err as fs;

use crate::root_tree::{Entry, RootTree};

const FOLDER: &str = "/__pycache__";
const HEADER: usize = 16;
/// Flags: by hash, and never compared.
const UNCHECKED: [u8; 4] = [1, 0, 0, 0];

/// Binds each compiled file to its source's name alone, and removes those without a source.
pub fn settle(tree: &RootTree) -> Result<()> {
    for entry in tree.walk_below("/usr")? {
        let is_kept = source_of(&entry.name).is_some_and(|source| tree.has(&source));
        if entry.metadata.is_file() && entry.name.contains(FOLDER) && !(is_kept && believe(tree, &entry)?) {
            tree.remove(&entry.name)?;
        }
    }
    // What lay in it went with its source.
    for entry in tree.walk_below("/usr")? {
        if entry.name.ends_with(FOLDER) && fs::read_dir(&entry.path)?.next().is_none() {
            tree.remove(&entry.name)?;
        }
    }
    Ok(())
}

/// The path that has to be accounted for in place of this one: of a compiled file its source, of their directory the one above.
pub fn stands_for(name: &str) -> Option<String> {
    name.strip_suffix(FOLDER).map(str::to_owned).or_else(|| source_of(name))
}

/// `a/__pycache__/b.cpython-313.pyc` is compiled from `a/b.py`; there are none with other optimisation here.
fn source_of(name: &str) -> Option<String> {
    let (folder, file) = name.rsplit_once('/')?;
    let (module, tag) = file.strip_suffix(".pyc")?.rsplit_once('.')?;
    tag.starts_with("cpython-").then(|| Some(format!("{}/{module}.py", folder.strip_suffix(FOLDER)?)))?
}

/// Says whether it is a compiled file at all.
fn believe(tree: &RootTree, entry: &Entry) -> Result<bool> {
    let mut bytes = fs::read(&entry.path)?;
    let Some(header) = bytes.get_mut(4..HEADER) else { return Ok(false) };
    header.fill(0);
    header[..UNCHECKED.len()].copy_from_slice(&UNCHECKED);
    tree.write(&entry.name, &bytes, 0o644)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compiled_file_stays_with_its_source_and_is_believed() {
        let dir = tempfile::tempdir().unwrap();
        let tree = RootTree::new(dir.path().to_owned());
        let compiled = [b"\xf3\x0d\x0d\x0a".as_slice(), &[0; 4], &[7; 8], b"code"].concat();
        for (name, bytes) in [
            ("/usr/lib/a.py", b"".as_slice()),
            ("/usr/lib/__pycache__/a.cpython-313.pyc", &compiled),
            ("/usr/lib/__pycache__/b.cpython-313.pyc", &compiled),
            ("/usr/lib/cut.py", b""),
            ("/usr/lib/__pycache__/cut.cpython-313.pyc", &compiled[..9]),
            ("/usr/lib/gone/__pycache__/c.cpython-313.pyc", &compiled),
        ] {
            tree.write(name, bytes, 0o644).unwrap();
        }
        settle(&tree).unwrap();
        assert_eq!(tree.children("/usr/lib/__pycache__").unwrap(), ["a.cpython-313.pyc"]);
        assert!(!tree.has("/usr/lib/gone/__pycache__"));
        let believed = fs::read(tree.at("/usr/lib/__pycache__/a.cpython-313.pyc")).unwrap();
        assert_eq!(believed, [b"\xf3\x0d\x0d\x0a\x01".as_slice(), &[0; 11], b"code"].concat());
    }

    #[test]
    fn only_what_python_names_so_stands_for_a_source() {
        assert_eq!(stands_for("/usr/lib/x/__pycache__/a.b.cpython-313.pyc").as_deref(), Some("/usr/lib/x/a.b.py"));
        assert_eq!(stands_for("/usr/lib/x/__pycache__").as_deref(), Some("/usr/lib/x"));
        for other in [
            "/usr/lib/x/a.cpython-313.pyc",
            "/usr/lib/x/__pycache__/a.pyc",
            "/usr/lib/x/__pycache__/a.cpython-313.opt-1.pyc",
        ] {
            assert_eq!(stands_for(other), None, "{other}");
        }
    }
}
