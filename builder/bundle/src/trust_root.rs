//! The trust root: which keys may say what is newest, and which may name others. Specified in `docs/formats/trust.md`.
//!
//! Its keys are kept offline. Each version of it is signed by its own root keys and by those of the version before, so a host that
//! has one finds the way to every later one, and nobody without the old keys makes another.

use std::collections::BTreeSet;
use std::num::{NonZeroU32, NonZeroUsize};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::key::{KeyError, KeyId, PublicKey};
use crate::schema::{SchemaError, SchemaVersion, check_schema};
use crate::signature::{Context, Envelope, signed_message};
use crate::verify::{TrustedKeys, Verified, VerifyError, good_signers, verify};
use formats::names::ImageName;

/// Most keys that one role may have.
const MOST_KEYS: usize = 16;

/// Why a trust root was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TrustRootError {
    /// Not signed by those who must.
    #[error("{0} (who must sign: {1})")]
    Verify(VerifyError, &'static str),
    /// Another version of the format.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// Not the JSON of a trust root.
    #[error("the trust root is malformed ({reason}): make it again")]
    Json {
        /// What the JSON parser says, with line and column.
        reason: String,
    },
    /// Not the one that follows.
    #[error("the trust root has version {found}, the next one is {next}: fetch those between, in their order")]
    NotNext {
        /// The version that must come.
        next: u32,
        /// The version found.
        found: u32,
    },
    /// The trust root of another image.
    #[error("the trust root is that of the image `{found}`, not of `{expected}`: take the right repository")]
    OtherImage {
        /// The image of the one at hand.
        expected: ImageName,
        /// The image found.
        found: ImageName,
    },
}

/// Why the keys of a role were refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeySetError {
    /// A key that cannot be read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Keys that stand there twice would count twice.
    #[error("key {0} stands there twice: name each key once")]
    Twice(KeyId),
    /// More signatures are asked for than there are keys, or none, or there are too many keys.
    #[error("{threshold} of {keys} keys must sign: name 1 to {MOST_KEYS} keys, and a threshold of 1 to their number")]
    Threshold {
        /// How many must sign.
        threshold: usize,
        /// How many keys there are.
        keys: usize,
    },
}

/// The keys of a role, each once, and how many of them must sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawKeySet", into = "RawKeySet")]
pub struct KeySet {
    keys: Vec<PublicKey>,
    threshold: NonZeroUsize,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKeySet {
    keys: Vec<String>,
    threshold: usize,
}

impl KeySet {
    /// Takes 1 to 16 different keys; `threshold` of them must sign.
    pub fn new(keys: Vec<PublicKey>, threshold: usize) -> Result<Self, KeySetError> {
        let mut seen = BTreeSet::new();
        if let Some(key) = keys.iter().find(|key| !seen.insert(key.id())) {
            return Err(KeySetError::Twice(key.id()));
        }
        match NonZeroUsize::new(threshold) {
            Some(least) if threshold <= keys.len() && keys.len() <= MOST_KEYS => Ok(Self { keys, threshold: least }),
            _ => Err(KeySetError::Threshold { threshold, keys: keys.len() }),
        }
    }

    /// The keys, as they stand there.
    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    /// How many of them must sign.
    pub fn threshold(&self) -> NonZeroUsize {
        self.threshold
    }

    /// Whether the key with this id is one of them.
    pub fn holds(&self, id: KeyId) -> bool {
        self.keys.iter().any(|key| key.id() == id)
    }

    /// The same keys, as [`verify`] takes them.
    pub fn trusted(&self) -> TrustedKeys {
        self.keys.iter().cloned().collect()
    }

    /// Says who of them signed so far. A bad signature of one of them is an error.
    pub fn standing(&self, document: &[u8], envelope: &Envelope, context: Context) -> Result<Standing, VerifyError> {
        let message = signed_message(context, document);
        let signers = good_signers(envelope, &message, &self.trusted())?;
        let (signed, open) = self.keys.iter().cloned().partition(|key| signers.contains(&key.id()));
        Ok(Standing { signed, open, threshold: self.threshold })
    }

