//! Every scenario, under the names of their claims: those that measure first and alone, then two at a time, machines and containers.

use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    // First of all: the sandbox runs this same binary again to make itself.
    tools::enter_if_requested();
    // While there is one thread: what is mounted later goes with this process, however it ends.
    if let Err(error) = tools::namespace::enter_private_mounts() {
        return tools::report(&error.into());
    }
    let mut arguments = Arguments::from_args();
    let trials = qemu_tests::Trials::new(arguments.list);
    let alone = Arguments { test_threads: Some(1), ..arguments.clone() };
    let alone = libtest_mimic::run(&alone, trials.alone);
    arguments.test_threads.get_or_insert(2);
    let in_pairs = libtest_mimic::run(&arguments, trials.in_pairs);
    if alone.has_failed() { alone.exit_code() } else { in_pairs.exit_code() }
}
