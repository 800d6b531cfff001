//! The provenance of a build: an in-toto statement with a SLSA predicate that says what came out and of what it was made.
//!
//! A pure function of the build's inputs and results: no clock, no name of a machine, user or path, so two equal builds have the same
//! statement. Specified in `docs/formats/provenance.md`.

mod dependencies;
mod statement;
#[cfg(test)]
mod tests;

use std::path::Path;

use anyhow::{Context as _, Result};
use bundle::{Manifest, Sha256Digest, SigningKey, Verified};
use fs_err as fs;

pub(crate) use self::dependencies::Materials;
pub use self::statement::{Annotations, DigestSet, Resource, Statement, Use};
use self::statement::{
    BUILD_TYPE, BUILDER, BuildDefinition, Builder, ExternalParameters, InternalParameters, PREDICATE_TYPE, Predicate,
    RunDetails, STATEMENT_TYPE,
};
use crate::sbom;

/// The statement in the output directory.
pub const FILE: &str = "provenance.json";
/// Its signature, in the project's envelope.
pub const SIGNATURE: &str = "provenance.json.sig";
/// The lock as a dependency, and its file in the output directory.
pub const LOCK: &str = "lock.toml";

/// What the statement says beside inputs and results.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    /// The manifest of the same output.
    pub(crate) manifest: &'a Manifest,
    /// How the root was compressed.
    pub(crate) compression: &'a str,
    /// What compiled the agent.
    pub(crate) compiler: &'a str,
}

/// Puts the statement together over the files of `output`, signs it and writes both.
pub(crate) fn make(output: &Path, facts: &Facts<'_>, dependencies: Vec<Resource>, key: &SigningKey) -> Result<()> {
    let statement = statement(facts, subjects(output, facts.manifest)?, dependencies);
    let json = statement.to_json()?;
    let envelope = bundle::sign(json.as_bytes(), bundle::Context::Provenance, &[key]).to_json();
    fs::write(output.join(FILE), &json)?;
    Ok(fs::write(output.join(SIGNATURE), envelope)?)
}

/// Everything that the build hands out: what the manifest names, the manifest itself and the bills of materials.
pub(crate) fn subjects(output: &Path, manifest: &Manifest) -> Result<Vec<Resource>> {
    let parts = manifest.parts.values().chain(&manifest.disk);
    let mut subjects: Vec<Resource> = parts.map(|part| Resource::named(part.file.as_str(), part.sha256)).collect();
    for name in [bundle::MANIFEST_FILE].into_iter().chain(sbom::FILES) {
        subjects.push(Resource::named(name, Sha256Digest::of(&fs::read(output.join(name))?)));
    }
    subjects.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(subjects)
}

/// Reads a statement after its signature was checked.
pub fn parse(verified: &Verified<Vec<u8>>) -> Result<Statement> {
    parse_unverified(verified)
}

/// Reads a statement that nobody vouches for: for showing it.
pub fn parse_unverified(bytes: &[u8]) -> Result<Statement> {
    let statement: Statement = serde_json::from_slice(bytes).context("it is not a statement of casemate")?;
    statement.check_types()?;
    Ok(statement)
}

fn statement(facts: &Facts<'_>, subject: Vec<Resource>, mut dependencies: Vec<Resource>) -> Statement {
    let manifest = facts.manifest;
    dependencies.sort();
    Statement {
        kind: STATEMENT_TYPE.to_owned(),
        subject,
        predicate_type: PREDICATE_TYPE.to_owned(),
        predicate: Predicate {
            build_definition: BuildDefinition {
                build_type: BUILD_TYPE.to_owned(),
                external_parameters: ExternalParameters {
                    image: manifest.image.to_string(),
                    version: manifest.version.to_string(),
                    compression: facts.compression.to_owned(),
                    development: manifest.development,
                },
                internal_parameters: InternalParameters {
                    architecture: manifest.architecture.to_string(),
                    source_date_epoch: manifest.source_date_epoch,
                    compiler: facts.compiler.to_owned(),
                },
                resolved_dependencies: dependencies,
            },
            run_details: RunDetails {
                builder: Builder {
                    id: BUILDER.to_owned(),
                    version: [("casemate".to_owned(), env!("CARGO_PKG_VERSION").to_owned())].into(),
                },
            },
        },
    }
}
