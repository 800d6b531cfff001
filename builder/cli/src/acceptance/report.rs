//! The report: bound to the manifest's digest, signed by the release key, written also when something failed.

use std::path::Path;

use anyhow::Result;
use bundle::{Context, Manifest, SchemaVersion, Sha256Digest, SigningKey, TestReport, sign};
use fs_err as fs;
use tools::{ResultExt as _, write_atomic};

use crate::acceptance::Row;

/// Names of the report and its signature in an output directory (docs/formats/artifacts.md).
const REPORT: &str = "test-report.json";
const SIGNATURE: &str = "test-report.json.sig";

/// What a report says beside its rows.
#[derive(Debug)]
pub(crate) struct Proof<'a> {
    /// The manifest of the image that was tried.
    pub(crate) manifest: &'a Manifest,
    /// Digest of the bytes of `manifest.json`.
    pub(crate) digest: Sha256Digest,
    /// `kvm` or `tcg`.
    pub(crate) accelerator: String,
}

/// Writes report and signature into the output directory and returns the report.
pub(crate) fn write(output: &Path, proof: Proof<'_>, rows: &[Row], key: &SigningKey) -> Result<TestReport> {
    let report = assemble(proof, rows);
    let json = report.to_json();
    let signature = sign(json.as_bytes(), Context::TestReport, &[key]).to_json();
    // Without a signature the old report is worth nothing: at no moment do a report and a signature of another one look good together.
    tools::fs::remove_file_if_exists(&output.join(SIGNATURE)).remedied()?;
    write_atomic(&output.join(REPORT), json.as_bytes(), 0o644).remedied()?;
    write_atomic(&output.join(SIGNATURE), signature.as_bytes(), 0o644).remedied()?;
    Ok(report)
}

/// Removes the report of an earlier run, so that one which is broken off leaves none.
pub(crate) fn remove(output: &Path) -> Result<()> {
    for name in [SIGNATURE, REPORT] {
        tools::fs::remove_file_if_exists(&output.join(name)).remedied()?;
    }
    Ok(())
}

/// The digest that a report names.
pub(crate) fn manifest_digest(output: &Path) -> Result<Sha256Digest> {
    Ok(Sha256Digest::of(&fs::read(output.join(bundle::MANIFEST_FILE))?))
}

fn assemble(proof: Proof<'_>, rows: &[Row]) -> TestReport {
    TestReport {
        schema: SchemaVersion,
        image: proof.manifest.image.clone(),
        version: proof.manifest.version.clone(),
        manifest: proof.digest,
        accelerator: proof.accelerator,
        scenarios: rows.iter().map(|row| row.result.clone()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use bundle::{ScenarioResult, TrustedKeys};

    use super::*;

    const MANIFEST: &str = r#"{"schema":1,"image":"minimal","version":"0.1.0","architecture":"x86-64","development":true,"source_date_epoch":1,
        "root_hash":"1111111111111111111111111111111111111111111111111111111111111111","kernel":"6.12.0-amd64","disk":null,"parts":{}}"#;

    fn row(name: &str, passed: bool) -> Row {
        Row { result: ScenarioResult { name: name.to_owned(), passed, milliseconds: 5 }, detail: String::new() }
    }

    fn written(dir: &Path, rows: &[Row]) -> (TestReport, Sha256Digest) {
        let key = SigningKey::from_random(&[3; 32], "release").unwrap();
        fs::write(dir.join(bundle::MANIFEST_FILE), MANIFEST).unwrap();
        let manifest: Manifest = serde_json::from_str(MANIFEST).unwrap();
        let digest = manifest_digest(dir).unwrap();
        let proof = Proof { manifest: &manifest, digest, accelerator: "tcg".to_owned() };
        write(dir, proof, rows, &key).unwrap();
        let (json, signature) = (fs::read(dir.join(REPORT)).unwrap(), fs::read(dir.join(SIGNATURE)).unwrap());
        let trusted = TrustedKeys::new([key.public().clone()]);
        let verified = bundle::verify(&json, &signature, Context::TestReport, &trusted, NonZeroUsize::MIN).unwrap();
        (TestReport::parse(&verified).unwrap().into_inner(), digest)
    }

    #[test]
    fn a_report_of_passed_scenarios_satisfies_flash_for_this_manifest_only() {
        let dir = tempfile::tempdir().unwrap();
        let (report, digest) = written(dir.path(), &[row("boots", true), row("stops", true)]);
        report.check_passed(digest).unwrap();
        assert!(report.check_passed(Sha256Digest::of(b"another")).is_err());
    }

    #[test]
    fn a_failure_and_an_empty_run_are_written_and_do_not_pass() {
        let dir = tempfile::tempdir().unwrap();
        let (report, digest) = written(dir.path(), &[row("boots", true), row("stops", false)]);
        assert!(report.check_passed(digest).unwrap_err().to_string().contains("stops"));
        // The second report replaces the first.
        let (report, digest) = written(dir.path(), &[]);
        assert!(report.check_passed(digest).is_err());
        remove(dir.path()).unwrap();
        assert!(!dir.path().join(REPORT).exists() && !dir.path().join(SIGNATURE).exists());
    }
}
