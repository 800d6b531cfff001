//! `casemate test`: the report that `flash` asks for, made by three boots, the last one with a changed bit in sshd's first block.

use anyhow::{Result, ensure};
use fs_err as fs;

use crate::artifacts::{Artifacts, Image};

pub(crate) fn only_a_proven_image_gets_a_report(artifacts: &Artifacts) -> Result<()> {
    let dir = artifacts.scratch("accepted")?;
    let output = artifacts.image(Image::Minimal);
    let shown = output.to_string_lossy().into_owned();
    for name in ["test-report.json", "test-report.json.sig"] {
        let report = output.join(name);
        if report.exists() {
            fs::remove_file(report)?;
        }
    }
    let refused = artifacts.casemate(&["flash", &shown, "/dev/null", "--yes"], 1)?;
    ensure!(
        refused.contains("test report") && refused.contains("block device"),
        "not all reasons are named:\n{refused}"
    );

    let told = artifacts.casemate(&["test", &shown, "--json"], 0)?;
    for claim in [
        "first_boot_by_firmware_is_personalised_and_healthy",
        "second_boot_is_the_same_host",
        "one_changed_bit_ends_in_panic_and_restart",
    ] {
        ensure!(told.contains(claim), "`casemate test` says nothing of `{claim}`:\n{told}");
    }
    let refused = artifacts.casemate(&["flash", &shown, "/dev/null", "--yes"], 1)?;
    ensure!(!refused.contains("test report"), "the report is not accepted:\n{refused}");

    // A report is for one image: beside another manifest, or changed, it proves nothing.
    let copy = dir.join("changed");
    fs::create_dir_all(&copy)?;
    for file in fs::read_dir(&output)? {
        let file = file?;
        if file.file_type()?.is_file() {
            fs::hard_link(file.path(), copy.join(file.file_name()))?;
        }
    }
    let report = fs::read_to_string(copy.join("test-report.json"))?;
    fs::remove_file(copy.join("test-report.json"))?;
    fs::write(copy.join("test-report.json"), report.replacen("true", "true ", 1))?;
    let refused = artifacts.casemate(&["flash", &copy.to_string_lossy(), "/dev/null", "--yes"], 1)?;
    ensure!(refused.contains("proof: the signature"), "a changed report is accepted:\n{refused}");
    Ok(())
}
