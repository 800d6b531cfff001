//! `casemate-initrd`: the agent's part of the initrd alone, small enough to be there.
//!
//! The same steps as `casemate-agent initrd`, without the parts that the initrd has no room for. See `docs/formats/first-boot.md`.

use std::process::ExitCode;

use agent::files::Files;
use agent::files::Ownership;
use agent::initrd;
use agent::paths::Paths;

fn main() -> ExitCode {
    let paths = Paths::default();
    initrd::run_on(&paths, &Files::new(Ownership::Set))
}
