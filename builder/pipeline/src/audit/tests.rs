//! A made-up tracker and a made-up image.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;

use fs_err as fs;

use super::*;
use crate::build::{Builder, Settings};
use crate::cache::Limit;
use crate::stages::agent::Toolchain;

const TRACKER: &str = r#"{
  "glibc": {
    "CVE-1": {"description": "x", "releases": {"trixie": {"status": "resolved", "fixed_version": "2.41-12+deb13u1", "urgency": "high"},
                                               "sid": {"status": "open", "urgency": "high"}}},
    "CVE-2": {"releases": {"trixie": {"status": "resolved", "fixed_version": "2.41-12", "urgency": "low"}}},
    "CVE-3": {"releases": {"trixie": {"status": "resolved", "fixed_version": "0", "urgency": "unimportant"}}},
    "CVE-4": {"releases": {"trixie": {"status": "open", "urgency": "unimportant"}}},
    "CVE-5": {"releases": {"trixie": {"status": "undetermined", "urgency": "not yet assigned"}}}
  },
  "linux": {"CVE-6": {"releases": {"trixie": {"status": "resolved", "fixed_version": "6.12.50-1"}}}},
  "other": {"CVE-7": "of another shape, and not ours"}
}"#;

/// A lock with the packages `NAME VERSION FILE`.
fn lock(packages: &[[&str; 3]]) -> String {
    let digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let rows = packages.iter().map(|[name, version, file]| {
        format!(
            "[[package]]\nname = \"{name}\"\nversion = \"{version}\"\narchitecture = \"amd64\"\nsize = 1\nsha256 = \"{digest}\"\n\
             origin = \"trixie/main\"\nfile = \"{file}\"\n"
        )
    });
    format!(
        "schema = 2\nsource_date_epoch = 1\narchitecture = \"amd64\"\nbase = \"essential\"\nwanted = []\n[[suite]]\nname = \"trixie\"\n\
         site = \"archive\"\ncomponents = [\"main\"]\ndate = \"2025-09-12T07:55:41Z\"\nrelease = \"{digest}\"\n{}",
        rows.collect::<String>()
    )
}

const IMAGE: [[&str; 3]; 3] = [
    ["libc-bin", "2.41-12+b2", "pool/main/g/glibc/libc-bin_2.41-12+b2_amd64.deb"],
    ["libc6", "2.41-12+b2", "pool/main/g/glibc/libc6_2.41-12+b2_amd64.deb"],
    ["linux-image-6.12", "6.12.48-1", "pool/main/l/linux-signed-amd64/linux-image-6.12_6.12.48-1_amd64.deb"],
];

fn audited(packages: &[[&str; 3]], bill: Option<&str>) -> Audited {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("lock.toml"), lock(packages)).unwrap();
    if let Some(bill) = bill {
        fs::write(dir.path().join("sbom.cdx.json"), bill).unwrap();
        return read_target(dir.path()).unwrap();
    }
    read_target(&dir.path().join("lock.toml")).unwrap()
}

#[test]
fn only_what_a_newer_version_mends_is_reported_and_open_issues_are_counted() {
    let report = audit(&audited(&IMAGE, None), TRACKER.as_bytes()).unwrap();
    let found: Vec<_> =
        report.fixed.iter().map(|row| (row.source.as_str(), row.issue.as_str(), row.version.as_str())).collect();
    assert_eq!(found, [("glibc", "CVE-1", "2.41-12"), ("linux", "CVE-6", "6.12.48-1")]);
    assert_eq!(report.fixed[0].packages, ["libc-bin", "libc6"]);
    assert_eq!((report.open, report.undetermined, report.sources), ([("unimportant".to_owned(), 1)].into(), 1, 2));
}

#[test]
fn the_text_names_the_package_the_issue_and_the_version_that_mends_it() {
    let text = audit(&audited(&IMAGE, None), TRACKER.as_bytes()).unwrap().text();
    assert!(
        text.contains("glibc 2.41-12: CVE-1 is fixed in 2.41-12+deb13u1 (urgency: high; packages: libc-bin, libc6)"),
        "{text}"
    );
    assert!(text.ends_with("2 fixed vulnerabilities, 1 open ones (1 unimportant), 1 not judged yet"), "{text}");
}

#[test]
fn an_image_with_the_mended_versions_has_none() {
    let mended = [["libc6", "2.41-12+deb13u1", "pool/updates/main/g/glibc/libc6.deb"]];
    assert_eq!(audit(&audited(&mended, None), TRACKER.as_bytes()).unwrap().fixed, []);
}

#[test]
fn an_output_directory_knows_its_sources_by_its_bill() {
    let bill = r#"{"components": [{"name": "odd", "properties": [{"name": "casemate:source", "value": "glibc 2.41-11"}]}, {"name": "toml"}]}"#;
    let odd = [["odd", "9:1-1", "pool/main/o/odd/odd.deb"]];
    let report = audit(&audited(&odd, Some(bill)), TRACKER.as_bytes()).unwrap();
    assert_eq!(report.fixed.iter().map(|row| row.issue.as_str()).collect::<Vec<_>>(), ["CVE-1", "CVE-2"]);
}

#[test]
fn data_that_say_nothing_of_the_image_are_refused_and_not_taken_for_good_news() {
    for data in ["{}", r#"{"glibc": {}}"#, r#"{"glibc": {"CVE-1": {"releases": {"sid": {"status": "open"}}}}}"#] {
        let error = audit(&audited(&IMAGE, None), data.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("say nothing"), "{data}: {error}");
    }
    for data in ["", "[]", "{\"glibc\": 1}", &TRACKER[..TRACKER.len() - 1], "{} {}"] {
        let error = tools::failure::render(&audit(&audited(&IMAGE, None), data.as_bytes()).unwrap_err());
        assert!(error.contains("whole and unpacked"), "{data}: {error}");
    }
}

fn builder(offline: bool) -> Builder {
    let settings = Settings {
        cache: std::env::temp_dir().join("casemate-without-cache"),
        mirror: None,
        offline,
        patience: download::PATIENCE,
        now: 0,
        toolchain: Toolchain::default(),
        build_names: Vec::new(),
        own_ids: false,
        cache_limit: Limit(0),
    };
    Builder::new(settings, tools::Progress::new(tools::ProgressMode::Quiet)).unwrap()
}

#[test]
fn the_data_come_from_a_file_or_an_address_and_offline_from_a_file_only() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/json", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let asked = BufReader::new(&stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty()).count();
        assert!(asked > 0);
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{TRACKER}", TRACKER.len());
        stream.write_all(head.as_bytes()).unwrap();
    });
    assert_eq!(builder(false).read_tracker(&address).unwrap(), TRACKER.as_bytes());
    let refused = tools::failure::render(&builder(true).read_tracker(&address).unwrap_err());
    assert!(refused.contains("the network may not be used") && refused.contains("hint: name a file"), "{refused}");
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), TRACKER).unwrap();
    assert_eq!(builder(true).read_tracker(file.path().to_str().unwrap()).unwrap(), TRACKER.as_bytes());
}
