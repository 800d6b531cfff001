//! The root tree: packages unpacked by us in parallel, configured by Debian's own scripts in the sandbox.
//!
//! Fixed accounts are there before the first script runs, no service starts, no initramfs is made. The dpkg database ends up in
//! `/usr/lib/sysimage/dpkg`, because `/var` is state and the database belongs to the sealed root.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use debian::accounts::{FixedGroup, FixedUser};
use debian::extract::SpecialFiles;
use debian::placeholder::Provided;
use debian::plan::{PlanOptions, ScriptStep};
use debian::root_dir::Ownership;
use debian::rootfs::{UnpackInput, UnpackOptions, UnpackReport, unpack_all};
use debian::tree_path::TreePath;
use debian::trim::TrimRules;
use debian::unpack_error::UnpackError;
use fs_err as fs;
use hostconf::AccountTables;
use tools::{ResultExt as _, Runner as _, Sandbox, SandboxRunner, Tool};

use crate::root_tree::RootTree;

const DPKG_DATABASE: &str = "/usr/lib/sysimage/dpkg";
/// Where scripts find [`tamed_programs`]; nothing of it is in the root.
const TAMED: &str = "/run/casemate-tamed";

/// What a root is made from.
#[derive(Debug)]
pub struct RootfsInput<'a> {
    /// The verified packages.
    pub packages: Vec<UnpackInput>,
    /// Names that are satisfied without a package.
    pub provided: Vec<Provided>,
    /// Accounts of all overlays and of the site pool.
    pub accounts: &'a AccountTables,
    /// debconf answers, in the form of debconf-set-selections(1).
    pub debconf_answers: String,
    /// Globs of paths that are never unpacked.
    pub trim: Vec<String>,
    /// Time for scripts that stamp what they make, seconds since 1970.
    pub epoch: u64,
    /// The binary that makes sandboxes where it is not the running one.
    pub helper: Option<&'a Path>,
}

