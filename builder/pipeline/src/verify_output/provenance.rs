//! The provenance: signed, and about exactly these files.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use bundle::{Context, Sha256Digest, TrustedKeys};
use fs_err as fs;

use super::problems::Problems;
use super::{Output, signed_file};
use crate::provenance::{self, FILE, LOCK, Resource, SIGNATURE, Statement};

pub(super) fn check(output: &Output<'_>, trusted: &TrustedKeys, problems: &mut Problems) {
    let Some(statement) = problems.note(FILE, read(output.dir, trusted)) else {
        return;
    };
    if let Some(expected) = problems.note(FILE, provenance::subjects(output.dir, output.manifest)) {
        compare(&statement.subject, &expected, problems);
    }
    let parameters = &statement.predicate.build_definition.external_parameters;
    let (image, version) = (output.manifest.image.as_str(), output.manifest.version.as_str());
    if (parameters.image.as_str(), parameters.version.as_str()) != (image, version) {
        let found = format!("{} {}", parameters.image, parameters.version);
        problems.add(FILE, &format!("it is about `{found}`, the manifest says `{image} {version}`"));
    }
    problems.note(LOCK, check_lock(output.dir, &statement));
}

fn read(dir: &Path, trusted: &TrustedKeys) -> Result<Statement> {
    let verified = signed_file::verified(&dir.join(FILE), &dir.join(SIGNATURE), Context::Provenance, trusted)?;
    provenance::parse(&verified)
}

/// Every file is there once, with the digest that it has; and no other.
fn compare(found: &[Resource], expected: &[Resource], problems: &mut Problems) {
    let by_name = |rows: &[Resource]| -> BTreeMap<String, Sha256Digest> {
        rows.iter().map(|row| (row.name.clone(), row.digest.sha256)).collect()
    };
    let (stated, there) = (by_name(found), by_name(expected));
    for (name, digest) in &there {
        match stated.get(name) {
            None => problems.add(FILE, &format!("it does not name `{name}`")),
            Some(stated) if stated != digest => {
                problems.add(name, &format!("its SHA-256 is {digest}, the provenance says {stated}"));
            }
            Some(_) => {}
        }
    }
    for name in stated.keys().filter(|name| !there.contains_key(*name)) {
        problems.add(FILE, &format!("it names `{name}`, which is no part of this output"));
    }
}

/// The lock beside the image is the one that it was built from.
fn check_lock(dir: &Path, statement: &Statement) -> Result<()> {
    let found = Sha256Digest::of(&fs::read(dir.join(LOCK))?);
    let rows = &statement.predicate.build_definition.resolved_dependencies;
    let stated: Vec<Sha256Digest> = rows.iter().filter(|row| row.name == LOCK).map(|row| row.digest.sha256).collect();
    anyhow::ensure!(stated == [found], "its SHA-256 is {found}, which is not what the provenance says");
    Ok(())
}
