//! Which systemd units run: exactly those that an overlay names.
//!
//! Debian's packages enable what they ship. Here all of that is undone, the units that overlays name are wanted by our own
//! targets, and every other unit that could be enabled is masked, so that nothing starts because a package came in as a dependency.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, bail};

use crate::root_tree::RootTree;

const VENDOR: &str = "/usr/lib/systemd/system";
const LOCAL: &str = "/etc/systemd/system";
/// Only these kinds start something or listen; targets and slices are wiring and stay.
const MASKED_KINDS: [&str; 4] = [".service", ".socket", ".timer", ".path"];

/// The units that run, from all overlays of the image.
#[derive(Debug, Clone, Default)]
pub struct UnitSelection {
    /// Wanted by `casemate-services.target`: started once the host is personalised.
    pub services: BTreeSet<String>,
    /// Wanted by `multi-user.target`: started at every boot.
    pub early: BTreeSet<String>,
    /// Masked whatever their kind: what Debian pulls in without an `[Install]` section (`units/masked.txt`).
    pub masked: BTreeSet<String>,
}

/// Reads `units/masked.txt`: one unit a line, `#` starts the reason.
pub fn parse_masked(text: &str) -> BTreeSet<String> {
    let names = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Applies a selection to the tree; returns the masked units, sorted.
pub fn apply(tree: &RootTree, selection: &UnitSelection) -> Result<Vec<String>> {
    let missing: Vec<&str> = selection
        .services
        .iter()
        .chain(&selection.early)
        .filter(|unit| !is_shipped(tree, unit))
        .map(String::as_str)
        .collect();
    if !missing.is_empty() {
        bail!("overlays name units that no package or overlay ships: {}", missing.join(", "));
    }
    let both: Vec<&str> =
        selection.masked.iter().filter(|unit| is_named(selection, unit)).map(String::as_str).collect();
    if !both.is_empty() {
        bail!("units are named by an overlay and masked in units/masked.txt: {}", both.join(", "));
    }
    forget_enablement(tree)?;
    for unit in &selection.services {
        want(tree, "casemate-services.target", unit)?;
    }
    for unit in &selection.early {
        want(tree, "multi-user.target", unit)?;
    }
    tree.link(&format!("{LOCAL}/default.target"), &format!("{VENDOR}/multi-user.target"))?;
    mask_the_rest(tree, selection)
}

/// Removes every link that a package's maintainer script or preset made.
fn forget_enablement(tree: &RootTree) -> Result<()> {
    for child in tree.children(LOCAL)? {
        let name = format!("{LOCAL}/{child}");
        let found = tree.at(&name).symlink_metadata()?;
        let kind = Path::new(&child).extension().unwrap_or_default();
        let wiring = ["wants", "requires", "upholds"].iter().any(|wiring| kind == *wiring);
        if found.is_symlink() || (found.is_dir() && wiring) {
            tree.remove(&name)?;
        }
    }
    Ok(())
}

fn want(tree: &RootTree, target: &str, unit: &str) -> Result<()> {
    let file = template_of(unit).unwrap_or_else(|| unit.to_owned());
    tree.link(&format!("{LOCAL}/{target}.wants/{unit}"), &format!("{VENDOR}/{file}"))
}

fn mask_the_rest(tree: &RootTree, selection: &UnitSelection) -> Result<Vec<String>> {
    let mut kept: BTreeSet<String> = selection.services.union(&selection.early).cloned().collect();
    kept.extend(selection.services.iter().chain(&selection.early).filter_map(|unit| template_of(unit)));
    let mut masked = selection.masked.clone();
    for unit in tree.children(VENDOR)? {
        let ours = unit.starts_with("casemate-");
        if ours
            || masked.contains(&unit)
            || kept.contains(&unit)
            || !MASKED_KINDS.iter().any(|kind| unit.ends_with(kind))
        {
            continue;
        }
        let name = format!("{VENDOR}/{unit}");
        // A link is an alias (sshd.service) or a mask that the package itself ships (x11-common.service).
        if !tree.at(&name).symlink_metadata()?.is_file() || !can_be_enabled(&tree.read_text(&name)?) {
            continue;
        }
        masked.insert(unit);
    }
    for unit in &masked {
        tree.link(&format!("{LOCAL}/{unit}"), "/dev/null")?;
    }
    Ok(masked.into_iter().collect())
}

fn is_named(selection: &UnitSelection, unit: &str) -> bool {
    selection.services.contains(unit) || selection.early.contains(unit)
}

fn is_shipped(tree: &RootTree, unit: &str) -> bool {
    let file = template_of(unit).unwrap_or_else(|| unit.to_owned());
    tree.has(&format!("{VENDOR}/{file}")) || tree.has(&format!("{LOCAL}/{file}"))
}

/// `php@www.service` is an instance of `php@.service`.
fn template_of(unit: &str) -> Option<String> {
    let (name, rest) = unit.split_once('@')?;
    let (instance, kind) = rest.rsplit_once('.')?;
    (!instance.is_empty()).then(|| format!("{name}@.{kind}"))
}

/// systemd.unit(5): only a unit with an `[Install]` section can be enabled.
fn can_be_enabled(text: &str) -> bool {
    text.lines().any(|line| line.trim() == "[Install]")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree_with(units: &[(&str, &str)]) -> (tempfile::TempDir, RootTree) {
        let dir = tempfile::tempdir().unwrap();
        let tree = RootTree::new(dir.path().to_owned());
        for (unit, text) in units {
            tree.write(&format!("{VENDOR}/{unit}"), text.as_bytes(), 0o644).unwrap();
        }
        (dir, tree)
    }

    const INSTALLABLE: &str = "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n";

    fn select(services: &[&str], early: &[&str]) -> UnitSelection {
        let set = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        UnitSelection { services: set(services), early: set(early), masked: BTreeSet::new() }
    }

    #[test]
    fn what_no_overlay_names_is_masked_and_what_one_names_is_wanted() {
        let (_dir, tree) = tree_with(&[
            ("ssh.service", INSTALLABLE),
            ("apt-daily.timer", INSTALLABLE),
            ("static.service", "[Service]\nExecStart=/bin/true\n"),
            ("rescue.target", INSTALLABLE),
        ]);
        tree.link(&format!("{LOCAL}/timers.target.wants/apt-daily.timer"), "/usr/lib/systemd/system/apt-daily.timer")
            .unwrap();
        let masked = apply(&tree, &select(&["ssh.service"], &[])).unwrap();
        assert_eq!(masked, ["apt-daily.timer"]);
        assert!(!tree.has(&format!("{LOCAL}/timers.target.wants")));
        assert!(tree.has(&format!("{LOCAL}/casemate-services.target.wants/ssh.service")));
        assert_eq!(
            fs_err::read_link(tree.at(&format!("{LOCAL}/apt-daily.timer"))).unwrap().to_str(),
            Some("/dev/null")
        );
    }

    #[test]
    fn the_list_masks_what_cannot_be_enabled_and_must_not_contradict_an_overlay() {
        let (_dir, tree) = tree_with(&[("ssh.service", INSTALLABLE), ("getty.target", "[Unit]\n")]);
        let mut selection = select(&["ssh.service"], &[]);
        selection.masked = parse_masked("# why\ngetty.target   # nobody logs in there\n");
        assert_eq!(apply(&tree, &selection).unwrap(), ["getty.target"]);
        selection.masked.insert("ssh.service".into());
        assert!(apply(&tree, &selection).unwrap_err().to_string().ends_with(": ssh.service"));
    }

    #[test]
    fn an_instance_keeps_its_template_unmasked() {
        let (_dir, tree) = tree_with(&[("php@.service", INSTALLABLE), ("getty@.service", INSTALLABLE)]);
        let masked = apply(&tree, &select(&["php@www.service"], &[])).unwrap();
        assert_eq!(masked, ["getty@.service"]);
    }

    #[test]
    fn a_named_unit_that_nothing_ships_is_refused() {
        let (_dir, tree) = tree_with(&[]);
        let error = apply(&tree, &select(&["ssh.service"], &["chrony.service"])).unwrap_err();
        assert!(error.to_string().contains("ssh.service, chrony.service"), "{error}");
    }
}
