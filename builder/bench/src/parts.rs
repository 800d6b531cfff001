//! The pieces of work that are measured, by name. Each runs in a process of its own.

use std::process::{Command, Stdio};

use anyhow::{Result, bail, ensure};
use formats::guid::Guid;
use fs_err as fs;
use pipeline::programs::mkfs_erofs::{self, Compression};

use crate::applying::Bed;
use crate::measure::{Taken, size};
use crate::mkosi::Work;
use crate::plan::Plan;
use crate::{initrd, mmdebstrap, ours, scaling, verity};

/// Does one piece of work and returns what it took.
pub fn run(plan: &Plan, name: &str) -> Result<Taken> {
    match name.split_once('-') {
        Some(("on1", rest)) => on_cores(plan, rest, 1),
        Some(("on2", rest)) => on_cores(plan, rest, 2),
        Some(("root", rest)) => root(plan, rest),
        Some(("build", rest)) => build(plan, rest),
        Some(("mkosi", rest)) => mkosi(plan, rest),
        Some(("verity", rest)) => hash_tree(plan, rest),
        Some(("initrd", rest)) => make_initrd(plan, rest),
        Some(("update", rest)) => update(plan, rest),
        _ => bail!("there is no piece of work called `{name}`"),
    }
}

fn root(plan: &Plan, who: &str) -> Result<Taken> {
    let (definition, lock) = (plan.definition()?, plan.lock()?);
    let out = plan.at("made");
    empty(&out)?;
    let taken = match who {
        "ours" => {
            let inputs = plan.inputs(&lock)?;
            Taken::by(|| ours::make_root(&definition, &lock, &inputs, &out.join("root")).map(|()| 0))
        }
        "mmdebstrap" => {
            let (mirror, tools) = (plan.mirror(), plan.tools());
            Taken::by(|| mmdebstrap::make_root(&definition, &lock, &mirror, &tools, &out).map(|()| 0))
        }
        _ => bail!("nobody called `{who}` makes roots"),
    }?;
    fs::remove_dir_all(&out)?;
    Ok(taken)
}

/// A whole image of ours, by the command that people use.
fn build(plan: &Plan, which: &str) -> Result<Taken> {
    let (image, lock) = match which {
        "image" => (&plan.image, "lock.toml"),
        "more" => (&plan.image_with_more, "lock-more.toml"),
        _ => bail!("there is no image called `{which}`"),
    };
    let mut command = Command::new(&plan.casemate);
    command.arg("build").arg(image).arg("--locked").arg(plan.at(lock)).arg("--cache").arg(plan.at("cache"));
    command.args(["--cache-limit", "1000G", "--offline", "--output"]).arg(plan.at("out")).stdout(Stdio::null());
    Taken::by(|| {
        ensure!(command.status()?.success(), "`casemate build` failed");
        size(&plan.at("out/root.erofs"))
    })
}

fn mkosi(plan: &Plan, how: &str) -> Result<Taken> {
    let (dir, mirror, tools) = (plan.at("mkosi"), plan.at("mirror"), plan.tools());
    let work = Work { dir: &dir, mirror: &mirror, tools: &tools };
    Taken::by(|| work.build(how == "incremental").map(|()| 0))
}

fn hash_tree(plan: &Plan, who: &str) -> Result<Taken> {
    let (data, hashes, tools) = (plan.at("out/root.erofs"), plan.at(&format!("hashes-{who}")), plan.tools());
    let mut root_hash = String::new();
    let taken = Taken::by(|| {
        root_hash = if who == "ours" {
            verity::hash_ours(&data, &hashes)?
        } else {
            verity::hash_theirs(&tools, &data, &hashes)?
        };
        size(&hashes)
    })?;
    // Ours comes first in each round, and each round has an image of its own.
    let known = plan.at("verity-root-hash");
    if who == "ours" {
        fs::write(&known, &root_hash)?;
    } else {
        let before = fs::read_to_string(&known)?;
        ensure!(before == root_hash, "the root hashes differ: {before} and {root_hash}");
    }
    Ok(taken)
}

fn make_initrd(plan: &Plan, who: &str) -> Result<Taken> {
    let (root, out, epoch) = (plan.at("finished"), plan.at("initrds").join(who), plan.lock()?.source_date_epoch);
    let definition = plan.definition()?;
    fs::create_dir_all(plan.at("initrds"))?;
    match who {
        "ours" => Taken::by(|| initrd::make_ours(&definition, &root, epoch, &out)),
        "dracut" => Taken::by(|| initrd::make_dracut(&root, &plan.tools, &out)),
        _ => bail!("nobody called `{who}` makes initrds"),
    }
}

fn update(plan: &Plan, how: &str) -> Result<Taken> {
    let dir = plan.at("update");
    empty(&dir)?;
    let bed = Bed::prepare(&plan.at("out"), &dir)?;
    let taken = match how {
        "apply" => Taken::by(|| bed.apply()),
        "copy" => Taken::by(|| bed.copy()),
        _ => bail!("nothing called `{how}` is done with an update"),
    }?;
    fs::remove_dir_all(&dir)?;
    Ok(taken)
}

fn on_cores(plan: &Plan, what: &str, cores: usize) -> Result<Taken> {
    let lock = plan.lock()?;
    let inputs = plan.inputs(&lock)?;
    scaling::keep_to(cores)?;
    match what {
        "decode" => Taken::by(|| scaling::decode(&inputs)),
        "hash" => Taken::by(|| scaling::hash(&inputs)),
        "compress" => {
            let (out, tools) = (plan.at("scaling.erofs"), plan.tools());
            let id = Guid::derived_from("the benchmark");
            Taken::by(|| {
                mkfs_erofs::make(&tools, &plan.at("finished"), &out, id, lock.source_date_epoch, Compression::Quick)?;
                size(&out)
            })
        }
        _ => bail!("there is no piece of work called `{what}`"),
    }
}

fn empty(dir: &std::path::Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    Ok(fs::create_dir(dir)?)
}
