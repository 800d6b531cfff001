//! Claims about building, tried with the real command on the real archive and the small image.
//!
//! What is built is compared byte by byte: as root and as an ordinary user, in other directories, with another time zone, locale,
//! umask and, in the full run, number of cores, from a warm cache and from a cold one. These tests need root: they take on another user's id, and bring
//! him the `newuidmap` that his build needs.

mod bench;
mod bills;
mod cache_claims;
mod contents;
mod full_disk;
mod id_mapper;
mod interrupted;
mod lying_mirror;
mod mirror;
mod namespaces;
mod other_user;
mod own_cache;
mod same_bytes;

use std::io::Write as _;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

use bench::Bench;

/// A claim and the code that tries it.
type Claim = (&'static str, fn(&Bench) -> anyhow::Result<()>);

/// In this order, one after the other: the later ones use what the first one built.
const CLAIMS: [Claim; 15] = [
    ("nothing_changed_is_nothing_done", cache_claims::nothing_changed),
    ("one_changed_overlay_file_redoes_overlay_seal_and_kernel_image_only", cache_claims::one_overlay_file),
    ("a_cache_entry_that_was_changed_on_disk_is_made_again_with_the_same_bytes", cache_claims::changed_entry),
    ("a_killed_build_leaves_no_output_and_the_next_one_goes_on_from_the_cache", cache_claims::killed),
    ("bills_of_materials_name_every_package_with_its_licence_and_the_image_holds_the_same", bills::name_everything),
    ("equal_builds_do_not_differ", contents::equal_builds_do_not_differ),
    ("assets_are_in_the_root_in_both_bills_and_in_the_provenance", contents::assets_are_in_and_on_paper),
    ("an_asset_with_another_digest_is_refused", contents::wrong_digest_is_refused),
    ("a_mirror_that_lies_about_lists_gives_no_lock", lying_mirror::lists),
    ("a_mirror_that_lies_about_packages_gives_an_error_or_the_right_bytes", lying_mirror::packages),
    ("a_package_that_was_damaged_in_the_store_is_fetched_anew_or_named", lying_mirror::damaged_store),
    ("a_full_disk_at_any_moment_leaves_nothing_half_done", full_disk::at_each_moment),
    (
        "builds_that_are_killed_at_any_moment_over_damaged_entries_end_in_the_same_image",
        interrupted::killed_and_damaged,
    ),
    ("a_user_who_gets_no_namespace_is_told_the_rule_and_the_remedy", namespaces::refused),
    ("an_ordinary_user_elsewhere_builds_the_same_bytes_as_root", same_bytes::as_another_user),
];

fn main() -> ExitCode {
    if let Some(error) = id_mapper::become_debians() {
        return tools::report(&error);
    }
    // What is laid over /etc/subuid is seen by these tests and their children only.
    if let Err(error) = tools::namespace::enter_private_mounts() {
        return tools::report(&anyhow::Error::from(error));
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let bench = std::sync::Arc::new(std::sync::OnceLock::<Result<Bench, String>>::new());
    let trials = CLAIMS.map(|(name, claim)| {
        let bench = std::sync::Arc::clone(&bench);
        Trial::test(name, move || {
            let bench = bench.get_or_init(|| Bench::new().map_err(|error| format!("{error:?}")));
            let bench = bench.as_ref().map_err(Failed::from)?;
            let started = std::time::Instant::now();
            let outcome = claim(bench).map_err(|error| Failed::from(format!("{error:?}")));
            let seconds = started.elapsed().as_secs_f64();
            // With standard error closed nobody asks.
            let _ = writeln!(std::io::stderr(), "{name}: {seconds:.1} s");
            outcome
        })
    });
    libtest_mimic::run(&arguments, trials.into()).exit_code()
}
