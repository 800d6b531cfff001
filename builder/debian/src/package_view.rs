//! One package of the index: a view whose relations are parsed when they are asked for.

use crate::{
    dependency::{Dependencies, DependencyError},
    package::{Architecture, NameError, PackageName},
    packages::PackageIndex,
    packages_error::{FieldProblem, PackagesError},
    pool_path::PoolPath,
    stanza::{
        ARCHITECTURE, BREAKS, CONFLICTS, DEPENDS, FILENAME, KEPT, PACKAGE, PRE_DEPENDS, PROVIDES, REPLACES, SECTION,
        SOURCE, VERSION, WANTED,
    },
    suite::Origin,
    version::{DebVersion, VersionError},
};
use formats::digest::Sha256Digest;

/// One package of an index; cheap to copy.
#[derive(Debug, Clone, Copy)]
pub struct Package<'a> {
    index: &'a PackageIndex,
    record: &'a Record,
    number: u32,
}

/// The fields that relate a package to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the control field of its name, Debian Policy 7.2")]
pub enum RelationField {
    Depends,
    PreDepends,
    Provides,
    Conflicts,
    Breaks,
    Replaces,
}

/// How important a package is to a Debian system (Policy 2.5), most important first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is the priority of its name")]
pub enum Priority {
    Required,
    Important,
    Standard,
    Optional,
    Extra,
}

/// How a package of one architecture may serve another (the `Multi-Arch` field).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the value of its name")]
pub enum MultiArch {
    No,
    Same,
    Foreign,
    Allowed,
}

#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) spans: [Span; KEPT],
    pub(crate) sha256: Sha256Digest,
    pub(crate) size: u64,
    pub(crate) installed_size: u64,
    pub(crate) line: u32,
    /// When the name first occurs in the sources; see `Package::mention`.
    pub(crate) mention: u32,
    pub(crate) origin: u16,
    pub(crate) priority: Priority,
    pub(crate) multi_arch: MultiArch,
    pub(crate) essential: bool,
    pub(crate) protected: bool,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) length: u32,
}

impl<'a> Package<'a> {
    pub(crate) fn new(index: &'a PackageIndex, record: &'a Record, number: u32) -> Self {
        Self { index, record, number }
    }

    fn text(&self, which: usize) -> &'a str {
        self.record.spans.get(which).map_or("", |span| self.index.slice(*span))
    }

    /// Its number in the index.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Its name.
    pub fn name(&self) -> &'a str {
        self.text(PACKAGE)
    }

    /// Its name as a value of its own.
    pub fn package_name(&self) -> Result<PackageName, PackagesError> {
        self.name().parse().map_err(|error: NameError| self.refuse(PACKAGE, error.to_string()))
    }

    /// Its version as written.
    pub fn version_text(&self) -> &'a str {
        self.text(VERSION)
    }

    /// Its version.
    pub fn version(&self) -> Result<DebVersion, PackagesError> {
        self.version_text().parse().map_err(|error: VersionError| self.refuse(VERSION, error.to_string()))
    }

    /// Its architecture.
    pub fn architecture(&self) -> Result<Architecture, PackagesError> {
        self.text(ARCHITECTURE).parse().map_err(|error: NameError| self.refuse(ARCHITECTURE, error.to_string()))
    }

    /// The path of its file below the base address.
    pub fn file(&self) -> Result<PoolPath, PackagesError> {
        self.text(FILENAME).parse().map_err(|_| self.refuse(FILENAME, "not a path in the archive".into()))
    }

    /// The name of its source package.
    pub fn source(&self) -> &'a str {
        let source = self.text(SOURCE).split(' ').next().unwrap_or_default();
        if source.is_empty() { self.name() } else { source }
    }

    /// Its section.
    pub fn section(&self) -> &'a str {
        self.text(SECTION)
    }

    /// The size of its file in bytes.
    pub fn size(&self) -> u64 {
        self.record.size
    }

    /// Its size on disk in KiB, as its maker estimates it.
    pub fn installed_size(&self) -> u64 {
        self.record.installed_size
    }

    /// The digest of its file.
    pub fn sha256(&self) -> Sha256Digest {
        self.record.sha256
    }

    /// Its priority.
    pub fn priority(&self) -> Priority {
        self.record.priority
    }

    /// How it serves other architectures.
    pub fn multi_arch(&self) -> MultiArch {
        self.record.multi_arch
    }

    /// Whether no Debian system may lack it.
    pub fn is_essential(&self) -> bool {
        self.record.essential
    }

    /// Whether a system that boots may not lack it (`Protected`, called `Important` by apt).
    pub fn is_protected(&self) -> bool {
        self.record.protected
    }

    /// Where it comes from.
    pub fn origin(&self) -> Option<&'a Origin> {
        self.index.origin(self.record.origin)
    }

    /// How many other names occur in the sources before its own, be it as a package or in a relation.
    ///
    /// apt numbers packages so and lets the number decide where nothing else does; the resolver does the same.
    pub fn mention(&self) -> u32 {
        self.record.mention
    }

    /// One of its relation fields as written.
    pub fn relations_text(&self, field: RelationField) -> &'a str {
        self.text(field.number())
    }

    /// One of its relation fields.
    pub fn relations(&self, field: RelationField) -> Result<Dependencies, PackagesError> {
        let parsed = self.relations_text(field).parse();
        parsed.map_err(|error: DependencyError| self.refuse(field.number(), error.to_string()))
    }

    fn refuse(&self, which: usize, reason: String) -> PackagesError {
        let problem = FieldProblem {
            package: self.name().to_owned(),
            field: WANTED.get(which).copied().unwrap_or_default().to_owned(),
            value: self.text(which).to_owned(),
            reason,
        };
        let origin = self.origin().map(ToString::to_string).unwrap_or_default().into();
        PackagesError { origin, line: self.record.line, problem: Box::new(problem).into() }
    }
}

impl Span {
    pub(crate) fn range(self) -> std::ops::Range<usize> {
        let start = self.start as usize;
        start..start.saturating_add(self.length as usize)
    }
}

impl RelationField {
    fn number(self) -> usize {
        match self {
            Self::Depends => DEPENDS,
            Self::PreDepends => PRE_DEPENDS,
            Self::Provides => PROVIDES,
            Self::Conflicts => CONFLICTS,
            Self::Breaks => BREAKS,
            Self::Replaces => REPLACES,
        }
    }
}

impl Priority {
    pub(crate) fn of(text: &str) -> Self {
        match text {
            "required" => Self::Required,
            "important" => Self::Important,
            "standard" => Self::Standard,
            "optional" => Self::Optional,
            _ => Self::Extra,
        }
    }
}

impl MultiArch {
    pub(crate) fn of(text: &str) -> Self {
        match text {
            "same" => Self::Same,
            "foreign" => Self::Foreign,
            "allowed" => Self::Allowed,
            _ => Self::No,
        }
    }
}
