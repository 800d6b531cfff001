//! `casemate test`: what a built image must do before it may be flashed, tried in virtual machines and written down in a signed report.

mod recorder;
mod report;
mod scenarios;

pub(crate) use recorder::{Recorder, Row};
pub(crate) use report::{Proof, manifest_digest, remove, write};
pub(crate) use scenarios::{Subject, prove};
