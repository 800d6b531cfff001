//! What all pieces of work share: where things are. Written to a file that the processes of the benchmark read.

use std::path::{Path, PathBuf};

use anyhow::Result;
use debian::lock::Lock;
use debian::rootfs::UnpackInput;
use debian::store::Store;
use fs_err as fs;
use pipeline::definition::Definition;
use pipeline::programs::ToolsTree;
use serde::{Deserialize, Serialize};

use crate::mirror::Mirror;

/// Paths of one benchmark.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// The directory that holds everything, removed at the end.
    pub dir: PathBuf,
    /// The image, in a copy of the repository.
    pub image: PathBuf,
    /// The same image with one package more.
    pub image_with_more: PathBuf,
    /// The tree with Debian's builders.
    pub tools: PathBuf,
    /// The `casemate` that is measured.
    pub casemate: PathBuf,
    /// Names of the packages that mkosi and mmdebstrap are asked for.
    pub packages: Vec<String>,
}

impl Plan {
    /// A path in the directory.
    pub fn at(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The file with the plan itself.
    pub fn file(&self) -> PathBuf {
        self.at("plan.json")
    }

    /// Reads a plan.
    pub fn read(file: &Path) -> Result<Self> {
        Ok(serde_json::from_slice(&fs::read(file)?)?)
    }

    /// Writes it where [`Plan::file`] says.
    pub fn write(&self) -> Result<()> {
        Ok(fs::write(self.file(), serde_json::to_vec_pretty(self)?)?)
    }

    /// The image's definition.
    pub fn definition(&self) -> Result<Definition> {
        Definition::load(&self.image)
    }

    /// The lock of the image.
    pub fn lock(&self) -> Result<Lock> {
        Ok(Lock::parse(&fs::read_to_string(self.at("lock.toml"))?)?)
    }

    /// The packages of the lock as files.
    pub fn inputs(&self, lock: &Lock) -> Result<Vec<UnpackInput>> {
        let store = Store::open(&self.at("cache/packages"))?;
        let input = |package: &debian::lock::LockedPackage| UnpackInput {
            name: package.name.to_string(),
            path: store.path(&package.sha256),
            sha256: package.sha256,
            size: package.size,
        };
        Ok(lock.packages.iter().map(input).collect())
    }

    /// The mirror.
    pub fn mirror(&self) -> Mirror {
        Mirror { dir: self.at("mirror"), packages: self.packages.clone() }
    }

    /// The tree with Debian's builders.
    pub fn tools(&self) -> ToolsTree {
        ToolsTree::new(self.tools.clone(), None)
    }
}
