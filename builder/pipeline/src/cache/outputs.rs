//! What the cache knows of output directories: made from which keys, and what they looked like then.
//!
//! A build whose every key is the one of the last build, and whose output nobody touched, has nothing to do. The same record says
//! why a stage ran: its inputs are compared with those of the last build of the image.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use fs_err as fs;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tools::ResultExt as _;

use super::{Key, stamp};

/// One finished build.
#[derive(Debug, Serialize, Deserialize)]
pub struct OutputRecord {
    /// The keys of all stages, by stage.
    pub keys: BTreeMap<String, Key>,
    stamp: String,
}

/// The records, one file per output directory.
#[derive(Debug)]
pub struct Outputs {
    dir: PathBuf,
}

impl Outputs {
    /// Records below `dir`, made when first needed.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The record of the last build that went to `output`.
    pub fn last(&self, output: &Path) -> Option<OutputRecord> {
        serde_json::from_slice(&fs::read(self.file(output).ok()?).ok()?).ok()
    }

    /// Writes down what was built, after it got its final name.
    pub fn remember(&self, output: &Path, keys: BTreeMap<String, Key>) -> Result<()> {
        fs::create_dir_all(&self.dir)?;
        let record = OutputRecord { keys, stamp: stamp::of_dir(output, "")? };
        tools::write_atomic(&self.file(output)?, &serde_json::to_vec_pretty(&record)?, 0o644).remedied()
    }

    fn file(&self, output: &Path) -> Result<PathBuf> {
        let name = std::path::absolute(output)?;
        Ok(self.dir.join(format!("{}.json", &hex::encode(Sha256::digest(name.as_os_str().as_encoded_bytes()))[..24])))
    }
}

impl OutputRecord {
    /// Whether `output` still is what was written down.
    pub fn still_there(&self, output: &Path) -> bool {
        output.is_dir() && stamp::of_dir(output, "").is_ok_and(|stamp| stamp == self.stamp)
    }
}

#[cfg(test)]
mod tests {
    use super::super::KeyBuilder;
    use super::*;

    #[test]
    fn an_output_is_known_again_until_somebody_writes_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let (output, outputs) = (dir.path().join("out"), Outputs::new(dir.path().join("outputs")));
        fs::create_dir(&output).unwrap();
        fs::write(output.join("disk.raw"), "x").unwrap();
        assert!(outputs.last(&output).is_none());
        let key = KeyBuilder::new("disk", 1).finish();
        outputs.remember(&output, BTreeMap::from([("disk".to_owned(), key.clone())])).unwrap();
        let record = outputs.last(&output).unwrap();
        assert!(record.still_there(&output));
        assert_eq!(record.keys["disk"], key);
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(output.join("disk.raw"), "y").unwrap();
        assert!(!outputs.last(&output).unwrap().still_there(&output));
    }
}
