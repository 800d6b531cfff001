//! `overlay.toml` and `image.toml`: what each mistake says.

use hostconf::{AssetSource, ImageDef, OverlayDef, Unpack, UpdateRules};

fn mistakes(text: &str) -> String {
    OverlayDef::parse("overlay.toml", &format!("summary = \"test\"\n{text}"))
        .expect_err("the document has mistakes")
        .to_string()
}

/// What is written after the summary, and the place and message it gives.
const OVERLAY_CASES: &[(&str, &str)] = &[
    ("pakages = []", "2:1: unknown key `pakages`: did you mean `packages`?"),
    ("units = [\"ssh\"]", "2:10: `units`: `ssh` is not a unit name with its suffix, e.g. `ssh.service`"),
    ("[[provided]]\npackage = \"ab\"", "2:1: missing key `reason` in `[[provided]]`"),
    (
        "[[provided]]\npackage = \"AB\"\nreason = \"x\"",
        "3:11: `package`: `AB` is not a Debian package name: 2 or more of `a-z`, `0-9`, `+`, `-` and `.`, starting with a letter or digit",
    ),
    (
        "[[provided]]\npackage = \"ab\"\nraeson = \"x\"",
        "2:1: missing key `reason` in `[[provided]]`\noverlay.toml:4:1: unknown key `raeson` in `[[provided]]`: did you mean `reason`?",
    ),
    ("[users.x]\nuid = 1000", "3:7: `uid` is 1000, it must be a whole number from 300 to 899"),
    (
        "[users.X]\nuid = 300",
        "2:8: key `X` is not an account name: 1 to 31 of `a-z`, `0-9`, `_` and `-`, starting with a letter or `_`",
    ),
    (
        "[[render]]\ntemplate = \"../x\"\nto = \"/etc/x\"",
        "3:12: `template`: `../x` is not a plain file name: letters, digits, `.`, `_`, `-` and `@`, not starting with a dot",
    ),
    ("[[render]]\ntemplate = \"x\"\nto = \"/usr/x\"", "4:6: `to` is `/usr/x`, it must be below `/etc`"),
    (
        "[[render]]\ntemplate = \"x\"\nto = \"/etc/shadow\"",
        "4:6: `to`: this file belongs to the image and is never rendered",
    ),
    (
        "[[render]]\ntemplate = \"x\"\nto = \"/etc/x/{{ site.id }}\"",
        "4:6: `to`: a template may stand here only with `for = \"site\"`",
    ),
    (
        "[[render]]\ntemplate = \"x\"\nto = \"/etc/{{ site.id }}/x\"\nfor = \"site\"",
        "4:6: `to`: a template may stand in the file name only: the directory becomes a link in the image",
    ),
    (
        "[[render]]\ntemplate = \"x\"\nto = \"/etc/x/y\"\nfor = \"site\"",
        "4:6: `to`: with `for = \"site\"` each site needs a file of its own: put `{{ site.id }}` into the file name",
    ),
    (
        "[[render]]\ntemplate = \"x\"\nto = \"/etc/x/{{ site.nmae }}\"\nfor = \"site\"",
        "4:6: `to`: template `/etc/x/{{ site.nmae }}`: line 1: undefined value; see `What templates see` in docs/formats/overlay-toml.md",
    ),
    (
        "[[render]]\ntemplate = \"x\"\nto = \"/etc/x\"\nmode = \"4755\"",
        "5:8: `mode`: `4755` is not a mode: four octal digits without the set-uid bit, e.g. `0644`",
    ),
    (
        "[[skeleton]]\npath = \"/srv/jail\"\ncopy = [\"/usr/bin/php\"]",
        "3:8: `path` is `/srv/jail`, it must be below `/usr/lib/casemate/jail`",
    ),
    (
        "[[skeleton]]\npath = \"/usr/lib/casemate/jail/x\"\ncopy = []",
        "4:8: `copy` is empty: at least one entry is needed",
    ),
    (
        "[[check]]\nexec = [\"sshd\"]",
        "3:9: `exec`: `sshd` is not an absolute path: letters, digits, `.`, `_`, `-`, `+`, `@`, `:` and `/`, without `.`, `..`, `//` or a slash at the end",
    ),
    (
        "[[health]]\nname = \"x\"",
        "2:1: no probe in `[[health]]`: give exactly one of `ssh`, `smtp`, `tcp`, `unix`, `exec`, `https`",
    ),
    (
        "[[health]]\nname = \"x\"\nssh = { port = 22 }\ntcp = { port = 22 }",
        "2:1: 2 probes in `[[health]]`: give exactly one of `ssh`, `smtp`, `tcp`, `unix`, `exec`, `https`",
    ),
    (
        "[[secret]]\nkind = \"password\"\npath = \"/var/lib/casemate/x\"",
        "3:8: `password` is not a kind of secret: `random-hex`, `ssh-host-key` or `tls-self-signed`",
    ),
    (
        "[[secret]]\nkind = \"random-hex\"\npath = \"/etc/x\"",
        "4:8: `path` is `/etc/x`, it must be below `/var/lib/casemate`",
    ),
    (
        "[[state]]\npath = \"/var/x\"\nowner = \"root\"\nmode = \"0700\"\nclass = \"date\"",
        "6:9: `class`: `date` is not a class of state: `code`, `data`, `secret`, `cache`, `db`, `log`",
    ),
    (
        "[[state]]\npath = \"/var/x\"\nowner = \"root\"\nmode = \"0700\"\nclass = \"data\"\nformat = { name = \"x\" }",
        "7:10: `format` is for files of a database server of the host: only they are put back (`class = \"db\"`)",
    ),
    (
        "[[state]]\npath = \"/var/x\"\nowner = \"root\"\nmode = \"0700\"\nclass = \"db\"\nformat = { name = \"x\", numbers = 1 }",
        "7:10: `format` has a `name`, or a `package` and `numbers`",
    ),
    (
        "[[state]]\npath = \"/var/x\"\nowner = \"root\"\nmode = \"0700\"\nclass = \"db\"\nformat = { package = \"ab\", numbers = 5 }",
        "7:38: `numbers` is 5, it must be a whole number from 1 to 4",
    ),
    (
        "[[listen]]\nport = 70000\nproto = \"tcp\"\nzone = \"net\"\nunit = \"x.service\"",
        "3:8: `port` is 70000, it must be a whole number from 1 to 65535",
    ),
    ("[listen]\nport = 1", "2:1: `listen` is a table, it must be a list of tables: write `[[listen]]`"),
];

