//! The shape of both documents, and what they say of a small tree.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

const DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const CARGO_LOCK: &str = "version = 4\n[[package]]\nname = \"agent\"\nversion = \"0.1.0\"\ndependencies = [\"toml 0.9.1\", \"own\"]\n\
    [[package]]\nname = \"own\"\nversion = \"0.1.0\"\ndependencies = [\"agent\"]\n\
    [[package]]\nname = \"toml\"\nversion = \"0.8.2\"\nchecksum = \"aa\"\n\
    [[package]]\nname = \"toml\"\nversion = \"0.9.1\"\nchecksum = \"bb\"\n\
    [[package]]\nname = \"vm\"\nversion = \"0.1.0\"\n";

fn lock() -> Lock {
    let package = |name: &str, version: &str, architecture: &str| {
        format!(
            "[[package]]\nname = \"{name}\"\nversion = \"{version}\"\narchitecture = \"{architecture}\"\nsize = 1\n\
             sha256 = \"{DIGEST}\"\norigin = \"trixie/main\"\nfile = \"pool/{name}.deb\"\n"
        )
    };
    let text = format!(
        "schema = 2\nsource_date_epoch = 1757663741\narchitecture = \"amd64\"\nbase = \"essential\"\nwanted = []\n\
         [[suite]]\nname = \"trixie\"\nsite = \"archive\"\ncomponents = [\"main\"]\ndate = \"2025-09-12T07:55:41Z\"\n\
         release = \"{DIGEST}\"\n{}{}{}",
        package("g++", "4:14.2.0-1", "amd64"),
        package("g--", "4:14.2.0-1", "amd64"),
        package("libc6", "2.41-12+b1", "amd64")
    );
    Lock::parse(&text).unwrap()
}

