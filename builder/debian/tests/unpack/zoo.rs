//! Malformed and hostile packages: every one is refused, and nothing outside the tree changes.

use std::num::NonZeroUsize;
use std::path::Path;

use crate::deb_factory::{Header, Tar, ar, control_text, deb, input, pax};
use debian::extract::SpecialFiles;
use debian::plan::PlanOptions;
use debian::root_dir::Ownership;
use debian::rootfs::{UnpackOptions, UnpackReport, unpack_all, unpack_only};
use debian::trim::TrimRules;
use debian::unpack_error::UnpackError;
use proptest::prelude::*;

fn options() -> UnpackOptions {
    UnpackOptions {
        jobs: NonZeroUsize::new(2).unwrap(),
        ownership: Ownership::Keep,
        special_files: SpecialFiles::Refuse,
        trim: TrimRules::default(),
        users: Vec::new(),
        groups: Vec::new(),
        provided: Vec::new(),
        plan: PlanOptions { architecture: "amd64".into(), ..PlanOptions::default() },
    }
}

/// Unpacks into `root` beside a file that must stay as it is.
fn unpack(packages: &[(&str, Vec<u8>)]) -> Result<UnpackReport, UnpackError> {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(directory.path().join("outside"), "untouched").unwrap();
    let inputs: Vec<_> = packages.iter().map(|(name, bytes)| input(directory.path(), name, bytes)).collect();
    let before = listing(directory.path());
    let outcome = unpack_only(&inputs, &root, &options());
    assert_eq!(listing(directory.path()), before, "something was made outside of the tree");
    assert_eq!(std::fs::read_to_string(directory.path().join("outside")).unwrap(), "untouched");
    outcome
}

fn listing(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn tar() -> Tar {
    Tar::default().dir("./")
}

fn device(flag: u8) -> Vec<u8> {
    tar().entry(&Header::new("./node", flag, 0), b"").end()
}

fn names_zoo() -> Vec<(&'static str, Vec<u8>)> {
    let long_name = "n".repeat(256);
    let long_path = "d/".repeat(2100);
    vec![
        ("parent", tar().file("../outside", "x").end()),
        ("hidden parent", tar().file("./a/../../outside", "x").end()),
        ("absolute", tar().file("/outside", "x").end()),
        ("parent in a long name", tar().gnu_name(b"../outside\0").file("ok", "x").end()),
        ("parent in a PAX path", tar().pax("path", "../outside").file("ok", "x").end()),
        ("empty component", tar().file("./a//b", "x").end()),
        ("line break", tar().file("./a\nb", "x").end()),
        ("not UTF-8", tar().gnu_name(b"a\xff\0").file("ok", "x").end()),
        ("zero byte in a PAX path", tar().pax("path", "a\0b").file("ok", "x").end()),
        ("long component", tar().gnu_name(long_name.as_bytes()).file("ok", "x").end()),
        ("long path", tar().gnu_name(long_path.as_bytes()).file("ok", "x").end()),
        ("file named as a directory", tar().file("./a/", "x").end()),
        ("root as a link", Tar::default().symlink("./", "/tmp").end()),
    ]
}

fn ambiguous_names_zoo() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("name given twice", tar().gnu_name(b"one\0").gnu_name(b"two\0").file("ok", "x").end()),
        ("name by GNU and PAX", tar().gnu_name(b"one\0").pax("path", "two").file("ok", "x").end()),
    ]
}

fn links_zoo() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("hard link to the parent", tar().hard_link("./a", "../outside").end()),
        ("hard link to an absolute name", tar().hard_link("./a", "/etc/passwd").end()),
        ("hard link to nothing", tar().hard_link("./a", "./b").end()),
        ("hard link to a symlink", tar().symlink("./l", "../outside").hard_link("./a", "./l").end()),
        ("hard link to a later file", tar().hard_link("./a", "./b").file("./b", "x").end()),
        ("through an own link", tar().symlink("./l", "..").file("./l/outside", "x").end()),
        ("through an own absolute link", tar().symlink("./l", "/tmp").file("./l/x", "x").end()),
        ("link without target", tar().symlink("./l", "").end()),
        ("PAX link target twice", tar().extension(b'K', b"a\0").pax("linkpath", "b").symlink("./l", "c").end()),
        ("character device", device(b'3')),
        ("block device", device(b'4')),
        ("pipe", device(b'6')),
        ("contiguous file", device(b'7')),
        ("GNU sparse file", device(b'S')),
        ("global PAX header", tar().extension(b'g', &pax("path", "x")).file("./a", "x").end()),
    ]
}

