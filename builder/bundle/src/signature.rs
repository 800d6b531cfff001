//! The signature envelope: which keys signed which kind of document. Specified in `docs/formats/signature.md`.
//!
//! This file reads and writes the envelope and lays out the signed message. It decides nothing about trust.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::key::KeyId;

/// Largest accepted envelope in bytes.
pub(crate) const LARGEST_ENVELOPE: usize = 64 * 1024;

/// The only version of the envelope.
const SCHEMA: u32 = 1;

/// First bytes of each signed message; they keep these signatures apart from those of any other program.
const MESSAGE_PREFIX: &[u8] = b"casemate signature v1\0";

/// The kind of document that a signature is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Context {
    /// `host.toml`, signed by an operator key.
    Host,
    /// `manifest.json`, signed by a release key.
    Manifest,
    /// `test-report.json`, signed by a release key.
    TestReport,
    /// `provenance.json`, signed by a release key.
    Provenance,
    /// `trust-root-N.json`, signed by the root keys that it names and by those of the one before.
    TrustRoot,
    /// `newest.json`, signed by release keys.
    Newest,
}

impl Context {
    const ALL: [Self; 6] =
        [Self::Host, Self::Manifest, Self::TestReport, Self::Provenance, Self::TrustRoot, Self::Newest];

    /// The context string that is signed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Host => "casemate/host",
            Self::Manifest => "casemate/manifest",
            Self::TestReport => "casemate/test-report",
            Self::Provenance => "casemate/provenance",
            Self::TrustRoot => "casemate/trust-root",
            Self::Newest => "casemate/newest",
        }
    }

    /// Largest accepted document in bytes.
    pub fn largest_document(self) -> usize {
        match self {
            Self::Host => 1024 * 1024,
            Self::Manifest | Self::TestReport | Self::Provenance => 16 * 1024 * 1024,
            Self::TrustRoot | Self::Newest => 64 * 1024,
        }
    }
}

impl fmt::Display for Context {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl FromStr for Context {
    type Err = EnvelopeError;

    fn from_str(text: &str) -> Result<Self, EnvelopeError> {
        Self::ALL
            .into_iter()
            .find(|context| context.as_str() == text)
            .ok_or_else(|| EnvelopeError::Context { found: text.chars().take(80).collect() })
    }
}

/// Why an envelope could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EnvelopeError {
    /// More bytes than an envelope may have.
    #[error(
        "the signature file has {size} bytes, more than {LARGEST_ENVELOPE}: it is not a signature; sign the document again"
    )]
    TooLarge {
        /// Size in bytes.
        size: usize,
    },
    /// Not the JSON of an envelope.
    #[error("the signature file is damaged ({reason}): sign the document again")]
    Json {
        /// What the JSON parser says.
        reason: String,
    },
    /// Another version of the format.
    #[error(
        "the signature file has schema {found}, this program knows schema {SCHEMA}: use the program version that made it"
    )]
    Schema {
        /// The schema found.
        found: u32,
    },
    /// A context that this program does not know.
    #[error(
        "unknown signature context `{found}`: known are {}",
        Context::ALL.map(|context| format!("`{context}`")).join(", ")
    )]
    Context {
        /// The context found, shortened.
        found: String,
    },
    /// A signature that is not base64 of 64 bytes.
    #[error("the signature of key {key} is not base64 of 64 bytes: sign the document again")]
    Signature {
        /// The key of the entry.
        key: KeyId,
    },
}

/// One signature of an envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which key claims to have signed.
    pub key: KeyId,
    /// The 64 bytes of RFC 8032, not yet verified.
    pub signature: [u8; 64],
}

/// A parsed envelope. That it parses says nothing about its signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The kind of document.
    pub context: Context,
    /// The signatures in the order of the file.
    pub entries: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEnvelope {
    schema: u32,
    context: String,
    signatures: Vec<RawEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    key: KeyId,
    signature: String,
}

impl Envelope {
    /// Reads the bytes of a `*.sig` file.
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        if bytes.len() > LARGEST_ENVELOPE {
            return Err(EnvelopeError::TooLarge { size: bytes.len() });
        }
        let raw: RawEnvelope =
            serde_json::from_slice(bytes).map_err(|error| EnvelopeError::Json { reason: error.to_string() })?;
        if raw.schema != SCHEMA {
            return Err(EnvelopeError::Schema { found: raw.schema });
        }
        let context = raw.context.parse()?;
        let entries = raw.signatures.iter().map(parse_entry).collect::<Result<_, _>>()?;
        Ok(Self { context, entries })
    }

    /// The bytes of the `*.sig` file: indented JSON with a line end.
    pub fn to_json(&self) -> String {
        let signatures = self
            .entries
            .iter()
            .map(|entry| RawEntry { key: entry.key, signature: STANDARD.encode(entry.signature) })
            .collect();
        let raw = RawEnvelope { schema: SCHEMA, context: self.context.to_string(), signatures };
        crate::manifest::to_json(&raw)
    }
}

fn parse_entry(raw: &RawEntry) -> Result<Entry, EnvelopeError> {
    let refused = || EnvelopeError::Signature { key: raw.key };
    let bytes = STANDARD.decode(&raw.signature).map_err(|_| refused())?;
    let signature = bytes.try_into().map_err(|_| refused())?;
    Ok(Entry { key: raw.key, signature })
}

/// The message that is signed: prefix, context, length and the document.
pub(crate) fn signed_message(context: Context, document: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(document.len() + 64);
    message.extend_from_slice(MESSAGE_PREFIX);
    message.extend_from_slice(context.as_str().as_bytes());
    message.push(0);
    // A usize fits in 64 bits on every platform Rust has.
    message.extend_from_slice(&(document.len() as u64).to_be_bytes());
    message.extend_from_slice(document);
    message
}
