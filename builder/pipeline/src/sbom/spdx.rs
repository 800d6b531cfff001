//! SPDX 2.3 in JSON: one package for the image, one for each thing in it.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::{Value, json};

use super::{Component, Kind, Materials};

const NONE: &str = "NOASSERTION";
const DOCUMENT: &str = "SPDXRef-DOCUMENT";
const IMAGE: &str = "SPDXRef-image";

/// The document as text.
pub(super) fn write(materials: &Materials) -> Result<String> {
    let mut packages = vec![json!({
        "SPDXID": IMAGE, "name": materials.image, "versionInfo": materials.version, "downloadLocation": NONE,
        "filesAnalyzed": false, "licenseConcluded": NONE, "licenseDeclared": NONE, "copyrightText": NONE,
        "primaryPackagePurpose": "OPERATING-SYSTEM",
    })];
    packages.extend(materials.components.iter().map(|component| package(component, &materials.suite)));
    let mut relationships = vec![relation(DOCUMENT, "DESCRIBES", IMAGE)];
    relationships.extend(materials.components.iter().map(|component| relation(IMAGE, "CONTAINS", &id(component))));
    let document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": DOCUMENT,
        "name": format!("{}-{}", materials.image, materials.version),
        "documentNamespace": format!("urn:uuid:{}", materials.uuid()),
        "creationInfo": {
            "created": materials.time.to_string(),
            "creators": [concat!("Tool: casemate-", env!("CARGO_PKG_VERSION"))],
        },
        "packages": packages,
        "hasExtractedLicensingInfos": own_licences(materials),
        "relationships": relationships,
    });
    Ok(serde_json::to_string(&document)? + "\n")
}

/// The licences that SPDX has no name for, each once, with the words that the copyright files have.
fn own_licences(materials: &Materials) -> Vec<Value> {
    let all: BTreeMap<_, _> = materials.components.iter().flat_map(|row| row.licence.own_texts()).collect();
    all.into_iter().map(|(id, own)| json!({ "licenseId": id, "name": own.name, "extractedText": own.text })).collect()
}

fn id(component: &Component) -> String {
    format!("SPDXRef-{}", component.id())
}

fn relation(from: &str, kind: &str, to: &str) -> Value {
    json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to })
}

fn package(component: &Component, suite: &str) -> Value {
    let mut package = json!({
        "SPDXID": id(component),
        "name": component.name,
        "versionInfo": component.version,
        "downloadLocation": component.address.as_deref().unwrap_or(NONE),
        "filesAnalyzed": false,
        "licenseConcluded": NONE,
        "licenseDeclared": component.licence.expression().unwrap_or(NONE),
        "copyrightText": NONE,
    });
    if component.kind == Kind::Package {
        package["supplier"] = json!("Organization: Debian");
    }
    if let Some(reason) = component.licence.reason() {
        package["licenseComments"] = json!(format!("not stated: {reason}"));
    }
    if let Some(source) = component.source_text() {
        package["sourceInfo"] = json!(format!("built from source package {source}"));
    }
    if let Some(sha256) = &component.sha256 {
        package["checksums"] = json!([{ "algorithm": "SHA256", "checksumValue": sha256 }]);
    }
    if let Some(purl) = component.purl(suite) {
        package["externalRefs"] = json!([
            { "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl }
        ]);
    }
    package
}
