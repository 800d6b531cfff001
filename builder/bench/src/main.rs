//! `casemate-bench`: our builder against mmdebstrap, mkosi, veritysetup and dracut on one package list, one machine, one mirror.
//!
//! `cargo run -p bench --release -- --runs 3` as root. Writes `docs/benchmarks.md` and its picture.

#![expect(clippy::print_stderr, reason = "tells what runs")]
#![expect(clippy::print_stdout, reason = "a piece of work tells its figures to the process that started it")]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};
use bench::contests::CONTESTS;
use bench::measure::{Taken, run_part};
use bench::plan::Plan;
use bench::report::{Row, Scaled, draw, render};
use bench::workshop::{Workshop, cache_dir};
use bench::{machine, mkosi, ours, page, parts};
use clap::Parser;
use debian::lock::Lock;
use fs_err as fs;
use pipeline::stages::agent::BINARIES;

/// What the copy of the repository holds: all that a build reads.
const SOURCES: [&str; 7] = ["builder", "images", "overlays", "units", "Cargo.toml", "Cargo.lock", "qemu-tests"];
/// The package that the changed image has more.
const MORE: &str = "hello";
/// The work that is measured on one and on two cores.
const SCALED: [(&str, [&str; 2]); 3] = [
    ("decode", ["on1-decode", "on2-decode"]),
    ("hash", ["on1-hash", "on2-hash"]),
    ("compress", ["on1-compress", "on2-compress"]),
];

/// Measures our builder and Debian's on the same packages
#[derive(Debug, Parser)]
#[command(name = "casemate-bench")]
struct Options {
    /// How often each is measured; medians are told
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Measure only this: root, cold, unchanged, overlay, package, verity, initrd, apply or scaling (may be repeated)
    #[arg(long)]
    only: Vec<String>,
    /// The image
    #[arg(long, default_value = "images/webhost")]
    image: PathBuf,
    /// The `casemate` to measure; compiled where none is named
    #[arg(long)]
    casemate: Option<PathBuf>,
    /// Where everything is made, about 15 GB
    #[arg(long, default_value = "/var/tmp")]
    scratch: PathBuf,
    /// Where the page and its picture go
    #[arg(long, default_value = "docs")]
    docs: PathBuf,
    /// For the program itself: do this piece of work and tell its figures
    #[arg(long, hide = true, requires = "plan")]
    part: Option<String>,
    #[arg(long, hide = true)]
    plan: Option<PathBuf>,
}

fn main() -> ExitCode {
    // First of all: the sandbox runs this same binary again to make itself.
    tools::enter_if_requested();
    let run = || -> Result<()> {
        tools::namespace::enter_private_mounts()?;
        let options = Options::parse();
        if let (Some(part), Some(plan)) = (&options.part, &options.plan) {
            println!("{}", serde_json::to_string(&parts::run(&Plan::read(plan)?, part)?)?);
            return Ok(());
        }
        measure(&options)
    };
    run().map_or_else(|error| tools::report(&error), |()| ExitCode::SUCCESS)
}

fn measure(options: &Options) -> Result<()> {
    eprintln!("getting packages, tools and sources in order");
    let (_shop, plan) = prepare(options)?;
    let run = |name: &str| -> Result<Taken> {
        // Nobody pays for what another has written and not flushed.
        ensure!(Command::new("sync").status()?.success(), "`sync` failed");
        run_part(&["--part".to_owned(), name.to_owned(), "--plan".to_owned(), plan.file().display().to_string()])
    };
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
    if wanted("verity") || wanted("initrd") || wanted("scaling") || CONTESTS.iter().any(|contest| wanted(contest.name))
    {
        eprintln!("building once, unmeasured");
        run("build-image")?;
        finish_root(&plan)?;
    }
    let mut rows: Vec<Row> = CONTESTS
        .into_iter()
        .filter(|contest| wanted(contest.name))
        .map(|contest| Row { contest, ours: Vec::new(), theirs: Vec::new() })
        .collect();
    let mut scaled: Vec<Scaled> = SCALED.map(|(name, _)| Scaled { name, one: Vec::new(), two: Vec::new() }).into();
    for round in 1..=options.runs {
        for row in &mut rows {
            let unmeasured = |name: &str| run(name).map(drop);
            let (work, before) = row.contest.ours;
            before.arrange(&plan, round, &unmeasured)?;
            row.ours.push(tell(round, row.contest.name, "ours", run(work)?));
            if let Some((who, work, before)) = row.contest.theirs {
                before.arrange(&plan, round, &unmeasured)?;
                row.theirs.push(tell(round, row.contest.name, who, run(work)?));
            }
        }
        if wanted("scaling") {
            for (row, (name, [one, two])) in scaled.iter_mut().zip(SCALED) {
                row.one.push(tell(round, name, "one core", run(one)?).seconds);
                row.two.push(tell(round, name, "two cores", run(two)?).seconds);
            }
        }
    }
    if !wanted("scaling") {
        scaled.clear();
    }
    write_page(options, &plan, &rows, &scaled)
}

