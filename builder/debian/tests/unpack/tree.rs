//! Good packages: what stands in the tree and in the dpkg database afterwards.

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::deb_factory::{Header, Tar, deb, input};
use debian::accounts::FixedUser;
use debian::extract::SpecialFiles;
use debian::placeholder::Provided;
use debian::plan::{PlanOptions, ScriptStep, Step};
use debian::root_dir::Ownership;
use debian::rootfs::{UnpackInput, UnpackOptions, Unpacked, unpack_all, unpack_only};
use debian::trim::TrimRules;
use debian::unpack_error::UnpackError;

struct Bench {
    directory: tempfile::TempDir,
    inputs: Vec<UnpackInput>,
    options: UnpackOptions,
}

impl Bench {
    fn new(packages: &[(&str, Vec<u8>)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("root")).unwrap();
        let inputs = packages.iter().map(|(name, bytes)| input(directory.path(), name, bytes)).collect();
        let options = UnpackOptions {
            jobs: NonZeroUsize::new(2).unwrap(),
            ownership: Ownership::Keep,
            special_files: SpecialFiles::Refuse,
            trim: TrimRules::default(),
            users: Vec::new(),
            groups: Vec::new(),
            provided: Vec::new(),
            plan: PlanOptions { architecture: "amd64".into(), ..PlanOptions::default() },
        };
        Self { directory, inputs, options }
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    fn read(&self, path: &str) -> String {
        let path = self.root().join(path);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn has(&self, path: &str) -> bool {
        self.root().join(path).symlink_metadata().is_ok()
    }

    fn unpack(&self) -> Unpacked {
        unpack_all(&self.inputs, &self.root(), &self.options).unwrap()
    }
}

/// Walks the plan with a callback that only looks.
fn walk(unpacked: &mut Unpacked, mut look: impl FnMut(&ScriptStep)) -> Result<(), UnpackError> {
    unpacked.run(|step| {
        look(step);
        Ok(())
    })
}

fn tar() -> Tar {
    Tar::default().dir("./")
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().permissions().mode() & 0o7777
}

#[test]
fn keeps_modes_times_links_and_hard_links() {
    let data = tar()
        .entry(&Header::new("./private/", b'5', 0).mode(0o1770), b"")
        .entry(&Header::new("./private/su", b'0', 1).mode(0o4755), b"x")
        .symlink("./private/link", "/absolute/target")
        .hard_link("./private/same", "./private/su");
    let bench = Bench::new(&[("pkg", deb("pkg", "", &[], &data.end()))]);
    bench.unpack();
    let root = bench.root();
    assert_eq!(mode(&root.join("private")), 0o1770);
    let file = root.join("private/su");
    assert_eq!(mode(&file), 0o4755);
    assert_eq!(file.metadata().unwrap().mtime(), 0o14_000_000_000);
    assert_eq!(root.join("private").metadata().unwrap().mtime(), 0o14_000_000_000);
    assert_eq!(root.join("private/link").read_link().unwrap(), Path::new("/absolute/target"));
    assert_eq!(root.join("private/same").metadata().unwrap().ino(), file.metadata().unwrap().ino());
}

#[test]
fn puts_files_through_the_merged_links_and_keeps_the_links() {
    let old = tar().dir("./lib/").dir("./lib/x/").file("./lib/x/f", "through the link").file("./bin/tool", "t");
    let base = tar().symlink("./lib", "usr/lib").symlink("./bin", "usr/bin");
    let bench = Bench::new(&[("old", deb("old", "", &[], &old.end())), ("base", deb("base", "", &[], &base.end()))]);
    bench.unpack();
    assert_eq!(bench.read("usr/lib/x/f"), "through the link");
    assert_eq!(bench.read("usr/bin/tool"), "t");
    assert_eq!(bench.root().join("lib").read_link().unwrap(), Path::new("usr/lib"));
    assert_eq!(bench.read("var/lib/dpkg/info/old.list"), "/.\n/lib\n/lib/x\n/lib/x/f\n/bin/tool\n");
}

#[test]
fn conffiles_wait_for_dpkg_in_a_root_and_are_in_place_in_a_tools_tree() {
    let package =
        deb("pkg", "", &[("conffiles", "/etc/a.conf\n")], &tar().file("./etc/a.conf", "x").file("./etc/b", "y").end());
    let bench = Bench::new(&[("pkg", package)]);
    bench.unpack();
    assert!(bench.has("etc/a.conf.dpkg-new") && !bench.has("etc/a.conf") && bench.has("etc/b"));
    assert!(bench.read("var/lib/dpkg/status").contains("Conffiles:\n /etc/a.conf newconffile\n"));
    let tools =
        Bench { directory: tempfile::tempdir().unwrap(), inputs: bench.inputs.clone(), options: bench.options.clone() };
    std::fs::create_dir(tools.root()).unwrap();
    unpack_only(&tools.inputs, &tools.root(), &tools.options).unwrap();
    assert_eq!(tools.read("etc/a.conf"), "x");
    assert!(!tools.has("etc/a.conf.dpkg-new") && !tools.has("var/lib/dpkg/status"));
}

#[test]
fn trimmed_paths_leave_tree_list_and_sums() {
    let data = tar()
        .dir("./usr/")
        .dir("./usr/share/")
        .dir("./usr/share/doc/")
        .dir("./usr/share/doc/pkg/")
        .file("./usr/share/doc/pkg/copyright", "c")
        .file("./usr/share/doc/pkg/changelog.gz", "l")
        .dir("./usr/share/man/")
        .dir("./usr/share/man/man1/")
        .file("./usr/share/man/man1/x.1.gz", "m");
    let sums = "00  usr/share/doc/pkg/copyright\n11  usr/share/doc/pkg/changelog.gz\n22  usr/share/man/man1/x.1.gz\n";
    let mut bench = Bench::new(&[("pkg", deb("pkg", "", &[("md5sums", sums)], &data.end()))]);
    bench.options.trim = TrimRules::defaults();
    assert_eq!(bench.unpack().report.trimmed, 3);
    assert!(
        bench.has("usr/share/doc/pkg/copyright")
            && !bench.has("usr/share/doc/pkg/changelog.gz")
            && !bench.has("usr/share/man/man1")
    );
    assert_eq!(bench.read("var/lib/dpkg/info/pkg.md5sums"), "00  usr/share/doc/pkg/copyright\n");
    let list = bench.read("var/lib/dpkg/info/pkg.list");
    assert!(list.contains("/copyright\n") && !list.contains("changelog") && !list.contains("man1"), "{list}");
}

#[test]
fn a_replaced_file_belongs_to_its_new_package_whatever_the_order_of_threads() {
    let new = deb("new", "Replaces: old\n", &[], &tar().file("./usr/f", "new").end());
    let large = "x".repeat(300_000);
    let old = deb("old", "", &[], &tar().file("./usr/f", "old").file("./usr/large", &large).end());
    for packages in [[("new", new.clone()), ("old", old.clone())], [("old", old), ("new", new)]] {
        for jobs in [1, 4] {
            let mut bench = Bench::new(&packages);
            bench.options.jobs = NonZeroUsize::new(jobs).unwrap();
            walk(&mut bench.unpack(), |_| {}).unwrap();
            assert_eq!(bench.read("usr/f"), "new");
            assert!(!bench.read("var/lib/dpkg/info/old.list").contains("/usr/f\n"));
            assert!(bench.read("var/lib/dpkg/info/new.list").contains("/usr/f\n"));
        }
    }
}

#[test]
fn a_diversion_made_by_a_preinst_is_honoured() {
    let keeper = deb("keeper", "", &[("preinst", "#!/bin/sh\n")], &tar().file("./usr/f", "keeper").end());
    let other = deb("other", "", &[], &tar().file("./usr/f", "other").file("./usr/g", "g").end());
    let bench = Bench::new(&[("keeper", keeper), ("other", other)]);
    let table = "/usr/f\n/usr/f.distrib\nkeeper\n/usr/g\n/usr/g.distrib\nkeeper\n";
    walk(&mut bench.unpack(), |step| {
        if step.script == "preinst" {
            std::fs::write(bench.root().join("var/lib/dpkg/diversions"), table).unwrap();
        }
    })
    .unwrap();
    assert_eq!((bench.read("usr/f"), bench.read("usr/f.distrib")), ("keeper".into(), "other".into()));
    assert!(!bench.has("usr/g") && bench.read("usr/g.distrib") == "g");
}

#[test]
fn two_owners_of_a_file_stop_the_plan_before_anything_is_configured() {
    let package = |name| deb(name, "", &[], &tar().file("./usr/f", name).end());
    let bench = Bench::new(&[("first", package("first")), ("second", package("second"))]);
    let ran = RefCell::new(Vec::new());
    let error = walk(&mut bench.unpack(), |step| {
        ran.borrow_mut().push(step.script);
    })
    .unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("`first`"), "{error:?}");
    assert!(ran.borrow().is_empty());
}

fn step_in_words(step: &Step) -> String {
    match step {
        Step::Script(step) if step.script == "configure" => {
            let plain = step.args.iter().filter(|arg| !arg.starts_with("--force"));
            plain.cloned().collect::<Vec<_>>().join(" ")
        }
        Step::Script(step) => format!("{} {}", step.script, step.package),
        other => format!("{other:?}"),
    }
}

#[test]
fn the_plan_prepares_before_it_configures_and_ends_with_everything_pending() {
    let preinst = [("preinst", "#!/bin/sh\n")];
    let packages = [
        ("debconf", deb("debconf", "", &[], &tar().end())),
        ("base-passwd", deb("base-passwd", "Essential: yes\nPre-Depends: libx\n", &preinst, &tar().end())),
        ("libx", deb("libx", "Multi-Arch: same\n", &preinst, &tar().end())),
        ("helper", deb("helper", "", &preinst, &tar().end())),
        ("app", deb("app", "Pre-Depends: helper\n", &preinst, &tar().end())),
    ];
    let mut bench = Bench::new(&packages);
    bench.options.plan.debconf_answers = "app app/question string answer\n".into();
    let unpacked = bench.unpack();
    let words: Vec<String> = unpacked.steps.iter().map(step_in_words).collect();
    assert_eq!(
        words,
        [
            "--configure debconf",
            "preseed debconf",
            "preinst libx",
            "preinst base-passwd",
            "--configure libx:amd64 base-passwd",
            "preinst helper",
            "--configure helper",
            "preinst app",
            "SettleFiles",
            "--configure --pending",
            "RemovePolicy"
        ]
    );
    let Step::Script(step) = &unpacked.steps[2] else { panic!("not a script") };
    assert_eq!(
        (step.program.as_str(), step.args.as_slice()),
        ("/var/lib/dpkg/info/libx:amd64.preinst", &["install".to_owned()][..])
    );
    assert_eq!(step.env["DPKG_MAINTSCRIPT_PACKAGE"], "libx");
}

#[test]
fn services_are_kept_from_starting_until_the_plan_is_done() {
    let bench = Bench::new(&[("pkg", deb("pkg", "", &[], &tar().end()))]);
    let policy = bench.root().join("usr/sbin/policy-rc.d");
    let mut unpacked = bench.unpack();
    walk(&mut unpacked, |_| assert_eq!(mode(&policy), 0o755)).unwrap();
    assert!(!policy.exists());
}

#[test]
fn fixed_accounts_are_there_before_the_first_script() {
    let data = tar()
        .file("./usr/share/base-passwd/passwd.master", "root:*:0:0:root:/root:/bin/bash\n")
        .file("./usr/share/base-passwd/group.master", "root:*:0:\n");
    let mut bench = Bench::new(&[("base-passwd", deb("base-passwd", "", &[], &data.end()))]);
    let user = FixedUser {
        name: "postfix".into(),
        uid: 507,
        gid: 507,
        comment: String::new(),
        home: "/var/spool/postfix".into(),
        shell: "/usr/sbin/nologin".into(),
        groups: Vec::new(),
    };
    bench.options.users = vec![user];
    bench.unpack();
    assert!(bench.read("etc/passwd").ends_with("postfix:*:507:507::/var/spool/postfix:/usr/sbin/nologin\n"));
    assert!(bench.read("etc/group").contains("postfix:*:507:\n"));
}

#[test]
fn a_placeholder_counts_as_installed() {
    let mut bench = Bench::new(&[("pkg", deb("pkg", "", &[], &tar().end()))]);
    let package = "linux-initramfs-tool".parse().unwrap();
    bench.options.provided = vec![Provided { package, reason: "made by the builder".into() }];
    bench.unpack();
    let status = bench.read("var/lib/dpkg/status");
    assert!(
        status.contains("Package: casemate-placeholder\nStatus: install ok installed\n")
            && status.contains("Provides: linux-initramfs-tool\n")
            && status.contains("\n linux-initramfs-tool: made by the builder\n"),
        "{status}"
    );
    assert_eq!(bench.read("var/lib/dpkg/info/casemate-placeholder.md5sums"), "");
}

#[test]
fn files_of_an_unpacked_package_replace_what_was_there_without_writing_through_it() {
    let bench = Bench::new(&[("pkg", deb("pkg", "", &[], &tar().file("./etc/f", "new").end()))]);
    let etc = bench.root().join("etc");
    std::fs::create_dir(&etc).unwrap();
    std::fs::write(etc.join("victim"), "old").unwrap();
    std::os::unix::fs::symlink("victim", etc.join("f")).unwrap();
    bench.unpack();
    assert_eq!((bench.read("etc/f"), bench.read("etc/victim")), ("new".into(), "old".into()));
}
