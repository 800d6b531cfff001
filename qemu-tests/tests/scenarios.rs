//! Every scenario, under the names of their claims. Two machines at a time: each is a process of QEMU with two threads.

use std::process::ExitCode;

fn main() -> ExitCode {
    // First of all: the sandbox runs this same binary again to make itself.
    tools::enter_if_requested();
    // While there is one thread: what is mounted later goes with this process, however it ends.
    if let Err(error) = tools::namespace::enter_private_mounts() {
        return tools::report(&error.into());
    }
    let mut arguments = libtest_mimic::Arguments::from_args();
    arguments.test_threads.get_or_insert(2);
    let trials = qemu_tests::trials(arguments.list);
    libtest_mimic::run(&arguments, trials).exit_code()
}
