//! The keys of an image: who may start it (Secure Boot), who vouches for it (release), who may configure it (operator).
//!
//! `casemate keys init` makes a set; a build without one uses development keys, which mark everything they sign.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use bundle::{PublicKey, SigningKey, TrustedKeys};
use formats::guid::Guid;
use fs_err as fs;
use tools::Failure;
use tools::failure::HintExt as _;

use crate::programs::sbsign::KeyPair;
use crate::programs::{ToolsTree, efi_keys};

/// The file that marks a directory of keys as development keys.
const DEVELOPMENT_MARK: &str = "DEVELOPMENT";

/// A directory with all keys.
#[derive(Debug, Clone)]
pub struct KeyRing {
    dir: PathBuf,
    development: bool,
}

impl KeyRing {
    /// Opens an existing set; names all that is missing.
    pub fn open(dir: &Path) -> Result<Self> {
        let needed = ["release.key", "release.pub", "operator.pub", "secureboot/db.key", "secureboot/db.crt"];
        let missing: Vec<&str> = needed.into_iter().filter(|name| !dir.join(name).is_file()).collect();
        if !missing.is_empty() {
            return Err(Failure::refused(format!("`{}` lacks {}", dir.display(), missing.join(", ")))
                .hint(format!("make a set of keys with `casemate keys init {}`", dir.display()))
                .into());
        }
        Ok(Self { dir: dir.to_owned(), development: dir.join(DEVELOPMENT_MARK).exists() })
    }

    /// Opens the development keys of this cache, making them the first time.
    pub fn development(cache: &Path, tools: &ToolsTree) -> Result<Self> {
        let dir = cache.join("development-keys");
        if !dir.is_dir() {
            let making = tempfile::Builder::new().prefix(".development-keys-").tempdir_in(cache)?;
            fill(making.path(), tools, "casemate DEVELOPMENT")?;
            fs::write(
                making.path().join(DEVELOPMENT_MARK),
                "Keys for trying things out. Never use them for a real host.\n",
            )?;
            fs::rename(making.keep(), &dir)?;
        }
        Self::open(&dir)
    }

    /// Makes a new set in `dir`, which must not exist or be empty.
    pub fn init(dir: &Path, tools: &ToolsTree) -> Result<Self> {
        if dir.is_dir() && fs::read_dir(dir)?.next().is_some() {
            return Err(Failure::refused(format!("`{}` is not empty", dir.display()))
                .hint("keys are never overwritten: choose another directory, or move the old keys away")
                .into());
        }
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent)?;
        let making = tempfile::Builder::new().prefix(".keys-").tempdir_in(parent)?;
        fill(making.path(), tools, "casemate")?;
        if dir.is_dir() {
            fs::remove_dir(dir)?;
        }
        fs::rename(making.keep(), dir)?;
        Self::open(dir)
    }

    /// Whether these are development keys.
    pub fn is_development(&self) -> bool {
        self.development
    }

    /// Where the keys are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The key that signs manifests and test reports.
    pub fn release(&self) -> Result<SigningKey> {
        load_signing_key(&self.dir.join("release.key"))
    }

    /// The public half of the release key.
    pub fn release_public(&self) -> Result<TrustedKeys> {
        Ok(TrustedKeys::new([load_public_key(&self.release_public_path())?]))
    }

    /// The file of the release key's public half.
    pub fn release_public_path(&self) -> PathBuf {
        self.dir.join("release.pub")
    }

    /// The public half of the operator key.
    pub fn operator_public(&self) -> PathBuf {
        self.dir.join("operator.pub")
    }

    /// The key that signs `host.toml`; it may live elsewhere.
    pub fn operator(&self) -> Result<SigningKey> {
        load_signing_key(&self.dir.join("operator.key"))
    }

    /// What signs EFI programs, as (key, certificate) paths.
    pub fn secure_boot(&self) -> (PathBuf, PathBuf) {
        (self.dir.join("secureboot/db.key"), self.dir.join("secureboot/db.crt"))
    }

    /// The lists that firmware enrols, as (variable, path) pairs; those that are there.
    pub fn enrolment(&self) -> Vec<(&'static str, PathBuf)> {
        ["PK", "KEK", "db"]
            .map(|name| (name, self.dir.join(format!("secureboot/{name}.auth"))))
            .into_iter()
            .filter(|(_, path)| path.is_file())
            .collect()
    }
}

