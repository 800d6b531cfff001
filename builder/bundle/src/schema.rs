//! The `schema` number of a JSON document as a type, and the check of it before anything else is read.
//!
//! A document of a later schema may hold fields that we do not know; without the early check the reader would be told about an
//! unknown field instead of an old program.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// A document of another schema, or none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SchemaError {
    /// Another version of the format.
    #[error(
        "{document} has schema {found}, this program knows schema {known}: use the version of casemate that made it"
    )]
    Unknown {
        /// Which document.
        document: &'static str,
        /// The schema found.
        found: u64,
        /// The schema of this program.
        known: u32,
    },
    /// Not JSON, or JSON without a `schema` number.
    #[error("{document} is damaged ({reason}): build the image again or fetch the file once more")]
    Missing {
        /// Which document.
        document: &'static str,
        /// What the JSON parser says.
        reason: String,
    },
}

/// The constant `N`, the only schema of a document that this program reads and writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SchemaVersion<const N: u32>;

impl<const N: u32> Serialize for SchemaVersion<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(N)
    }
}

impl<'de, const N: u32> Deserialize<'de> for SchemaVersion<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            found if found == N => Ok(Self),
            found => Err(serde::de::Error::custom(format!("schema {found} instead of {N}"))),
        }
    }
}

#[derive(Deserialize)]
struct SchemaOnly {
    schema: u64,
}

/// Looks at the `schema` number alone.
pub(crate) fn check_schema<const N: u32>(bytes: &[u8], document: &'static str) -> Result<(), SchemaError> {
    let read: Result<SchemaOnly, _> = serde_json::from_slice(bytes);
    match read {
        Ok(SchemaOnly { schema }) if schema == u64::from(N) => Ok(()),
        Ok(SchemaOnly { schema: found }) => Err(SchemaError::Unknown { document, found, known: N }),
        Err(error) => Err(SchemaError::Missing { document, reason: error.to_string() }),
    }
}
