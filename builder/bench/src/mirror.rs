//! A package mirror in a directory: exactly the packages of a lock, for apt and what is built on it. Without network, without signature.

use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use debian::deb::{Deb, verify};
use debian::lock::{Lock, LockedPackage};
use debian::placeholder::{PLACEHOLDER, Provided, status_paragraph};
use debian::rootfs::UnpackInput;
use formats::digest::Sha256Digest;
use fs_err as fs;
use pipeline::programs::{ToolsTree, Workplace};
use tools::Tool;

/// Name of the one suite.
pub const SUITE: &str = "trixie";
/// Where programs see the mirror.
pub const INSIDE: &str = "/run/mirror";

/// A mirror and what is in it.
#[derive(Debug)]
pub struct Mirror {
    /// Its directory.
    pub dir: PathBuf,
    /// The names of all packages.
    pub packages: Vec<String>,
}

impl Mirror {
    /// Makes a mirror in `dir`, which is empty: the packages of the lock, the one that stands for what the builder provides, and
    /// `further` ones, which are not among [`Mirror::packages`].
    pub fn make(
        dir: &Path,
        (lock, inputs): (&Lock, &[UnpackInput]),
        further: Option<(&Lock, &[UnpackInput])>,
        tools: &ToolsTree,
    ) -> Result<Self> {
        let (pool, index) = (dir.join("pool"), dir.join(format!("dists/{SUITE}/main/binary-amd64")));
        fs::create_dir_all(&pool)?;
        fs::create_dir_all(&index)?;
        let mut text = String::new();
        let mut packages = Vec::new();
        for (package, input) in lock.packages.iter().zip(inputs) {
            text.push_str(&add(dir, package, input)?);
            packages.push(package.name.to_string());
        }
        if let Some((lock, inputs)) = further {
            let others = lock.packages.iter().zip(inputs);
            for (package, input) in others.filter(|(package, _)| !packages.contains(&package.name.to_string())) {
                text.push_str(&add(dir, package, input)?);
            }
        }
        if !lock.provided.is_empty() {
            let file = make_placeholder(dir, &lock.provided, tools)?;
            let bytes = fs::read(dir.join(&file))?;
            text.push_str(&paragraph(dir, &file, Sha256Digest::of(&bytes), bytes.len() as u64)?);
            packages.push(PLACEHOLDER.to_owned());
        }
        fs::write(index.join("Packages"), &text)?;
        fs::write(dir.join(format!("dists/{SUITE}/Release")), release(&text))?;
        Ok(Self { dir: dir.to_owned(), packages })
    }
}

/// Copies one package into the pool and returns its paragraph.
fn add(dir: &Path, package: &LockedPackage, input: &UnpackInput) -> Result<String> {
    // As apt names files: the colon of an epoch is quoted.
    let version = package.version.to_string().replace(':', "%3a");
    let file = format!("pool/{}_{version}_{}.deb", package.name, package.architecture);
    // A copy: programs that build images see this directory alone, and links into the store would lead nowhere.
    fs::copy(&input.path, dir.join(&file))?;
    paragraph(dir, &file, input.sha256, input.size)
}

/// The paragraph of the Packages file: the package's own control file and where it is.
fn paragraph(dir: &Path, file: &str, digest: Sha256Digest, size: u64) -> Result<String> {
    let mut opened = File::open(dir.join(file)).with_context(|| format!("cannot open `{file}`"))?;
    verify(file, &mut opened, digest, size)?;
    let control = Deb::open(opened)?.into_control();
    let control = control.text("control")?.trim_end();
    Ok(format!("{control}\nFilename: {file}\nSize: {size}\nSHA256: {digest}\n\n"))
}

fn release(packages: &str) -> String {
    format!(
        "Origin: Debian\nSuite: {SUITE}\nCodename: {SUITE}\nDate: Thu, 01 Jan 1970 00:00:00 UTC\nArchitectures: amd64\n\
         Components: main\nSHA256:\n {} {} main/binary-amd64/Packages\n",
        Sha256Digest::of(packages.as_bytes()),
        packages.len(),
    )
}

/// A real package of what our builder writes into the dpkg database itself.
fn make_placeholder(dir: &Path, provided: &[Provided], tools: &ToolsTree) -> Result<String> {
    let tree = tempfile::tempdir()?;
    fs::create_dir(tree.path().join("DEBIAN"))?;
    let mut control = String::new();
    for line in status_paragraph(provided).lines().filter(|line| !line.is_empty() && !line.starts_with("Status:")) {
        let _ = writeln!(control, "{line}");
    }
    fs::write(tree.path().join("DEBIAN/control"), control)?;
    let file = format!("pool/{PLACEHOLDER}_1_all.deb");
    let build =
        Tool::new("dpkg-deb").args(["--root-owner-group", "--build", "/run/tree"]).arg(format!("/run/out/{file}"));
    tools.run(&build, &[Workplace::Input(tree.path(), "/run/tree"), Workplace::Output(dir, "/run/out")])?;
    Ok(file)
}
