//! The licence of a thing in the image: an SPDX expression with the texts that it refers to, or why there is none.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::copyright;
use crate::root_tree::RootTree;

/// What is known of a licence.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Licence {
    /// An expression, and the licences in it that SPDX has no name for, by their `LicenseRef-`.
    Known(String, BTreeMap<String, OwnText>),
    /// Nothing is asserted, for this reason.
    Unknown(&'static str),
}

/// A licence that SPDX has no name for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OwnText {
    /// What Debian calls it.
    pub name: String,
    /// Its words.
    pub text: String,
}

impl Licence {
    /// An expression in SPDX's own words, as a person wrote it, or the reason why there is none.
    pub(super) fn declared(expression: Option<&str>, otherwise: &'static str) -> Self {
        expression.map_or(Self::Unknown(otherwise), |text| Self::Known(text.to_owned(), BTreeMap::new()))
    }

    /// The licence of a package, as its copyright file in the tree has it.
    pub(super) fn of_package(tree: &RootTree, package: &str) -> Self {
        // The directory may be a link to that of a sister package, which is resolved inside the tree.
        let file = tree.resolve(&format!("/usr/share/doc/{package}/copyright"));
        match file.ok().and_then(|(name, _)| fs_err::read(tree.at(&name)).ok()) {
            // A few old files are in Latin-1; what they name is plain all the same.
            Some(bytes) => copyright::licence(&String::from_utf8_lossy(&bytes)),
            None => Self::Unknown("the image has no copyright file of it"),
        }
    }

    /// The expression, if there is one.
    pub(super) fn expression(&self) -> Option<&str> {
        match self {
            Self::Known(expression, _) => Some(expression),
            Self::Unknown(_) => None,
        }
    }

    /// Why there is none.
    pub(super) fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Known(..) => None,
            Self::Unknown(reason) => Some(reason),
        }
    }

    /// The licences that SPDX has no name for.
    pub(super) fn own_texts(&self) -> impl Iterator<Item = (&String, &OwnText)> {
        let texts = match self {
            Self::Known(_, texts) => Some(texts),
            Self::Unknown(_) => None,
        };
        texts.into_iter().flatten()
    }
}

impl OwnText {
    /// The `LicenseRef-` of it: two packages may call different texts by one name, so a piece of a digest belongs to it.
    pub(super) fn reference(&self) -> String {
        const LONGEST: usize = 60;
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
        let name: String = self.name.chars().map(plain).take(LONGEST).collect();
        let mark = hex::encode(Sha256::digest(format!("{}\n{}", self.name, self.text)));
        format!("LicenseRef-{}-{}", name.trim_matches('-'), &mark[..8])
    }
}
