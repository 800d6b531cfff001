//! Boots a root tree as a container and shows what systemd says: for trying by hand.
//!
//! `cargo run -p vm --example container -- TOOLS-TREE ROOT-TREE DIRECTORY [volatile] [PROGRAM ARG...]`

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tools::{ResultExt, Tool, failure::HintExt};
use vm::container::{Container, ContainerSpec, RootMode};

const LIMIT: Duration = Duration::from_secs(90);

fn main() -> ExitCode {
    tools::enter_if_requested();
    match run(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => tools::report(&error),
    }
}

fn run(args: &[String]) -> anyhow::Result<()> {
    let [tools_tree, root, directory, rest @ ..] = args else {
        return Err(tools::Failure::refused("three paths are needed").hint("see the head of this file").into());
    };
    let mut spec = ContainerSpec::new(root, "0123456789abcdef0123456789abcdef".parse()?);
    let rest = match rest {
        [first, rest @ ..] if first == "volatile" => {
            spec.mode = RootMode::Volatile;
            rest
        }
        rest => rest,
    };
    let started = Instant::now();
    let hint = "see console.log in the directory";
    let mut container =
        Container::start(&spec, Path::new(tools_tree), Path::new(directory), LIMIT).or_blame_environment(hint)?;
    let state = container.wait_booted(LIMIT).or_blame_environment(hint)?;
    let mut out = std::io::stdout();
    writeln!(out, "{state} after {:.1} s", started.elapsed().as_secs_f64())?;
    if let [program, args @ ..] = rest {
        let output = container.exec(&Tool::new(program).args(args)).remedied()?;
        out.write_all(&output.stdout)?;
    }
    let status = container.power_off(LIMIT).or_blame_environment(hint)?;
    writeln!(out, "off with status {status} after {:.1} s", started.elapsed().as_secs_f64())?;
    Ok(())
}
