//! Lays the overlays over the configured root and derives from them what nobody should have to say twice.
//!
//! Works on an overlayfs mount over the cached root, so nothing is copied and the cached root stays as it was.

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use formats::os_release::OsRelease;
use fs_err as fs;
use hostconf::{OverlaySet, PortTable, SealedImage, StateFormats};
use tools::{Failure, failure::HintExt as _};

use super::agent::BINARIES;
use super::bytecode;
use super::firewall;
use super::generated::GENERATED;
use super::lint::{self, Expectations, Finding};
use super::package_database;
use super::rootfs::package_paths;
use super::units::{self, UnitSelection};
use crate::assets::{self, Owners, StoredAsset};
use crate::overlay_folders::OverlayFolders;
use crate::programs::ToolsTree;
use crate::root_tree::RootTree;
use crate::sealed_trust_root::{self, SealedTrustRoot};

pub(super) const OWN: &str = "/usr/lib/casemate";
/// The overlay that reads what `[[jail]]` rows become.
const FAIL2BAN: &str = "fail2ban";

/// What is laid over a root.
#[derive(Debug)]
pub struct OverlayInput<'a> {
    /// The overlays of the image, in order.
    pub overlays: &'a OverlaySet,
    /// Where they lie.
    pub overlay_folders: &'a OverlayFolders,
    /// The folder with our own units (`units/`).
    pub units_dir: &'a Path,
    /// What the image says of itself.
    pub image: &'a SealedImage,
    /// The directory with the agent's binaries.
    pub agent: &'a Path,
    /// Public keys that may sign `host.toml`.
    pub operator_keys: &'a [PathBuf],
    /// Whose word about updates counts first.
    pub trust_root: &'a SealedTrustRoot,
    /// Names of the build machine that must not get in.
    pub build_names: &'a [String],
    /// Files that belong to no package, in order.
    pub assets: &'a [StoredAsset],
    /// The tree with the compiler of the firewall.
    pub tools: &'a ToolsTree,
    /// The time that the image carries, in seconds since 1970.
    pub epoch: u64,
    /// A directory for files on the way.
    pub scratch: &'a Path,
}

/// What the finished tree is.
#[derive(Debug)]
pub struct Sealable {
    /// Units that can never start.
    pub masked: Vec<String>,
    /// What the lint found; an image with findings is not sealed.
    pub findings: Vec<Finding>,
}

/// Lays everything over `tree` and returns what the lint says of the result.
pub fn apply(tree: &RootTree, input: &OverlayInput<'_>) -> Result<Sealable> {
    let mut owned: BTreeSet<String> = package_paths(tree)?.into_iter().collect();
    settle_var(tree, input.overlays)?;
    owned.extend(lay_files(tree, input)?);
    let assets = assets::lay(input.assets, tree)?;
    install_own_files(tree, input)?;
    write_identity(tree, input.image)?;
    if input.overlays.has(firewall::OVERLAY) {
        firewall::compile(input.tools, input.overlays, input.overlay_folders, tree, input.epoch, input.scratch)?;
    }
    let masked = units::apply(tree, &unit_selection(input)?)?;
    for link in hostconf::links(input.overlays) {
        // A directory of rendered files takes the place of what the package put there.
        tree.remove(link.path.as_str())?;
        tree.link(link.path.as_str(), link.target.as_str())?;
        owned.extend(with_parents(link.path.as_str()));
    }
    clean(tree)?;
    make_mount_points(tree)?;
    strip_set_id(tree, input.overlays)?;
    package_database::forget_missing(tree)?;
    let expected = expectations(input, owned, assets);
    Ok(Sealable { masked, findings: lint::lint(tree, &expected)? })
}

/// `/var` of the sealed root is empty: each path that packages left there must be declared as state or as dropped.
fn settle_var(tree: &RootTree, overlays: &OverlaySet) -> Result<()> {
    let declared: Vec<String> = overlays
        .iter()
        .flat_map(|overlay| {
            // What is for each site is below the sites' own directory, which a package knows nothing of.
            let state = overlay.def.state.iter().filter_map(|row| row.path.literal()).map(ToString::to_string);
            state.chain(overlay.def.dropped.iter().map(|row| row.path.to_string()))
        })
        .collect();
    let undeclared: Vec<String> = tree
        .walk_below("/var")?
        .into_iter()
        .map(|entry| entry.name)
        .filter(|name| !is_base_of_var(name) && !declared.iter().any(|path| covers(path, name)))
        .collect();
    if !undeclared.is_empty() {
        return Err(Failure::refused(format!("packages leave paths in /var that no overlay declares: {}", undeclared.join(", ")))
            .hint("add `[[state]]` or, with a reason, `[[dropped]]` to the overlay.toml of the overlay that brings the package")
            .into());
    }
    tree.empty_dir("/var")
}

