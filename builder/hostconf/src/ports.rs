//! The table of ports of an image, from `[[listen]]` and `[[egress]]` of its overlays: for people and for the port audit.

use std::fmt::Write as _;

use crate::overlay::{Egress, Listen};
use crate::overlay_rows::PortZone;
use crate::overlay_set::OverlaySet;

/// All ports of an image, sorted by protocol and number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortTable {
    listen: Vec<(String, Listen)>,
    egress: Vec<(String, Egress)>,
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
        Self { listen, egress }
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
                audience(row.zone)
            );
        }
        text
    }

    /// The table for `/usr/share/casemate/ports.txt`: words between single blanks, one line for each port, no heading.
    ///
    /// `listen PROTO PORT ZONE UNIT OVERLAY` and `egress PROTO PORT ZONE USER OVERLAY`.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (overlay, row) in &self.listen {
            let _ = writeln!(text, "listen {} {} {} {} {overlay}", row.protocol, row.port, row.zone, row.unit);
        }
        for (overlay, row) in &self.egress {
            let _ = writeln!(text, "egress {} {} {} {} {overlay}", row.protocol, row.port, row.zone, row.user);
        }
        text
    }
}

fn audience(zone: PortZone) -> &'static str {
    match zone {
        PortZone::Management => "management networks",
        PortZone::World => "everybody",
    }
}
