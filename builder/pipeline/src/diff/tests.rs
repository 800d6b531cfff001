//! Every kind of difference is found and named; two equal outputs have none.

use std::os::unix::fs::PermissionsExt as _;

use formats::cpio::{Entry, Writer};
use formats::fixedtime::SourceDateEpoch;
use fs_err as fs;

use super::*;
use crate::partition_table;
use crate::test_artifacts::{Artifacts, kernel, table, uki};

const DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A lock with these packages in the root; the tools tree has one, of this version.
fn lock(packages: &[(&str, &str, &str)], tools: &str) -> String {
    let suite = |table: &str| {
        format!(
            "[[{table}]]\nname = \"trixie\"\nsite = \"archive\"\ncomponents = [\"main\"]\n\
             date = \"2025-09-12T07:55:41Z\"\nrelease = \"{DIGEST}\"\n"
        )
    };
    let package = |table: &str, (name, version, digits): (&str, &str, &str)| {
        format!(
            "[[{table}]]\nname = \"{name}\"\nversion = \"{version}\"\narchitecture = \"amd64\"\nsize = {}\n\
             sha256 = \"{digits}{}\"\norigin = \"trixie/main\"\nfile = \"pool/{name}.deb\"\n",
            100 + version.len(),
            &DIGEST[digits.len()..]
        )
    };
    let head =
        "schema = 2\nsource_date_epoch = 1757663741\narchitecture = \"amd64\"\nbase = \"essential\"\nwanted = []\n";
    let rows: String = packages.iter().map(|row| package("package", *row)).collect();
    let own = package("tools.package", ("mtools", tools, ""));
    format!("{head}{}{rows}[tools]\nwanted = [\"mtools\"]\n{}{own}", suite("suite"), suite("tools.suite"))
}

/// An initrd with these files.
fn initrd(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), SourceDateEpoch::from_seconds(0));
    for (name, bytes) in files {
        writer.add(&Entry::file(name.parse().unwrap(), 0o644, bytes)).unwrap();
    }
    zstd::encode_all(writer.finish().unwrap().as_slice(), 1).unwrap()
}

/// A good output with a lock that can be read and an initrd that is one.
fn output() -> Artifacts {
    let artifacts = Artifacts::new();
    fs::write(artifacts.file("lock.toml"), lock(&[("bash", "5.2", "")], "4.0")).unwrap();
    fs::write(artifacts.file("initrd.cpio.zst"), initrd(&[("etc", b"1"), ("init", b"22")])).unwrap();
    artifacts.seal_again(|_| {});
    artifacts
}

/// No program is needed where roots and disks are the same.
fn compare(before: &Artifacts, after: &Artifacts) -> Difference {
    let scratch = tempfile::tempdir().unwrap();
    let tools = ToolsTree::new("/nowhere".into(), None);
    diff(before.path(), after.path(), &tools, scratch.path()).unwrap()
}

fn part_rows(difference: &Difference) -> Vec<(&str, &str, Change)> {
    difference.parts.iter().map(|row| (row.part.as_str(), row.item.as_str(), row.change)).collect()
}

#[test]
fn equal_outputs_have_no_difference_whatever_the_build_took_and_whoever_tested_it() {
    let (one, two) = (output(), output());
    fs::write(two.file("build.json"), "{}").unwrap();
    two.report(&[("boots", true)], &two.release);
    let difference = compare(&one, &two);
    assert_eq!(difference, Difference::default());
    assert!(difference.is_equal());
    assert_eq!(difference.text(false), "they are equal");
}

#[test]
fn packages_are_compared_by_version_and_by_file() {
    let (one, two) = (output(), output());
    let before = lock(&[("bash", "5.2", ""), ("dash", "1.0", ""), ("gone", "1", "")], "4.0");
    let after = lock(&[("bash", "5.3-rc1", ""), ("dash", "1.0", "00"), ("new", "2", "")], "4.1");
    fs::write(one.file("lock.toml"), before).unwrap();
    fs::write(two.file("lock.toml"), after).unwrap();
    let difference = compare(&one, &two);
    let found: Vec<_> = difference
        .packages
        .iter()
        .map(|row| (row.tree, row.name.as_str(), row.change, row.before.as_deref(), row.after.as_deref()))
        .collect();
    assert_eq!(
        found,
        [
            ("root", "bash", Change::Changed, Some("5.2"), Some("5.3-rc1")),
            ("root", "dash", Change::Changed, Some("1.0"), Some("1.0")),
            ("root", "gone", Change::Removed, Some("1"), None),
            ("root", "new", Change::Added, None, Some("2")),
            ("tools", "mtools", Change::Changed, Some("4.0"), Some("4.1")),
        ]
    );
    let text = difference.text(true);
    assert!(text.contains("5.2 -> 5.3-rc1") && text.contains("1.0, another file of the same version"), "{text}");
    assert!(text.contains("103 B -> 107 B"), "{text}");
}

