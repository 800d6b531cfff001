//! A kernel image: its sections and what its texts say. Any other EFI program is shown with its sections alone.

use std::collections::BTreeMap;

use anyhow::Result;
use formats::pe::Pe;
use formats::uki::Uki;
use serde_json::{Value, json};

/// Describes an EFI program.
pub(super) fn describe(bytes: &[u8]) -> Result<Value> {
    let pe = Pe::parse(bytes)?;
    let sections: Vec<Value> =
        pe.sections.iter().map(|section| json!({ "name": section.name, "size": section.virtual_size })).collect();
    let signed = pe.signature_size > 0;
    if pe.section(".linux").is_none() {
        return Ok(json!({ "kind": "efi program", "size": bytes.len(), "signed": signed, "sections": sections }));
    }
    let uki = Uki::parse(bytes)?;
    let os_release: BTreeMap<&str, &str> = uki.os_release.iter().collect();
    Ok(json!({
        "kind": "uki", "size": bytes.len(), "signed": signed, "kernel": uki.kernel_release,
        "command_line": uki.command_line.to_string(), "os_release": os_release, "sections": sections,
    }))
}
