//! Unpacks many packages at once into a root tree and plans the scripts that configure it.
//!
//! [`unpack_all`] makes a tree with a dpkg database in which all packages are `unpacked`; [`Unpacked::run`] then walks the plan and
//! hands each program to the caller. [`unpack_only`] makes a tree of tools: files only. Work goes to threads, largest package
//! first; the result does not depend on their number. No program is started here.

use std::collections::BTreeSet;
use std::fs::File;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use crate::accounts::{FixedGroup, FixedUser, write_accounts};
use crate::claims::{Claims, Contest};
use crate::conffiles::parse_conffiles;
use crate::configure_order::configure_order;
use crate::deb::{ControlMembers, Deb, verify};
use crate::diversions::Diversions;
use crate::dpkg_db::{UnpackedPackage, write_database};
use crate::extract::{Extracted, Extraction, Selection, SpecialFiles, set_directory_metadata};
use crate::package_facts::PackageFacts;
use crate::parallel::for_each_largest_first;
use crate::placeholder::Provided;
use crate::plan::{PlanOptions, ScriptStep, Step, plan_scripts};
use crate::root_dir::{Ownership, RootDir};
use crate::settle;
use crate::tree_path::{MERGED_DIRECTORIES, TreePath};
use crate::trim::TrimRules;
use crate::unpack_error::{PackageError, UnpackError};
use formats::digest::Sha256Digest;

/// While this script answers 101, `invoke-rc.d` and `deb-systemd-invoke` start no service.
const POLICY_FILE: &str = "usr/sbin/policy-rc.d";
const POLICY: &str = "#!/bin/sh\nexit 101\n";

/// A package file to unpack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnpackInput {
    /// Name of the package.
    pub name: String,
    /// Where the file is.
    pub path: PathBuf,
    /// Its SHA-256 from the lock.
    pub sha256: Sha256Digest,
    /// Its size in bytes from the lock.
    pub size: u64,
}

/// How to unpack.
#[derive(Debug, Clone)]
pub struct UnpackOptions {
    /// Number of threads.
    pub jobs: NonZeroUsize,
    /// Whether owners are written.
    pub ownership: Ownership,
    /// Whether device nodes and pipes may be made.
    pub special_files: SpecialFiles,
    /// What is left out.
    pub trim: TrimRules,
    /// Accounts that are there before any script runs.
    pub users: Vec<FixedUser>,
    /// Groups that are there before any script runs.
    pub groups: Vec<FixedGroup>,
    /// What counts as installed because the builder does its work.
    pub provided: Vec<Provided>,
    /// What the plan needs.
    pub plan: PlanOptions,
}

/// A tree in which all packages are unpacked.
#[derive(Debug)]
pub struct Unpacked {
    /// The packages in configure order.
    pub packages: Vec<UnpackedPackage>,
    /// What is to be done now.
    pub steps: Vec<Step>,
    /// What happened.
    pub report: UnpackReport,
    inputs: Vec<UnpackInput>,
    contests: Vec<Contest>,
    root: RootDir,
    options: UnpackOptions,
}

/// Numbers for the build report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UnpackReport {
    /// Packages unpacked.
    pub packages: usize,
    /// Paths that belong to packages, directories counted once per package.
    pub paths: usize,
    /// Entries left out by trim rules.
    pub trimmed: u64,
    /// Bytes of file content written.
    pub bytes: u64,
}

/// Unpacks all packages and writes the dpkg database.
pub fn unpack_all(inputs: &[UnpackInput], root: &Path, options: &UnpackOptions) -> Result<Unpacked, UnpackError> {
    let Filled { root: tree, inputs, packages, contests, report } = fill(inputs, root, options, Conffiles::Pending)?;
    write_database(&tree, &options.plan.architecture, &packages, &options.provided)?;
    if !options.users.is_empty() || !options.groups.is_empty() {
        write_accounts(&tree, &options.users, &options.groups)?;
    }
    tree.write(&fixed_path(POLICY_FILE), 0o755, POLICY.as_bytes())?;
    let steps = plan_scripts(&packages, &options.plan);
    Ok(Unpacked { packages, steps, report, inputs, contests, root: tree, options: options.clone() })
}

