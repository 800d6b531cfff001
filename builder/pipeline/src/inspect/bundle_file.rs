//! A bundle: the manifest that it carries and its members in their order.
//!
//! The names are read from the tar headers and only shown; no path is ever made from them.

use std::io::{Read, Seek, SeekFrom};

use anyhow::{Context as _, Result, bail};
use bundle::{Context, Limit, MANIFEST_FILE, SIGNATURE_FILE, read_limited};
use serde_json::{Value, json};

use super::output_dir::{manifest_value, signers};

/// Members of a bundle: manifest, signature, at most six parts. More are not listed.
const MOST_MEMBERS: usize = 100;

/// Describes a bundle.
pub(super) fn describe(file: &mut (impl Read + Seek)) -> Result<Value> {
    file.seek(SeekFrom::Start(0))?;
    let mut archive = tar::Archive::new(file);
    let (mut manifest, mut signed_by) = (None, Vec::new());
    let mut members = Vec::new();
    for entry in archive.entries_with_seek()?.take(MOST_MEMBERS) {
        let mut entry = entry.context("the archive is cut or damaged")?;
        let name = entry.path_bytes().escape_ascii().to_string();
        let size = entry.size();
        let first = members.is_empty();
        members.push(json!({ "name": name, "size": size }));
        if first && name == MANIFEST_FILE {
            manifest = Some(manifest_value(&read_limited(&mut entry, Limit::Document(Context::Manifest))?)?);
        } else if name == SIGNATURE_FILE {
            signed_by = signers(&read_limited(&mut entry, Limit::Signature)?);
        }
    }
    let Some(manifest) = manifest else {
        bail!("it is an archive, but its first member is not `{MANIFEST_FILE}`: it is no bundle of casemate");
    };
    Ok(json!({ "kind": "bundle", "manifest": manifest, "signed_by": signed_by, "members": members }))
}
