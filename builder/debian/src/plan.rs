//! The scripts that turn an unpacked tree into a configured one, as data.
//!
//! This crate starts no program: the caller runs each [`ScriptStep`] inside the tree, in its sandbox. The order is that of a real
//! installation: debconf can answer, the essential packages are set up, and a `preinst` runs when everything its package
//! pre-depends on is configured (Debian Policy 7.2).

use std::collections::{BTreeMap, BTreeSet};

use crate::configure_order::{DependencyGraph, FIRST_PACKAGES};
use crate::dpkg_db::UnpackedPackage;
use crate::package_facts::PackageFacts;

/// Search path of maintainer scripts.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program to run in the tree; the caller's working directory is its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptStep {
    /// The package, or a word for a group of packages, for progress and errors.
    pub package: String,
    /// What is run, for progress and errors: `preinst`, `configure`, `preseed`.
    pub script: &'static str,
    /// Program, absolute in the tree.
    pub program: String,
    /// Arguments without the program.
    pub args: Vec<String>,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// Text for standard input.
    pub input: String,
}

/// One step of the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Run a program in the tree.
    Script(ScriptStep),
    /// Give files to the right package and apply diversions, now that the scripts have registered them.
    SettleFiles,
    /// Take away what kept services from being started.
    RemovePolicy,
}

/// What the caller adds to the plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlanOptions {
    /// Architecture of the tree, as dpkg names it.
    pub architecture: String,
    /// Answers for debconf, in the form of debconf-set-selections(1).
    pub debconf_answers: String,
    /// Additional environment of all scripts, for example `SOURCE_DATE_EPOCH`.
    pub env: BTreeMap<String, String>,
}

/// Plans the scripts for packages that stand in configure order.
pub fn plan_scripts(packages: &[UnpackedPackage], options: &PlanOptions) -> Vec<Step> {
    let facts: Vec<PackageFacts> = packages.iter().map(|package| package.facts.clone()).collect();
    let graph = DependencyGraph::new(&facts);
    let mut planner =
        Planner { packages, options, graph, prepared: BTreeSet::new(), configured: BTreeSet::new(), steps: Vec::new() };
    planner.plan_first_packages();
    planner.plan_rest();
    planner.steps
}

struct Planner<'a> {
    packages: &'a [UnpackedPackage],
    options: &'a PlanOptions,
    graph: DependencyGraph,
    /// Packages whose `preinst` is in the plan or who have none.
    prepared: BTreeSet<usize>,
    configured: BTreeSet<usize>,
    steps: Vec<Step>,
}