/// Unpacks all packages and nothing else: no dpkg database, no scripts, configuration files in place.
pub fn unpack_only(inputs: &[UnpackInput], root: &Path, options: &UnpackOptions) -> Result<UnpackReport, UnpackError> {
    let filled = fill(inputs, root, options, Conffiles::InPlace)?;
    let diversions = Diversions::default();
    let decision = settle::decide(&filled.packages, &filled.contests, &diversions)?;
    extract_again(
        &filled.inputs,
        &filled.packages,
        &filled.root,
        options,
        &decision.again,
        &diversions,
        Conffiles::InPlace,
    )?;
    Ok(filled.report)
}

/// A tree with the files of all packages, contested ones not settled.
struct Filled {
    root: RootDir,
    /// In configure order, as `packages`.
    inputs: Vec<UnpackInput>,
    packages: Vec<UnpackedPackage>,
    contests: Vec<Contest>,
    report: UnpackReport,
}

fn fill(
    inputs: &[UnpackInput],
    root: &Path,
    options: &UnpackOptions,
    conffiles: Conffiles,
) -> Result<Filled, UnpackError> {
    let tree = prepare_root(root, options.ownership)?;
    let (inputs, opened) = open_in_order(inputs, options.jobs)?;
    let (extracted, contests) = extract_all(&inputs, &opened, &tree, options, conffiles)?;
    let report = sum_up(&extracted);
    let packages = opened.into_iter().zip(extracted).map(|((facts, control), done)| UnpackedPackage {
        facts,
        control,
        trimmed: done.trimmed > 0,
        paths: done.paths,
    });
    Ok(Filled { root: tree, inputs, packages: packages.collect(), contests, report })
}

impl Unpacked {
    /// Walks the plan; the callback runs each program in the tree and says if it succeeded.
    pub fn run<E: From<UnpackError>>(
        &mut self,
        mut run_script: impl FnMut(&ScriptStep) -> Result<(), E>,
    ) -> Result<(), E> {
        for step in std::mem::take(&mut self.steps) {
            match step {
                Step::Script(script) => run_script(&script)?,
                Step::SettleFiles => self.settle_files()?,
                Step::RemovePolicy => self.root.remove(&fixed_path(POLICY_FILE)).map_err(UnpackError::from)?,
            }
        }
        Ok(())
    }

    fn settle_files(&mut self) -> Result<(), UnpackError> {
        let diversions = settle::read_diversions(&self.root)?;
        let decision = settle::decide(&self.packages, &self.contests, &diversions)?;
        settle::apply(&self.root, &mut self.packages, &decision)?;
        extract_again(
            &self.inputs,
            &self.packages,
            &self.root,
            &self.options,
            &decision.again,
            &diversions,
            Conffiles::Pending,
        )
    }
}

/// Where configuration files go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Conffiles {
    /// Aside, for `dpkg --configure`.
    Pending,
    /// To their place.
    InPlace,
}

type Opened = (PackageFacts, ControlMembers);

/// The merged `/usr` links come first, so that a path has one meaning whichever package is unpacked before.
fn prepare_root(root: &Path, ownership: Ownership) -> Result<RootDir, UnpackError> {
    let tree = RootDir::open(root, ownership)?;
    for name in MERGED_DIRECTORIES {
        tree.make_directories(&format!("usr/{name}"))?;
        tree.make_symlink(&fixed_path(name), &format!("usr/{name}"))?;
    }
    Ok(tree)
}

/// Verifies all files, reads their control members and puts both lists in configure order.
fn open_in_order(inputs: &[UnpackInput], jobs: NonZeroUsize) -> Result<(Vec<UnpackInput>, Vec<Opened>), UnpackError> {
    let sizes: Vec<u64> = inputs.iter().map(|input| input.size).collect();
    let opened = for_each_largest_first(&sizes, jobs, |at| with_input(inputs, at, read_control))?;
    let mut names = BTreeSet::new();
    if let Some(twice) = inputs.iter().find(|input| !names.insert(&input.name)) {
        return Err(UnpackError::Twice(twice.name.clone()));
    }
    let facts: Vec<PackageFacts> = opened.iter().map(|(facts, _)| facts.clone()).collect();
    let mut slots: Vec<Option<(UnpackInput, Opened)>> = inputs.iter().cloned().zip(opened).map(Some).collect();
    let sorted = configure_order(&facts).into_iter().filter_map(|at| slots.get_mut(at)?.take());
    Ok(sorted.unzip())
}

