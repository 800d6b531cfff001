//! Unpacks package files into a directory and prints the plan of scripts, or runs it with `--run` through `chroot`.
//!
//! `cargo run -p debian --example unpack -- [--only] [--run] [--trim] [--placeholder NAME]... [--user NAME:UID]... ROOT DEB...`. For trying things out: the pipeline
//! runs the same plan in its sandbox. With `--run`, call it as root where `/proc` and `/dev` of the tree may be missing or not.
#![expect(clippy::print_stdout, reason = "an example talks to the terminal")]

use std::error::Error;
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use debian::accounts::FixedUser;
use debian::deb::Deb;
use debian::extract::SpecialFiles;
use debian::package_facts::PackageFacts;
use debian::placeholder::Provided;
use debian::plan::{PlanOptions, ScriptStep, Step};
use debian::root_dir::Ownership;
use debian::rootfs::{UnpackInput, UnpackOptions, unpack_all, unpack_only};
use debian::trim::TrimRules;
use formats::digest::Sha256Digest;

fn main() -> Result<(), Box<dyn Error>> {
    let (mut only, mut run, mut trim) = (false, false, TrimRules::default());
    let (mut provided, mut users) = (Vec::new(), Vec::new());
    let mut files = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--only" => only = true,
            "--run" => run = true,
            "--trim" => trim = TrimRules::defaults(),
            "--user" => users.push(user(&arguments.next().ok_or("name a user")?)?),
            "--placeholder" => {
                provided.push(stand_for(&arguments.next().ok_or("name a package")?)?);
            }
            _ => files.push(PathBuf::from(argument)),
        }
    }
    let (root, debs) =
        files.split_first().ok_or("usage: unpack [--only] [--run] [--trim] [--placeholder NAME] ROOT DEB...")?;
    let inputs = debs.iter().cloned().map(input).collect::<Result<Vec<_>, _>>()?;
    let options = options(trim, provided, users);
    let start = Instant::now();
    if only {
        println!("{:?} in {:?}", unpack_only(&inputs, root, &options)?, start.elapsed());
        return Ok(());
    }
    let mut unpacked = unpack_all(&inputs, root, &options)?;
    println!("{:?} in {:?}", unpacked.report, start.elapsed());
    unpacked.steps.iter().for_each(print_step);
    if run {
        unpacked.run(|step| run_in(root, step))?;
        println!("done after {:?}", start.elapsed());
    }
    Ok(())
}

fn options(trim: TrimRules, provided: Vec<Provided>, users: Vec<FixedUser>) -> UnpackOptions {
    UnpackOptions {
        jobs: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        ownership: Ownership::Numeric,
        special_files: SpecialFiles::Refuse,
        trim,
        users,
        groups: Vec::new(),
        provided,
        plan: PlanOptions { architecture: "amd64".into(), ..PlanOptions::default() },
    }
}

fn stand_for(name: &str) -> Result<Provided, Box<dyn Error>> {
    let package = name.parse().map_err(|error| format!("{error}"))?;
    Ok(Provided { package, reason: "done by the image builder".into() })
}

fn user(text: &str) -> Result<FixedUser, Box<dyn Error>> {
    let (name, uid) = text.split_once(':').ok_or("write NAME:UID")?;
    let uid = uid.parse()?;
    Ok(FixedUser {
        name: name.to_owned(),
        uid,
        gid: uid,
        comment: String::new(),
        home: "/nonexistent".to_owned(),
        shell: "/usr/sbin/nologin".to_owned(),
        groups: Vec::new(),
    })
}

/// There is no lock here, so the file is its own witness.
fn input(path: PathBuf) -> Result<UnpackInput, Box<dyn Error>> {
    let bytes = std::fs::read(&path)?;
    let facts: PackageFacts = Deb::open(bytes.as_slice())?.control().text("control")?.parse()?;
    Ok(UnpackInput {
        name: facts.name.as_str().to_owned(),
        path,
        sha256: Sha256Digest::of(&bytes),
        size: bytes.len() as u64,
    })
}

fn print_step(step: &Step) {
    match step {
        Step::Script(script) => {
            println!("{} of {}: {} {}", script.script, script.package, script.program, script.args.join(" "));
        }
        other => println!("{other:?}"),
    }
}

fn run_in(root: &PathBuf, step: &ScriptStep) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let mut child = Command::new("chroot")
        .arg(root)
        .arg(&step.program)
        .args(&step.args)
        .env_clear()
        .envs(&step.env)
        .stdin(Stdio::piped())
        .spawn()?;
    child.stdin.take().ok_or("no stdin")?.write_all(step.input.as_bytes())?;
    let status = child.wait()?;
    println!("== {} of {}: {status} in {:?}", step.script, step.package, start.elapsed());
    if status.success() { Ok(()) } else { Err(format!("{} of {} failed", step.script, step.package).into()) }
}
