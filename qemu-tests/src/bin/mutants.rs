//! Takes features out, one at a time, and sees whether the scenario that claims each of them fails for that reason.
//!
//! Works on a copy of the repository in `target/mutants/`, with a target directory of its own, so that no mutant is ever mistaken for the
//! real command. `mutants.toml` lists what is taken out. A scenario that still holds proves nothing: its mutant "survives".

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use serde::Deserialize;

/// What a build and its scenarios read.
const SOURCES: [&str; 7] = ["Cargo.toml", "Cargo.lock", "builder", "images", "overlays", "qemu-tests", "units"];
/// The end of what a failed scenario said, in bytes.
const SHOWN: usize = 4000;

/// The list of features.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    mutant: Vec<Mutant>,
}

/// A feature that is taken out.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutant {
    name: String,
    takes_out: String,
    scenario: String,
    fails: Reasons,
    edit: Vec<Edit>,
}

/// What a scenario says; several where one claims several features, which are then taken out together.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Reasons {
    One(String),
    All(Vec<String>),
}

impl Reasons {
    /// The first that was not said.
    fn missing(&self, said: &str) -> Option<&str> {
        let all = match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::All(all) => all,
        };
        all.iter().map(String::as_str).find(|reason| !said.contains(reason))
    }
}

/// One text for another.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    file: PathBuf,
    find: String,
    replace: String,
}

/// What became of a mutant.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Caught,
    Survived,
    /// The scenario fails, and does not say this reason.
    Elsewhere {
        missing: String,
        said: String,
    },
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => tools::report(&error),
    }
}

fn run() -> Result<bool> {
    let repo = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the crate has no parent folder")?;
    let list: List = toml::from_str(&fs::read_to_string(repo.join("qemu-tests/mutants.toml"))?)?;
    let filter = std::env::args().nth(1).unwrap_or_default();
    let chosen: Vec<Mutant> = list.mutant.into_iter().filter(|mutant| mutant.name.contains(&filter)).collect();
    ensure!(!chosen.is_empty(), "no mutant's name contains `{filter}`");
    let place = repo.join("target/mutants");
    // Once: the repository may change while the mutants are tried.
    fs::create_dir_all(place.join("repo"))?;
    SOURCES.iter().try_for_each(|name| lay(&repo.join(name), &place.join("repo").join(name)))?;
    let mut all_caught = true;
    for mutant in &chosen {
        let started = Instant::now();
        let fate = mutant.try_in(&place)?;
        let seconds = started.elapsed().as_secs();
        let verdict = match &fate {
            Fate::Caught => "caught".to_owned(),
            Fate::Survived => "SURVIVED: the scenario holds without the feature".to_owned(),
            Fate::Elsewhere { missing, said } => format!("FAILED ELSEWHERE: `{missing}` is not in\n{said}"),
        };
        tell(&format!("{}: {verdict} ({seconds} s; {})", mutant.name, mutant.takes_out));
        all_caught &= fate == Fate::Caught;
    }
    Ok(all_caught)
}

impl Mutant {
    fn try_in(&self, place: &Path) -> Result<Fate> {
        let copy = place.join("repo");
        let originals = self.edit.iter().map(|edit| edit.apply(&copy)).collect::<Result<Vec<_>>>();
        let originals = originals.with_context(|| format!("mutant `{}`", self.name))?;
        let fate = self.fate_in(place, &copy);
        for (path, text) in originals.iter().rev() {
            fs::write(path, text)?;
        }
        fate
    }

    fn fate_in(&self, place: &Path, copy: &Path) -> Result<Fate> {
        let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .current_dir(copy)
            .env("CARGO_TARGET_DIR", place.join("target"))
            // Also those that take too long for every day.
            .env("CASEMATE_FULL", "1")
            .args(["test", "--package", "qemu-tests", "--test", "scenarios", "--", &self.scenario])
            .stdin(Stdio::null())
            .output()
            .context("cannot run cargo")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        ensure!(said.contains("running 1 test"), "no scenario, or several, match `{}`:\n{said}", self.scenario);
        Ok(judge(&said, output.status.success(), &self.fails))
    }
}

