//! `CycloneDX` 1.6 in JSON: the image as the component that the document is about, each thing in it as a component.

use anyhow::Result;
use serde_json::{Value, json};

use super::{Component, Kind, Materials};

const IMAGE: &str = "image";

/// The document as text.
pub(super) fn write(materials: &Materials) -> Result<String> {
    let components: Vec<Value> = materials.components.iter().map(|row| component(row, &materials.suite)).collect();
    let ids: Vec<String> = materials.components.iter().map(Component::id).collect();
    let document = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": format!("urn:uuid:{}", materials.uuid()),
        "version": 1,
        "metadata": {
            "timestamp": materials.time.to_string(),
            "tools": { "components": [
                { "type": "application", "name": "casemate", "version": env!("CARGO_PKG_VERSION") }
            ] },
            "component": {
                "type": "operating-system", "bom-ref": IMAGE, "name": materials.image, "version": materials.version,
            },
        },
        "components": components,
        "dependencies": [{ "ref": IMAGE, "dependsOn": ids }],
    });
    Ok(serde_json::to_string(&document)? + "\n")
}

fn component(row: &Component, suite: &str) -> Value {
    let kind = if row.kind == Kind::Asset { "file" } else { "library" };
    let mut value = json!({ "type": kind, "bom-ref": row.id(), "name": row.name, "version": row.version });
    if let Some(sha256) = &row.sha256 {
        value["hashes"] = json!([{ "alg": "SHA-256", "content": sha256 }]);
    }
    if let Some(licence) = row.licence.expression() {
        value["licenses"] = json!([{ "expression": licence }]);
    }
    if let Some(purl) = row.purl(suite) {
        value["purl"] = json!(purl);
    }
    if let Some(address) = &row.address {
        value["externalReferences"] = json!([{ "type": "distribution", "url": address }]);
    }
    let properties = [
        ("casemate:source", row.source_text()),
        ("casemate:architecture", row.architecture.clone()),
        ("casemate:licence-unknown", row.licence.reason().map(str::to_owned)),
    ];
    let properties = properties.into_iter().filter_map(|(name, value)| Some(json!({ "name": name, "value": value? })));
    let properties: Vec<Value> = properties.collect();
    if !properties.is_empty() {
        value["properties"] = json!(properties);
    }
    value
}
