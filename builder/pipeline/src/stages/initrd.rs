//! The initrd of our own making: what `units/initrd.toml` names, the libraries and modules that follow from it, and nothing else.
//!
//! No shell comes along and no tool that guesses: the list is in the repository and the rest is computed from the root tree.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use formats::cpio::{Entry as CpioEntry, Writer};
use formats::fixedtime::SourceDateEpoch;
use formats::modules::{ModuleIndex, ModuleName, ModuleTexts};
use fs_err as fs;
use serde::Deserialize;
use tools::{ResultExt as _, Runner as _, Sandbox, SandboxRunner, Tool};
use walkdir::WalkDir;

use super::initrd_closure::{Closure, Item, LIBRARY_DIRS};
use crate::programs::mkfs_erofs::Compression;
use crate::root_tree::RootTree;

const UNITS: &str = "/usr/lib/systemd/system";

/// `units/initrd.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitrdSpec {
    /// Version of the format: 1.
    pub schema: u32,
    /// Programs, with their libraries.
    pub binaries: Vec<String>,
    /// Libraries that programs load at run time and that are wanted, by soname.
    pub dlopen: Vec<String>,
    /// systemd units, with their drop-ins and the links between them.
    pub units: Vec<String>,
    /// udev rules.
    pub udev_rules: Vec<String>,
    /// Kernel modules by name; what they depend on comes along.
    pub modules: Vec<String>,
    /// Further files of the root.
    pub files: Vec<String>,
    /// Links that the root does not have: name to target.
    pub links: BTreeMap<String, String>,
    /// Empty directories.
    pub dirs: Directories,
}

impl InitrdSpec {
    /// Whether the file at this path of the root can end up in the initrd, or decide what does.
    pub fn may_read(&self, path: &str) -> bool {
        const RULES: &str = "/usr/lib/udev/rules.d/";
        let named = |names: &[String]| names.iter().any(|name| path == name);
        let unit = path.strip_prefix(UNITS).and_then(|rest| rest.strip_prefix('/')).is_some_and(|rest| {
            let unit = rest.split('/').next().unwrap_or(rest);
            let owner = [".d", ".wants", ".requires"].into_iter().find_map(|suffix| unit.strip_suffix(suffix));
            self.units.iter().any(|name| name == owner.unwrap_or(unit))
        });
        let rules = path.strip_prefix(RULES).is_some_and(|name| self.udev_rules.iter().any(|rules| rules == name));
        let library = LIBRARY_DIRS.iter().any(|dir| {
            let rest = path.strip_prefix(dir).and_then(|rest| rest.strip_prefix('/'));
            rest.is_some_and(|name| !name.contains('/') && name.contains(".so"))
        });
        named(&self.binaries) || named(&self.files) || unit || rules || library || path.starts_with("/usr/lib/modules/")
    }
}

/// The `[dirs]` table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directories {
    /// Their names.
    pub paths: Vec<String>,
}

/// A finished initrd.
#[derive(Debug)]
pub struct Initrd {
    /// The zstd-compressed archive.
    pub bytes: Vec<u8>,
    /// Number of files, links and directories.
    pub entries: usize,
    /// Size before compression, in bytes.
    pub unpacked: u64,
}

/// What an initrd is made from.
#[derive(Debug)]
pub struct InitrdInput<'a> {
    /// The finished root.
    pub tree: &'a RootTree,
    /// The list.
    pub spec: &'a InitrdSpec,
    /// Files that are only in the initrd, laid over last.
    pub own: &'a Path,
    /// The kernel's release.
    pub release: &'a str,
    /// How hard to compress.
    pub compression: Compression,
    /// Time of every entry.
    pub epoch: SourceDateEpoch,
    /// Where modules are laid out while their indexes are made; nothing of it stays.
    pub scratch: &'a Path,
    /// The binary that makes sandboxes where it is not the running one.
    pub helper: Option<&'a Path>,
}

/// Makes the initrd.
pub fn make(input: &InitrdInput<'_>) -> Result<Initrd> {
    let mut closure = Closure::new(input.tree, &input.spec.dlopen);
    let spec = input.spec;
    for dir in &spec.dirs.paths {
        closure.add_dir(dir);
    }
    for file in spec.binaries.iter().chain(&spec.files) {
        closure.add(file)?;
    }
    for rules in &spec.udev_rules {
        closure.add(&format!("/usr/lib/udev/rules.d/{rules}"))?;
    }
    add_units(&mut closure, input.tree, &spec.units)?;
    add_modules(&mut closure, input)?;
    lay_own_files(&mut closure, input.own)?;
    for (link, target) in &spec.links {
        closure.add_link(link, target);
    }
    pack(&closure.into_items(), input)
}

/// Adds the units, their drop-ins, and the `.wants` and `.requires` links between units of the list.
fn add_units(closure: &mut Closure<'_>, tree: &RootTree, units: &[String]) -> Result<()> {
    for unit in units {
        closure.add(&format!("{UNITS}/{unit}"))?;
        for drop_in in tree.children(&format!("{UNITS}/{unit}.d"))? {
            closure.add(&format!("{UNITS}/{unit}.d/{drop_in}"))?;
        }
    }
    for unit in units {
        for wiring in ["wants", "requires"] {
            let dir = format!("{UNITS}/{unit}.{wiring}");
            for child in tree.children(&dir)?.into_iter().filter(|child| units.contains(child)) {
                closure.add_link(&format!("{dir}/{child}"), &format!("../{child}"));
            }
        }
    }
    Ok(())
}

