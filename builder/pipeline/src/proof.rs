//! What must vouch for an image, beside its signature, before it is given to a host: the signed test report.

use std::path::Path;

use anyhow::{Result, bail};
use bundle::{Context, Sha256Digest, TestReport, TrustedKeys};

use crate::verify_output::signed_file;

/// What must vouch for the image beside its signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// A signed test report that says that all scenarios passed.
    TestReport,
    /// Nothing: the caller takes the risk.
    NotAsked,
}

impl Proof {
    /// Looks for it in an output directory; `manifest` is the digest of the `manifest.json` there.
    pub(crate) fn check(self, output: &Path, trusted: &TrustedKeys, manifest: Sha256Digest) -> Result<()> {
        if self == Self::NotAsked {
            return Ok(());
        }
        let path = output.join("test-report.json");
        if !path.exists() {
            bail!("there is no test report");
        }
        let signature = output.join("test-report.json.sig");
        let verified = signed_file::verified(&path, &signature, Context::TestReport, trusted)?;
        Ok(TestReport::parse(&verified)?.check_passed(manifest)?)
    }
}
