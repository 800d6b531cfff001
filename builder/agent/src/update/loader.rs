//! The boot loader on the ESP: a newer one comes with a version, and takes the place of the old one once that version is good.
//!
//! It waits under a name that no firmware looks for, was read back before the version became bootable, and is judged once more before the rename. What
//! is not systemd-boot, or says that it is newer, is left alone (as `bootctl update` does). There is no way back from a loader that does not start, so
//! nothing here is done for a version that is on trial, and nothing that goes wrong here makes a version less good.

use std::fs;
use std::io;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;

use bundle::BundleReader;
use bundle::LoaderVersion;
use bundle::Manifest;
use bundle::Part;
use bundle::PartName;
use formats::loader;
use formats::loader::PLACES;
use thiserror::Error;

use super::Esp;
use super::Target;
use super::UpdateError;
use super::read_back::Written;
use super::read_back::read_whole;
use super::running::Running;
use super::state::State;
use super::state::WaitingLoader;
use crate::files::FileError;
use crate::host::Host;
use crate::secure_boot;
use crate::secure_boot::SecureBootError;

/// Largest boot loader in bytes: it is held in memory. Debian's has 126 KiB.
pub(super) const LARGEST: u64 = 4 << 20;
/// Behind the name of one that waits; no firmware takes it.
const WAITS: &str = ".new";

/// A boot loader on the ESP.
#[derive(Debug)]
pub(super) struct Installed {
    /// Its name from the root of the ESP.
    pub(super) name: &'static str,
    /// Its version, or why nobody knows it.
    pub(super) version: Result<LoaderVersion, String>,
    path: PathBuf,
    bytes: Vec<u8>,
}

/// What an update does with the boot loaders on the ESP.
#[derive(Debug)]
pub(super) struct LoaderPlan {
    replaced: Vec<Installed>,
    /// What is left as it is, for people: which one, and why.
    left: Vec<String>,
}

