//! Everything that shapes an artifact, known before the first stage runs, and the keys that follow from it.

use std::path::{Path, PathBuf};

use anyhow::Result;
use hostconf::{AccountTables, SealedImage, UpdateRules};

use crate::cache::{Key, KeyBuilder};
use crate::definition::Definition;
use crate::host_document::signature_path;
use crate::keys::KeyRing;
use crate::packages::LockedPackages;
use crate::programs::ToolsTree;
use crate::programs::mkfs_erofs::Compression;
use crate::sealed_trust_root::SealedTrustRoot;
use crate::stages::firewall;
use crate::stages::initrd::InitrdSpec;

/// A finished stage of its own that others build on: where its result is, and its key.
#[derive(Debug)]
pub(super) struct Brought<T> {
    pub(super) result: T,
    pub(super) key: Key,
}

/// What one build reads.
pub(super) struct Inputs {
    pub(super) definition: Definition,
    pub(super) packages: LockedPackages,
    pub(super) tools: Brought<ToolsTree>,
    pub(super) agent: Brought<PathBuf>,
    pub(super) keys: KeyRing,
    pub(super) operator_keys: Vec<PathBuf>,
    pub(super) trust_root: SealedTrustRoot,
    pub(super) image: SealedImage,
    pub(super) accounts: AccountTables,
    pub(super) initrd: InitrdSpec,
    pub(super) build_names: Vec<String>,
    pub(super) compression: Compression,
    /// Whether files belong to an ordinary user's subordinate ids outside of the builder's namespace.
    pub(super) own_ids: bool,
}

impl Inputs {
    /// `<image>_<version>`, the stem of labels and file names.
    pub(super) fn label(&self) -> String {
        format!("{}_{}", self.image.name, self.image.version)
    }

