//! What the builder puts into an image because of the overlays: links for rendered files, the tmpfiles lines for state, and jails.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::context::RUN;
use crate::names::AbsolutePath;
use crate::overlay::RenderRow;
use crate::overlay_set::OverlaySet;
use crate::pattern::Pattern;

/// A symbolic link in the image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// The link, below `/etc`.
    pub path: AbsolutePath,
    /// Where it points, below `/run/casemate`.
    pub target: AbsolutePath,
}

/// The links for rendered files, sorted: one for each file of the host, one for each directory with files of sites.
///
/// A file of the host in such a directory has no link of its own; it is found through the directory's link.
pub fn links(overlays: &OverlaySet) -> Vec<Link> {
    let directories = linked_directories(overlays);
    let files = render_rows(overlays).filter_map(|row| row.to.literal()).filter(|path| !is_inside(path, &directories));
    let paths: BTreeSet<&AbsolutePath> = files.chain(&directories).collect();
    paths.into_iter().map(|path| Link { path: path.clone(), target: path.below(RUN) }).collect()
}

/// The directories of `/etc` that are links, because sites have files there.
pub(crate) fn linked_directories(overlays: &OverlaySet) -> BTreeSet<AbsolutePath> {
    let templates = render_rows(overlays).filter_map(|row| match &row.to {
        Pattern::Template(text) => text.rsplit_once('/'),
        Pattern::Literal(_) => None,
    });
    templates.filter_map(|(directory, _)| directory.parse().ok()).collect()
}

/// The text of `/usr/lib/tmpfiles.d/casemate-state.conf` (tmpfiles.d(5)): each state directory of the host, parents first.
pub fn state_tmpfiles(overlays: &OverlaySet) -> String {
    let rows = overlays.iter().flat_map(|overlay| &overlay.def.state).filter_map(|row| {
        Some((row.path.literal()?, (row.mode, row.owner.literal()?, row.group.literal()?, row.nocow)))
    });
    let mut text = String::from("# Derived from [[state]] of the overlays.\n");
    for (path, (mode, owner, group, nocow)) in rows.collect::<BTreeMap<_, _>>() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "d {path} {mode} {owner} {group} -");
        if nocow {
            let _ = writeln!(text, "h {path} - - - - +C");
        }
    }
    text
}

/// The text of `/etc/fail2ban/jail.d/casemate.conf` (jail.conf(5)): every jail of the overlays.
pub fn jails(overlays: &OverlaySet) -> String {
    let mut text = String::from("# Derived from [[jail]] of the overlays.\n");
    for row in overlays.iter().flat_map(|overlay| &overlay.def.jails) {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "\n[{}]\nenabled = true\nfilter = {}\njournalmatch = {}\nmaxretry = {}\nfindtime = {}m\nbantime = {}m",
            row.name, row.filter, row.journal, row.retry, row.find_minutes, row.ban_minutes
        );
    }
    text
}

fn render_rows(overlays: &OverlaySet) -> impl Iterator<Item = &RenderRow> {
    overlays.iter().flat_map(|overlay| &overlay.def.render)
}

fn is_inside(path: &AbsolutePath, directories: &BTreeSet<AbsolutePath>) -> bool {
    directories.iter().any(|directory| path.is_below(directory.as_str()))
}