fn tell(round: usize, what: &str, who: &str, taken: Taken) -> Taken {
    eprintln!("{round}: {what}, {who}: {:.2} s, {} MiB", taken.seconds, taken.peak_kib >> 10);
    taken
}

/// Brings everything to one place: mirror, cache with packages, two images, mkosi's definition.
fn prepare(options: &Options) -> Result<(Workshop, Plan)> {
    let casemate = options.casemate.clone().map_or_else(compile, Ok)?;
    let shop = Workshop::open(&options.image, &cache_dir()?, &options.scratch, &mkosi::FURTHER)?;
    let repo = shop.path("repo");
    fs::create_dir(&repo)?;
    let source = shop.definition.repo.clone();
    for name in SOURCES {
        copy(&source.join(name), &repo.join(name))?;
    }
    let image = repo.join("images").join(shop.definition.image.name.as_str());
    let image_with_more = repo.join("images/with-more");
    copy(&image, &image_with_more)?;
    let file = image_with_more.join("image.toml");
    let text = fs::read_to_string(&file)?;
    ensure!(
        !text.contains("\npackages"),
        "the image names packages of its own: the benchmark adds `{MORE}` to one that does not"
    );
    fs::write(&file, text.replacen("\n[size]", &format!("\npackages = [\"{MORE}\"]\n\n[size]"), 1))?;
    let plan = Plan {
        dir: shop.scratch.path().to_owned(),
        image,
        image_with_more,
        tools: shop.tools.root().to_owned(),
        casemate: fs::canonicalize(casemate)?,
        packages: shop.mirror.packages.clone(),
    };
    let more = shop.builder.lock(&plan.image_with_more)?;
    for (lock, name) in [(&shop.lock, "lock.toml"), (&more, "lock-more.toml")] {
        fs::write(plan.at(name), lock.render()?)?;
        fill_cache(&shop, lock, &plan)?;
        fill_cache(&shop, &lock.tools().context("the lock has no tools")?, &plan)?;
    }
    mkosi::write_definition(&plan.at("mkosi"), &shop.mirror)?;
    plan.write()?;
    Ok((shop, plan))
}

fn compile() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo).args(["build", "--release", "--package", "cli", "--bin", "casemate"]).status()?;
    ensure!(status.success(), "`casemate` cannot be compiled");
    let own = std::env::current_exe()?;
    Ok(own.with_file_name("casemate").to_string_lossy().replace("/debug/", "/release/").into())
}

/// Puts the packages of a lock into the cache of the benchmark, as the first build would.
fn fill_cache(shop: &Workshop, lock: &Lock, plan: &Plan) -> Result<()> {
    let files = shop.builder.fetch_packages(lock)?;
    for (input, target) in files.iter().zip(plan.inputs(lock)?) {
        if !target.path.exists() {
            fs::create_dir_all(target.path.parent().context("a file without a directory")?)?;
            fs::copy(&input.path, &target.path)?;
        }
    }
    Ok(())
}

/// A root for initrds and for the compressor, with the agent that the first build compiled: the initrd takes a part of it.
fn finish_root(plan: &Plan) -> Result<()> {
    let (lock, root) = (plan.lock()?, plan.at("finished"));
    ours::make_root(&plan.definition()?, &lock, &plan.inputs(&lock)?, &root)?;
    let mut stages = fs::read_dir(plan.at("cache/stages"))?.collect::<Result<Vec<_>, _>>()?.into_iter();
    let agent = stages.find(|entry| entry.file_name().to_string_lossy().starts_with("agent-"));
    let agent = agent.context("the build left no agent in its cache")?.path();
    for binary in BINARIES {
        fs::copy(agent.join(binary), root.join("usr/bin").join(binary))?;
    }
    Ok(())
}

fn copy(source: &Path, target: &Path) -> Result<()> {
    let metadata = source.symlink_metadata()?;
    if metadata.is_symlink() {
        return Ok(std::os::unix::fs::symlink(fs::read_link(source)?, target)?);
    }
    if !metadata.is_dir() {
        return fs::copy(source, target).map(drop).map_err(Into::into);
    }
    fs::create_dir_all(target)?;
    for entry in fs::read_dir(source)? {
        let entry = entry?;
        copy(&entry.path(), &target.join(entry.file_name()))?;
    }
    Ok(())
}

fn write_page(options: &Options, plan: &Plan, rows: &[Row], scaled: &[Scaled]) -> Result<()> {
    const ABOUT: &str = include_str!("about.md");
    let title = format!(
        "## Building\n\n{}: {} packages of `{}`, {} runs each, medians. {}.\n\n![Ratios](pictures/benchmarks.svg)\n\n{ABOUT}",
        machine::today()?,
        plan.packages.len(),
        options.image.display(),
        options.runs,
        machine::describe()?
    );
    page::write(&options.docs, &render(title.trim_end(), rows, scaled), ("benchmarks.svg", &draw(rows)))?;
    eprintln!("written to {}", options.docs.join("benchmarks.md").display());
    Ok(())
}