/// A declaration covers its path, all below it, and the directories on the way to it.
fn covers(declared: &str, name: &str) -> bool {
    let below =
        |path: &str, dir: &str| path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    below(name, declared) || below(declared, name)
}

/// The directories that every Debian system has and tmpfiles makes (systemd's own `var.conf`, base-files).
fn is_base_of_var(name: &str) -> bool {
    let made = ["backups", "cache", "lib", "local", "lock", "log", "mail", "opt", "run", "spool", "tmp", "spool/mail"];
    name.strip_prefix("/var/").is_some_and(|rest| made.contains(&rest))
}

fn lay_files(tree: &RootTree, input: &OverlayInput<'_>) -> Result<Vec<String>> {
    let mut laid = Vec::new();
    for overlay in input.overlays {
        let root = input.overlay_folders.of(&overlay.name).join("root");
        if root.is_dir() {
            laid.extend(tree.lay_over(&root, "/")?);
        }
    }
    for folder in fs::read_dir(input.units_dir)? {
        let folder = folder?;
        let name = folder.file_name().to_string_lossy().into_owned();
        if folder.file_type()?.is_dir() && name != "initrd" {
            laid.extend(tree.lay_over(&folder.path(), &format!("/usr/lib/{name}"))?);
        }
    }
    // The directories that hold what was laid belong to the same overlay.
    Ok(laid.iter().flat_map(|name| with_parents(name)).collect())
}

/// A name and the directories on the way to it.
fn with_parents(name: &str) -> Vec<String> {
    let parents = name.match_indices('/').skip(1).map(|(at, _)| name[..at].to_owned());
    parents.chain([name.to_owned()]).collect()
}

fn install_own_files(tree: &RootTree, input: &OverlayInput<'_>) -> Result<()> {
    for binary in BINARIES {
        tree.write(&format!("/usr/bin/{binary}"), &fs::read(input.agent.join(binary))?, 0o755)?;
    }
    tree.write(&format!("{OWN}/image.toml"), input.image.to_toml().as_bytes(), 0o644)?;
    for overlay in input.overlays {
        let folder = input.overlay_folders.of(&overlay.name);
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                let name = format!("{OWN}/overlays/{}/{}", overlay.name, entry.file_name().to_string_lossy());
                tree.write(&name, &fs::read(entry.path())?, 0o644)?;
            }
        }
    }
    for key in input.operator_keys {
        let name = key.file_name().context("an operator key has no file name")?.to_string_lossy().into_owned();
        tree.write(&format!("{OWN}/keys/operator/{name}"), &fs::read(key)?, 0o644)?;
    }
    tree.write(sealed_trust_root::IN_IMAGE, &input.trust_root.document, 0o644)?;
    tree.write(sealed_trust_root::SIGNATURE_IN_IMAGE, &input.trust_root.envelope, 0o644)?;
    tree.write("/usr/lib/tmpfiles.d/casemate-state.conf", hostconf::state_tmpfiles(input.overlays).as_bytes(), 0o644)?;
    let formats = state_formats(tree, input.overlays)?;
    if !formats.is_empty() {
        tree.write(&format!("{OWN}/state-formats.toml"), formats.to_toml().as_bytes(), 0o644)?;
    }
    if input.overlays.has(FAIL2BAN) {
        tree.write("/etc/fail2ban/jail.d/casemate.conf", hostconf::jails(input.overlays).as_bytes(), 0o644)?;
    }
    tree.write("/usr/share/casemate/ports.txt", PortTable::new(input.overlays).to_text().as_bytes(), 0o644)
}

/// By what a later or earlier version knows whether it can read what this one wrote.
fn state_formats(tree: &RootTree, overlays: &OverlaySet) -> Result<StateFormats> {
    let status = tree.read_text(package_database::STATUS)?;
    let versions = package_database::versions(&status)?;
    StateFormats::of(overlays, |package| versions.get(package.as_str()).map(ToString::to_string)).or_refuse(
        "`format` of `[[state]]` names a package of the same overlay, and as many numbers as its version has",
    )
}

/// os-release(5): what boot loaders, updates and inventories know the image by.
fn write_identity(tree: &RootTree, image: &SealedImage) -> Result<()> {
    let mut release: OsRelease = tree.read_text("/usr/lib/os-release")?.parse()?;
    let debian = release.get("VERSION_ID").unwrap_or("13").to_owned();
    release.set("PRETTY_NAME", &format!("casemate {} {} (Debian {debian})", image.name, image.version))?;
    release.set("IMAGE_ID", image.name.as_str())?;
    release.set("IMAGE_VERSION", image.version.as_str())?;
    if image.development {
        release.set("VARIANT", "DEVELOPMENT: for trying out only")?;
        release.set("VARIANT_ID", "development")?;
    }
    tree.write("/usr/lib/os-release", release.to_string().as_bytes(), 0o644)
}

