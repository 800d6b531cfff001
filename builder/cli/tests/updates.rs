//! The publisher's way with the real command: keys made offline, a trust root that two people sign, an image published,
//! refreshed, read back, and a release key exchanged. Nothing here needs a network, a tools tree or a virtual machine.

#![expect(clippy::unwrap_used, reason = "a test's own helpers may panic")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use bundle::{Context, Manifest, Part, PartName, SchemaVersion, Sha256Digest, SigningKey, sign};

/// A publisher's folder.
struct Desk(tempfile::TempDir);

/// What a command said.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, line: &str) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_casemate"));
        command.args(line.split_whitespace()).current_dir(self.0.path()).env("CASEMATE_CACHE", self.file("cache"));
        let output = command.args(["--offline", "--progress", "quiet"]).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    fn good(&self, line: &str) -> String {
        let said = self.run(line);
        assert_eq!(said.code, Some(0), "{line}: {}", said.err);
        said.out
    }

    /// A refusal says what to do.
    fn refused(&self, line: &str) -> String {
        let said = self.run(line);
        assert_eq!(said.code, Some(1), "{line}: {}{}", said.out, said.err);
        assert!(said.err.contains("hint: "), "{}", said.err);
        said.err
    }

    fn signing_key(&self, name: &str) -> SigningKey {
        SigningKey::from_pem(&std::fs::read_to_string(self.file(&format!("{name}.key"))).unwrap(), name).unwrap()
    }

    /// What a build would leave in `out`, signed by the key `name`; parts of a few bytes.
    fn build(&self, version: &str, name: &str, development: bool) {
        let out = self.file("out");
        std::fs::create_dir_all(&out).unwrap();
        let part = |file: &str| {
            let bytes = format!("{file} of {version}");
            std::fs::write(out.join(file), &bytes).unwrap();
            let (size, sha256) = (bytes.len() as u64, Sha256Digest::of(bytes.as_bytes()));
            Part { file: file.parse().unwrap(), size, sha256 }
        };
        let parts = [(PartName::Root, "root.erofs"), (PartName::Verity, "root.verity"), (PartName::Uki, "uki.efi")];
        let manifest = Manifest {
            schema: SchemaVersion,
            image: "tiny".parse().unwrap(),
            version: version.parse().unwrap(),
            architecture: "amd64".parse().unwrap(),
            development,
            source_date_epoch: 1_700_000_000,
            root_hash: bundle::RootHash::from_bytes([7; 32]),
            kernel: "6.12.1-test".parse().unwrap(),
            loader: None,
            min_from_version: None,
            floor: None,
            expires: None,
            disk: None,
            parts: parts.map(|(name, file)| (name, part(file))).into_iter().collect::<BTreeMap<_, _>>(),
        };
        let text = manifest.to_json().unwrap();
        let envelope = sign(text.as_bytes(), Context::Manifest, &[&self.signing_key(name)]).to_json();
        std::fs::write(out.join("manifest.json"), text).unwrap();
        std::fs::write(out.join("manifest.json.sig"), envelope).unwrap();
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_publisher_goes_from_keys_to_a_repository_whose_release_key_is_exchanged() {
    let desk = Desk::new();
    for name in ["anna", "ben", "safe", "release"] {
        let told = desk.good(&format!("keys new {name}"));
        assert!(told.starts_with("casemate-ed25519 ") && told.contains("key id "), "{told}");
    }
    let roots = "--root-key anna.pub --root-key ben.pub --root-key safe.pub --root-threshold 2";
    desk.good(&format!("trust-root new tiny {roots} --release-key release.pub"));
    assert!(desk.refused("trust-root check trust-root-1.json").contains("0 of 2 needed"));
    assert!(desk.refused("repo trust trust-root-1.json --repo repo").contains("`trust-root-1.json.sig`"));
    desk.good("trust-root sign trust-root-1.json --key anna.key");
    assert!(desk.good("trust-root sign trust-root-1.json --key anna.key").contains("nothing changed"));
    assert!(desk.refused("trust-root check trust-root-1.json").contains("1 of 2 needed"));
    assert!(desk.refused("repo trust trust-root-1.json --repo repo").contains("1 of 2 needed"));
    assert!(!desk.file("repo").exists());
    assert!(desk.refused("trust-root sign trust-root-1.json --key release.key").contains("is no root key"));
    desk.good("trust-root sign trust-root-1.json --key safe.key");
    assert!(desk.good("trust-root check trust-root-1.json").contains("complete: hosts believe it"));

    desk.build("0.1.0", "release", false);
    let publish = "repo publish out --repo repo --key release.key";
    assert!(desk.refused(&format!("{publish} --untested")).contains("holds no trust root"));
    desk.good("repo trust trust-root-1.json --repo repo");
    assert!(desk.refused(publish).contains("there is no test report"));
    let told = desk.good(&format!("{publish} --untested --expires-in 10d"));
    assert_eq!(told.trim(), "tiny stable: 0.1.0 is newest, statement 1");
    assert!(desk.good(&format!("{publish} --untested")).contains("nothing changed"));
    let told = desk.good("repo refresh --repo repo --key release.key");
    assert_eq!(told.trim(), "tiny stable: 0.1.0 is newest, statement 2");
    let checked: serde_json::Value =
        serde_json::from_str(&desk.good("repo check --repo repo --trust-root trust-root-1.json --json")).unwrap();
    let left = checked["channels"][0]["seconds_left"].as_u64().unwrap();
    assert!((10 * 86400 - 600..=10 * 86400).contains(&left), "{left}");

    // A new release key: signed by root keys of both versions, and the old key counts for nothing from then on.
    desk.good("keys new release-b");
    let told = desk.good("trust-root next trust-root-1.json --release-key release-b.pub");
    assert!(told.contains("release-b (new)\n") && told.contains("release (removed)\n"), "{told}");
    assert!(told.contains("2 of 3 keys") && !told.contains("anna (new)"), "{told}");
    for key in ["ben", "anna"] {
        desk.good(&format!("trust-root sign trust-root-2.json --key {key}.key"));
    }
    assert!(desk.good("trust-root check trust-root-2.json").contains("after version 1"));
    desk.good("repo trust trust-root-2.json --repo repo");
    desk.build("0.2.0", "release", false);
    assert!(desk.refused(&format!("{publish} --untested")).contains("0 of 1 needed release keys of trust root 2"));
    desk.build("0.2.0", "release-b", false);
    let told = desk.good("repo publish out --repo repo --key release-b.key --untested --floor 0.1.0");
    assert_eq!(told.trim(), "tiny stable: 0.2.0 is newest, floor 0.1.0, statement 3");
    let told = desk.good("repo prune --repo repo --keep 0");
    assert!(told.starts_with("tiny_0.1.0.tar\n1 bundles removed"), "{told}");
    assert!(desk.good("repo check --repo repo --trust-root trust-root-1.json").contains("every byte is good"));
    let bundles = ["tiny_0.2.0.manifest.json", "tiny_0.2.0.manifest.json.sig", "tiny_0.2.0.tar"];
    assert_eq!(names(&desk.file("repo/tiny/bundles")), bundles);
}

#[test]
fn development_keys_publish_only_when_they_are_asked_for() {
    let desk = Desk::new();
    std::fs::create_dir_all(desk.file("cache/development-keys")).unwrap();
    desk.good("keys new cache/development-keys/release");
    desk.build("0.1.0", "cache/development-keys/release", true);
    assert!(desk.refused("repo publish out --repo repo --untested").contains("no release key was given"));
    assert!(!desk.file("repo").exists());
    desk.good("repo publish out --repo repo --untested --development");
    assert!(desk.good("repo check --repo repo").contains("(DEVELOPMENT image)"));
    // The trust root is the one that whoever has the release key alone makes by hand.
    let key = "cache/development-keys/release";
    desk.good(&format!("trust-root new tiny --root-key {key}.pub --release-key {key}.pub"));
    desk.good(&format!("trust-root sign trust-root-1.json --key {key}.key"));
    for name in ["trust-root-1.json", "trust-root-1.json.sig"] {
        assert_eq!(std::fs::read(desk.file(name)).unwrap(), std::fs::read(desk.file("repo/tiny").join(name)).unwrap());
    }
    desk.good("repo refresh --repo repo --development");
    assert!(desk.refused("repo refresh --repo repo").contains("no release key was given"));
}
