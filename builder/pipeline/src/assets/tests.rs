//! Assets from a server on this machine, good ones and a zoo of bad ones.

use std::io::{BufRead as _, BufReader, Cursor, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::thread;
use std::time::Duration;

use hostconf::ImageDef;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::*;
use crate::stages::lint::{Expectations, Fault, lint};

const HEAD: &str = "schema = 1\nname = \"x\"\nversion = \"1\"\nsuite = \"trixie\"\noverlays = [\"base\"]\n\
    kernel = \"linux-image-amd64\"\n[size]\nesp = \"512M\"\nslot = \"2G\"\nsites = 1\n";

/// An asset as `image.toml` has it; `rows` come last.
fn asset(source: &str, content: &[u8], rows: &str) -> Asset {
    let sha256 = Sha256Digest::of(content);
    let text = format!("{HEAD}[[asset]]\nname = \"theme\"\n{source}\nsha256 = \"{sha256}\"\nsize = \"1M\"\n{rows}\n");
    ImageDef::parse("image.toml", &text).unwrap_or_else(|error| panic!("{error}")).assets.remove(0)
}

const ZIP: &str = "unpack = \"zip\"\ninto = \"/usr/share/theme\"";
const TAR: &str = "unpack = \"tar\"\ninto = \"/usr/share/theme\"";

/// Serves `body` under any name, with or without the word that it is there, and gives its address.
fn serve(status: &'static str, body: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/theme.zip", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let asked =
                BufReader::new(&stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty()).count();
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            if asked > 0 {
                drop(stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)));
            }
        }
    });
    address
}

fn client() -> Http {
    Http::new(1, Duration::from_millis(1))
}

/// A directory with a store and a root tree that has `/usr/share`.
fn workshop() -> (tempfile::TempDir, Store, RootTree) {
    let dir = tempfile::tempdir().unwrap();
    let (store, tree) = (Store::open(&dir.path().join("store")).unwrap(), RootTree::new(dir.path().join("root")));
    tree.write("/usr/share/package/file", b"x", 0o644).unwrap();
    (dir, store, tree)
}

/// Puts `content` into a root by the rule in `rows`; the error as a person sees it.
fn laid(content: &[u8], rows: &str) -> Result<(tempfile::TempDir, RootTree, Owners), String> {
    let (dir, store, tree) = workshop();
    fs::write(dir.path().join("theme"), content).unwrap();
    let assets = [asset("file = \"theme\"", content, rows)];
    let stored = fetch(&assets, dir.path(), &store, None).unwrap();
    let owners = lay(&stored, &tree).map_err(|error| tools::failure::render(&error))?;
    Ok((dir, tree, owners))
}

fn refused(content: &[u8], rows: &str, expected: &str) {
    let error = laid(content, rows).map(|(_, _, owners)| owners).expect_err(expected);
    assert!(error.contains(expected), "{expected}: {error}");
    assert!(error.contains("asset `theme`") && error.contains("hint: "), "{error}");
}

fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// Overwrites bytes of the first entry in the central directory (APPNOTE 4.3.12).
fn patched(mut archive: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    let start = archive.windows(4).position(|window| window == b"PK\x01\x02").unwrap() + at;
    archive[start..start + bytes.len()].copy_from_slice(bytes);
    archive
}

/// External attributes of a Unix program: the mode in the upper half.
fn with_mode(archive: Vec<u8>, mode: u32) -> Vec<u8> {
    patched(patched(archive, 5, &[3]), 38, &(mode << 16).to_le_bytes())
}