fn read_control(input: &UnpackInput) -> Result<Opened, PackageError> {
    let control = open_verified(input)?.into_control();
    let facts: PackageFacts = control.text("control")?.parse()?;
    if facts.name.as_str() != input.name {
        return Err(PackageError::Name(facts.name.as_str().to_owned()));
    }
    Ok((facts, control))
}

fn open_verified(input: &UnpackInput) -> Result<Deb<File>, PackageError> {
    let mut file = File::open(&input.path).map_err(PackageError::Open)?;
    verify(&input.name, &mut file, input.sha256, input.size)?;
    Ok(Deb::open(file)?)
}

fn extract_all(
    inputs: &[UnpackInput],
    opened: &[Opened],
    tree: &RootDir,
    options: &UnpackOptions,
    conffiles: Conffiles,
) -> Result<(Vec<Extracted>, Vec<Contest>), UnpackError> {
    let claims = Claims::new(inputs.iter().map(|input| input.name.clone()).collect());
    let sizes: Vec<u64> = inputs.iter().map(|input| input.size).collect();
    let diversions = Diversions::default();
    let extracted = for_each_largest_first(&sizes, options.jobs, |at| {
        with_input(inputs, at, |input| {
            let control = opened.get(at).map(|(_, control)| control);
            extract_one(input, control, tree, options, conffiles, Selection::Unclaimed(&claims, at), &diversions)
        })
    })?;
    let outcome = claims.into_outcome();
    set_directory_metadata(tree, &outcome.directories)?;
    Ok((extracted, outcome.contests))
}

fn extract_again(
    inputs: &[UnpackInput],
    packages: &[UnpackedPackage],
    tree: &RootDir,
    options: &UnpackOptions,
    again: &settle::Again,
    diversions: &Diversions,
    conffiles: Conffiles,
) -> Result<(), UnpackError> {
    for (at, paths) in again {
        let control = packages.get(*at).map(|package| &package.control);
        with_input(inputs, *at, |input| {
            extract_one(input, control, tree, options, conffiles, Selection::Only(paths), diversions)
        })?;
    }
    Ok(())
}

fn extract_one(
    input: &UnpackInput,
    control: Option<&ControlMembers>,
    root: &RootDir,
    options: &UnpackOptions,
    conffiles: Conffiles,
    selection: Selection<'_>,
    diversions: &Diversions,
) -> Result<Extracted, PackageError> {
    let pending: BTreeSet<TreePath> = match (conffiles, control) {
        (Conffiles::Pending, Some(control)) => {
            parse_conffiles(control.text("conffiles")?)?.into_iter().map(|conffile| conffile.path).collect()
        }
        _ => BTreeSet::new(),
    };
    let mut deb = open_verified(input)?;
    let job = Extraction {
        root,
        package: &input.name,
        selection,
        conffiles: &pending,
        diversions,
        trim: &options.trim,
        special_files: options.special_files,
    };
    Ok(job.run(&mut deb.data()?)?)
}

fn with_input<T>(
    inputs: &[UnpackInput],
    at: usize,
    work: impl FnOnce(&UnpackInput) -> Result<T, PackageError>,
) -> Result<T, UnpackError> {
    let input = inputs.get(at).ok_or_else(|| UnpackError::Twice(String::new()))?;
    work(input).map_err(|source| UnpackError::Package {
        package: input.name.clone(),
        path: input.path.clone(),
        source: Box::new(source),
    })
}

fn sum_up(extracted: &[Extracted]) -> UnpackReport {
    UnpackReport {
        packages: extracted.len(),
        paths: extracted.iter().map(|done| done.paths.len()).sum(),
        trimmed: extracted.iter().map(|done| done.trimmed).sum(),
        bytes: extracted.iter().map(|done| done.bytes).sum(),
    }
}

/// Paths of this file are constants of the right form.
fn fixed_path(text: &str) -> TreePath {
    text.parse().unwrap_or_default()
}