fn sizes_zoo() -> Vec<(&'static str, Vec<u8>)> {
    let file = |size: &[u8]| tar().entry(&Header::new("./a", b'0', 0).size(size), b"x").end();
    vec![
        ("size beyond the archive", file(b"00000100000\0")),
        ("size of 2^31", file(b"20000000000\0")),
        ("size of 2^63", file(&[0x80, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0])),
        ("negative size", file(&[0xff; 12])),
        ("size in letters", file(b"0000000000x\0")),
        ("size with a sign", file(b"-0000000001\0")),
        ("content after a link", tar().entry(&Header::new("./l", b'2', 512).link("x"), &[b'x'; 512]).end()),
        ("content after a directory", tar().entry(&Header::new("./d", b'5', 512), &[b'x'; 512]).end()),
        (
            "content after a hard link",
            tar().file("./f", "x").entry(&Header::new("./h", b'1', 512).link("./f"), &[b'x'; 512]).end(),
        ),
        ("PAX size that hides an entry", tar().pax("size", "1024").file("./a", "x").file("./hidden", "x").end()),
        ("PAX size of zero", tar().pax("size", "0").file("./a", "x").end()),
    ]
}

fn extensions_zoo() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("PAX record longer than its block", tar().extension(b'x', b"99 path=a\n").file("./a", "x").end()),
        ("PAX record of length zero", tar().extension(b'x', b"0 path=a\n").file("./a", "x").end()),
        ("PAX record without value", tar().extension(b'x', b"7 path\n").file("./a", "x").end()),
        ("unknown PAX record", tar().pax("GNU.sparse.name", "x").file("./a", "x").end()),
        ("huge extension", tar().entry(&Header::new("x", b'L', 1 << 30), b"").end()),
    ]
}

fn structure_zoo() -> Vec<(&'static str, Vec<u8>)> {
    let mut bad_sum = tar().file("./a", "x").end();
    bad_sum[512] ^= 1;
    let mut bad_magic = Header::new("./a", b'0', 0).block();
    bad_magic[257..262].copy_from_slice(b"xstar");
    bad_magic[148..156].copy_from_slice(b"        ");
    let sum: u32 = bad_magic.iter().map(|byte| u32::from(*byte)).sum();
    bad_magic[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    vec![
        ("wrong checksum", bad_sum),
        ("wrong magic", tar().raw(&bad_magic).end()),
        ("empty archive", Vec::new()),
        ("no end mark", tar().file("./a", "x").0),
        ("half an end mark", tar().file("./a", "x").raw(&[0; 512]).0),
        ("entry after the end mark", tar().raw(&[0; 1024]).file("./a", "x").end()),
        ("entry after one zero block", tar().raw(&[0; 512]).file("./a", "x").end()),
        ("extension at the end", tar().gnu_name(b"name\0").end()),
        ("file twice", tar().file("./a", "x").file("./a", "y").end()),
        ("file, then directory", tar().file("./a", "x").dir("./a/").end()),
        ("directory, then file", tar().dir("./a/").file("./a", "x").end()),
        ("directory, then link", tar().dir("./a/").symlink("./a", "/tmp").end()),
        ("file as a directory", tar().file("./a", "x").file("./a/b", "y").end()),
        (
            "attribute that a package may not set",
            tar().pax("SCHILY.xattr.trusted.overlay.opaque", "y").file("./a", "x").end(),
        ),
    ]
}

#[test]
fn refuses_every_hostile_data_archive() {
    let zoo =
        [names_zoo(), ambiguous_names_zoo(), extensions_zoo(), links_zoo(), sizes_zoo(), structure_zoo()].concat();
    assert!(zoo.len() >= 50);
    for (what, data) in zoo {
        let outcome = unpack(&[("pkg", deb("pkg", "", &[], &data))]);
        assert!(outcome.is_err(), "{what} was accepted");
    }
}

#[test]
fn refuses_every_malformed_package() {
    let control = Tar::default().file("./control", &control_text("pkg", "")).end();
    let data = tar().end();
    let good: [(&str, &[u8]); 3] = [("debian-binary", b"2.0\n"), ("control.tar", &control), ("data.tar", &data)];
    unpack(&[("pkg", ar(&good))]).unwrap();
    let zoo: Vec<(&str, Vec<u8>)> = vec![
        ("no data", ar(&good[..2])),
        ("no version", ar(&good[1..])),
        ("data before control", ar(&[good[0], good[2], good[1]])),
        ("version 3", ar(&[("debian-binary", b"3.0\n"), good[1], good[2]])),
        ("foreign member", ar(&[good[0], ("virus", b""), good[1], good[2]])),
        ("unknown compression", ar(&[good[0], good[1], ("data.tar.lz", &data)])),
        ("plain data named xz", ar(&[good[0], good[1], ("data.tar.xz", &data)])),
    ];
    refuse_all(zoo);
}

#[test]
fn refuses_every_malformed_control_archive() {
    let data = tar().end();
    let with_control =
        |control: Tar| ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control.end()), ("data.tar", &data)]);
    let text = control_text("pkg", "");
    let zoo: Vec<(&str, Vec<u8>)> = vec![
        ("no control file", with_control(Tar::default().file("./md5sums", ""))),
        ("control file twice", with_control(Tar::default().file("./control", &text).file("./control", &text))),
        ("a list of its own", with_control(Tar::default().file("./control", &text).file("./list", "/.\n"))),
        ("control member in a directory", with_control(Tar::default().file("./control", &text).file("./a/b", ""))),
        ("control member with a dot", with_control(Tar::default().file("./control", &text).file("./x.list", ""))),
        ("control file as a link", with_control(Tar::default().symlink("./control", "/etc/passwd"))),
        ("another package", deb("other", "", &[], &data)),
        ("two paragraphs", deb("pkg", "Section: x\n\nPackage: two\n", &[], &data)),
        ("bad dependency", deb("pkg", "Depends: (>= 1)\n", &[], &data)),
    ];
    refuse_all(zoo);
}

