//! What is asked of the archive: packages by name, the base below them, and what needs no package. Pure.

use crate::package::{Architecture, PackageName};
use crate::placeholder::{Provided, sort_provided};
use crate::resolve::Base;
use crate::suite::Suite;
use formats::digest::Sha256Digest;

/// The question that a lock answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The packages that are asked for; the order can decide between alternatives.
    pub wanted: Vec<PackageName>,
    /// What the set holds besides them.
    pub base: Base,
    /// Names that are satisfied without a package, sorted.
    pub provided: Vec<Provided>,
}

/// Changes when the same question gets another answer, so that answers of older programs are not taken for ours.
const RESOLVER_REVISION: u32 = 1;

impl Wish {
    /// Asks for `wanted` upon `base`, with some names satisfied already.
    pub fn new(wanted: Vec<PackageName>, base: Base, provided: Vec<Provided>) -> Self {
        Self { wanted, base, provided: sort_provided(provided) }
    }

    /// A digest of the question, put to these suites.
    pub fn digest(&self, suites: &[Suite], architecture: &Architecture) -> Sha256Digest {
        Sha256Digest::of(format!("{RESOLVER_REVISION} {architecture} {suites:?} {self:?}").as_bytes())
    }
}
