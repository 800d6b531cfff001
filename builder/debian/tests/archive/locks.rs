//! The lock file as text.

use debian::{
    lock::{Lock, LockedSuite},
    packages::PackageIndex,
    placeholder::Provided,
    resolve::{Base, resolve},
    suite::{Component, Site},
    wish::Wish,
};
use proptest::prelude::*;

use crate::shelf::{index, names};

fn shelf() -> PackageIndex {
    index(&["aa 1.0-1; Depends: bb", "bb 1:2~x; Essential: yes"])
}

fn lock() -> Lock {
    lock_of(&Wish::new(names("aa"), Base::Essential, Vec::new()))
}

fn with_tools() -> Lock {
    let provided = vec![Provided { package: "virtual".parse().unwrap(), reason: "ours".into() }];
    let tools = lock_of(&Wish::new(names("aa"), Base::Empty, Vec::new()));
    lock_of(&Wish::new(names("aa"), Base::Essential, provided)).with_tools(&tools)
}

fn lock_of(wish: &Wish) -> Lock {
    let index = shelf();
    let packages = resolve(&index, &wish.wanted, Base::Essential).unwrap();
    let suite = LockedSuite {
        name: "trixie".parse().unwrap(),
        site: Site::Archive,
        components: vec![Component::main()],
        date: "2026-09-12T07:55:41Z".parse().unwrap(),
        release: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".parse().unwrap(),
    };
    Lock::new("amd64".parse().unwrap(), wish, vec![suite], &packages).unwrap()
}

#[test]
fn a_lock_is_the_same_text_each_time_and_reads_back_as_itself() {
    let text = lock().render().unwrap();
    assert_eq!(text, lock().render().unwrap());
    assert_eq!(Lock::parse(&text).unwrap(), lock());
    assert!(text.contains("source_date_epoch = 1789199741\n"), "{text}");
    assert!(text.contains("name = \"bb\"\nversion = \"1:2~x\"\narchitecture = \"amd64\"\nsize = 8\n"), "{text}");
    assert!(!text.contains("http"), "{text}");
}

#[test]
fn a_lock_tells_what_to_download() {
    let downloads = lock().downloads().unwrap();
    let told: Vec<_> = downloads.iter().map(|d| (d.label.as_str(), d.path.as_str(), d.size)).collect();
    assert_eq!(told, [("aa 1.0-1", "pool/aa_1.0-1.deb", 8), ("bb 1:2~x", "pool/bb_1:2~x.deb", 8)]);
}

#[test]
fn refuses_a_malformed_lock_with_its_line() {
    let good = lock().render().unwrap();
    let cases = [
        ("name = \"aa\"", "name = \"../aa\"", "is not a package name"),
        ("sha256 = \"", "sha256 = \"zz", "is not a SHA-256 value"),
        ("file = \"pool/", "file = \"../pool/", "is not a path in the archive"),
        ("version = \"1.0-1\"", "version = \"1 0\"", "is not a Debian version"),
        ("size = 8", "size = -8", "line 19"),
        ("size = 8", "sise = 8", "unknown field `sise`"),
        ("schema = 2", "schema = 2\nextra = 1", "line 3"),
        ("schema = 2", "schema = 3", "`schema = 3` is not known"),
        ("origin = \"trixie/main\"", "origin = \"sid/main\"", "no `[[suite]]` of the lock lists"),
        ("name = \"aa\"", "name = \"cc\"", "sorted by name"),
        ("name = \"aa\"", "name = \"bb\"", "none occurs twice"),
        (
            "version = \"1.0-1\"\narchitecture = \"amd64\"",
            "version = \"1.0-1\"\narchitecture = \"arm64\"",
            "is for `arm64`",
        ),
        ("date = \"2026", "date = \"26", "is not a date"),
    ];
    for (from, to, message) in cases {
        assert!(good.contains(from), "{from} is not in {good}");
        let error = Lock::parse(&good.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.contains(message), "{error}: {message}");
    }
}

/// As the first version of the format was: without a tools tree.
#[test]
fn reads_a_lock_of_the_first_version() {
    let old = lock().render().unwrap().replacen("schema = 2", "schema = 1", 1);
    let read = Lock::parse(&old).unwrap();
    assert_eq!((&read, read.tools()), (&lock(), None));
}

#[test]
fn a_lock_carries_the_tools_tree_and_what_needs_no_package() {
    let text = with_tools().render().unwrap();
    assert!(text.contains("[[provided]]\npackage = \"virtual\"\nreason = \"ours\"\n"), "{text}");
    assert!(text.contains("\n[tools]\nwanted = [\"aa\"]\n") && text.contains("\n[[tools.package]]\n"), "{text}");
    let read = Lock::parse(&text).unwrap();
    assert_eq!(read.wish().provided.len(), 1);
    let tools = read.tools().unwrap();
    assert_eq!((tools.packages.len(), tools.base, tools.downloads().unwrap().len()), (2, Base::Empty, 2));
    assert_eq!(tools.tools(), None);
}

#[test]
fn refuses_malformed_tools_in_a_lock() {
    let text = with_tools().render().unwrap();
    let (root, tools) = text.split_once("[tools]").unwrap();
    for (from, to, message) in [
        ("origin = \"trixie/main\"", "origin = \"sid/main\"", "no `[[suite]]` of the lock lists"),
        ("name = \"aa\"", "name = \"cc\"", "sorted by name"),
        ("wanted = ", "wnated = ", "unknown field `wnated`"),
    ] {
        let bad = format!("{root}[tools]{}", tools.replacen(from, to, 1));
        let error = Lock::parse(&bad).unwrap_err().to_string();
        assert!(error.contains(message), "{error}: {message}");
    }
}

proptest! {
    #[test]
    fn parsing_never_panics(at in 0usize..600, with in "[a\"= \n\\[\\]-]{0,3}") {
        let mut text = lock().render().unwrap();
        text.replace_range(at..=at, &with);
        let _ = Lock::parse(&text);
    }
}