/// Why a boot loader is not exchanged.
#[derive(Debug, Error)]
enum Refusal {
    #[error("`{0}` is not there any more; it comes again with the next version")]
    Gone(PathBuf),
    #[error("it says that it is {found}, and the manifest says {expected}; it comes again with the next version")]
    OtherVersion { expected: LoaderVersion, found: String },
    #[error("Secure Boot would refuse it: {0}; build the next version with the keys that this machine has enrolled")]
    Firmware(#[from] SecureBootError),
    #[error("{0}; it comes again with the next version")]
    Bytes(UpdateError),
    #[error("{0}; it is tried again at the next start")]
    File(#[from] FileError),
}

/// The boot loaders that are there, in the order in which they are exchanged.
pub(super) fn installed(esp: &Esp) -> Vec<Installed> {
    PLACES.iter().filter_map(|name| Installed::read(esp, name)).collect()
}

/// What waits beside the boot loaders and may be removed, with its size in bytes: for the next update, what versions left that were never found good.
pub(super) fn left_over(esp: &Esp) -> Vec<(PathBuf, u64)> {
    let beside = |name: &&str| {
        let (own, waits) = (read(&esp.at(name)), waits_beside(esp.at(name)));
        let size = fs::metadata(&waits).ok()?.len();
        let is_free = match own {
            Ok(bytes) => may_be_removed(&waits, &bytes),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        is_free.then_some((waits, size))
    };
    PLACES.iter().filter_map(beside).collect()
}

/// Reads the part and writes it beside each boot loader that it will replace, flushed.
pub(super) fn write(
    host: Host<'_>,
    target: &Target,
    plan: &LoaderPlan,
    bundle: &mut BundleReader<impl Read>,
    say: &dyn Fn(&str),
) -> Result<(), UpdateError> {
    plan.left.iter().for_each(|line| say(line));
    if plan.replaced.is_empty() {
        bundle.read_part(&mut io::sink())?;
        return Ok(());
    }
    // The manifest's size was held against the largest one before anything was written.
    let mut bytes = Vec::new();
    bundle.read_part(&mut bytes)?;
    for each in &plan.replaced {
        let path = each.waits();
        let file = host.files.create(&path)?;
        host.files.write_at(&path, &file, &bytes, 0)?;
        host.files.flush(&path, &file)?;
    }
    Ok(target.esp.flush(host.files)?)
}

/// Reads back what was written. One that this machine must not have is removed, and the version comes without it.
pub(super) fn check(
    host: Host<'_>,
    target: &Target,
    plan: &LoaderPlan,
    manifest: &Manifest,
    say: &dyn Fn(&str),
) -> Result<Option<WaitingLoader>, UpdateError> {
    let Some(waiting) = plan.waiting(manifest) else { return Ok(None) };
    for each in &plan.replaced {
        let bytes = read_whole(written(&each.waits(), &waiting.part))?;
        if let Err(refusal) = judge(host, &bytes, &waiting.version) {
            say(&format!("leaving the boot loader as it is: {refusal}"));
            discard(host, target)?;
            return Ok(Some(WaitingLoader { problem: Some(refusal.to_string()), ..waiting }));
        }
    }
    Ok(Some(waiting))
}

/// What an update has written already, where a cut came before the note of it.
pub(super) fn found_waiting(esp: &Esp, manifest: &Manifest) -> Option<WaitingLoader> {
    let plan = LoaderPlan::of(esp, manifest);
    plan.waiting(manifest).filter(|_| plan.replaced.iter().any(|each| each.waits().exists()))
}

/// The running version is good: the boot loader that came with it takes the place of the old one. What keeps it from that is said and remembered.
pub(super) fn exchange(host: Host<'_>, target: &Target, running: &Running, say: &dyn Fn(&str)) {
    if let Err(error) = try_exchange(host, target, running, say) {
        say(&format!("whether the boot loader is exchanged is not remembered: {error}"));
    }
}

fn try_exchange(host: Host<'_>, target: &Target, running: &Running, say: &dyn Fn(&str)) -> Result<(), UpdateError> {
    let mut state = State::read(host.paths)?;
    let own = state.applied.as_mut().filter(|applied| applied.root_hash == running.root_hash);
    let Some(applied) = own else { return Ok(()) };
    let Some(waiting) = applied.loader.take() else { return Ok(()) };
    match installed(&target.esp).iter().try_for_each(|old| replace(host, target, old, &waiting)) {
        Ok(()) => say(&format!("the boot loader is {} from the next start on", waiting.version)),
        Err(refusal) => {
            // Of what is gone the first reason is worth more.
            let known = waiting.problem.clone().filter(|_| matches!(refusal, Refusal::Gone(_)));
            let problem = known.unwrap_or_else(|| refusal.to_string());
            say(&format!("the boot loader is not exchanged by {}: {problem}", waiting.version));
            // Only what the disk would not do is tried again.
            if !matches!(refusal, Refusal::File(_)) {
                discard(host, target)?;
            }
            applied.loader = Some(WaitingLoader { problem: Some(problem), ..waiting });
        }
    }
    if state == State::read(host.paths)? { Ok(()) } else { state.write(host) }
}

/// Removes what waits.
fn discard(host: Host<'_>, target: &Target) -> Result<(), FileError> {
    let waiting = left_over(&target.esp);
    if waiting.is_empty() {
        return Ok(());
    }
    target.esp.make_writable()?;
    waiting.iter().try_for_each(|(path, _)| host.files.remove(path))?;
    target.esp.flush(host.files)
}

/// Exchanges one boot loader. After a cut it is done again: what is in place already is not older.
fn replace(host: Host<'_>, target: &Target, old: &Installed, waiting: &WaitingLoader) -> Result<(), Refusal> {
    if !old.is_older_than(&waiting.version) {
        return Ok(());
    }
    let path = old.waits();
    if !path.exists() {
        return Err(Refusal::Gone(path));
    }
    let bytes = read_whole(written(&path, &waiting.part)).map_err(Refusal::Bytes)?;
    judge(host, &bytes, &waiting.version)?;
    target.esp.make_writable()?;
    Ok(host.files.replace_on_fat(&path, &old.path)?)
}

/// Whether it is what the manifest says and firmware will start it: nobody comes back from one that it refuses.
fn judge(host: Host<'_>, bytes: &[u8], expected: &LoaderVersion) -> Result<(), Refusal> {
    let found = loader::version(bytes).map_or_else(|error| error.to_string(), |version| version.to_string());
    if found != expected.as_str() {
        return Err(Refusal::OtherVersion { expected: expected.clone(), found });
    }
    Ok(secure_boot::check(&host.paths.firmware_variables(), bytes)?)
}

fn written<'a>(path: &'a Path, part: &'a Part) -> Written<'a> {
    Written { path, offset: 0, name: PartName::Loader, part }
}

impl LoaderPlan {
    /// Looks at those that are there. A bundle without a boot loader leaves them alone.
    pub(super) fn of(esp: &Esp, manifest: &Manifest) -> Self {
        let mut plan = Self { replaced: Vec::new(), left: Vec::new() };
        let Some(version) = &manifest.loader else { return plan };
        for each in installed(esp) {
            match each.why_left(version) {
                None => plan.replaced.push(each),
                Some(reason) => plan.left.push(format!("leaving the boot loader `{}`: {reason}", each.name)),
            }
        }
        plan
    }

    /// What it takes on the ESP, in bytes.
    pub(super) fn size(&self, manifest: &Manifest) -> u64 {
        let size = manifest.parts.get(&PartName::Loader).map_or(0, |part| part.size);
        self.replaced.iter().map(|_| size).sum()
    }

    fn waiting(&self, manifest: &Manifest) -> Option<WaitingLoader> {
        let (version, part) = (manifest.loader.clone()?, manifest.parts.get(&PartName::Loader)?.clone());
        (!self.replaced.is_empty()).then_some(WaitingLoader { version, part, problem: None })
    }
}

impl Installed {
    fn read(esp: &Esp, name: &'static str) -> Option<Self> {
        let path = esp.at(name);
        let (bytes, version) = match read(&path) {
            Ok(bytes) => {
                let version = loader::version(&bytes).map_err(|error| error.to_string());
                (bytes, version)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => (Vec::new(), Err(error.to_string())),
        };
        Some(Self { name, version, path, bytes })
    }

    fn waits(&self) -> PathBuf {
        waits_beside(self.path.clone())
    }

    fn is_older_than(&self, version: &LoaderVersion) -> bool {
        self.version.as_ref().is_ok_and(|own| loader::compare(own, version).is_lt())
    }

    /// Why it is not replaced by one of this version, if it is not.
    fn why_left(&self, version: &LoaderVersion) -> Option<String> {
        match &self.version {
            Err(reason) => Some(reason.clone()),
            Ok(own) if !self.is_older_than(version) => Some(format!("it is {own}, the version brings {version}")),
            Ok(_) if self.waits().exists() && !may_be_removed(&self.waits(), &self.bytes) => {
                Some(format!("`{}` may be another name of the same file", self.waits().display()))
            }
            Ok(_) => None,
        }
    }
}

/// Whether nothing is lost with a file beside a boot loader with these bytes. A rename on FAT that was cut may leave two names with the same clusters:
/// whoever removes either gives the clusters of both away.
fn may_be_removed(waits: &Path, bytes: &[u8]) -> bool {
    match read(waits) {
        Ok(own) => own != bytes,
        // Larger than any of ours.
        Err(error) => error.kind() == io::ErrorKind::FileTooLarge,
    }
}

/// All of a file that is no larger than a boot loader may be.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}

fn waits_beside(path: PathBuf) -> PathBuf {
    let mut name = path.into_os_string();
    name.push(WAITS);
    name.into()
}
