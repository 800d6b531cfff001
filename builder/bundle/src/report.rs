//! The test report: which scenarios a built image passed, signed by the release key. `casemate flash` asks for it.
//!
//! The report names the digest of `manifest.json`, and the manifest names the digests of all files: one chain to each byte.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::schema::{SchemaError, SchemaVersion, check_schema};
use crate::signature::Context;
use crate::verify::Verified;
use formats::digest::Sha256Digest;
use formats::names::{ImageName, ImageVersion};

/// Why a test report was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReportError {
    /// The bytes were signed as something else.
    #[error("the document was signed as `{found}`, not as `casemate/test-report`: take the right file")]
    Context {
        /// The signed context.
        found: Context,
    },
    /// Another version of the format.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// Not the JSON of a report.
    #[error("the test report is malformed ({reason}): run `casemate test` again")]
    Json {
        /// What the JSON parser says, with line and column.
        reason: String,
    },
    /// A report of another image.
    #[error("the test report is about the manifest {found}, not about {expected}: run `casemate test` on this image")]
    OtherImage {
        /// Digest of the manifest at hand.
        expected: Sha256Digest,
        /// Digest in the report.
        found: Sha256Digest,
    },
    /// Not all scenarios passed, or there were none.
    #[error("the image did not pass its tests ({}): repair it and run `casemate test` again", failed_text(failed))]
    NotPassed {
        /// Names of the scenarios that failed; empty when none was run.
        failed: Vec<String>,
    },
}

/// The result of one scenario.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScenarioResult {
    /// The scenario's name, which is a claim.
    pub name: String,
    /// Whether the claim held.
    pub passed: bool,
    /// How long it took, in milliseconds.
    pub milliseconds: u64,
}

/// The results of all scenarios for one built image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestReport {
    /// Version of the format.
    pub schema: SchemaVersion<1>,
    /// Name of the image.
    pub image: ImageName,
    /// Version of the image.
    pub version: ImageVersion,
    /// Digest of `manifest.json`.
    pub manifest: Sha256Digest,
    /// How the machines ran: `kvm` or `tcg` (emulation).
    pub accelerator: String,
    /// The scenarios in the order they ran.
    pub scenarios: Vec<ScenarioResult>,
}

impl TestReport {
    /// Parses signed bytes.
    pub fn parse(document: &Verified<Vec<u8>>) -> Result<Verified<Self>, ReportError> {
        if document.context() != Context::TestReport {
            return Err(ReportError::Context { found: document.context() });
        }
        document.parse_with(|bytes| {
            check_schema::<1>(bytes, "the test report")?;
            serde_json::from_slice(bytes).map_err(|error| ReportError::Json { reason: error.to_string() })
        })
    }

    /// The bytes of `test-report.json`.
    pub fn to_json(&self) -> String {
        crate::manifest::to_json(self)
    }

    /// Checks that this is the report of the image with this manifest and that all scenarios passed.
    pub fn check_passed(&self, manifest: Sha256Digest) -> Result<(), ReportError> {
        if self.manifest != manifest {
            return Err(ReportError::OtherImage { expected: manifest, found: self.manifest });
        }
        let failed: Vec<String> =
            self.scenarios.iter().filter(|result| !result.passed).map(|result| result.name.clone()).collect();
        if failed.is_empty() && !self.scenarios.is_empty() { Ok(()) } else { Err(ReportError::NotPassed { failed }) }
    }
}

fn failed_text(failed: &[String]) -> String {
    if failed.is_empty() { "no scenario was run".to_owned() } else { format!("failed: {}", failed.join(", ")) }
}
