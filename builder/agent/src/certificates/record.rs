//! What is remembered of a certificate that an authority has signed: a file beside it.
//!
//! It is written after the certificate: a cut between them costs one more order and nothing else.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

/// A certificate of an authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The directory of who signed it.
    pub directory: String,
    /// All names in it.
    pub names: Vec<String>,
    /// Its beginning, in seconds since 1970.
    pub not_before: u64,
    /// Its end, in seconds since 1970.
    pub not_after: u64,
}

impl Record {
    /// Its place beside the certificate.
    pub fn place(certificate: &Path) -> PathBuf {
        let name = certificate.file_name().unwrap_or_default().to_string_lossy();
        certificate.with_file_name(format!(".{name}.issued"))
    }

    /// That of this certificate, if an authority has signed it.
    pub fn of(certificate: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(Self::place(certificate)).ok()?).ok()
    }

    /// Whether it is still good for these names and comes from there. The last third of its life is for its successor.
    pub fn lasts(&self, directory: &str, names: &[String], now: u64) -> bool {
        let life = self.not_after.saturating_sub(self.not_before);
        let is_young = now < self.not_after.saturating_sub(life / 3);
        is_young && self.directory == directory && names.iter().all(|name| self.names.contains(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_lasts_for_two_thirds_of_its_life_its_names_and_its_authority() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let record = Record { directory: "d".into(), names: names(&["a", "b"]), not_before: 100, not_after: 400 };
        assert!(record.lasts("d", &names(&["a"]), 299) && record.lasts("d", &names(&["b", "a"]), 299));
        assert!(!record.lasts("d", &names(&["a"]), 300));
        assert!(!record.lasts("e", &names(&["a"]), 299));
        assert!(!record.lasts("d", &names(&["a", "c"]), 299));
    }
}
