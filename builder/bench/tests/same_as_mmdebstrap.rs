//! "Our root is what Debian's own mmdebstrap makes of the same packages": every path with type, mode, owner, content, attributes and
//! hard links, and the dpkg database. What may differ is listed in `allowed-differences.toml`, each row with its reason.
//!
//! The small image is compared; the others when a filter names them: `cargo test -p bench --test same_as_mmdebstrap -- webhost`.
//! `CASEMATE_KEEP=DIR` keeps both trees there. Needs root: mmdebstrap mounts and changes its root.

#![expect(clippy::print_stderr, reason = "seconds are told to whoever runs the test")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use bench::allowed::Allowed;
use bench::difference::compare;
use bench::listing::Listing;
use bench::same_root::as_trimmed;
use bench::workshop::{Workshop, cache_dir};
use bench::{mmdebstrap, ours};
use fs_err as fs;
use libtest_mimic::{Arguments, Trial};

const ALLOWED: &str = include_str!("../allowed-differences.toml");
/// The images of the repository; the first one is always compared.
const IMAGES: [&str; 2] = ["minimal", "webhost"];
/// Fewer paths than any image has: an empty tree is equal to an empty tree.
const FEWEST_PATHS: usize = 5_000;

fn main() -> ExitCode {
    // First of all: the sandbox runs this same binary again to make itself.
    tools::enter_if_requested();
    if let Err(error) = tools::namespace::enter_private_mounts() {
        return tools::report(&anyhow::Error::from(error));
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let named = |image: &str| arguments.filter.as_deref().is_some_and(|filter| filter.contains(image));
    let images = IMAGES.into_iter().enumerate().filter(|(at, image)| *at == 0 || named(image));
    let trials = images.map(|(_, image)| {
        Trial::test(format!("the_root_of_{image}_is_what_mmdebstrap_makes_of_the_same_packages"), move || {
            check(image).map_err(|error| format!("{error:?}").into())
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

fn check(image: &str) -> Result<()> {
    let repo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let kept = std::env::var_os("CASEMATE_KEEP").map(PathBuf::from);
    let scratch = kept.clone().unwrap_or_else(std::env::temp_dir);
    let shop = Workshop::open(&repo.join("images").join(image), &cache_dir()?, &scratch, &[])?;
    let (ours, theirs) = make_both(&shop)?;
    let rules = shop.definition.trim();
    let (ours, theirs) = (Listing::of(&ours)?, as_trimmed(Listing::of(&theirs)?, &rules)?);
    if kept.is_some() {
        eprintln!("both trees are kept in {}", shop.scratch.keep().display());
    }
    ensure!(ours.0.len() > FEWEST_PATHS, "our tree has {} paths", ours.0.len());
    let verdict = Allowed::parse(ALLOWED, image)?.judge(&compare(&ours, &theirs))?;
    if verdict.faults.is_empty() && verdict.unused.is_empty() {
        return Ok(());
    }
    let faults: Vec<String> = verdict.faults.iter().map(ToString::to_string).collect();
    bail!(
        "{} differences of {} paths are not allowed:\n{}\nrows of the list that fit nothing: {:?}",
        faults.len(),
        ours.0.len(),
        faults.join("\n"),
        verdict.unused
    )
}

/// Makes both roots at the same time: each is busy with one program after the other for most of its time.
fn make_both(shop: &Workshop) -> Result<(PathBuf, PathBuf)> {
    let (our_root, other) = (shop.path("ours"), shop.path("theirs"));
    fs::create_dir(&other)?;
    let started = Instant::now();
    std::thread::scope(|scope| {
        let theirs = scope.spawn(|| {
            mmdebstrap::make_root(&shop.definition, &shop.lock, &shop.mirror, &shop.tools, &other)?;
            Ok::<_, anyhow::Error>(started.elapsed().as_secs_f64())
        });
        ours::make_root(&shop.definition, &shop.lock, &shop.packages, &our_root)?;
        let ours = started.elapsed().as_secs_f64();
        let theirs = theirs.join().map_err(|_| anyhow::anyhow!("the thread of mmdebstrap ended"))?;
        let theirs = theirs.context("mmdebstrap failed")?;
        eprintln!(
            "{}: {} packages, ours after {ours:.1} s, mmdebstrap after {theirs:.1} s",
            shop.definition.image.name,
            shop.packages.len()
        );
        Ok::<_, anyhow::Error>(())
    })?;
    Ok((our_root, other.join("root")))
}