/// Makes one ed25519 key pair, `STEM.key` and `STEM.pub`, e.g. a root key on a machine without a network. Needs no
/// tools tree.
pub fn make_pair(stem: &Path, comment: &str) -> Result<PublicKey> {
    let [private, public] = ["key", "pub"].map(|ending| {
        let mut name = stem.as_os_str().to_owned();
        name.push(format!(".{ending}"));
        PathBuf::from(name)
    });
    if let Some(there) = [&private, &public].into_iter().find(|path| path.exists()) {
        return Err(Failure::refused(format!("`{}` is there already", there.display()))
            .hint("keys are never overwritten: choose another name, or move the old key away")
            .into());
    }
    let key = SigningKey::from_random(&random_bytes()?, comment)
        .with_context(|| format!("cannot call a key `{comment}`"))
        .or_refuse("write plain text for `--comment`, e.g. a name and a year")?;
    write_private(&private, key.to_pem()?.as_bytes())?;
    fs::write(&public, format!("{}\n", key.public()))?;
    Ok(key.public().clone())
}

/// Reads a private ed25519 key.
pub fn load_signing_key(path: &Path) -> Result<SigningKey> {
    let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("key").to_owned();
    SigningKey::from_pem(&fs::read_to_string(path)?, &name).with_context(|| format!("cannot use `{}`", path.display()))
}

/// Reads a public ed25519 key.
pub fn load_public_key(path: &Path) -> Result<PublicKey> {
    fs::read_to_string(path)?.trim().parse().with_context(|| format!("cannot use `{}`", path.display()))
}

/// The Secure Boot pair as `sbsign` wants it.
pub fn pair((key, certificate): &(PathBuf, PathBuf)) -> KeyPair<'_> {
    KeyPair { key, certificate }
}

fn fill(dir: &Path, tools: &ToolsTree, subject: &str) -> Result<()> {
    fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))?;
    for name in ["release", "operator"] {
        let key = SigningKey::from_random(&random_bytes()?, &format!("{subject} {name}"))?;
        write_private(&dir.join(format!("{name}.key")), key.to_pem()?.as_bytes())?;
        fs::write(dir.join(format!("{name}.pub")), format!("{}\n", key.public()))?;
    }
    let secure_boot = dir.join("secureboot");
    fs::create_dir(&secure_boot)?;
    let owner = Guid::derived_from(&hex::encode(random_bytes()?)).to_string();
    efi_keys::make(tools, &secure_boot, &owner, subject)?;
    for name in ["PK.key", "KEK.key", "db.key"] {
        fs::set_permissions(secure_boot.join(name), std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    use fs_err::os::unix::fs::OpenOptionsExt as _;
    use std::io::Write as _;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    Ok(file.write_all(bytes)?)
}

fn random_bytes() -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_signs_and_is_read_only_by_its_owner_and_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let stem = dir.path().join("anna.2026");
        let public = make_pair(&stem, "anna 2026").unwrap();
        let (private, line) = (dir.path().join("anna.2026.key"), dir.path().join("anna.2026.pub"));
        assert_eq!(load_signing_key(&private).unwrap().public().id(), public.id());
        assert_eq!((load_public_key(&line).unwrap(), public.comment()), (public.clone(), "anna 2026"));
        assert_eq!(fs::metadata(&private).unwrap().permissions().mode() & 0o777, 0o600);
        for file in [&private, &line] {
            let text = tools::failure::render(&make_pair(&stem, "").unwrap_err());
            assert!(text.contains("is there already") && text.contains("never overwritten"), "{text}");
            fs::remove_file(file).unwrap();
        }
        assert!(make_pair(&dir.path().join("x"), "a\nb").is_err());
    }
}