/// Unpacks and configures everything in `root`, an empty directory. `step` hears the name of each package being configured.
pub fn make(input: &RootfsInput<'_>, root: &Path, step: &dyn Fn(&str)) -> Result<UnpackReport> {
    let options = unpack_options(input)?;
    let mut unpacked = unpack_all(&input.packages, root, &options)?;
    let log = root.with_extension("log");
    let tamed = tamed_programs(root)?;
    let runner = script_runner(root, &log, input.helper, Some(&tamed))?;
    let modules = script_runner(root, &root.with_extension("modules.log"), input.helper, None)?;
    let tree = RootTree::new(root.to_owned());
    // Scripts run one after the other: the index of the kernel's modules is made beside them.
    let (configured, indexed) = std::thread::scope(|scope| {
        let indexing = scope.spawn(|| index_modules(&modules, &tree));
        let configured = unpacked.run(|script| run_script(&runner, script, step));
        (configured, indexing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    configured.map_err(|error| match error {
        ScriptError::Unpack(error) => anyhow::Error::from(error),
        ScriptError::Script(error) => error.context(format!("the scripts' output is in `{}`", log.display())),
    })?;
    indexed?;
    fs::remove_dir_all(&tamed)?;
    check_configured(&tree)?;
    trim_again(&tree, &options.trim)?;
    add_members(&tree, input.accounts)?;
    fix_shadow_dates(&tree, input.epoch)?;
    move_database(&tree)?;
    Ok(unpacked.report)
}

fn unpack_options(input: &RootfsInput<'_>) -> Result<UnpackOptions> {
    Ok(UnpackOptions {
        jobs: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        ownership: Ownership::Numeric,
        special_files: SpecialFiles::Refuse,
        trim: TrimRules::parse(input.trim.iter().map(String::as_str))?,
        users: fixed_users(input.accounts)?,
        groups: fixed_groups(input.accounts)?,
        provided: input.provided.clone(),
        plan: PlanOptions {
            architecture: "amd64".into(),
            debconf_answers: input.debconf_answers.clone(),
            env: script_environment(input.epoch),
        },
    })
}

/// What makes scripts give the same bytes each time: the time that stands for now, and the order in which Python walks a set.
fn script_environment(epoch: u64) -> BTreeMap<String, String> {
    let variables = [("SOURCE_DATE_EPOCH", epoch.to_string()), ("PYTHONHASHSEED", "0".to_owned())];
    variables.map(|(name, value)| (name.to_owned(), value)).into()
}

enum ScriptError {
    Unpack(UnpackError),
    Script(anyhow::Error),
}

impl From<UnpackError> for ScriptError {
    fn from(error: UnpackError) -> Self {
        Self::Unpack(error)
    }
}

/// Programs that scripts find before the real ones, in a directory beside the root: `depmod` does nothing, since [`index_modules`] does it.
fn tamed_programs(root: &Path) -> Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = root.with_extension("tamed");
    fs::create_dir(&dir)?;
    let depmod = dir.join("depmod");
    fs::write(&depmod, "#!/bin/sh\n")?;
    fs::set_permissions(&depmod, std::fs::Permissions::from_mode(0o755))?;
    Ok(dir)
}

/// What the kernel package's script asks `depmod` for; it needs the modules and no other package's script.
fn index_modules(runner: &SandboxRunner, tree: &RootTree) -> Result<()> {
    for release in tree.children("/usr/lib/modules")? {
        runner.run(&Tool::new("/usr/sbin/depmod").arg(&release)).remedied()?;
    }
    Ok(())
}

fn script_runner(root: &Path, log: &Path, helper: Option<&Path>, tamed: Option<&Path>) -> Result<SandboxRunner> {
    let sink = tools::LogFile::create(log).remedied()?;
    let sandbox = Sandbox::new(root).writable();
    let sandbox = tamed.map_or_else(|| sandbox.clone(), |dir| sandbox.clone().bind_read_only(dir, TAMED));
    let mut runner = SandboxRunner::new(sandbox).with_sink(std::sync::Arc::new(sink));
    if let Some(helper) = helper {
        runner = runner.with_helper(helper);
    }
    Ok(runner)
}

fn run_script(runner: &SandboxRunner, script: &ScriptStep, step: &dyn Fn(&str)) -> Result<(), ScriptError> {
    step(&format!("{} {}", script.script, script.package));
    let path = format!("{TAMED}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    let tool = Tool::new(&script.program).args(&script.args).cwd("/").stdin(script.input.as_bytes()).env("PATH", path);
    let tool = script.env.iter().fold(tool, |tool, (key, value)| tool.env(key, value));
    let done = runner.run(&tool).remedied();
    done.map(drop)
        .with_context(|| format!("`{}` of {} failed", script.script, script.package))
        .map_err(ScriptError::Script)
}

/// The users of an image. passwd(5): name, password, uid, gid, comment, home, shell.
pub fn fixed_users(accounts: &AccountTables) -> Result<Vec<FixedUser>> {
    let parse = |line: &str| -> Option<FixedUser> {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, comment, home, shell] = fields.as_slice() else {
            return None;
        };
        Some(FixedUser {
            name: (*name).to_owned(),
            uid: uid.parse().ok()?,
            gid: gid.parse().ok()?,
            comment: (*comment).to_owned(),
            home: (*home).to_owned(),
            shell: (*shell).to_owned(),
            groups: Vec::new(),
        })
    };
    accounts.passwd.lines().map(|line| parse(line).with_context(|| format!("account line `{line}`"))).collect()
}

/// The groups of an image. group(5): name, password, gid, members.
pub fn fixed_groups(accounts: &AccountTables) -> Result<Vec<FixedGroup>> {
    let parse = |line: &str| -> Option<FixedGroup> {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        Some(FixedGroup { name, gid: fields.nth(1)?.parse().ok()? })
    };
    accounts.group.lines().map(|line| parse(line).with_context(|| format!("group line `{line}`"))).collect()
}

/// Maintainer scripts make what no package ships (ssh host keys, caches): the trim rules hold for that as well.
fn trim_again(tree: &RootTree, rules: &TrimRules) -> Result<()> {
    for entry in tree.walk()?.into_iter().rev() {
        let excluded = rules.excludes(&entry.name.trim_start_matches('/').parse::<TreePath>()?);
        // A directory stays while something in it is kept.
        let empty = entry.metadata.is_dir() && fs::read_dir(&entry.path)?.next().is_none();
        if excluded && (!entry.metadata.is_dir() || empty) {
            tree.remove(&entry.name)?;
        }
    }
    Ok(())
}

/// Puts members into groups once all groups are there; some belong to Debian's own accounts.
fn add_members(tree: &RootTree, accounts: &AccountTables) -> Result<()> {
    let mut wanted: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in accounts.group.lines() {
        if let (Some(name), Some(members)) = (line.split(':').next(), line.split(':').nth(3)) {
            let members = members.split(',').filter(|member| !member.is_empty()).map(str::to_owned);
            wanted.entry(name.to_owned()).or_default().extend(members);
        }
    }
    for membership in &accounts.memberships {
        wanted.entry(membership.group.to_string()).or_default().push(membership.user.to_string());
    }
    for (file, mode) in [("/etc/group", 0o644), ("/etc/gshadow", 0o640)] {
        let merged = merge_members(&tree.read_text(file)?, &wanted);
        rewrite(tree, file, &merged, mode)?;
    }
    Ok(())
}

fn merge_members(text: &str, wanted: &BTreeMap<String, Vec<String>>) -> String {
    let mut merged = String::new();
    for line in text.lines() {
        let (front, members) = line.rsplit_once(':').unwrap_or((line, ""));
        let mut members: Vec<&str> = members.split(',').filter(|member| !member.is_empty()).collect();
        let name = front.split(':').next().unwrap_or_default();
        for member in wanted.get(name).into_iter().flatten() {
            if !members.contains(&member.as_str()) {
                members.push(member);
            }
        }
        merged.push_str(&format!("{front}:{}\n", members.join(",")));
    }
    merged
}

/// shadow(5): the third field is the day of the last change, which would be the day of the build.
fn fix_shadow_dates(tree: &RootTree, epoch: u64) -> Result<()> {
    let day = (epoch / 86_400).to_string();
    let mut fixed = String::new();
    for line in tree.read_text("/etc/shadow")?.lines() {
        let mut fields: Vec<&str> = line.split(':').collect();
        if let Some(changed) = fields.get_mut(2) {
            *changed = &day;
        }
        fixed.push_str(&fields.join(":"));
        fixed.push('\n');
    }
    rewrite(tree, "/etc/shadow", &fixed, 0o640)?;
    for name in ["passwd-", "group-", "shadow-", "gshadow-", ".pwd.lock", "subuid-", "subgid-"] {
        tree.remove(&format!("/etc/{name}"))?;
    }
    Ok(())
}

/// Replaces the text of a file and keeps its owner and mode.
fn rewrite(tree: &RootTree, name: &str, text: &str, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(tree.at(name), text)?;
    Ok(fs::set_permissions(tree.at(name), std::fs::Permissions::from_mode(mode))?)
}

fn check_configured(tree: &RootTree) -> Result<()> {
    let status = tree.read_text("/var/lib/dpkg/status")?;
    let mut package = "";
    let mut left = Vec::new();
    for line in status.lines() {
        if let Some(name) = line.strip_prefix("Package: ") {
            package = name;
        } else if line.strip_prefix("Status: ").is_some_and(|state| state != "install ok installed") {
            left.push(package);
        }
    }
    if !left.is_empty() {
        bail!("dpkg left packages unconfigured: {}", left.join(", "));
    }
    Ok(())
}

fn move_database(tree: &RootTree) -> Result<()> {
    let target = tree.at(DPKG_DATABASE);
    fs::create_dir_all(target.parent().unwrap_or(Path::new("/")))?;
    fs::rename(tree.at("/var/lib/dpkg"), &target)?;
    let backups = ["status-old", "diversions-old", "statoverride-old"];
    for leftover in backups.into_iter().chain(["lock", "lock-frontend", "triggers/Lock", "available", "updates"]) {
        tree.remove(&format!("{DPKG_DATABASE}/{leftover}"))?;
    }
    // dpkg wants the directory, empty, even to list packages.
    tree.make_dir(&format!("{DPKG_DATABASE}/updates"), 0o755)
}

/// The paths that packages own, from dpkg's lists and its diversions.
pub fn package_paths(tree: &RootTree) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    for name in tree.children(&format!("{DPKG_DATABASE}/info"))? {
        if PathBuf::from(&name).extension().is_some_and(|extension| extension == "list") {
            let text = tree.read_text(&format!("{DPKG_DATABASE}/info/{name}"))?;
            paths.extend(text.lines().filter(|line| *line != "/.").map(str::to_owned));
        }
    }
    if tree.has(&format!("{DPKG_DATABASE}/diversions")) {
        // Three lines each: from, to, package.
        let text = tree.read_text(&format!("{DPKG_DATABASE}/diversions"))?;
        paths.extend(text.lines().skip(1).step_by(3).map(str::to_owned));
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_added_once_and_order_is_kept() {
        let wanted = BTreeMap::from([("site001".to_owned(), vec!["www-data".to_owned(), "site001-php".to_owned()])]);
        let merged = merge_members("root:x:0:\nsite001:x:20000:www-data\n", &wanted);
        assert_eq!(merged, "root:x:0:\nsite001:x:20000:www-data,site001-php\n");
    }

    #[test]
    fn an_unconfigured_package_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let tree = RootTree::new(dir.path().to_owned());
        let status = "Package: a\nStatus: install ok installed\n\nPackage: b\nStatus: install ok half-configured\n";
        tree.write("/var/lib/dpkg/status", status.as_bytes(), 0o644).unwrap();
        assert!(check_configured(&tree).unwrap_err().to_string().ends_with(": b"));
    }

    #[test]
    fn shadow_carries_the_day_of_the_lock_and_not_of_the_build() {
        let dir = tempfile::tempdir().unwrap();
        let tree = RootTree::new(dir.path().to_owned());
        tree.write("/etc/shadow", b"root:!*:20400:0:99999:7:::\n", 0o640).unwrap();
        fix_shadow_dates(&tree, 86_400 * 7).unwrap();
        assert_eq!(tree.read_text("/etc/shadow").unwrap(), "root:!*:7:0:99999:7:::\n");
    }
}