#[test]
fn the_kernel_image_is_compared_by_section_the_initrd_by_member_and_the_command_line_by_word() {
    let (one, two) = (output(), output());
    let line = fs::read_to_string(two.file("cmdline")).unwrap().replace("quiet", "debug");
    let members = initrd(&[("etc", b"1"), ("init", b"23"), ("new", b"333")]);
    fs::write(two.file("initrd.cpio.zst"), &members).unwrap();
    fs::write(two.file("cmdline"), &line).unwrap();
    fs::write(two.file("uki.efi"), uki(&line.parse().unwrap(), "0.1.0", &kernel(), &members)).unwrap();
    two.seal_again(|manifest| manifest.source_date_epoch += 1);
    let difference = compare(&one, &two);
    let found = part_rows(&difference);
    for wanted in [
        ("manifest", "source_date_epoch", Change::Changed),
        ("part", "uki.efi", Change::Changed),
        ("uki", ".cmdline", Change::Changed),
        ("uki", ".initrd", Change::Changed),
        ("initrd", "init", Change::Changed),
        ("initrd", "new", Change::Added),
        ("command line", "quiet", Change::Removed),
        ("command line", "debug", Change::Added),
        ("output", "provenance.json", Change::Changed),
    ] {
        assert!(found.contains(&wanted), "{wanted:?} is not in {found:?}");
    }
    // What is the same is not named.
    assert!(!found.iter().any(|(part, item, _)| (*part, *item) == ("initrd", "etc") || *item == ".linux"), "{found:?}");
    assert!(difference.files.is_empty() && difference.packages.is_empty());
}

#[test]
fn another_signature_and_another_compression_are_told_from_another_content() {
    let (one, two) = (output(), output());
    two.change("uki.efi", |bytes| crate::test_artifacts::set_signature_size(bytes, 16));
    two.change("initrd.cpio.zst", |bytes| {
        let unpacked = zstd::decode_all(bytes.as_slice()).unwrap();
        *bytes = zstd::encode_all(unpacked.as_slice(), 19).unwrap();
        bytes.extend(zstd::encode_all([].as_slice(), 1).unwrap());
    });
    two.seal_again(|_| {});
    let difference = compare(&one, &two);
    let found = part_rows(&difference);
    assert!(found.contains(&("uki", "headers and signature", Change::Changed)), "{found:?}");
    assert!(found.contains(&("initrd", "only how it is compressed", Change::Changed)), "{found:?}");
}

#[test]
fn a_file_beside_the_image_that_only_one_output_has_is_found() {
    let (one, two) = (output(), output());
    fs::write(two.file("ports.md"), "none\n").unwrap();
    assert_eq!(part_rows(&compare(&one, &two)), [("output", "ports.md", Change::Added)]);
}

#[test]
fn partitions_are_compared_row_by_row() {
    let (one, two) = (output(), output());
    let other = table(&format!("{}{}", "cd".repeat(16), "ab".repeat(16)).parse().unwrap());
    two.change("disk.raw", |bytes| {
        for (offset, piece) in partition_table::pieces(&other) {
            let offset = usize::try_from(offset).unwrap();
            bytes[offset..offset + piece.len()].copy_from_slice(&piece);
        }
    });
    let rows = disk::compare_tables(&one.file("disk.raw"), &two.file("disk.raw")).unwrap();
    let items: Vec<&str> = rows.iter().map(|row| row.item.as_str()).collect();
    assert_eq!(items, ["partition 2", "partition 3"]);
    assert!(disk::compare_tables(&one.file("disk.raw"), &one.file("disk.raw")).unwrap().is_empty());
}

/// Two trees that `change` made different, and what was found.
fn root_changes(change: impl FnOnce(&RootTree)) -> Vec<FileChange> {
    let dir = tempfile::tempdir().unwrap();
    let trees = ["before", "after"].map(|name| RootTree::new(dir.path().join(name)));
    for tree in &trees {
        tree.write("/usr/bin/a", b"content", 0o755).unwrap();
        tree.link("/usr/bin/b", "a").unwrap();
        tree.write("/usr/lib/sysimage/dpkg/info/tool:amd64.list", b"/.\n/usr/bin\n/bin/a\n", 0o644).unwrap();
        tree.write("/etc/motd", b"hello", 0o644).unwrap();
    }
    change(&trees[1]);
    let output = output();
    let manifest = output.manifest_now();
    output.write_provenance(&manifest, |statement| {
        use crate::provenance::{Resource, Use};
        let digest = bundle::Sha256Digest::of(b"");
        let mut asset = Resource::used(Use::Asset, "theme", digest);
        asset.annotations.as_mut().unwrap().into = Some("/usr/share/theme".to_owned());
        statement.predicate.build_definition.resolved_dependencies.extend([
            asset,
            Resource::used(Use::Overlay, "overlays/ssh/root/etc/motd", digest),
            Resource::used(Use::Units, "units/systemd/x.service", digest),
        ]);
    });
    let owners = trees.each_ref().map(|tree| Owners::read(tree, output.path()).unwrap());
    let [before, after] = [0, 1].map(|at| Side { tree: &trees[at], owners: &owners[at] });
    root::compare(&before, &after).unwrap()
}