fn unit_selection(input: &OverlayInput<'_>) -> Result<UnitSelection> {
    let mut selection = UnitSelection {
        masked: units::parse_masked(&fs::read_to_string(input.units_dir.join("masked.txt"))?),
        ..UnitSelection::default()
    };
    for overlay in input.overlays {
        selection.services.extend(overlay.def.units.iter().map(ToString::to_string));
        selection.early.extend(overlay.def.early.iter().map(ToString::to_string));
    }
    // The agent starts casemate-services.target when the host is personalised; nothing else does.
    selection.early.insert("casemate-personalise.service".into());
    selection.services.insert("casemate-health.service".into());
    Ok(selection)
}

/// Removes what the build leaves and a host must make or not have.
fn clean(tree: &RootTree) -> Result<()> {
    for dir in ["/tmp", "/run", "/root", "/boot", "/dev", "/proc", "/sys", "/home", "/media", "/mnt", "/opt", "/srv"] {
        tree.empty_dir(dir)?;
    }
    for name in [
        "/etc/apt",
        "/etc/kernel",
        "/etc/cron.d",
        "/etc/cron.daily",
        "/etc/cron.hourly",
        "/etc/cron.weekly",
        "/etc/cron.monthly",
    ] {
        tree.remove(name)?;
    }
    // Links for System V init, which does not run here.
    for level in ["0", "1", "2", "3", "4", "5", "6", "S"] {
        tree.empty_dir(&format!("/etc/rc{level}.d"))?;
    }
    for name in tree.children("/")? {
        if name.starts_with("vmlinuz") || name.starts_with("initrd.img") {
            tree.remove(&format!("/{name}"))?;
        }
    }
    for entry in tree.walk_below("/usr")? {
        if entry.name.ends_with(".dpkg-old") || entry.name.ends_with(".dpkg-dist") {
            tree.remove(&entry.name)?;
        }
    }
    bytecode::settle(tree)?;
    // systemd never lets the clock stand before the time of this file: that of the lock, as of every file here.
    tree.write("/usr/lib/clock-epoch", b"", 0o644)?;
    tree.write("/etc/machine-id", b"", 0o444)
}

/// Takes the set-id bits from every file that no overlay declares: nobody here needs `su`, `mount` or `chsh` to be root.
fn strip_set_id(tree: &RootTree, overlays: &OverlaySet) -> Result<()> {
    let declared: BTreeSet<&str> =
        overlays.iter().flat_map(|overlay| &overlay.def.setuid).map(|row| row.path.as_str()).collect();
    for entry in tree.walk()? {
        let mode = entry.metadata.mode();
        if entry.metadata.is_file() && mode & 0o6000 != 0 && !declared.contains(entry.name.as_str()) {
            fs::set_permissions(&entry.path, std::fs::Permissions::from_mode(mode & 0o1777))?;
        }
    }
    Ok(())
}

/// A read-only root needs every mount point to be there.
fn make_mount_points(tree: &RootTree) -> Result<()> {
    for dir in ["/dev", "/proc", "/sys", "/run", "/var", "/efi", "/mnt", "/srv"] {
        tree.make_dir(dir, 0o755)?;
    }
    tree.make_dir("/root", 0o700)?;
    tree.make_dir("/tmp", 0o1777)
}

fn expectations(input: &OverlayInput<'_>, mut owned: BTreeSet<String>, assets: Owners) -> Expectations {
    owned.extend(["/etc", "/usr"].map(str::to_owned));
    // Merged /usr: dpkg's lists name both forms of a path.
    let canonical: Vec<String> = owned
        .iter()
        .filter(|name| ["/bin/", "/sbin/", "/lib/", "/lib64/"].iter().any(|dir| name.starts_with(dir)))
        .map(|name| format!("/usr{name}"))
        .collect();
    owned.extend(canonical);
    let set_id = input.overlays.iter().flat_map(|overlay| &overlay.def.setuid);
    let set_id = set_id.map(|row| (row.path.to_string(), row.reason.to_string()));
    Expectations {
        set_id: set_id.collect(),
        owned,
        assets,
        generated: GENERATED.iter().map(|(pattern, _)| (*pattern).to_owned()).collect(),
        build_names: input.build_names.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declaration_covers_its_path_what_is_below_and_the_way_to_it() {
        assert!(covers("/var/lib/mysql", "/var/lib/mysql"));
        assert!(covers("/var/lib/mysql", "/var/lib/mysql/ibdata1"));
        assert!(covers("/var/lib/casemate/keys", "/var/lib/casemate"));
        assert!(!covers("/var/lib/mysql", "/var/lib/mysql-files"));
    }
}