#[test]
fn each_broken_rule_of_an_overlay_has_its_own_message() {
    for (text, expected) in OVERLAY_CASES {
        assert_eq!(mistakes(text), format!("overlay.toml:{expected}"), "{text}");
    }
}

const IMAGE: &str = r#"schema = 1
name = "webhost"
version = "0.1.0"
suite = "trixie"
overlays = ["base", "ssh"]
kernel = "linux-image-cloud-amd64"
operator_keys = ["keys/*.pub"]
[size]
esp = "512M"
slot = "2G"
sites = 50
"#;

#[test]
fn an_image_is_read_with_its_defaults() {
    let image = ImageDef::parse("image.toml", IMAGE).unwrap();
    assert_eq!(image.components.iter().map(hostconf::ComponentName::as_str).collect::<Vec<_>>(), ["main"]);
    assert_eq!((image.size.slot.bytes(), image.size.sites, image.mirror), (2 << 30, 50, None));
}

#[test]
fn each_broken_rule_of_an_image_has_its_own_message() {
    let cases = [
        ("webhost", "Web", "2:8: `name`: `Web` is not an image name: 1 to 16 of `a-z`, `0-9` and `-`"),
        ("\"ssh\"]", "\"base\"]", "5:21: overlay `base` stands twice: name it once"),
        ("512M", "1M", "9:7: `esp` is 1M: at least 128M are needed, in whole megabytes"),
        ("2G", "two", "10:8: `slot`: `two` is not a size: a whole number and `K`, `M` or `G`, e.g. `512M`"),
        ("= 50", "= 1000", "11:9: `sites` is 1000, it must be a whole number from 0 to 999"),
        (
            "keys/*",
            "../*",
            "7:18: `operator_keys`: `../*.pub` is not a path or glob inside the image's folder, e.g. `keys/*.pub`",
        ),
        ("suite", "suit", "1:1: missing key `suite`\nimage.toml:4:1: unknown key `suit`: did you mean `suite`?"),
    ];
    for (from, to, expected) in cases {
        let found = ImageDef::parse("image.toml", &IMAGE.replacen(from, to, 1)).expect_err(to).to_string();
        assert_eq!(found, format!("image.toml:{expected}"));
    }
}

const UPDATE: &str = r#"[update]
trust_root = "keys/trust-root-1.json"
min_from_version = "0.0.9"
floor = "0.1.0~rc1"
expires_after_days = 90
"#;

#[test]
fn what_holds_for_updates_is_read_and_may_be_absent() {
    let image = ImageDef::parse("image.toml", &format!("{IMAGE}{UPDATE}")).unwrap();
    let expected = UpdateRules {
        trust_root: Some("keys/trust-root-1.json".to_owned()),
        min_from_version: Some("0.0.9".parse().unwrap()),
        floor: Some("0.1.0~rc1".parse().unwrap()),
        expires_after_days: Some(90),
    };
    assert_eq!(image.update, expected);
    let default = UpdateRules::default();
    assert_eq!(ImageDef::parse("image.toml", IMAGE).unwrap().update, default);
    assert_eq!(ImageDef::parse("image.toml", &format!("{IMAGE}[update]\n")).unwrap().update, default);
}