/// Adds the modules uncompressed, so that the archive's own compression works on them, with indexes made for just these.
fn add_modules(closure: &mut Closure<'_>, input: &InitrdInput<'_>) -> Result<()> {
    let dir = format!("/usr/lib/modules/{}", input.release);
    let text = |name: &str| input.tree.read_text(&format!("{dir}/{name}"));
    let (dependencies, soft_dependencies) = (text("modules.dep")?, text("modules.softdep")?);
    let (builtin, aliases) = (text("modules.builtin")?, text("modules.alias")?);
    let index = ModuleIndex::parse(&ModuleTexts {
        dependencies: &dependencies,
        soft_dependencies: &soft_dependencies,
        builtin: &builtin,
        aliases: &aliases,
    })?;
    let names = input.spec.modules.iter().map(|name| name.parse()).collect::<Result<Vec<ModuleName>, _>>()?;
    let scratch = tempfile::tempdir_in(input.scratch)?;
    let base = RootTree::new(scratch.path().to_owned());
    for path in index.resolve(&names)? {
        let bytes = decompress_module(&input.tree.at(&format!("{dir}/{path}")))?;
        let name = path.strip_suffix(".xz").or_else(|| path.strip_suffix(".zst")).unwrap_or(path);
        base.write(&format!("{dir}/{name}"), &bytes, 0o644)?;
    }
    for name in ["modules.order", "modules.builtin", "modules.builtin.modinfo"] {
        base.write(&format!("{dir}/{name}"), &fs::read(input.tree.at(&format!("{dir}/{name}")))?, 0o644)?;
    }
    base.link("/lib", "usr/lib")?;
    depmod(input, scratch.path())?;
    for entry in base.walk_below(&dir)? {
        if entry.metadata.is_file() {
            closure.add_file(&entry.name, fs::read(&entry.path)?, 0o644);
        }
    }
    Ok(())
}

fn depmod(input: &InitrdInput<'_>, base: &Path) -> Result<()> {
    let sandbox = Sandbox::new(input.tree.path()).bind(base, "/run/initrd");
    let mut runner = SandboxRunner::new(sandbox);
    if let Some(helper) = input.helper {
        runner = runner.with_helper(helper);
    }
    runner.run(&Tool::new("/usr/sbin/depmod").args(["-b", "/run/initrd", input.release])).remedied()?;
    Ok(())
}

fn decompress_module(path: &Path) -> Result<Vec<u8>> {
    let packed = fs::read(path)?;
    let mut bytes = Vec::new();
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => {
            liblzma::read::XzDecoder::new(packed.as_slice())
                .read_to_end(&mut bytes)
                .with_context(|| format!("cannot unpack `{}`", path.display()))?;
        }
        Some("zst") => {
            bytes =
                zstd::decode_all(packed.as_slice()).with_context(|| format!("cannot unpack `{}`", path.display()))?;
        }
        _ => bytes = packed,
    }
    Ok(bytes)
}

fn lay_own_files(closure: &mut Closure<'_>, own: &Path) -> Result<()> {
    for entry in WalkDir::new(own).min_depth(1).sort_by_file_name() {
        let entry = entry.with_context(|| format!("cannot walk `{}`", own.display()))?;
        let Some(relative) = entry.path().strip_prefix(own)?.to_str() else {
            bail!("a name is not UTF-8: `{}`", entry.path().display());
        };
        let name = format!("/{relative}");
        let kind = entry.file_type();
        if kind.is_symlink() {
            let target = fs::read_link(entry.path())?;
            closure.add_link(&name, target.to_str().context("a link's target is not UTF-8")?);
        } else if kind.is_file() {
            closure.add_file(&name, fs::read(entry.path())?, 0o644);
        } else if !closure.has(&name) {
            closure.add_dir(&name);
        }
    }
    Ok(())
}

fn pack(items: &BTreeMap<String, Item>, input: &InitrdInput<'_>) -> Result<Initrd> {
    let mut writer = Writer::new(Vec::new(), input.epoch);
    // A map sorts `/a-b` before `/a/c`, the archive wants byte order of the whole name, which is the same order here.
    for (name, item) in items {
        let path = name.trim_start_matches('/').parse()?;
        let entry = match item {
            Item::Directory => CpioEntry::directory(path),
            Item::File { bytes, mode } => CpioEntry::file(path, *mode, bytes),
            Item::Link(target) => CpioEntry::symlink(path, target),
        };
        writer.add(&entry)?;
    }
    let archive = writer.finish()?;
    Ok(Initrd { entries: items.len(), unpacked: archive.len() as u64, bytes: compress(&archive, input.compression)? })
}

/// The level is a matter of boot time as well: the firmware reads every byte of it (docs/decisions/0009-compression.md has figures).
fn compress(archive: &[u8], compression: Compression) -> Result<Vec<u8>> {
    use std::io::Write as _;
    use zstd::zstd_safe::CParameter;
    /// Small enough that several cores have work; the bytes follow from it, and not from the number of cores.
    const JOB: u32 = 8 << 20;
    /// Programs and modules resemble each other over the whole archive. The kernel takes windows up to 2^27.
    const WINDOW_LOG: u32 = 25;
    let level = match compression {
        Compression::Quick => 11,
        Compression::Small => 19,
    };
    let mut encoder = zstd::Encoder::new(Vec::new(), level)?;
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    encoder.multithread(u32::try_from(workers)?)?;
    encoder.set_parameter(CParameter::JobSize(JOB))?;
    encoder.long_distance_matching(true)?;
    encoder.window_log(WINDOW_LOG)?;
    encoder.include_checksum(true)?;
    encoder.write_all(archive)?;
    encoder.finish().context("cannot compress the initrd")
}