    /// The public keys and certificates that the image holds or was signed for, with names that say nothing of this machine.
    pub(super) fn public_keys(&self) -> Vec<(String, PathBuf)> {
        let operators = self.operator_keys.iter().map(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            (format!("operator/{name}"), path.clone())
        });
        let lists = self.keys.enrolment();
        let lists = lists.into_iter().map(|(variable, path)| (format!("secureboot/{variable}.auth"), path));
        let own = [
            ("release.pub".to_owned(), self.keys.release_public_path()),
            ("secureboot/db.crt".to_owned(), self.keys.secure_boot().1),
        ];
        let trust_root = self
            .trust_root
            .file()
            .into_iter()
            .flat_map(|path| [("trust-root.json", path.to_owned()), ("trust-root.json.sig", signature_path(path))]);
        let trust_root = trust_root.map(|(name, path)| (name.to_owned(), path));
        operators.chain(lists).chain(own).chain(trust_root).collect()
    }

    fn epoch(&self) -> String {
        self.packages.epoch().to_string()
    }

    /// The configured root: packages, accounts, answers.
    pub(super) fn rootfs_key(&self) -> Key {
        let mut key = KeyBuilder::new("rootfs", 6)
            .text("accounts: passwd", &self.accounts.passwd)
            .text("accounts: group", &self.accounts.group)
            .text("accounts: memberships", &format!("{:?}", self.accounts.memberships))
            .text("debconf answers", &self.definition.debconf_answers())
            .text("trim", &self.definition.trim().join("\n"))
            .text("provided", &format!("{:?}", self.packages.root.provided))
            .text("time of the lock", &self.epoch())
            .text("owners on disk", if self.own_ids { "subordinate ids" } else { "as they are" });
        for package in &self.packages.root.packages {
            key = key.text(&format!("package {}", package.name), &package.sha256.to_string());
        }
        key.finish()
    }

    /// The roots for jailed services; `None` where no overlay wants one.
    pub(super) fn skeleton_key(&self) -> Option<Key> {
        let rows = self.definition.skeletons();
        if rows.is_empty() {
            return None;
        }
        let mut key = KeyBuilder::new("skeleton", 1).stage(&self.rootfs_key()).stage(&self.tools.key);
        for row in rows {
            key = key.text(&format!("skeleton {}", row.path), &format!("{:?} {:?}", row.copy, row.mount_points));
        }
        Some(key.finish())
    }

    /// The overlays, our units, the agent, the operator's keys and the trust root over that root.
    pub(super) fn overlay_key(&self) -> Result<Key> {
        let mut key = KeyBuilder::new("overlay", 7)
            .stage(&self.rootfs_key())
            .stage(&self.agent.key)
            .stage_if(self.skeleton_key().as_ref())
            // The compiler of the firewall.
            .stage_if(self.definition.overlays.has(firewall::OVERLAY).then_some(&self.tools.key))
            .text("image", &self.image.to_toml())
            .text("suite", self.definition.image.suite.as_str())
            .text("names of the build machine", &self.build_names.join(" "));
        for asset in &self.definition.image.assets {
            let name = format!("asset {}", asset.name);
            // Source and licence stand in the bill of materials.
            let licence = asset.licence.as_ref().map_or("", |licence| licence.as_str());
            let rule = format!("{} {} {} {} {licence}", asset.unpack, asset.into, asset.strip, asset.source);
            key = key.text(&name, &asset.sha256).text(&name, &rule);
        }
        for overlay in &self.definition.overlays {
            let dir = self.definition.overlay_folders().of(&overlay.name);
            key = key.tree(&format!("overlays/{}", overlay.name), &dir)?;
        }
        key = key.tree_where("units", &self.definition.units_dir(), |path| !path.starts_with("/initrd"))?;
        for path in &self.operator_keys {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            key = key.file(&format!("operator key {name}"), path)?;
        }
        let SealedTrustRoot { document, envelope, .. } = &self.trust_root;
        Ok(key.bytes("trust root", document).bytes("signatures of the trust root", envelope).finish())
    }

    /// The sealed root and its hash tree.
    pub(super) fn seal_key(&self) -> Result<Key> {
        let key = KeyBuilder::new("seal", 2)
            .stage(&self.overlay_key()?)
            .stage(&self.tools.key)
            .text("compression", &format!("{:?}", self.compression))
            .text("time of the lock", &self.epoch());
        Ok(key.finish())
    }

    /// The initrd: of the overlays' result only what `units/initrd.toml` can lead to.
    pub(super) fn initrd_key(&self, upper: &Path) -> Result<Key> {
        let units = self.definition.units_dir();
        let key = KeyBuilder::new("initrd", 3)
            .stage(&self.rootfs_key())
            .text("compression", &format!("{:?}", self.compression))
            .file("units/initrd.toml", &units.join("initrd.toml"))?
            .tree("units/initrd", &units.join("initrd"))?
            .tree_where("overlaid", upper, |path| self.initrd.may_read(path))?
            .text("time of the lock", &self.epoch());
        Ok(key.finish())
    }

    /// The signed kernel image and the content of the EFI system partition.
    pub(super) fn uki_key(&self, seal: &Key, initrd: &Key) -> Result<Key> {
        let key = KeyBuilder::new("uki", 2)
            .stage(seal)
            .stage(initrd)
            .stage(&self.tools.key)
            .text("time of the lock", &self.epoch());
        Ok(self.with_secure_boot(key)?.finish())
    }

    /// The whole output directory, known before anything runs.
    pub(super) fn image_key(&self) -> Result<Key> {
        let units = self.definition.units_dir();
        let size = &self.definition.image.size;
        let UpdateRules { min_from_version, floor, expires_after_days, .. } = &self.definition.image.update;
        let mut key = KeyBuilder::new("image", 4)
            .stage(&self.seal_key()?)
            .file("units/initrd.toml", &units.join("initrd.toml"))?
            .tree("units/initrd", &units.join("initrd"))?
            .text("partitions", &format!("{} {}", size.esp.bytes(), size.slot.bytes()))
            .text("updates", &format!("{min_from_version:?} {floor:?} {expires_after_days:?}"))
            .file("release key", &self.keys.release_public_path())?;
        key = self.with_secure_boot(key)?;
        let example = self.definition.image_dir.join("host.example.toml");
        if example.is_file() {
            key = key.file("host.example.toml", &example)?;
        }
        Ok(key.finish())
    }

    /// What signs EFI programs, and what firmware is offered to enrol.
    fn with_secure_boot(&self, key: KeyBuilder) -> Result<KeyBuilder> {
        let key = key.file("Secure Boot certificate", &self.keys.secure_boot().1)?;
        let lists = self.keys.enrolment();
        lists.iter().try_fold(key, |key, (variable, list)| key.file(&format!("enrolment {variable}"), list))
    }
}
