//! The statement as types: in-toto Statement v1, SLSA provenance v1, and the parameters of our own kind of build.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use bundle::Sha256Digest;
use serde::{Deserialize, Serialize};

pub(super) const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
pub(super) const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v1";
/// Our kind of build; `docs/formats/provenance.md` says what its parameters mean.
pub(super) const BUILD_TYPE: &str = "urn:casemate:build:1";
/// Any copy of casemate on a machine that its owner trusts: the release key says whose it was.
pub(super) const BUILDER: &str = "urn:casemate:builder";

/// What was built, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    #[serde(rename = "_type")]
    pub(super) kind: String,
    /// What came out, by file name.
    pub subject: Vec<Resource>,
    #[serde(rename = "predicateType")]
    pub(super) predicate_type: String,
    /// How it was made.
    pub predicate: Predicate,
}

/// SLSA's predicate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Predicate {
    /// What was asked for and what it was made of.
    pub build_definition: BuildDefinition,
    /// Who built it.
    pub run_details: RunDetails,
}

/// Inputs of the build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct BuildDefinition {
    /// The kind of build.
    pub build_type: String,
    /// What a person chose.
    pub external_parameters: ExternalParameters,
    /// What followed from that, or from the machine.
    pub internal_parameters: InternalParameters,
    /// Everything that was read.
    pub resolved_dependencies: Vec<Resource>,
}

/// What a person chose, beside the files among the dependencies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExternalParameters {
    /// Name of the image.
    pub image: String,
    /// Its version.
    pub version: String,
    /// `quick` or `small`.
    pub compression: String,
    /// Whether development keys were used.
    pub development: bool,
}

/// What followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InternalParameters {
    /// Debian's name of the architecture.
    pub architecture: String,
    /// The time that everything in the image carries.
    pub source_date_epoch: u64,
    /// What compiled the agent.
    pub compiler: String,
}

/// Who built it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunDetails {
    /// The builder.
    pub builder: Builder,
}

/// The program that built it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Builder {
    /// Its name.
    pub id: String,
    /// Its parts and their versions.
    pub version: BTreeMap<String, String>,
}

/// A file that was made or read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resource {
    /// What it is used for, and what else a digest does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Annotations>,
    /// Its name: a path below the repository, a file name, or that of a package.
    pub name: String,
    /// A package URL, or the address of an asset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Its digest.
    pub digest: DigestSet,
}

/// The digest of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DigestSet {
    /// SHA-256.
    pub sha256: Sha256Digest,
}

/// What a digest does not say of a dependency.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Annotations {
    /// What it is used for.
    #[serde(rename = "use")]
    pub purpose: Use,
    /// Version of a package or crate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Where an asset is unpacked in the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub into: Option<String>,
    /// Set for a file that may be executed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub executable: bool,
    /// Set for a symbolic link; the digest is that of its target's text.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub link: bool,
}

/// What a dependency is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Use {
    /// The lock and the files of the image definition.
    Definition,
    /// A Debian package of the root.
    Root,
    /// A Debian package of the tools tree.
    Tools,
    /// An asset of the root.
    Asset,
    /// A file of an overlay.
    Overlay,
    /// A file of `units/`.
    Units,
    /// A source file of the agent.
    Agent,
    /// A crate that the agent is made of.
    Crate,
    /// A public key or certificate.
    Key,
}

impl Use {
    /// The word in the document.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Definition => "definition",
            Self::Root => "root",
            Self::Tools => "tools",
            Self::Asset => "asset",
            Self::Overlay => "overlay",
            Self::Units => "units",
            Self::Agent => "agent",
            Self::Crate => "crate",
            Self::Key => "key",
        }
    }
}

impl Resource {
    /// A result: name and digest.
    pub(crate) fn named(name: &str, sha256: Sha256Digest) -> Self {
        Self { annotations: None, name: name.to_owned(), uri: None, digest: DigestSet { sha256 } }
    }

    /// A dependency.
    pub(crate) fn used(purpose: Use, name: &str, sha256: Sha256Digest) -> Self {
        let annotations = Annotations { purpose, version: None, into: None, executable: false, link: false };
        Self { annotations: Some(annotations), ..Self::named(name, sha256) }
    }

    /// The same with the version of a package.
    pub(crate) fn with_version(mut self, version: String) -> Self {
        if let Some(annotations) = &mut self.annotations {
            annotations.version = Some(version);
        }
        self
    }

    /// What it is used for.
    pub fn purpose(&self) -> Option<Use> {
        self.annotations.as_ref().map(|annotations| annotations.purpose)
    }
}

impl Statement {
    /// The document: indented JSON with a line end.
    pub fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// The dependencies of one kind.
    pub fn used_for(&self, purpose: Use) -> impl Iterator<Item = &Resource> {
        let all = self.predicate.build_definition.resolved_dependencies.iter();
        all.filter(move |resource| resource.purpose() == Some(purpose))
    }

    /// The kind of document is what its first lines claim.
    pub(super) fn check_types(&self) -> Result<()> {
        let found = [&self.kind, &self.predicate_type, &self.predicate.build_definition.build_type];
        for (found, expected) in found.into_iter().zip([STATEMENT_TYPE, PREDICATE_TYPE, BUILD_TYPE]) {
            ensure!(found == expected, "its type is `{found}`, expected `{expected}`");
        }
        Ok(())
    }
}