#[test]
fn content_mode_owner_link_and_kind_of_paths_are_compared() {
    assert_eq!(root_changes(|_| {}), []);
    let found = root_changes(|tree| {
        tree.write("/usr/bin/a", b"CONTENT", 0o755).unwrap();
        tree.link("/usr/bin/b", "c").unwrap();
        fs::set_permissions(tree.at("/etc/motd"), std::fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::chown(tree.at("/usr/bin"), Some(7), None).unwrap();
        let (flags, program) = (rustix::fs::XattrFlags::empty(), tree.at("/usr/bin/a"));
        rustix::fs::setxattr(program, "user.mark", b"1", flags).unwrap();
        tree.remove("/usr/lib/sysimage/dpkg/info/tool:amd64.list").unwrap();
        tree.write("/usr/share/theme/style.css", b"12345", 0o644).unwrap();
        tree.write("/usr/lib/systemd/x.service", b"", 0o644).unwrap();
    });
    let found: Vec<_> = found.iter().map(|row| (row.path.as_str(), row.change, row.what.join("+"))).collect();
    let expected = [
        ("/etc/motd", Change::Changed, "mode"),
        ("/usr/bin", Change::Changed, "owner"),
        ("/usr/bin/a", Change::Changed, "content+attributes"),
        ("/usr/bin/b", Change::Changed, "link"),
        ("/usr/lib/sysimage/dpkg/info/tool:amd64.list", Change::Removed, ""),
        ("/usr/lib/systemd", Change::Added, ""),
        ("/usr/lib/systemd/x.service", Change::Added, ""),
        ("/usr/share", Change::Added, ""),
        ("/usr/share/theme", Change::Added, ""),
        ("/usr/share/theme/style.css", Change::Added, ""),
    ];
    assert_eq!(found, expected.map(|(path, change, what)| (path, change, what.to_owned())));
}

#[test]
fn each_path_has_the_one_who_brought_it() {
    let found = root_changes(|tree| {
        for name in ["/usr/bin/a", "/etc/motd", "/usr/share/theme/x", "/usr/lib/systemd/x.service", "/usr/lib/made"] {
            tree.write(name, b"another content", 0o644).unwrap();
        }
        tree.remove("/usr/bin/b").unwrap();
    });
    let owner = |path: &str| found.iter().find(|row| row.path == path).map(|row| row.owner.as_str());
    assert_eq!(owner("/usr/bin/a"), Some("package:tool"));
    assert_eq!(owner("/etc/motd"), Some("overlay:ssh"));
    assert_eq!(owner("/usr/share/theme/x"), Some("asset:theme"));
    assert_eq!(owner("/usr/lib/systemd/x.service"), Some("units"));
    assert_eq!(owner("/usr/lib/made"), Some("build"));
    assert_eq!(owner("/usr/bin/b"), Some("build"));
}

#[test]
fn the_text_is_short_with_the_largest_change_first_unless_all_is_wanted() {
    let file = |number: u64| FileChange {
        path: format!("/usr/\u{1b}{number}"),
        change: Change::Added,
        what: Vec::new(),
        before_size: None,
        after_size: Some(number),
        owner: "build".to_owned(),
    };
    let difference = Difference { files: (1..=20).map(file).collect(), ..Difference::default() };
    let short = difference.text(false);
    let first = short.lines().find(|line| line.contains('+')).unwrap();
    assert!(first.contains("20 B") && first.contains("/usr/\\u{1b}20"), "{short}");
    assert!(short.contains("and 8 more") && !short.contains("/usr/\\u{1b}8 "), "{short}");
    assert!(difference.text(true).contains("/usr/\\u{1b}1 ") && !difference.text(true).contains("more"));
}

#[test]
fn what_is_no_output_is_refused_with_what_to_name() {
    let dir = tempfile::tempdir().unwrap();
    let tools = ToolsTree::new("/nowhere".into(), None);
    let good = output();
    for (before, after) in [(dir.path(), good.path()), (good.path(), dir.path())] {
        let error = diff(before, after, &tools, dir.path()).unwrap_err();
        assert!(tools::failure::render(&error).contains("out/webhost"), "{error:#}");
    }
}
