//! What each change leaves, whole or cut at any step.

use std::os::unix::fs::MetadataExt as _;

use super::*;

fn leave() -> Files {
    Files::new(Ownership::Leave)
}

#[test]
fn writes_with_the_asked_mode() {
    let folder = crate::testing::folder();
    let path = folder.path().join("key");
    leave().write(&path, b"secret", Access::SECRET).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"secret");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
}

#[test]
fn a_cut_at_any_step_leaves_the_old_or_the_new_file() {
    for steps in 0.. {
        let folder = crate::testing::folder();
        let path = folder.path().join("file");
        leave().write(&path, b"old", Access::PUBLIC).unwrap();
        let files = leave();
        files.cut_after(steps);
        let done = files.write(&path, b"new", Access::PUBLIC).is_ok();
        let found = fs::read(&path).unwrap();
        assert!(found == b"old" || found == b"new", "half a file after {steps} steps");
        leave().write(&path, b"new", Access::PUBLIC).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "left behind after {steps} steps");
        if done {
            return assert!(steps > 3, "the write was cut in no place");
        }
    }
}

#[test]
fn a_directory_never_has_another_mode_than_asked() {
    let wanted = Access { mode: 0o711, ..Access::PUBLIC_DIRECTORY };
    for steps in 0.. {
        let folder = crate::testing::folder();
        let path = folder.path().join("a/b");
        let files = leave();
        files.cut_after(steps);
        let done = files.make_directory(&path, wanted).is_ok();
        for (made, mode) in [(folder.path().join("a"), 0o755), (path, 0o711)] {
            assert!(!made.exists() || fs::metadata(&made).unwrap().mode() & 0o7777 == mode, "after {steps} steps");
        }
        if done {
            return assert!(steps > 5);
        }
    }
}

#[test]
fn a_file_takes_the_place_of_another_on_fat_whole_or_not_at_all() {
    for steps in 0.. {
        let folder = crate::testing::folder();
        let (old, new) = (folder.path().join("loader"), folder.path().join("loader.new"));
        fs::write(&old, b"old").unwrap();
        fs::write(&new, b"new").unwrap();
        let files = leave();
        files.cut_after(steps);
        let done = files.replace_on_fat(&new, &old).is_ok();
        let found = fs::read(&old).unwrap();
        assert!(found == if new.exists() { b"old" } else { b"new" }, "after {steps} steps");
        if done {
            // The rename, and what makes entry, folder and what is given back last.
            assert_eq!((steps, found), (5, b"new".to_vec()));
            break;
        }
    }
    let folder = crate::testing::folder();
    let (old, new) = (folder.path().join("loader"), folder.path().join("loader.new"));
    fs::write(&new, b"new").unwrap();
    // What is not there is not replaced: nobody would know what starts.
    assert!(leave().replace_on_fat(&new, &old).is_err() && !old.exists() && new.exists());
}

#[test]
fn does_not_write_what_is_equal() {
    let folder = crate::testing::folder();
    let path = folder.path().join("file");
    leave().write(&path, b"same", Access::PUBLIC).unwrap();
    let files = leave();
    files.cut_after(0);
    files.write(&path, b"same", Access::PUBLIC).unwrap();
}

#[test]
fn swaps_a_directory_that_is_not_empty() {
    let folder = crate::testing::folder();
    let (new, place) = (folder.path().join("etc.new"), folder.path().join("etc"));
    for (directory, name) in [(&new, "fresh"), (&place, "stale")] {
        fs::create_dir(directory).unwrap();
        fs::write(directory.join(name), name).unwrap();
    }
    leave().swap_directory(&new, &place).unwrap();
    assert!(place.join("fresh").exists() && !place.join("stale").exists() && !new.exists());
}

#[test]
fn replaces_a_link_in_one_step() {
    let folder = crate::testing::folder();
    let path = folder.path().join("accepted");
    leave().link(Path::new("history/1"), &path).unwrap();
    leave().link(Path::new("history/2"), &path).unwrap();
    assert_eq!(fs::read_link(&path).unwrap(), Path::new("history/2"));
}

#[test]
fn names_the_path_in_an_error() {
    let error = leave().write(Path::new("/nonexistent/x"), b"", Access::PUBLIC).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/.x.new"), "{error}");
}

#[test]
fn a_write_that_is_torn_leaves_its_beginning_and_fails() {
    let folder = crate::testing::folder();
    let path = folder.path().join("disk");
    let files = leave();
    let file = files.create(&path).unwrap();
    files.write_at(&path, &file, b"........", 0).unwrap();
    files.tear_after(1, 3);
    files.write_at(&path, &file, b"ab", 0).unwrap();
    let error = files.write_at(&path, &file, b"cdefgh", 2).unwrap_err().to_string();
    assert!(error.contains("cannot write") && error.contains("disk"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"abcde...");
    // More than there is to write is all of it, and a cut that tears nothing leaves nothing.
    files.tear_after(0, 99);
    assert!(files.write_at(&path, &file, b"xy", 6).is_err());
    files.cut_after(0);
    assert!(files.write_at(&path, &file, b"zz", 0).is_err());
    assert_eq!(fs::read(&path).unwrap(), b"abcde.xy");
}
