//! Round trips, a byte-exact archive, and a zoo of bad ones.

use proptest::prelude::*;

use crate::fixedtime::SourceDateEpoch;

use super::*;

const TIME: SourceDateEpoch = SourceDateEpoch::from_seconds(0x6000_0000);

fn path(text: &str) -> EntryPath {
    text.parse().unwrap()
}

fn sample() -> Vec<Entry<'static>> {
    let console = Content::CharacterDevice { major: 5, minor: 1 };
    vec![
        Entry::directory(path("dev")),
        Entry { path: path("dev/console"), permissions: 0o600, uid: 0, gid: 5, content: console },
        Entry::file(path("init"), 0o755, b"hello"),
        Entry::symlink(path("lib"), "usr/lib"),
        Entry::directory(path("usr")),
        Entry::directory(path("usr/lib")),
        Entry::file(path("usr/lib/empty"), 0o4644, b""),
    ]
}

fn write(entries: &[Entry<'_>]) -> Result<Vec<u8>, CpioError> {
    let mut writer = Writer::new(Vec::new(), TIME);
    entries.iter().try_for_each(|entry| writer.add(entry))?;
    writer.finish()
}

#[test]
fn reads_back_every_kind_of_entry() {
    let archive = write(&sample()).unwrap();
    assert_eq!(archive.len() % 4, 0);
    assert_eq!(parse(&archive).unwrap(), sample());
}

#[test]
fn writes_the_documented_bytes() {
    let archive = write(&[Entry::file(path("a"), 0o644, b"xyz")]).unwrap();
    let expected = "07070100000001000081a400000000000000000000000160000000000000030000000000000000\
                    00000000000000000000000200000000a\0xyz\0\
                    0707010000000000000000000000000000000000000001000000000000000000000000\
                    000000000000000000000000\
                    0000000b00000000TRAILER!!!\0\0\0\0";
    assert_eq!(String::from_utf8(archive).unwrap(), expected);
}

#[test]
fn same_entries_give_the_same_bytes() {
    assert_eq!(write(&sample()).unwrap(), write(&sample()).unwrap());
}

#[test]
fn refuses_unsorted_and_double_names() {
    let mut entries = sample();
    entries.swap(2, 3);
    assert!(matches!(write(&entries).unwrap_err(), CpioError::Order { .. }));
    let twice = [Entry::directory(path("a")), Entry::directory(path("a"))];
    assert!(matches!(write(&twice).unwrap_err(), CpioError::Order { .. }));
}

#[test]
fn refuses_a_file_whose_directory_is_missing() {
    let message = write(&[Entry::file(path("etc/passwd"), 0o644, b"")]).unwrap_err().to_string();
    assert!(message.contains("add `etc` before it"), "{message}");
    let not_a_directory = [Entry::file(path("etc"), 0o644, b""), Entry::file(path("etc/passwd"), 0o644, b"")];
    assert!(matches!(write(&not_a_directory).unwrap_err(), CpioError::Parent { .. }));
}

#[test]
fn refuses_paths_that_leave_the_target() {
    for text in ["", "/etc", "../etc", "a/../../b", "a//b", "./a", "a/", "a\0b", "a\nb", "TRAILER!!!"] {
        assert!(text.parse::<EntryPath>().is_err(), "{text:?}");
    }
    let mut archive = write(&[Entry::directory(path("aa"))]).unwrap();
    archive[110..112].copy_from_slice(b"..");
    assert!(matches!(parse(&archive).unwrap_err(), CpioError::Path { .. }));
}

#[test]
fn refuses_permissions_that_would_change_the_type() {
    let entry = Entry::file(path("a"), 0o40_755, b"");
    assert!(matches!(write(&[entry]).unwrap_err(), CpioError::Field { field: "permissions", .. }));
}

#[test]
fn refuses_cut_lying_and_foreign_archives() {
    let archive = write(&sample()).unwrap();
    for cut in [0, 50, 109, 111, archive.len() - 15] {
        assert!(matches!(parse(&archive[..cut]).unwrap_err(), CpioError::Malformed { .. }), "{cut}");
    }
    for (at, bytes, field) in
        [(0, "070707", "magic"), (54, "ffffffff", "content"), (94, "ffffffff", "name"), (6, "+0000001", "number")]
    {
        let mut bad = archive.clone();
        bad[at..at + bytes.len()].copy_from_slice(bytes.as_bytes());
        let message = parse(&bad).unwrap_err().to_string();
        assert!(message.contains(field), "{field}: {message}");
    }
}

#[test]
fn refuses_hard_links_and_sockets() {
    let archive = write(&[Entry::file(path("a"), 0o644, b"")]).unwrap();
    for (at, bytes) in [(38, b"00000002"), (14, b"0000c1a4")] {
        let mut bad = archive.clone();
        bad[at..at + 8].copy_from_slice(bytes);
        assert!(matches!(parse(&bad).unwrap_err(), CpioError::Malformed { .. }));
    }
}

proptest! {
    #[test]
    fn reader_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..300), flips in proptest::collection::vec((0_usize..900, any::<u8>()), 0..8)) {
        let _ = parse(&noise);
        let mut archive = write(&sample()).unwrap();
        for (at, value) in flips {
            if let Some(byte) = archive.get_mut(at) {
                *byte = value;
            }
        }
        // What is listed can be unpacked: no path leaves the target, whatever the bytes were.
        for entry in parse(&archive).unwrap_or_default() {
            let path = std::path::Path::new(entry.path.as_str());
            prop_assert!(path.components().all(|part| matches!(part, std::path::Component::Normal(_))), "{path:?}");
        }
    }

    #[test]
    fn only_plain_relative_paths_parse(text in "[a./\\\\\\x00-\\x1f\\u{2215}]{0,12}") {
        if let Ok(path) = text.parse::<EntryPath>() {
            let plain = std::path::Path::new(path.as_str()).components().all(|part| matches!(part, std::path::Component::Normal(_)));
            prop_assert!(plain && !text.starts_with('/') && !text.is_empty(), "{text:?}");
        }
    }
}

#[test]
fn each_number_of_a_header_may_be_extreme() {
    let good = write(&sample()).unwrap();
    let headers: Vec<usize> =
        good.windows(6).enumerate().filter(|(_, bytes)| *bytes == b"070701").map(|(at, _)| at).collect();
    assert_eq!(headers.len(), sample().len() + 1);
    for header in headers {
        for field in 0..13 {
            for digits in ["00000000", "00000001", "7fffffff", "fffffff0", "ffffffff", "-0000001", "        "] {
                let at = header + 6 + 8 * field;
                let mut bad = good.clone();
                bad[at..at + 8].copy_from_slice(digits.as_bytes());
                let _ = parse(&bad);
            }
        }
    }
}