fn tar_entry(name: &str, kind: tar::EntryType, mode: u32, link: &str, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    let fields = header.as_gnu_mut().unwrap();
    fields.name[..name.len()].copy_from_slice(name.as_bytes());
    fields.linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(1000);
    header.set_gid(1000);
    header.set_mtime(7);
    header.set_size(content.len() as u64);
    header.set_device_major(0).unwrap();
    header.set_device_minor(0).unwrap();
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn tarball(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = entries.concat();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn file(name: &str) -> Vec<u8> {
    tar_entry(name, tar::EntryType::Regular, 0o664, "", b"text")
}

fn link(name: &str, target: &str) -> Vec<u8> {
    tar_entry(name, tar::EntryType::Symlink, 0o777, target, b"")
}

#[test]
fn an_asset_comes_from_its_address_once_and_is_unpacked_by_its_rule() {
    let content = zip(&[("theme-2/style.css", b"body"), ("theme-2/inc/a.php", b"<?php")]);
    let (dir, store, tree) = workshop();
    let address = serve("200 OK", content.clone());
    let assets = [asset(&format!("url = \"{address}\""), &content, &format!("{ZIP}\nstrip = 1"))];
    fetch(&assets, dir.path(), &store, Some(&client())).unwrap();
    let stored = fetch(&assets, dir.path(), &store, None).expect("the store has it: the network is not needed");
    let owners = lay(&stored, &tree).unwrap();
    let paths = ["", "/inc", "/inc/a.php", "/style.css"].map(|rest| format!("/usr/share/theme{rest}"));
    assert_eq!(owners, paths.map(|path| (path, "asset:theme".to_owned())).into());
    assert_eq!(tree.read_text("/usr/share/theme/inc/a.php").unwrap(), "<?php");
    assert_eq!(tree.at("/usr/share/theme/inc").metadata().unwrap().mode() & 0o7777, 0o755);
    assert_eq!(tree.at("/usr/share/theme/style.css").metadata().unwrap().mode() & 0o7777, 0o644);
}

#[test]
fn another_content_at_the_address_is_refused_with_both_digests() {
    let (dir, store, _) = workshop();
    let address = serve("200 OK", b"evil".to_vec());
    let assets = [asset(&format!("url = \"{address}\""), b"good", ZIP)];
    let error = tools::failure::render(&fetch(&assets, dir.path(), &store, Some(&client())).unwrap_err());
    for part in [&address, &Sha256Digest::of(b"evil").to_string(), &Sha256Digest::of(b"good").to_string(), "hint: "] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(fs::read_dir(dir.path().join("store/sha256")).unwrap().next().is_none(), "it entered the store");
}

#[test]
fn what_is_too_large_missing_or_not_allowed_to_be_fetched_is_refused() {
    let (dir, store, _) = workshop();
    let of = |address: &str| [asset(&format!("url = \"{address}\""), b"good", ZIP)];
    let outcome = |assets: &[Asset], http: Option<&Http>| {
        tools::failure::render(&fetch(assets, dir.path(), &store, http).unwrap_err())
    };
    let large = outcome(&of(&serve("200 OK", vec![0; (1 << 20) + 1])), Some(&client()));
    assert!(large.contains("more than the 1048576 bytes") && large.contains("raise `size`"), "{large}");
    let gone = outcome(&of(&serve("404 Not Found", Vec::new())), Some(&client()));
    assert!(gone.contains("status 404"), "{gone}");
    let offline = outcome(&of("http://127.0.0.1:1/x"), None);
    assert!(offline.contains("without `--offline`"), "{offline}");
    let local = outcome(&[asset("file = \"not-there\"", b"good", ZIP)], None);
    assert!(local.contains("cannot read `not-there`"), "{local}");
}

#[test]
fn a_damaged_file_in_the_store_is_fetched_anew() {
    let content = zip(&[("a", b"text")]);
    let (dir, store, tree) = workshop();
    let assets = [asset(&format!("url = \"{}\"", serve("200 OK", content.clone())), &content, ZIP)];
    let stored = fetch(&assets, dir.path(), &store, Some(&client())).unwrap();
    fs::write(&stored[0].path, b"damaged").unwrap();
    let error = tools::failure::render(&lay(&stored, &tree).unwrap_err());
    assert!(error.contains("sha256"), "{error}");
    let stored = fetch(&assets, dir.path(), &store, Some(&client())).unwrap();
    assert!(lay(&stored, &tree).unwrap().contains_key("/usr/share/theme/a"));
}

#[test]
fn a_local_file_that_changed_is_refused() {
    let (dir, store, _) = workshop();
    fs::write(dir.path().join("theme"), b"changed").unwrap();
    let error = fetch(&[asset("file = \"theme\"", b"good", ZIP)], dir.path(), &store, None).unwrap_err();
    let error = tools::failure::render(&error);
    assert!(
        error.contains("`theme` has SHA-256") && error.contains(&Sha256Digest::of(b"changed").to_string()),
        "{error}"
    );
}

#[test]
fn a_file_is_laid_as_it_is() {
    let (_dir, tree, owners) = laid(b"list", "unpack = \"none\"\ninto = \"/usr/share/rules/list.txt\"").unwrap();
    assert_eq!(tree.read_text("/usr/share/rules/list.txt").unwrap(), "list");
    assert_eq!(owners.keys().collect::<Vec<_>>(), ["/usr/share/rules", "/usr/share/rules/list.txt"]);
}

#[test]
fn tar_archives_of_each_compression_give_the_same_tree() {
    use tar::EntryType::{Directory, XGlobalHeader};
    let comment = "52 comment=0123456789012345678901234567890123456789\n".as_bytes();
    let plain = tarball(&[
        tar_entry("pax_global_header", XGlobalHeader, 0o666, "", comment),
        tar_entry("./", Directory, 0o2775, "", b""),
        tar_entry("r/bin/tool", tar::EntryType::Regular, 0o775, "", b"#!"),
        link("r/tool", "bin/tool"),
        link("r/bin/up", "../tool"),
    ]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(&plain).unwrap();
    let zstd = zstd::encode_all(plain.as_slice(), 1).unwrap();
    for archive in [plain, gzip.finish().unwrap(), xz.finish().unwrap(), zstd] {
        let (_dir, tree, owners) = laid(&archive, &format!("{TAR}\nstrip = 1")).unwrap();
        assert_eq!(owners.len(), 5, "{owners:?}");
        assert_eq!(tree.at("/usr/share/theme/bin/tool").metadata().unwrap().mode() & 0o7777, 0o755);
        assert_eq!(fs::read_to_string(tree.at("/usr/share/theme/bin/up")).unwrap(), "#!");
    }
}

#[test]
fn names_that_leave_the_directory_are_refused() {
    for name in ["../x", "a/../../x", "/etc/x", "a//b", "a/./b", "..", "a\\..\\x", "a\nb", "..\\x"] {
        let expected = "refused";
        refused(&zip(&[(name, b"x")]), ZIP, expected);
        refused(&tarball(&[file(name)]), TAR, expected);
    }
}

#[test]
fn links_that_leave_the_directory_or_are_written_through_are_refused() {
    for target in ["/etc", "..", "../..", "../../../etc/passwd", "a/../../..", "a/..", "", "../theme-2/x"] {
        refused(
            &tarball(&[file("a"), link("l", target)]),
            TAR,
            if target.is_empty() { "symlink target" } else { "leaves" },
        );
        let archive = with_mode(zip(&[("l", target.as_bytes())]), 0o120_777);
        refused(&archive, ZIP, if target.is_empty() { "refused" } else { "leaves" });
    }
    refused(&tarball(&[link("l", "x"), file("l/passwd"), file("x/a")]), TAR, "link and a directory");
    refused(&tarball(&[file("l/a"), link("l", "x")]), TAR, "twice");
}

#[test]
fn set_id_bits_devices_hard_links_and_second_names_are_refused() {
    use tar::EntryType::{Block, Char, Fifo, Link, Regular};
    for mode in [0o4755, 0o2755] {
        refused(&tarball(&[tar_entry("a", Regular, mode, "", b"x")]), TAR, "set-id");
        refused(&with_mode(zip(&[("a", b"x")]), 0o100_000 | mode), ZIP, "set-id");
    }
    for kind in [Block, Char, Fifo] {
        refused(&tarball(&[tar_entry("a", kind, 0o644, "", b"")]), TAR, "device or pipe");
    }
    refused(&with_mode(zip(&[("a", b"x")]), 0o020_644), ZIP, "neither a file");
    refused(&tarball(&[file("a"), tar_entry("b", Link, 0o644, "a", b"")]), TAR, "hard link");
    refused(&tarball(&[file("a"), file("./a")]), TAR, "twice");
    let mut twice = zip(&[("a", b"1"), ("b", b"2")]);
    let last = twice.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap() + 46;
    twice[last] = b'a';
    refused(&twice, ZIP, "twice");
}

#[test]
fn lies_about_sizes_and_bombs_are_refused() {
    let good = zip(&[("a", &[7; 5000])]);
    refused(&patched(good.clone(), 24, &4000_u32.to_le_bytes()), ZIP, "larger than its declared");
    refused(&patched(good.clone(), 24, &6000_u32.to_le_bytes()), ZIP, "fewer");
    refused(&patched(good.clone(), 16, &[1, 2, 3, 4]), ZIP, "hecksum");
    refused(&good[..good.len() - 30], ZIP, "ZIP");
    let zeros = vec![0; 64 << 20];
    refused(&zip(&[("a", &zeros)]), ZIP, "far more than its size allows");
    let tar = tarball(&[tar_entry("a", tar::EntryType::Regular, 0o644, "", &zeros)]);
    refused(&zstd::encode_all(tar.as_slice(), 1).unwrap(), TAR, "far more than its size allows");
}

#[test]
fn an_asset_replaces_nothing_and_goes_through_no_link_of_the_root() {
    let into = |dir: &str| format!("unpack = \"zip\"\ninto = \"{dir}\"");
    refused(&zip(&[("file", b"x")]), &into("/usr/share/package"), "already, and an asset replaces nothing");
    refused(&zip(&[("file/x", b"x")]), &into("/usr/share/package"), "something else is there");
    refused(&zip(&[("a", b"x")]), &format!("{ZIP}\nstrip = 1"), "takes off too much");
    let (dir, store, tree) = workshop();
    tree.link("/usr/share/theme", "package").unwrap();
    fs::write(dir.path().join("theme"), zip(&[("a", b"x")])).unwrap();
    let assets = [asset("file = \"theme\"", &zip(&[("a", b"x")]), ZIP)];
    let error = lay(&fetch(&assets, dir.path(), &store, None).unwrap(), &tree).unwrap_err();
    assert!(format!("{error:#}").contains("write `/usr/share/package`"), "{error:#}");
}

#[test]
fn the_lint_knows_the_files_of_an_asset_and_no_others() {
    let (_dir, tree, owners) = laid(&zip(&[("a", b"x"), ("dir/b", b"x")]), ZIP).unwrap();
    let packages = ["/usr", "/usr/share", "/usr/share/package", "/usr/share/package/file"].map(str::to_owned);
    let expected = Expectations { owned: packages.into(), assets: owners, ..Expectations::default() };
    assert_eq!(lint(&tree, &expected).unwrap(), []);
    tree.write("/usr/share/theme/dir/c", b"x", 0o644).unwrap();
    let found: Vec<_> = lint(&tree, &expected).unwrap().into_iter().map(|found| (found.path, found.fault)).collect();
    assert_eq!(found, [("/usr/share/theme/dir/c".to_owned(), Fault::Unowned)]);
    fs::set_permissions(tree.at("/usr/share/theme/a"), std::fs::Permissions::from_mode(0o4755)).unwrap();
    assert!(lint(&tree, &expected).unwrap().iter().any(|found| found.fault == Fault::SetId));
}