fn materials() -> Materials {
    let dir = tempfile::tempdir().unwrap();
    let tree = RootTree::new(dir.path().to_owned());
    let status = "Package: g++\nVersion: 4:14.2.0-1\nSource: gcc-defaults (1.220)\n\nPackage: g--\nVersion: 4:14.2.0-1\n\n\
        Package: libc6\nVersion: 2.41-12+b1\nSource: glibc (2.41-12)\n";
    tree.write("/usr/lib/sysimage/dpkg/status", status.as_bytes(), 0o644).unwrap();
    let copyright = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: LGPL-2.1+\n\n\
        Files: debian/*\nLicense: GPL-2+\n text\n\nLicense: LGPL-2.1+\n text\n";
    tree.write("/usr/share/doc/libc-common/copyright", copyright.as_bytes(), 0o644).unwrap();
    tree.link("/usr/share/doc/libc6", "libc-common").unwrap();
    let copyright = copyright
        .replace("LGPL-2.1+\n\n", "custom\n Do as you like.\n\n")
        .replace("GPL-2+\n text", "custom\n Do as you like.");
    tree.write("/usr/share/doc/g--/copyright", copyright.as_bytes(), 0o644).unwrap();
    let image = "schema = 1\nname = \"x\"\nversion = \"1\"\nsuite = \"trixie\"\noverlays = [\"base\"]\nkernel = \"linux\"\n\
        [size]\nesp = \"512M\"\nslot = \"2G\"\nsites = 1\n";
    let asset = format!(
        "{image}[[asset]]\nname = \"theme\"\nurl = \"https://example.org/t.zip\"\nsha256 = \"{DIGEST}\"\nsize = \"1M\"\n\
         unpack = \"zip\"\ninto = \"/usr/share/t\"\nlicence = \"GPL-2.0-or-later\"\n"
    );
    let image = hostconf::ImageDef::parse("x", &asset).unwrap();
    let assets = [StoredAsset { asset: image.assets[0].clone(), sha256: DIGEST.parse().unwrap(), path: "/x".into() }];
    let sealed =
        SealedImage { name: image.name, version: image.version, overlays: image.overlays, sites: 1, development: true };
    Materials::gather(&tree, &sealed, &lock(), &assets, CARGO_LOCK).unwrap()
}

fn documents() -> (Value, Value) {
    let bill = materials().to_bill().unwrap();
    (serde_json::from_str(&bill.spdx).unwrap(), serde_json::from_str(&bill.cyclonedx).unwrap())
}

fn texts(rows: &Value, key: &str) -> Vec<String> {
    rows.as_array()
        .unwrap()
        .iter()
        .map(|row| row[key].as_str().unwrap_or_else(|| panic!("{key}: {row}")).to_owned())
        .collect()
}

fn row<'a>(rows: &'a Value, name: &str) -> &'a Value {
    rows.as_array().unwrap().iter().find(|row| row["name"] == name).unwrap()
}

#[test]
fn packages_assets_and_the_crates_of_the_agent_are_in_the_bill_and_nothing_else() {
    let found: Vec<_> = materials().components.into_iter().map(|row| (row.kind, row.name, row.version)).collect();
    let expected = [
        (Kind::Package, "g++", "4:14.2.0-1"),
        (Kind::Package, "g--", "4:14.2.0-1"),
        (Kind::Package, "libc6", "2.41-12+b1"),
        (Kind::Asset, "theme", &DIGEST[..12]),
        (Kind::Crate, "agent", "0.1.0"),
        (Kind::Crate, "own", "0.1.0"),
        (Kind::Crate, "toml", "0.9.1"),
    ];
    assert_eq!(found, expected.map(|(kind, name, version)| (kind, name.to_owned(), version.to_owned())));
}

#[test]
fn spdx_has_its_required_fields_unique_ids_and_a_relationship_for_each_thing() {
    let (spdx, _) = documents();
    assert_eq!((&spdx["spdxVersion"], &spdx["dataLicense"]), (&"SPDX-2.3".into(), &"CC0-1.0".into()));
    assert_eq!((&spdx["SPDXID"], &spdx["name"]), (&"SPDXRef-DOCUMENT".into(), &"x-1".into()));
    assert_eq!(spdx["creationInfo"]["created"], "2025-09-12T07:55:41Z");
    assert!(spdx["creationInfo"]["creators"][0].as_str().unwrap().starts_with("Tool: casemate-"));
    assert!(spdx["documentNamespace"].as_str().unwrap().starts_with("urn:uuid:"));
    let packages = &spdx["packages"];
    for key in ["name", "downloadLocation", "licenseConcluded", "licenseDeclared", "copyrightText"] {
        assert_eq!(texts(packages, key).len(), 8, "{key}");
    }
    let ids: BTreeSet<String> = texts(packages, "SPDXID").into_iter().collect();
    assert_eq!(ids.len(), 8, "{ids:?}");
    let plain = |id: &String| {
        id.strip_prefix("SPDXRef-")
            .is_some_and(|rest| rest.chars().all(|c| c.is_ascii_alphanumeric() || ".-".contains(c)))
    };
    assert!(ids.iter().all(plain), "{ids:?}");
    let related: BTreeSet<String> = texts(&spdx["relationships"], "relatedSpdxElement").into_iter().collect();
    assert_eq!(related, ids);
    let from: BTreeSet<String> = texts(&spdx["relationships"], "spdxElementId").into_iter().collect();
    assert_eq!(from, ["SPDXRef-DOCUMENT".to_owned(), "SPDXRef-image".to_owned()].into());
}

#[test]
fn cyclonedx_has_its_required_fields_unique_references_and_all_dependencies() {
    let (_, cdx) = documents();
    assert_eq!(
        (&cdx["bomFormat"], &cdx["specVersion"], &cdx["version"]),
        (&"CycloneDX".into(), &"1.6".into(), &1.into())
    );
    let serial = cdx["serialNumber"].as_str().unwrap().strip_prefix("urn:uuid:").unwrap();
    assert_eq!(serial.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
    assert_eq!(cdx["metadata"]["timestamp"], "2025-09-12T07:55:41Z");
    assert_eq!(cdx["metadata"]["component"]["name"], "x");
    let kinds = texts(&cdx["components"], "type");
    assert!(kinds.len() == 7 && kinds.iter().all(|kind| ["library", "file"].contains(&kind.as_str())), "{kinds:?}");
    assert_eq!(texts(&cdx["components"], "name").len(), 7);
    let ids: BTreeSet<String> = texts(&cdx["components"], "bom-ref").into_iter().collect();
    assert_eq!(ids.len(), 7);
    let needed: BTreeSet<String> = serde_json::from_value(cdx["dependencies"][0]["dependsOn"].clone()).unwrap();
    assert_eq!((needed, &cdx["dependencies"][0]["ref"]), (ids, &cdx["metadata"]["component"]["bom-ref"]));
}

#[test]
fn a_package_has_its_source_digest_address_and_licence() {
    let (spdx, cdx) = documents();
    let libc = row(&spdx["packages"], "libc6");
    assert_eq!(libc["sourceInfo"], "built from source package glibc 2.41-12");
    assert_eq!(libc["checksums"][0]["checksumValue"], DIGEST);
    assert_eq!(libc["licenseDeclared"], "GPL-2.0-or-later AND LGPL-2.1-or-later");
    let purl = "pkg:deb/debian/libc6@2.41-12%2Bb1?arch=amd64&distro=trixie";
    assert_eq!(
        (&libc["externalRefs"][0]["referenceLocator"], &row(&cdx["components"], "libc6")["purl"]),
        (&purl.into(), &purl.into())
    );
    assert_eq!(row(&cdx["components"], "g++")["purl"], "pkg:deb/debian/g%2B%2B@4%3A14.2.0-1?arch=amd64&distro=trixie");
    assert_eq!(row(&spdx["packages"], "g--")["sourceInfo"], "built from source package g-- 4:14.2.0-1");
    assert_eq!(row(&spdx["packages"], "g++")["licenseDeclared"], "NOASSERTION");
    let theme = row(&spdx["packages"], "theme");
    assert_eq!(
        (&theme["downloadLocation"], &theme["licenseDeclared"]),
        (&"https://example.org/t.zip".into(), &"GPL-2.0-or-later".into())
    );
    assert_eq!(row(&cdx["components"], "toml")["hashes"][0]["content"], "bb");
}

#[test]
fn the_same_materials_give_the_same_bytes_and_others_another_id() {
    let (one, two) = (materials().to_bill().unwrap(), materials().to_bill().unwrap());
    assert_eq!((one.spdx.as_str(), one.cyclonedx), (two.spdx.as_str(), two.cyclonedx));
    let mut other = materials();
    other.components.pop();
    assert_ne!(other.uuid(), materials().uuid());
}

#[test]
fn what_is_not_known_of_a_licence_has_its_reason_and_what_spdx_does_not_know_has_its_words() {
    let (spdx, cdx) = documents();
    let reason = "the image has no copyright file of it";
    assert_eq!(row(&spdx["packages"], "g++")["licenseComments"], format!("not stated: {reason}"));
    let properties = row(&cdx["components"], "g++")["properties"].as_array().unwrap().clone();
    assert!(properties.contains(&serde_json::json!({ "name": "casemate:licence-unknown", "value": reason })));
    assert_eq!(row(&spdx["packages"], "libc6").get("licenseComments"), None);

    let own = &spdx["hasExtractedLicensingInfos"];
    assert_eq!(own.as_array().unwrap().len(), 1);
    assert_eq!((&own[0]["name"], &own[0]["extractedText"]), (&"custom".into(), &"Do as you like.".into()));
    let declared = row(&spdx["packages"], "g--")["licenseDeclared"].clone();
    assert_eq!((&declared, &own[0]["licenseId"]), (&own[0]["licenseId"], &declared));
    assert_eq!(row(&cdx["components"], "g--")["licenses"][0]["expression"], declared);
}

#[test]
fn a_lock_of_crates_that_misses_one_is_refused() {
    let error =
        crates::of("[[package]]\nname = \"agent\"\nversion = \"1\"\ndependencies = [\"gone\"]\n", "agent").unwrap_err();
    assert!(error.to_string().contains("`gone`"), "{error}");
}
