//! Why a build did what it did: for each stage whether it ran, and which of its inputs changed.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cache::{Asked, Hit, Key};

/// How many changed inputs are named before the rest is counted.
const NAMED: usize = 8;

/// One stage of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StageReason {
    /// Its name.
    pub stage: String,
    /// Whether it ran.
    pub ran: bool,
    /// The inputs that changed since the last build into the same directory, by name.
    pub changed: Vec<String>,
    /// The reason in words.
    pub reason: String,
}

/// The stages in the order in which a person thinks of them.
const ORDER: [&str; 9] = ["tools", "agent", "rootfs", "skeleton", "overlay", "initrd", "seal", "uki", "image"];

/// The reasons of all stages, in order. `last` holds the keys of the last build into the same directory.
pub(crate) fn explain(asked: &[Asked], last: Option<&BTreeMap<String, Key>>) -> Vec<StageReason> {
    let mut asked: Vec<&Asked> = asked.iter().collect();
    asked.sort_by_key(|row| ORDER.iter().position(|stage| *stage == row.key.stage()).unwrap_or(ORDER.len()));
    asked.into_iter().map(|row| explain_one(row, last)).collect()
}

fn explain_one(row: &Asked, last: Option<&BTreeMap<String, Key>>) -> StageReason {
    let before = last.and_then(|keys| keys.get(row.key.stage()));
    let changed: Vec<String> =
        before.map(|before| row.key.differences(before)).unwrap_or_default().into_iter().map(str::to_owned).collect();
    let reason = match (row.hit, before) {
        (Hit::Cached, Some(_)) if changed.is_empty() => "nothing that it reads changed".to_owned(),
        (Hit::Cached, _) => "an earlier build read exactly this".to_owned(),
        (Hit::Repaired, _) => "its result in the cache was changed on disk, so it was made again".to_owned(),
        (Hit::Made, None) => "the first build into this directory".to_owned(),
        (Hit::Made, Some(_)) if changed.is_empty() => "its result was not there any more".to_owned(),
        (Hit::Made, Some(_)) => format!("changed: {}", enumerate(&changed)),
    };
    StageReason { stage: row.key.stage().to_owned(), ran: row.hit != Hit::Cached, changed, reason }
}

fn enumerate(names: &[String]) -> String {
    let shown = names.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > NAMED { format!("{shown} and {} more", names.len() - NAMED) } else { shown }
}

/// The reasons as lines for people.
pub fn to_text(reasons: &[StageReason]) -> String {
    let width = reasons.iter().map(|row| row.stage.len()).max().unwrap_or(0);
    let line = |row: &StageReason| {
        let ran = if row.ran { "ran " } else { "kept" };
        format!("{:width$}  {ran}  {}", row.stage, row.reason)
    };
    reasons.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::KeyBuilder;

    fn key(value: &str) -> Key {
        KeyBuilder::new("overlay", 1).text("overlays/ssh/overlay.toml", value).finish()
    }

    fn reason(hit: Hit, last: Option<&str>) -> StageReason {
        let last = last.map(|value| BTreeMap::from([("overlay".to_owned(), key(value))]));
        explain(&[Asked { key: key("new"), hit }], last.as_ref()).remove(0)
    }

    #[test]
    fn a_changed_input_is_named() {
        let row = reason(Hit::Made, Some("old"));
        assert_eq!((row.ran, row.changed), (true, vec!["overlays/ssh/overlay.toml".to_owned()]));
        assert!(to_text(&[reason(Hit::Made, Some("old"))]).contains("overlay  ran   changed: overlays/ssh"));
    }

    #[test]
    fn a_stage_that_ran_without_a_change_says_so() {
        assert!(reason(Hit::Made, Some("new")).reason.contains("not there any more"));
        assert!(reason(Hit::Made, None).reason.contains("first build"));
        assert!(reason(Hit::Repaired, Some("new")).reason.contains("changed on disk"));
    }

    #[test]
    fn a_kept_stage_did_not_run() {
        let row = reason(Hit::Cached, Some("new"));
        assert!(!row.ran && row.changed.is_empty());
        assert!(reason(Hit::Cached, Some("older")).reason.contains("an earlier build"));
    }
}
