//! The overlays of one image together, in the order they are laid, with the rules between them.
//!
//! Two overlays never claim the same number, port, rendered file or state, and each has what it needs. Found by the builder, so a
//! sealed image holds no such conflict.

use std::collections::BTreeMap;
use std::fmt;

use crate::context::check_syntax;
use crate::names::{AbsolutePath, FileName, OverlayName};
use crate::overlay::{LocalUser, OverlayDef};

/// An overlay with the texts of its templates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedOverlay {
    /// Name of the overlay, which is the name of its folder.
    pub name: OverlayName,
    /// Its definition.
    pub def: OverlayDef,
    /// The templates beside `overlay.toml`: at least those that `[[render]]` names.
    pub templates: BTreeMap<FileName, String>,
}

/// A rule between overlays that is broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The overlay where it was found.
    pub overlay: OverlayName,
    /// What is wrong and what to do.
    pub message: String,
}

/// All broken rules. Prints one line for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflicts(pub Vec<Conflict>);

impl fmt::Display for Conflicts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> =
            self.0.iter().map(|conflict| format!("overlay `{}`: {}", conflict.overlay, conflict.message)).collect();
        out.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Conflicts {}

/// The overlays of an image. A value of this type keeps the rules between overlays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverlaySet(Vec<LoadedOverlay>);

impl OverlaySet {
    /// Takes the overlays in the order they are laid and checks the rules between them.
    pub fn new(overlays: Vec<LoadedOverlay>) -> Result<Self, Conflicts> {
        let mut claims = Claims::default();
        for overlay in &overlays {
            claims.check_needs(overlay, &overlays);
            claims.check_numbers(overlay);
            claims.check_paths(overlay);
            claims.check_templates(overlay);
        }
        if claims.conflicts.is_empty() { Ok(Self(overlays)) } else { Err(Conflicts(claims.conflicts)) }
    }

    /// Whether an overlay of this name is among them.
    pub fn has(&self, name: &str) -> bool {
        self.iter().any(|overlay| overlay.name.as_str() == name)
    }

    /// The overlays in the order they are laid.
    pub fn iter(&self) -> std::slice::Iter<'_, LoadedOverlay> {
        self.0.iter()
    }
}

impl<'s> IntoIterator for &'s OverlaySet {
    type Item = &'s LoadedOverlay;
    type IntoIter = std::slice::Iter<'s, LoadedOverlay>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// What overlays have claimed so far, and the conflicts found.
#[derive(Default)]
struct Claims {
    taken: BTreeMap<String, OverlayName>,
    conflicts: Vec<Conflict>,
}

impl Claims {
    fn claim(&mut self, overlay: &OverlayName, what: String) {
        if let Some(other) = self.taken.get(&what) {
            let message = format!("{what} is already claimed by overlay `{other}`: change one of them");
            self.refuse(overlay, message);
        }
        self.taken.entry(what).or_insert_with(|| overlay.clone());
    }

    fn refuse(&mut self, overlay: &OverlayName, message: String) {
        self.conflicts.push(Conflict { overlay: overlay.clone(), message });
    }

    fn check_needs(&mut self, overlay: &LoadedOverlay, all: &[LoadedOverlay]) {
        self.claim(&overlay.name, format!("the name `{}`", overlay.name));
        for needed in &overlay.def.needs {
            if !all.iter().any(|other| other.name == *needed) {
                self.refuse(
                    &overlay.name,
                    format!("needs overlay `{needed}`, which is not in the image: add it to `overlays` in image.toml"),
                );
            }
        }
    }

    fn check_numbers(&mut self, overlay: &LoadedOverlay) {
        let LoadedOverlay { name, def, .. } = overlay;
        // A user's number is a gid too, because its group is made with it.
        for (account, number) in def
            .users
            .iter()
            .map(|(account, user)| (account, user.uid))
            .chain(def.groups.iter().map(|(group, gid)| (group, *gid)))
        {
            self.claim(name, format!("number {number}"));
            self.claim(name, format!("account `{account}`"));
            if account.as_str() == LocalUser::SITES {
                self.refuse(
                    name,
                    format!("account `{account}` stands for the users of all sites: choose another name"),
                );
            }
        }
        for row in &def.listen {
            self.claim(name, format!("port {}/{}", row.port, row.protocol));
        }
        for row in &def.jails {
            self.claim(name, format!("jail `{}`", row.name));
        }
    }

    fn check_paths(&mut self, overlay: &LoadedOverlay) {
        let LoadedOverlay { name, def, .. } = overlay;
        for path in def.render.iter().filter_map(|row| row.to.literal()) {
            self.claim(name, format!("rendered file `{path}`"));
        }
        for path in def.state.iter().filter_map(|row| row.path.literal()).chain(def.dropped.iter().map(|row| &row.path))
        {
            self.claim(name, format!("path `{path}` below /var"));
        }
        for row in &def.provided {
            self.claim(name, format!("provided package `{}`", row.package));
            if def.packages.contains(&row.package) {
                self.refuse(
                    name,
                    format!("asks for package `{0}` and provides it: leave one of them out", row.package),
                );
            }
        }
        for row in &def.skeletons {
            self.claim(name, format!("skeleton `{}`", row.path));
        }
        let secrets: Vec<&AbsolutePath> = def.secrets.iter().filter_map(|row| row.path.literal()).collect();
        for path in secrets {
            self.claim(name, format!("secret `{path}`"));
        }
    }

    fn check_templates(&mut self, overlay: &LoadedOverlay) {
        for row in &overlay.def.render {
            let Some(text) = overlay.templates.get(&row.template) else {
                self.refuse(
                    &overlay.name,
                    format!("template `{}` is missing: put it beside overlay.toml", row.template),
                );
                continue;
            };
            if let Err(reason) = check_syntax(text) {
                self.refuse(&overlay.name, format!("template `{}`, {reason}", row.template));
            }
        }
    }
}
