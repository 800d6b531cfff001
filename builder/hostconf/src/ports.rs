//! The table of ports of an image, from `[[listen]]`, `[[egress]]` and `[[local]]` of its overlays: for people and for the port audit.

use std::fmt::Write as _;

use crate::overlay::{Egress, Listen, Local};
use crate::overlay_rows::{EgressZone, PortZone};
use crate::overlay_set::OverlaySet;

/// All ports of an image, sorted by protocol and number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortTable {
    listen: Vec<(String, Listen)>,
    egress: Vec<(String, Egress)>,
    local: Vec<(String, Local)>,
}

impl PortTable {
    /// Collects the ports of all overlays.
    pub fn new(overlays: &OverlaySet) -> Self {
        let mut listen: Vec<(String, Listen)> = overlays
            .iter()
            .flat_map(|overlay| overlay.def.listen.iter().map(|row| (overlay.name.to_string(), row.clone())))
            .collect();
        let mut egress: Vec<(String, Egress)> = overlays
            .iter()
            .flat_map(|overlay| overlay.def.egress.iter().map(|row| (overlay.name.to_string(), row.clone())))
            .collect();
        listen.sort_by_key(|(_, row)| (row.protocol, row.port));
        egress.sort_by_key(|(_, row)| (row.user.clone(), row.protocol, row.port));
        let mut local: Vec<(String, Local)> = overlays
            .iter()
            .flat_map(|overlay| overlay.def.local.iter().map(|row| (overlay.name.to_string(), row.clone())))
            .collect();
        local.sort_by_key(|(_, row)| (row.user.clone(), row.protocol, row.port));
        Self { listen, egress, local }
    }

    /// The table for `ports.md`.
    pub fn to_markdown(&self) -> String {
        let mut text =
            String::from("# Ports\n\n## Open to the outside\n\n| port | to | unit | overlay |\n|---|---|---|---|\n");
        // Writing to a String cannot fail.
        for (overlay, row) in &self.listen {
            let _ = writeln!(
                text,
                "| {}/{} | {} | `{}` | {overlay} |",
                row.port,
                row.protocol,
                audience(row.zone),
                row.unit
            );
        }
        text.push_str("\n## Going out\n\n| user | port | to | overlay |\n|---|---|---|---|\n");
        for (overlay, row) in &self.egress {
            let _ = writeln!(
                text,
                "| `{}` | {}/{} | {} | {overlay} |",
                row.user,
                row.port,
                row.protocol,
                destination(row.zone)
            );
        }
        text.push_str("\n## To this host itself\n\n| user | port | overlay |\n|---|---|---|\n");
        for (overlay, row) in &self.local {
            let _ = writeln!(text, "| `{}` | {}/{} | {overlay} |", row.user, row.port, row.protocol);
        }
        text
    }

    /// The table for `/usr/share/casemate/ports.txt`: words between single blanks, one line for each port, no heading.
    ///
    /// `listen PROTO PORT ZONE UNIT OVERLAY`, `egress PROTO PORT ZONE USER OVERLAY` and `local PROTO PORT USER OVERLAY`.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (overlay, row) in &self.listen {
            let _ = writeln!(text, "listen {} {} {} {} {overlay}", row.protocol, row.port, row.zone, row.unit);
        }
        for (overlay, row) in &self.egress {
            let _ = writeln!(text, "egress {} {} {} {} {overlay}", row.protocol, row.port, row.zone, row.user);
        }
        for (overlay, row) in &self.local {
            let _ = writeln!(text, "local {} {} {} {overlay}", row.protocol, row.port, row.user);
        }
        text
    }
}

fn destination(zone: EgressZone) -> &'static str {
    match zone {
        EgressZone::Management => "management networks",
        EgressZone::World => "everybody",
        EgressZone::Metadata => "the metadata addresses of clouds",
    }
}

fn audience(zone: PortZone) -> &'static str {
    match zone {
        PortZone::Management => "management networks",
        PortZone::World => "everybody",
    }
}