impl Planner<'_> {
    fn plan_first_packages(&mut self) {
        // Scripts of the C library talk to debconf as soon as its files are there, so it comes before all others and, this once,
        // before what it depends on; it is Perl and shell and needs no more than unpacked files.
        if let Some(debconf) = self.find("debconf") {
            self.push_preinst(debconf);
            self.push_dpkg("debconf", vec!["--force-depends".into(), "--configure".into(), "debconf".into()]);
            self.configured.insert(debconf);
            if !self.options.debconf_answers.is_empty() {
                let step = self.step("debconf", "preseed", "/usr/bin/debconf-set-selections", Vec::new());
                self.steps.push(Step::Script(ScriptStep { input: self.options.debconf_answers.clone(), ..step }));
            }
        }
        for name in FIRST_PACKAGES {
            if let Some(at) = self.find(name) {
                self.configure(name, [at]);
            }
        }
        let essential: Vec<usize> = (0..self.packages.len())
            .filter(|at| self.packages.get(*at).is_some_and(|package| package.facts.essential))
            .collect();
        self.configure("essential packages", essential);
    }

    fn plan_rest(&mut self) {
        for at in 0..self.packages.len() {
            if self.has_preinst(at) {
                self.configure_what_preinst_needs(at);
            }
            self.push_preinst(at);
        }
        self.steps.push(Step::SettleFiles);
        let mut args: Vec<String> = vec!["--configure".into(), "--pending".into()];
        args.splice(0..0, common_arguments());
        let step = self.step("all packages", "configure", "/usr/bin/dpkg", args);
        self.steps.push(Step::Script(step));
        self.steps.push(Step::RemovePolicy);
    }

    fn configure_what_preinst_needs(&mut self, at: usize) {
        let needed = self.graph.pre_depends(at).to_vec();
        let name = self.packages.get(at).map_or("", |package| package.facts.name.as_str()).to_owned();
        self.configure(&format!("what {name} pre-depends on"), needed);
    }

    /// Runs the outstanding `preinst` of the packages and all they need, then configures them together.
    fn configure(&mut self, label: &str, roots: impl IntoIterator<Item = usize>) {
        let closure = self.graph.closure(roots);
        let waiting: Vec<usize> = closure.difference(&self.configured).copied().collect();
        if waiting.is_empty() {
            return;
        }
        for at in &waiting {
            self.push_preinst(*at);
        }
        let names = waiting.iter().filter_map(|at| self.packages.get(*at)).map(|package| package.facts.info_name());
        let args = ["--configure".to_owned()].into_iter().chain(names).collect();
        self.push_dpkg(label, args);
        self.configured.extend(waiting);
    }

    fn push_dpkg(&mut self, label: &str, args: Vec<String>) {
        let args = common_arguments().chain(args).collect();
        let step = self.step(label, "configure", "/usr/bin/dpkg", args);
        self.steps.push(Step::Script(step));
    }

    fn has_preinst(&self, at: usize) -> bool {
        self.packages.get(at).is_some_and(|package| package.control.has("preinst"))
    }

    fn push_preinst(&mut self, at: usize) {
        if !self.prepared.insert(at) || !self.has_preinst(at) {
            return;
        }
        let Some(package) = self.packages.get(at) else {
            return;
        };
        let name = package.facts.name.as_str();
        let dpkg = self.find("dpkg").and_then(|at| self.packages.get(at));
        let dpkg_version = dpkg.map_or("", |dpkg| dpkg.facts.version.as_str());
        let program = format!("/var/lib/dpkg/info/{}.preinst", package.facts.info_name());
        let mut step = self.step(name, "preinst", &program, vec!["install".into()]);
        for (key, value) in [
            ("DPKG_MAINTSCRIPT_PACKAGE", name),
            ("DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT", "1"),
            ("DPKG_MAINTSCRIPT_ARCH", package.facts.architecture.as_str()),
            ("DPKG_MAINTSCRIPT_NAME", "preinst"),
            // debconf would look for the package that dpkg is unpacking, and finds none here.
            ("DEBCONF_PACKAGE", name),
            ("DPKG_MAINTSCRIPT_DEBUG", "0"),
            ("DPKG_RUNNING_VERSION", dpkg_version),
            ("DPKG_ADMINDIR", "/var/lib/dpkg"),
            ("DPKG_ROOT", ""),
        ] {
            step.env.insert(key.to_owned(), value.to_owned());
        }
        self.steps.push(Step::Script(step));
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.packages.iter().position(|package| package.facts.name.as_str() == name)
    }

    fn step(&self, package: &str, script: &'static str, program: &str, args: Vec<String>) -> ScriptStep {
        let fixed = [
            ("PATH", PATH),
            ("HOME", "/root"),
            ("LC_ALL", "C.UTF-8"),
            ("TERM", "dumb"),
            ("DEBIAN_FRONTEND", "noninteractive"),
            ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
            ("DEBCONF_NOWARNINGS", "yes"),
            // Asked by the kernel's hooks: nothing here makes an initramfs.
            ("INITRD", "No"),
        ];
        let mut env: BTreeMap<String, String> =
            fixed.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        env.extend(self.options.env.clone());
        ScriptStep { package: package.to_owned(), script, program: program.to_owned(), args, env, input: String::new() }
    }
}

/// No syncing; a configuration file that something else put there before stays.
fn common_arguments() -> impl Iterator<Item = String> {
    ["--force-unsafe-io", "--force-confdef", "--force-confold"].into_iter().map(str::to_owned)
}