#[test]
fn each_broken_rule_for_updates_has_its_own_message() {
    let cases = [
        ("\"0.0.9\"", "\"0.1.1\"", "14:20: `min_from_version` is 0.1.1, newer than the image's version 0.1.0"),
        ("\"0.1.0~rc1\"", "\"0.1.0-1\"", "15:9: `floor` is 0.1.0-1, newer than the image's version 0.1.0: name 0.1.0"),
        ("\"0.1.0~rc1\"", "\"a b\"", "15:9: `floor`: `a b` is not an image version"),
        ("= 90", "= 0", "16:22: `expires_after_days` is 0, it must be a whole number from 1 to 3650"),
        ("= 90", "= 3651", "16:22: `expires_after_days` is 3651"),
        ("keys/t", "../t", "13:14: `trust_root`: `../trust-root-1.json` is not a file inside the image's folder"),
        ("\"keys/t", "\"/t", "13:14: `trust_root`: `/trust-root-1.json` is not a file inside"),
        ("floor =", "flor =", "15:1: unknown key `flor` in `[update]`: did you mean `floor`?"),
    ];
    for (from, to, expected) in cases {
        let text = format!("{IMAGE}{}", UPDATE.replacen(from, to, 1));
        let found = ImageDef::parse("image.toml", &text).expect_err(to).to_string();
        assert!(found.starts_with(&format!("image.toml:{expected}")), "{found}");
    }
}

const ASSET: &str = r#"[[asset]]
name = "rules"
url = "https://example.org/rules.tar.gz"
sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
size = "2M"
unpack = "tar"
into = "/usr/share/rules"
strip = 1
licence = "Apache-2.0"
"#;

#[test]
fn an_asset_is_read_with_its_digest_and_its_rule() {
    let image = ImageDef::parse("image.toml", &format!("{IMAGE}{ASSET}")).unwrap();
    let asset = &image.assets[0];
    assert_eq!((asset.name.as_str(), asset.size.bytes(), asset.strip), ("rules", 2 << 20, 1));
    assert_eq!((asset.unpack, asset.source.to_string().as_str()), (Unpack::Tar, "https://example.org/rules.tar.gz"));
    for place in ["/usr/share/casemate/wordpress/plugins/rules", "/usr/share/casemate-rules/x"] {
        let text = format!("{IMAGE}{}", ASSET.replace("/usr/share/rules", place));
        assert_eq!(ImageDef::parse("image.toml", &text).unwrap().assets[0].into.as_str(), place);
    }
    let local = ASSET.replace("url = \"https://example.org/", "file = \"assets/").replace("strip = 1\n", "");
    let image = ImageDef::parse("image.toml", &format!("{IMAGE}{local}")).unwrap();
    assert_eq!(image.assets[0].source, AssetSource::File("assets/rules.tar.gz".into()));
}

#[test]
fn each_broken_rule_of_an_asset_has_its_own_message() {
    let cases = [
        ("name = \"rules\"", "name = \"../x\"", "is not an asset name"),
        ("url = \"https://example.org/rules.tar.gz\"", "", "an asset has either `file` or `url`"),
        ("url =", "file = \"a\"\nurl =", "an asset has either `file` or `url`"),
        ("url = \"https://example.org", "file = \"../..", "is not a path inside the image's folder"),
        ("url = \"https://example.org", "file = \"/etc", "is not a path inside the image's folder"),
        ("https:", "ftp:", "is not the address of a file"),
        ("example.org", "me:secret@example.org", "is not the address of a file"),
        ("e3b0c4", "E3B0C4", "is not a SHA-256 digest"),
        ("855\"", "85\"", "is not a SHA-256 digest"),
        ("\"2M\"", "\"2G\"", "`size` is 2G: an asset has at most 1024M"),
        ("\"tar\"", "\"rar\"", "is not an unpack rule: `zip`, `tar`, `none`"),
        ("\"tar\"", "\"none\"", "`strip` is for archives"),
        ("/usr/share/rules", "/var/lib/rules", "assets go below `/usr/share`"),
        ("/usr/share/rules", "/usr/lib/casemate/keys", "not where the build itself writes"),
        ("/usr/share/rules", "/usr/share/casemate/rules", "not where the build itself writes"),
        ("/usr/share/rules", "/usr/share/../bin", "is not an absolute path"),
        ("Apache-2.0", "see {LICENSE}", "is not an SPDX licence expression"),
        ("strip = 1", "strip = 9", "a whole number from 0 to 8"),
        ("strip", "stripe", "did you mean `strip`?"),
    ];
    for (from, to, expected) in cases {
        let text = format!("{IMAGE}{}", ASSET.replacen(from, to, 1));
        let found = ImageDef::parse("image.toml", &text).expect_err(to).to_string();
        assert!(found.contains(expected), "{to}: {found}");
    }
    let twice = format!("{IMAGE}{ASSET}{ASSET}");
    assert!(ImageDef::parse("x", &twice).unwrap_err().to_string().contains("asset `rules` stands twice"));
}