fn judge(said: &str, held: bool, fails: &Reasons) -> Fate {
    if held {
        return Fate::Survived;
    }
    let Some(missing) = fails.missing(said) else { return Fate::Caught };
    let start = (0..=said.len().saturating_sub(SHOWN)).rev().find(|at| said.is_char_boundary(*at)).unwrap_or(0);
    Fate::Elsewhere { missing: missing.to_owned(), said: said.get(start..).unwrap_or_default().to_owned() }
}

impl Edit {
    /// Returns the file and its text as it was.
    fn apply(&self, copy: &Path) -> Result<(PathBuf, String)> {
        let path = copy.join(&self.file);
        let text = fs::read_to_string(&path)?;
        let places = text.matches(&self.find).count();
        ensure!(places == 1, "`{}` stands {places} times in `{}`, expected once", self.find, self.file.display());
        fs::write(&path, text.replacen(&self.find, &self.replace, 1))?;
        Ok((path, text))
    }
}

/// Makes `target` what `source` is; a file that is the same already keeps its time, or cargo would compile everything anew.
fn lay(source: &Path, target: &Path) -> Result<()> {
    let metadata = source.symlink_metadata()?;
    if metadata.is_symlink() {
        let _ = fs::remove_file(target);
        return Ok(std::os::unix::fs::symlink(fs::read_link(source)?, target)?);
    }
    if !metadata.is_dir() {
        let bytes = fs::read(source)?;
        if fs::read(target).is_ok_and(|there| there == bytes) {
            return Ok(());
        }
        fs::write(target, bytes)?;
        return Ok(fs::set_permissions(target, metadata.permissions())?);
    }
    fs::create_dir_all(target)?;
    for entry in fs::read_dir(target)? {
        let entry = entry?;
        if source.join(entry.file_name()).symlink_metadata().is_err() {
            if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path())? } else { fs::remove_file(entry.path())? }
        }
    }
    for entry in fs::read_dir(source)? {
        let entry = entry?;
        lay(&entry.path(), &target.join(entry.file_name()))?;
    }
    Ok(())
}

fn tell(line: &str) {
    use std::io::Write as _;
    // A closed standard error is no reason to stop.
    let _ = writeln!(std::io::stderr(), "mutants: {line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_failure_for_the_named_reason_counts() {
        let ports = Reasons::One("ports are open".into());
        assert_eq!(judge("all is well", true, &ports), Fate::Survived);
        assert_eq!(judge("ports are open: 22", false, &ports), Fate::Caught);
        assert_eq!(
            judge("no disk", false, &ports),
            Fate::Elsewhere { missing: "ports are open".into(), said: "no disk".into() }
        );
        let both = Reasons::All(vec!["ports are open".into(), "no disk".into()]);
        assert!(
            matches!(judge("no disk", false, &both), Fate::Elsewhere { missing, .. } if missing == "ports are open")
        );
        assert_eq!(judge("no disk, ports are open", false, &both), Fate::Caught);
    }

    fn list(repo: &Path) -> List {
        toml::from_str(&fs::read_to_string(repo.join("qemu-tests/mutants.toml")).unwrap()).unwrap()
    }

    /// A list that no longer fits the sources would let a claim go untried.
    #[test]
    fn every_edit_fits_the_sources() {
        let repo = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let list = list(repo);
        for edit in list.mutant.iter().flat_map(|mutant| &mutant.edit) {
            let text = fs::read_to_string(repo.join(&edit.file)).unwrap();
            assert_eq!(text.matches(&edit.find).count(), 1, "`{}` in `{}`", edit.find, edit.file.display());
        }
    }

    #[test]
    fn every_mutant_names_one_scenario() {
        let claims: Vec<&str> = qemu_tests::claims().collect();
        for mutant in list(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()).mutant {
            let named: Vec<_> = claims.iter().filter(|claim| claim.contains(&mutant.scenario)).collect();
            assert_eq!(named.len(), 1, "`{}` of `{}` names {named:?}", mutant.scenario, mutant.name);
        }
    }
}