    /// Checks that enough of them signed.
    pub(crate) fn verify(
        &self,
        document: &[u8],
        envelope: &[u8],
        context: Context,
    ) -> Result<Verified<Vec<u8>>, VerifyError> {
        verify(document, envelope, context, &self.trusted(), self.threshold)
    }
}

/// How far the signatures of a role have come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The keys that signed.
    pub signed: Vec<PublicKey>,
    /// The keys that did not.
    pub open: Vec<PublicKey>,
    /// How many must sign.
    pub threshold: NonZeroUsize,
}

impl Standing {
    /// How many signatures are missing.
    pub fn missing(&self) -> usize {
        self.threshold.get().saturating_sub(self.signed.len())
    }
}

impl TryFrom<RawKeySet> for KeySet {
    type Error = KeySetError;

    fn try_from(raw: RawKeySet) -> Result<Self, KeySetError> {
        Self::new(raw.keys.iter().map(|line| line.parse()).collect::<Result<_, _>>()?, raw.threshold)
    }
}

impl From<KeySet> for RawKeySet {
    fn from(set: KeySet) -> Self {
        Self { keys: set.keys.iter().map(ToString::to_string).collect(), threshold: set.threshold.get() }
    }
}

/// Whose word counts for one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustRoot {
    /// Version of the format.
    pub schema: SchemaVersion<1>,
    /// Name of the image.
    pub image: ImageName,
    /// 1 for the first, one more for each that follows.
    pub version: NonZeroU32,
    /// Who signs the next trust root.
    pub root: KeySet,
    /// Who signs manifests and says what is newest.
    pub release: KeySet,
}

impl TrustRoot {
    /// Reads the one that a host begins with. It is part of the sealed image, which is what vouches for it; that its own root keys signed
    /// it shows that it is whole, and no more.
    pub fn sealed(document: &[u8], envelope: &[u8]) -> Result<Verified<Self>, TrustRootError> {
        let claimed = parse(document)?;
        vouched_for(&claimed.root, document, envelope, "its own root keys")
    }

    /// Reads the one that follows this one.
    pub fn successor(&self, document: &[u8], envelope: &[u8]) -> Result<Verified<Self>, TrustRootError> {
        let next = vouched_for(&self.root, document, envelope, "the root keys of the version before")?;
        if next.image != self.image {
            return Err(TrustRootError::OtherImage { expected: self.image.clone(), found: next.image.clone() });
        }
        let wanted = self.version.checked_add(1);
        if wanted != Some(next.version) {
            let next_version = wanted.map_or(u32::MAX, NonZeroU32::get);
            return Err(TrustRootError::NotNext { next: next_version, found: next.version.get() });
        }
        vouched_for(&next.root, document, envelope, "its own root keys")
    }

    /// Parses bytes that nobody vouches for: for showing and signing them, never to act upon.
    pub fn parse_unverified(bytes: &[u8]) -> Result<Self, TrustRootError> {
        parse(bytes)
    }

    /// The bytes of `trust-root-N.json`: indented JSON with a line end.
    pub fn to_json(&self) -> String {
        crate::manifest::to_json(self)
    }
}

fn vouched_for(
    keys: &KeySet,
    document: &[u8],
    envelope: &[u8],
    who: &'static str,
) -> Result<Verified<TrustRoot>, TrustRootError> {
    let verified =
        keys.verify(document, envelope, Context::TrustRoot).map_err(|error| TrustRootError::Verify(error, who))?;
    verified.parse_with(|bytes| parse(bytes))
}

fn parse(bytes: &[u8]) -> Result<TrustRoot, TrustRootError> {
    check_schema::<1>(bytes, "the trust root")?;
    serde_json::from_slice(bytes).map_err(|error| TrustRootError::Json { reason: error.to_string() })
}
