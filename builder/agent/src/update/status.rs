//! What updates have come to: what runs, what waits in the spare slot, and what is remembered.
//! `casemate-agent update status` shows it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bundle::ImageName;
use bundle::ImageVersion;
use bundle::LoaderVersion;
use bundle::RootHash;
use formats::gpt::Copies;
use formats::slots::EMPTY;
use formats::slots::Slots;
use serde::Serialize;

use super::Failure;
use super::State;
use super::Target;
use super::UpdateError;
use super::esp::Found;
use super::kept::Aside;
use super::kept::Kept;
use super::kept::Snapshot;
use super::loader;
use super::moment::moment;
use super::preflight::is_running;
use super::running::Running;
use super::state::Applied;
use super::state::WaitingLoader;
use crate::paths::Paths;

/// The slots and the memory of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UpdateStatus {
    /// Name of the image.
    pub image: ImageName,
    /// The version that runs.
    pub running: ImageVersion,
    /// Its root hash.
    pub root_hash: RootHash,
    /// What the boot loader thinks of it.
    pub running_entry: Entry,
    /// The other slot.
    pub spare: Spare,
    /// Whether both copies of the partition table are whole and say the same; the next update makes them so.
    pub table_is_whole: bool,
    /// The last version that was applied.
    pub applied: Option<Applied>,
    /// Versions that failed here, and why.
    pub failed: BTreeMap<ImageVersion, Failure>,
    /// The oldest version that may be installed.
    pub floor: Option<ImageVersion>,
    /// State as it was before the first start of a version, while that is on trial or the way back needs it.
    pub kept: Option<Snapshot>,
    /// What versions wrote that no longer run, where it could not stay in its place.
    pub aside: Vec<Aside>,
    /// The boot loaders on the ESP by their names, with their versions; nothing for what is not systemd-boot.
    pub loaders: BTreeMap<&'static str, Option<LoaderVersion>>,
}

/// The slot that does not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "content", rename_all = "kebab-case")]
pub enum Spare {
    /// Nothing that could start.
    Empty,
    /// A whole version.
    Version {
        /// Which one.
        version: String,
        /// What the boot loader thinks of it.
        entry: Entry,
    },
}

/// What the boot loader thinks of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "standing", rename_all = "kebab-case")]
pub enum Entry {
    /// It does not know it.
    Absent,
    /// It will try it.
    OnTrial {
        /// How many more times.
        tries_left: u8,
    },
    /// It was found good.
    Good,
    /// All of its tries were in vain.
    Bad,
}

impl UpdateStatus {
    /// Looks at the disk, the ESP and the state. Nothing is changed.
    pub fn read(paths: &Paths, target: &Target) -> Result<Self, UpdateError> {
        let running = Running::read(paths)?;
        let State { applied, failed, floor, .. } = State::read(paths)?;
        let Kept { snapshot: kept, aside, .. } = Kept::read(paths)?;
        let found = target.medium.table()?;
        let slots = Slots::of(&found.table, &running.root_hash)?;
        let entries = target.esp.entries()?;
        let (own, others): (Vec<Found>, Vec<Found>) = entries.into_iter().partition(|each| is_running(each, &running));
        let label = found.table.partitions().get(slots.spare.data).map_or(EMPTY, |partition| partition.name.as_str());
        Ok(Self {
            running_entry: standing(&own),
            spare: spare(label, &running.image, &others),
            table_is_whole: found.copies == Copies::BothGood,
            image: running.image,
            running: running.version,
            root_hash: running.root_hash,
            applied,
            failed,
            floor,
            kept,
            aside,
            loaders: loader::installed(&target.esp).into_iter().map(|each| (each.name, each.version.ok())).collect(),
        })
    }

    /// Lines for a person.
    pub fn text(&self) -> String {
        let mut text = format!("running   {} {}{}\n", self.image, self.running, self.running_entry.words());
        let spare = match &self.spare {
            Spare::Empty => "empty".to_owned(),
            Spare::Version { version, entry } => format!("{version}{}", entry.words()),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "spare     {spare}");
        if let Some(applied) = &self.applied {
            let _ = writeln!(text, "applied   {}, {}", applied.version, moment(applied.at));
        }
        if let Some(floor) = &self.floor {
            let _ = writeln!(text, "floor     {floor}: nothing older may be installed");
        }
        self.write_loaders(&mut text);
        for (version, failure) in &self.failed {
            for reason in &failure.reasons {
                let _ = writeln!(text, "failed    {version}: {reason}");
            }
        }
        if let Some(kept) = &self.kept {
            let _ = writeln!(text, "kept      state as it was before {}, {}", kept.before, moment(kept.at));
        }
        for aside in self.aside.iter().filter(|aside| aside.now.exists()) {
            let _ = writeln!(text, "aside     {}", aside.text());
        }
        if !self.table_is_whole {
            text.push_str("notice    one copy of the partition table is not whole; the next update repairs it\n");
        }
        text
    }

    /// Which one is where, and which one waits.
    fn write_loaders(&self, text: &mut String) {
        for (name, version) in &self.loaders {
            let version = version.as_ref().map_or("of somebody else", LoaderVersion::as_str);
            let _ = writeln!(text, "loader    {version} (`{name}`)");
        }
        let Some(Applied { version, loader: Some(WaitingLoader { version: loader, problem, .. }), .. }) = &self.applied
        else {
            return;
        };
        let _ = match problem {
            None => writeln!(text, "loader    {loader} waits until {version} is good"),
            Some(problem) => writeln!(text, "notice    boot loader {loader} of {version} is not in place: {problem}"),
        };
    }
}

impl Entry {
    fn words(self) -> String {
        match self {
            Self::Absent => ", without a kernel image on the ESP".to_owned(),
            Self::OnTrial { tries_left } => format!(", on trial: {tries_left} tries left"),
            Self::Good => String::new(),
            Self::Bad => ", bad: all of its tries were in vain".to_owned(),
        }
    }
}

fn spare(label: &str, image: &ImageName, entries: &[Found]) -> Spare {
    if label == EMPTY {
        return Spare::Empty;
    }
    let version = label.strip_prefix(&format!("{image}_")).unwrap_or(label).to_owned();
    let own: Vec<Found> = entries.iter().filter(|each| each.entry.version.as_str() == version).cloned().collect();
    Spare::Version { entry: standing(&own), version }
}

/// Of several entries of one version the best counts, as for the loader.
fn standing(entries: &[Found]) -> Entry {
    let best = entries.iter().map(|each| &each.entry).min_by(|one, other| one.start_order(other));
    match best {
        None => Entry::Absent,
        Some(entry) if entry.is_bad() => Entry::Bad,
        Some(entry) => entry.tries.map_or(Entry::Good, |tries| Entry::OnTrial { tries_left: tries.left() }),
    }
}
