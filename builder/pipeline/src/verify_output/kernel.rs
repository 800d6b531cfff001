//! The kernel image: that it starts this root and no other, and that its parts are those of the manifest.

use std::path::Path;

use anyhow::{Context as _, Result};
use bundle::PartName;
use formats::cmdline::{Argument, CommandLine};
use formats::uki::Uki;
use fs_err as fs;

use super::Output;
use super::problems::Problems;
use crate::programs::{ToolsTree, sbsign};

const PLACE: &str = "kernel image";

pub(super) fn check(
    output: &Output<'_>,
    certificate: Option<&Path>,
    tools: Option<&ToolsTree>,
    problems: &mut Problems,
) {
    let Some(path) = output.part(PartName::Uki) else {
        return;
    };
    let Some(bytes) = problems.note(PLACE, fs::read(&path).map_err(Into::into)) else {
        return;
    };
    if let Some(uki) = problems.note(PLACE, Uki::parse(&bytes).map_err(Into::into)) {
        check_texts(output, &uki, problems);
        check_sections(output, &uki, problems);
        if uki.pe.signature_size == 0 {
            problems.add(PLACE, "it is not signed for Secure Boot");
        }
    }
    if let (Some(tools), Some(certificate)) = (tools, certificate) {
        let verified = sbsign::verify(tools, certificate, &path).context("its Secure Boot signature is not good");
        problems.note(PLACE, verified);
    }
}

fn check_texts(output: &Output<'_>, uki: &Uki<'_>, problems: &mut Problems) {
    let hashes: Vec<&str> = uki
        .command_line
        .arguments()
        .iter()
        .filter(|argument| argument.name() == "roothash")
        .filter_map(Argument::value)
        .collect();
    if hashes != [output.root_hash.to_string()] {
        let found = if hashes.is_empty() { "none".to_owned() } else { hashes.join(", ") };
        problems
            .add(PLACE, &format!("its command line must hold `roothash={}` once, found: {found}", output.root_hash));
    }
    let kernel = output.manifest.kernel.as_str();
    if uki.kernel_release.as_deref() != Some(kernel) {
        let found = uki.kernel_release.as_deref().unwrap_or("none");
        problems.add(PLACE, &format!("its kernel release is `{found}`, the manifest says `{kernel}`"));
    }
    for (key, expected) in
        [("IMAGE_ID", output.manifest.image.as_str()), ("IMAGE_VERSION", output.manifest.version.as_str())]
    {
        let found = uki.os_release.get(key).unwrap_or("none");
        if found != expected {
            problems.add(PLACE, &format!("its os-release says {key} `{found}`, the manifest says `{expected}`"));
        }
    }
}

/// The parts beside the kernel image are what is inside it, so a test that starts them directly tests the same bytes.
fn check_sections(output: &Output<'_>, uki: &Uki<'_>, problems: &mut Problems) {
    for (part, section) in [(PartName::Linux, ".linux"), (PartName::Initrd, ".initrd")] {
        let Some(path) = output.part(part) else {
            continue;
        };
        let Some(bytes) = problems.note(PLACE, fs::read(&path).map_err(Into::into)) else {
            continue;
        };
        if uki.pe.content(section) != Some(bytes.as_slice()) {
            problems.add(PLACE, &format!("its section `{section}` differs from the part `{part}`"));
        }
    }
    if let Some(path) = output.part(PartName::Cmdline)
        && let Some(line) = problems.note("cmdline", read_command_line(&path))
        && line != uki.command_line
    {
        problems.add(PLACE, "its section `.cmdline` differs from the part `cmdline`");
    }
}

fn read_command_line(path: &Path) -> Result<CommandLine> {
    Ok(fs::read_to_string(path)?.trim_end().parse()?)
}
