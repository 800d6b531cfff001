//! The boot loader: that it is of the version by which hosts decide whether they take it, and that firmware would start it.

use std::path::Path;

use anyhow::{Context as _, Result};
use bundle::PartName;
use formats::loader;
use formats::pe::Pe;
use fs_err as fs;

use super::Output;
use super::problems::Problems;
use crate::programs::{ToolsTree, sbsign};

const PLACE: &str = "boot loader";

pub(super) fn check(
    output: &Output<'_>,
    certificate: Option<&Path>,
    tools: Option<&ToolsTree>,
    problems: &mut Problems,
) {
    let (Some(path), Some(version)) = (output.part(PartName::Loader), &output.manifest.loader) else {
        return;
    };
    let Some(bytes) = problems.note(PLACE, fs::read(&path).map_err(Into::into)) else {
        return;
    };
    if let Some(found) = problems.note(PLACE, loader::version(&bytes).map_err(Into::into))
        && found != *version
    {
        problems.add(PLACE, &format!("it is version {found}, the manifest says {version}"));
    }
    if problems.note(PLACE, is_signed(&bytes)) == Some(false) {
        problems.add(PLACE, "it is not signed for Secure Boot");
    }
    if let (Some(tools), Some(certificate)) = (tools, certificate) {
        let verified = sbsign::verify(tools, certificate, &path).context("its Secure Boot signature is not good");
        problems.note(PLACE, verified);
    }
}

fn is_signed(bytes: &[u8]) -> Result<bool> {
    Ok(Pe::parse(bytes)?.signature_size > 0)
}
