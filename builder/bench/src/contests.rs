//! Who is measured against whom, at what, and what is expected. The names of the work are those of [`crate::parts`].

use anyhow::Result;
use fs_err as fs;

use crate::mkosi::{self, Work};
use crate::plan::Plan;

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Contest {
    /// Its name for `--only`.
    pub name: &'static str,
    /// What is done, for people.
    pub title: &'static str,
    /// The work of ours, and what must be put in order before it.
    pub ours: (&'static str, Before),
    /// Who it is compared with, the work, and what must be put in order before it; none where the time alone counts.
    pub theirs: Option<(&'static str, &'static str, Before)>,
    /// At most this ratio to the other; without another, at most so many seconds.
    pub expected: Option<f64>,
}

/// What is put in order before a run, unmeasured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// Nothing.
    Nothing,
    /// The cache of our builder holds its tools and its agent, and nothing of an image.
    NoStages,
    /// The same without the agent and what was compiled for it.
    NoAgent,
    /// Our image is built.
    Built,
    /// Our image is built, and then a file of an overlay changes.
    OverlayChanges,
    /// Our image is built, and nothing is kept of the one with another package.
    BuiltWithoutMore,
    /// mkosi has no output.
    NoMkosi,
    /// mkosi has an incremental cache, and then one file changes.
    MkosiChanges,
}

/// All rows, in the order in which they are measured.
pub const CONTESTS: [Contest; 8] = [
    Contest {
        name: "root",
        title: "root tree alone",
        ours: ("root-ours", Before::Nothing),
        theirs: Some(("mmdebstrap", "root-mmdebstrap", Before::Nothing)),
        expected: Some(0.33),
    },
    Contest {
        name: "cold",
        title: "whole image, packages at hand",
        ours: ("build-image", Before::NoStages),
        theirs: Some(("mkosi", "mkosi-cold", Before::NoMkosi)),
        expected: Some(0.33),
    },
    Contest {
        name: "unchanged",
        title: "nothing changed (seconds)",
        ours: ("build-image", Before::Built),
        theirs: None,
        expected: Some(1.0),
    },
    Contest {
        name: "overlay",
        title: "one overlay file changed",
        ours: ("build-image", Before::OverlayChanges),
        theirs: Some(("mkosi, incremental", "mkosi-incremental", Before::MkosiChanges)),
        expected: Some(0.10),
    },
    Contest {
        name: "package",
        title: "one package more",
        ours: ("build-more", Before::BuiltWithoutMore),
        theirs: Some(("our own cold build, with compiling the agent", "build-image", Before::NoAgent)),
        expected: Some(0.70),
    },
    Contest {
        name: "verity",
        title: "hash tree of the sealed root, equal root hash",
        ours: ("verity-ours", Before::Built),
        theirs: Some(("veritysetup format", "verity-theirs", Before::Built)),
        expected: Some(0.5),
    },
    Contest {
        name: "initrd",
        title: "initrd",
        ours: ("initrd-ours", Before::Nothing),
        theirs: Some(("dracut", "initrd-dracut", Before::Nothing)),
        expected: Some(0.2),
    },
    Contest {
        name: "apply",
        title: "applying the bundle to a spare slot",
        ours: ("update-apply", Before::Built),
        theirs: Some(("copying and hashing it", "update-copy", Before::Built)),
        expected: Some(1.5),
    },
];

impl Before {
    /// Puts things in order; `run` builds our image or mkosi's, unmeasured.
    pub fn arrange(self, plan: &Plan, round: usize, run: &dyn Fn(&str) -> Result<()>) -> Result<()> {
        match self {
            Self::Nothing => Ok(()),
            Self::NoStages => forget_stages(plan, &["tools-", "agent-"]),
            Self::NoAgent => {
                for compiled in ["cache/agent-target", "cache/agent-source"] {
                    remove(plan, compiled)?;
                }
                forget_stages(plan, &["tools-"])
            }
            Self::Built => run("build-image"),
            Self::OverlayChanges => {
                run("build-image")?;
                let file = plan.definition()?.overlay_folders().of(&"base".parse()?).join("overlay.toml");
                let text = fs::read_to_string(&file)?;
                Ok(fs::write(&file, format!("{text}\n# round {round}\n"))?)
            }
            Self::BuiltWithoutMore => {
                forget_stages(plan, &["tools-", "agent-"])?;
                run("build-image")
            }
            Self::NoMkosi => forget_mkosi(plan),
            Self::MkosiChanges => {
                if fs::read_dir(plan.at("mkosi/cache"))?.next().is_none() {
                    run("mkosi-incremental")?;
                }
                mkosi::change_file(&plan.at("mkosi"), &format!("round {round}"))
            }
        }
    }
}

fn forget_mkosi(plan: &Plan) -> Result<()> {
    let (dir, mirror, tools) = (plan.at("mkosi"), plan.at("mirror"), plan.tools());
    Work { dir: &dir, mirror: &mirror, tools: &tools }.forget()
}

fn forget_stages(plan: &Plan, kept: &[&str]) -> Result<()> {
    for name in ["out", "cache/outputs"] {
        remove(plan, name)?;
    }
    let stages = plan.at("cache/stages");
    if !stages.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(stages)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != ".used" && !kept.iter().any(|kept| name.starts_with(kept)) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

fn remove(plan: &Plan, name: &str) -> Result<()> {
    let path = plan.at(name);
    if path.exists() { Ok(fs::remove_dir_all(path)?) } else { Ok(()) }
}
