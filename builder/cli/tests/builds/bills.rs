//! The bills of materials of a built image: valid, complete, with licences, and the same inside as beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use pipeline::programs::{ToolsTree, fsck_erofs};
use pipeline::root_tree::RootTree;
use serde_json::Value;

use crate::bench::{Bench, casemate, said};
use crate::contents::{rows, string};

pub(crate) fn name_everything(bench: &Bench) -> Result<()> {
    let lock: toml::Table = fs::read_to_string(bench.output().join("lock.toml"))?.parse()?;
    let packages = lock["package"].as_array().context("a lock without packages")?;
    let text = |row: &toml::Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let locked: BTreeMap<String, (String, String)> =
        packages.iter().map(|row| (text(row, "name"), (text(row, "version"), text(row, "sha256")))).collect();

    let spdx_text = fs::read_to_string(bench.output().join("sbom.spdx.json"))?;
    let spdx: Value = serde_json::from_str(&spdx_text)?;
    check_spdx(&spdx)?;
    let debs = rows(&spdx["packages"], |row| row["supplier"] == "Organization: Debian");
    let billed = debs.iter().map(|row| {
        (string(&row["name"]), (string(&row["versionInfo"]), string(&row["checksums"][0]["checksumValue"])))
    });
    ensure!(billed.collect::<BTreeMap<_, _>>() == locked, "the packages of the SPDX bill are not those of the lock");

    let cdx: Value = serde_json::from_slice(&fs::read(bench.output().join("sbom.cdx.json"))?)?;
    check_cyclonedx(&cdx)?;
    let debs = rows(&cdx["components"], |row| string(&row["purl"]).starts_with("pkg:deb/"));
    let billed =
        debs.iter().map(|row| (string(&row["name"]), (string(&row["version"]), string(&row["hashes"][0]["content"]))));
    ensure!(
        billed.collect::<BTreeMap<_, _>>() == locked,
        "the packages of the CycloneDX bill are not those of the lock"
    );

    // The image itself: its own bill, and the words of every licence.
    let scratch = tempfile::tempdir_in(bench.dir())?;
    let root = unpack(&bench.output(), scratch.path())?;
    let inside = fs::read_to_string(root.at("/usr/share/casemate/sbom.spdx.json"))?;
    ensure!(inside == spdx_text, "the bill in the image is not the one beside it");
    let silent: Vec<&String> = locked.keys().filter(|name| copyright(&root, name).is_none()).collect();
    ensure!(silent.is_empty(), "no copyright file in the image: {silent:?}");
    check_licences(&spdx, locked.len())
}

/// SPDX 2.3, sections 6, 7, 10 and 11: the fields that must be there.
fn check_spdx(spdx: &Value) -> Result<()> {
    for (key, value) in [("spdxVersion", "SPDX-2.3"), ("dataLicense", "CC0-1.0"), ("SPDXID", "SPDXRef-DOCUMENT")] {
        ensure!(spdx[key] == value, "SPDX: `{key}` is {}", spdx[key]);
    }
    ensure!(string(&spdx["documentNamespace"]).starts_with("urn:uuid:"), "SPDX: no namespace");
    ensure!(!string(&spdx["name"]).is_empty() && spdx["creationInfo"]["created"].is_string(), "SPDX: no name or time");
    ensure!(spdx["creationInfo"]["creators"][0].is_string(), "SPDX: no creator");
    let mut ids = BTreeSet::new();
    for row in rows(&spdx["packages"], |_| true) {
        for key in ["SPDXID", "name", "downloadLocation"] {
            ensure!(row[key].is_string(), "SPDX: a package without `{key}`: {row}");
        }
        ensure!(ids.insert(string(&row["SPDXID"])), "SPDX: an id twice: {row}");
    }
    for row in rows(&spdx["hasExtractedLicensingInfos"], |_| true) {
        ensure!(string(&row["licenseId"]).starts_with("LicenseRef-"), "SPDX: {row}");
        ensure!(!string(&row["extractedText"]).is_empty(), "SPDX: a licence without words: {row}");
    }
    ids.insert("SPDXRef-DOCUMENT".to_owned());
    for row in rows(&spdx["relationships"], |_| true) {
        let known = ["spdxElementId", "relatedSpdxElement"].iter().all(|key| ids.contains(&string(&row[*key])));
        ensure!(known && row["relationshipType"].is_string(), "SPDX: {row}");
    }
    Ok(())
}

/// `CycloneDX` 1.6: the fields that its schema requires.
fn check_cyclonedx(cdx: &Value) -> Result<()> {
    ensure!(cdx["bomFormat"] == "CycloneDX" && cdx["specVersion"] == "1.6", "CycloneDX: another format");
    let mut ids = BTreeSet::new();
    for row in rows(&cdx["components"], |_| true) {
        ensure!(row["type"].is_string() && row["name"].is_string(), "CycloneDX: {row}");
        ensure!(ids.insert(string(&row["bom-ref"])), "CycloneDX: a reference twice: {row}");
    }
    let needed: BTreeSet<String> = rows(&cdx["dependencies"][0]["dependsOn"], |_| true).iter().map(string).collect();
    ensure!(needed == ids, "CycloneDX: the image does not depend on each component");
    Ok(())
}

/// Each package has a licence or the reason why not; each own name has its words; and most have one.
fn check_licences(spdx: &Value, packages: usize) -> Result<()> {
    let own: BTreeSet<String> =
        rows(&spdx["hasExtractedLicensingInfos"], |_| true).iter().map(|row| string(&row["licenseId"])).collect();
    let mut known = 0;
    for row in rows(&spdx["packages"], |row| row["supplier"] == "Organization: Debian") {
        let licence = string(&row["licenseDeclared"]);
        if licence == "NOASSERTION" {
            ensure!(string(&row["licenseComments"]).starts_with("not stated: its copyright file"), "no reason: {row}");
            continue;
        }
        known += 1;
        let words = licence.split(['(', ')', ' ']).filter(|word| word.starts_with("LicenseRef-"));
        for word in words {
            ensure!(own.contains(word), "`{word}` of {} has no words", row["name"]);
        }
    }
    // Of the 141 packages more than a hundred have a machine-readable file; with the texts trimmed it was none.
    ensure!(known * 2 > packages, "only {known} of {packages} packages have a licence");
    Ok(())
}

/// The root of an output, unpacked.
fn unpack(output: &Path, target: &Path) -> Result<RootTree> {
    let mut command = Command::new(casemate());
    command.args(["tools", "build", "--json"]);
    let tree = said(command, "tools")?["path"].as_str().context("`casemate tools` names no path")?.to_owned();
    let tools = ToolsTree::new(tree.into(), Some(casemate().into()));
    fsck_erofs::extract(&tools, &output.join("root.erofs"), target)?;
    Ok(RootTree::new(target.join(fsck_erofs::TREE)))
}

fn copyright(root: &RootTree, package: &str) -> Option<PathBuf> {
    let (name, _) = root.resolve(&format!("/usr/share/doc/{package}/copyright")).ok()?;
    Some(root.at(&name)).filter(|path| path.is_file())
}