fn refuse_all(zoo: Vec<(&str, Vec<u8>)>) {
    for (what, bytes) in zoo {
        assert!(unpack(&[("pkg", bytes)]).is_err(), "{what} was accepted");
    }
}

#[test]
fn refuses_a_package_cut_short_anywhere() {
    let whole = deb("pkg", "", &[], &tar().file("./a", "content").end());
    for length in (0..whole.len()).step_by(61) {
        assert!(unpack(&[("pkg", whole[..length].to_vec())]).is_err(), "the first {length} bytes were accepted");
    }
}

#[test]
fn refuses_a_file_that_is_not_the_one_of_the_lock_and_names_both_digests() {
    let directory = tempfile::tempdir().unwrap();
    let mut wanted = input(directory.path(), "pkg", &deb("pkg", "", &[], &tar().end()));
    let found = wanted.sha256;
    wanted.sha256 = [7; 32].into();
    let error = unpack_only(&[wanted.clone()], directory.path(), &options()).unwrap_err();
    let text = format!("{error}: {}", std::error::Error::source(&error).unwrap());
    for part in ["`pkg`", &found.to_string(), &wanted.sha256.to_string()] {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
    wanted.sha256 = found;
    wanted.size += 1;
    assert!(unpack_only(&[wanted], directory.path(), &options()).is_err());
}

#[test]
fn a_link_of_one_package_leads_no_other_package_out_of_the_tree() {
    for to in ["..", "../..", "/..", "/../outside", "../outside"] {
        let first = deb("first", "", &[], &tar().symlink("./link", to).end());
        let second = deb("second", "", &[], &tar().file("./link/outside", "x").end());
        // Refused or kept inside: `unpack` looks at what is outside.
        let _ = unpack(&[("first", first), ("second", second)]);
    }
}

#[test]
fn refuses_file_and_directory_of_one_name_in_two_packages() {
    let first = deb("first", "", &[], &tar().dir("./a/").end());
    let second = deb("second", "", &[], &tar().symlink("./a", "b").end());
    assert!(unpack(&[("first", first), ("second", second)]).is_err());
}

#[test]
fn refuses_two_owners_of_a_file_and_the_same_package_twice() {
    let data = tar().file("./a", "x").end();
    assert!(unpack(&[("first", deb("first", "", &[], &data)), ("second", deb("second", "", &[], &data))]).is_err());
    let one = deb("one", "", &[], &tar().end());
    assert!(matches!(unpack(&[("one", one.clone()), ("one", one)]), Err(UnpackError::Twice(_))));
}

#[test]
fn refuses_conffiles_and_triggers_that_leave_their_place() {
    for members in [
        [("conffiles", "/../outside\n")],
        [("conffiles", "etc/a\n")],
        [("triggers", "interest ../../../outside\n")],
        [("triggers", "interest Unincorp\n")],
    ] {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        std::fs::create_dir(&root).unwrap();
        let package = input(directory.path(), "pkg", &deb("pkg", "", &members, &tar().end()));
        assert!(unpack_all(&[package], &root, &options()).is_err(), "{members:?} was accepted");
        assert_eq!(listing(directory.path()), ["pkg.deb", "root"]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn a_damaged_package_never_panics_and_stays_inside(damage in proptest::collection::vec((0_usize..8000, any::<u8>()), 1..6)) {
        let data = tar().dir("./d/").file("./d/f", "x").symlink("./l", "d/f").hard_link("./h", "./d/f");
        let mut bytes = deb("pkg", "Depends: other\n", &[("conffiles", "/d/f\n")], &data.pax("path", "p").file("q", "y").end());
        for (at, value) in damage {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        let _ = unpack(&[("pkg", bytes)]);
    }
}
