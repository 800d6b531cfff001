//! Walks all overlays in order and fills the plan; notes every error instead of stopping at the first.

use std::fmt::Display;
use std::str::FromStr;

use minijinja::Value;

use crate::assignments::Assignments;
use crate::context::{RUN, SiteFacts, expand, host_context, site_context};
use crate::derived::linked_directories;
use crate::domain_name::DomainName;
use crate::host::{HostConfig, Site};
use crate::names::{AbsolutePath, OverlayName};
use crate::overlay::{RenderRow, Scope, SecretKind, SecretRow, SetupRow, StateRow};
use crate::overlay_set::{LoadedOverlay, OverlaySet};
use crate::pattern::Pattern;
use crate::plan::{
    Check, DiskLimit, PlanError, PlanErrors, Probe, RenderPlan, RenderedFile, Secret, SecretMaterial, SetupStep,
    StateDirectory,
};
use crate::sealed::SealedImage;
use crate::tls::TlsSettings;

/// Where an entry is applied: the host, or one site.
struct Place<'p> {
    site: Option<&'p Site>,
    context: Value,
}

/// A plan in the making.
pub(crate) struct Planner<'p> {
    overlays: &'p OverlaySet,
    host: Place<'p>,
    sites: Vec<Place<'p>>,
    asks_authority: bool,
    plan: RenderPlan,
    errors: Vec<PlanError>,
}

/// One entry at one place, with what is needed to resolve it or to complain about it.
struct Entry<'e> {
    overlay: &'e OverlayName,
    what: &'e str,
    place: &'e Place<'e>,
}

impl Entry<'_> {
    fn error(&self, reason: String) -> PlanError {
        let site = self.place.site.map(|site| format!(" for site `{}`", site.name)).unwrap_or_default();
        PlanError { overlay: self.overlay.clone(), place: format!("{}{site}", self.what), reason }
    }

    fn resolve<T: FromStr<Err: Display> + Clone>(&self, pattern: &Pattern<T>) -> Result<T, PlanError> {
        pattern.resolve(&self.place.context).map_err(|reason| self.error(reason))
    }
}

impl<'p> Planner<'p> {
    pub(crate) fn new(
        host: &'p HostConfig,
        assignments: &Assignments,
        overlays: &'p OverlaySet,
        image: &SealedImage,
    ) -> Self {
        let mut errors = Vec::new();
        let mut facts = Vec::new();
        for site in host.sites() {
            match assignments.account(&site.name) {
                Some(account) => facts.push((site, SiteFacts::new(site, account))),
                None => errors.extend(overlays.iter().take(1).map(|overlay| no_account(&overlay.name, site))),
            }
        }
        let all: Vec<SiteFacts> = facts.iter().map(|(_, facts)| facts.clone()).collect();
        let base = host_context(host, image, &all);
        let sites =
            facts.iter().map(|(site, facts)| Place { site: Some(site), context: site_context(&base, facts) }).collect();
        let asks_authority = matches!(host.tls, TlsSettings::Acme(_));
        let host = Place { site: None, context: base };
        Self { overlays, host, sites, asks_authority, plan: RenderPlan::default(), errors }
    }

    pub(crate) fn plan(mut self) -> Result<RenderPlan, PlanErrors> {
        self.plan.directories =
            linked_directories(self.overlays).iter().map(|directory| directory.below(RUN)).collect();
        for overlay in self.overlays {
            self.plan_state(overlay);
            self.plan_secrets(overlay);
            self.plan_files(overlay);
            self.plan_checks(overlay);
            self.plan_setups(overlay);
            self.plan_probes(overlay);
        }
        self.check_certificates();
        self.plan.files.sort_by(|left, right| left.path.cmp(&right.path));
        self.check_collisions();
        if self.errors.is_empty() { Ok(self.plan) } else { Err(PlanErrors(self.errors)) }
    }

    fn plan_state(&mut self, overlay: &LoadedOverlay) {
        // The host's own rows are tmpfiles lines of the image.
        for row in overlay.def.state.iter().filter(|row| !row.scope.is_host()) {
            let planned = self.each(overlay, &row.scope, "[[state]]", |entry| state_directory(entry, row));
            self.plan.state.extend(planned);
        }
    }

    fn plan_secrets(&mut self, overlay: &LoadedOverlay) {
        for row in &overlay.def.secrets {
            let planned = self.each(overlay, &row.scope, "[[secret]]", |entry| secret(entry, row));
            self.plan.secrets.extend(planned);
        }
    }

    fn plan_files(&mut self, overlay: &LoadedOverlay) {
        for row in &overlay.def.render {
            let template = overlay.templates.get(&row.template).map(String::as_str).unwrap_or_default();
            let what = format!("template `{}`", row.template);
            let planned = self.each(overlay, &row.scope, &what, |entry| rendered_file(entry, row, template));
            self.plan.files.extend(planned);
        }
    }

    fn plan_checks(&mut self, overlay: &LoadedOverlay) {
        let checks =
            overlay.def.checks.iter().map(|row| Check { overlay: overlay.name.clone(), exec: row.exec.clone() });
        self.plan.checks.extend(checks);
    }

    fn plan_setups(&mut self, overlay: &LoadedOverlay) {
        for row in &overlay.def.setups {
            let what = format!("[[setup]] `{}`", row.name);
            let planned = self.each(overlay, &row.scope, &what, |entry| setup_step(entry, row));
            self.plan.setups.extend(planned);
        }
    }

    fn plan_probes(&mut self, overlay: &LoadedOverlay) {
        for row in &overlay.def.health {
            let planned = self.each(overlay, &row.scope, "[[health]]", |entry| {
                let site = entry.place.site.map(|site| site.name.clone());
                Ok(Probe { overlay: entry.overlay.clone(), name: row.name.clone(), site, probe: row.probe.clone() })
            });
            self.plan.probes.extend(planned);
        }
    }

    /// Applies an entry to the host or to each site it is for; errors are noted.
    fn each<T>(
        &mut self,
        overlay: &LoadedOverlay,
        scope: &Scope,
        what: &str,
        make: impl Fn(&Entry<'_>) -> Result<T, PlanError>,
    ) -> Vec<T> {
        let host = std::iter::once(&self.host).filter(|_| scope.is_host());
        let sites = self.sites.iter().filter(|place| place.site.is_some_and(|site| scope.fits(site.content.kind())));
        let mut done = Vec::new();
        for place in host.chain(sites) {
            match make(&Entry { overlay: &overlay.name, what, place }) {
                Ok(value) => done.push(value),
                Err(error) => self.errors.push(error),
            }
        }
        done
    }

    /// A document that counts on an authority, and an image that asks none.
    fn check_certificates(&mut self) {
        let serves = self.overlays.iter().find(|overlay| overlay.name.as_str() == "apache");
        let Some(apache) = serves.filter(|_| self.asks_authority && !self.overlays.has("tls")) else { return };
        let reason = "`mode = \"acme\"` needs the overlay `tls`, which is not in this image: add it to image.toml, or use `self-signed`";
        self.errors.push(PlanError {
            overlay: apache.name.clone(),
            place: "[tls]".to_owned(),
            reason: reason.to_owned(),
        });
    }

    /// Two entries that give one file: possible where names come from templates. The files are sorted.
    fn check_collisions(&mut self) {
        for pair in self.plan.files.windows(2) {
            let [first, second] = pair else { continue };
            if first.path == second.path || second.path.is_below(first.path.as_str()) {
                let reason =
                    format!("`{}` is also rendered by overlay `{}`: change one `to`", first.path, first.overlay);
                self.errors.push(PlanError {
                    overlay: second.overlay.clone(),
                    place: format!("`{}`", second.path),
                    reason,
                });
            }
        }
    }
}

fn state_directory(entry: &Entry<'_>, row: &StateRow) -> Result<StateDirectory, PlanError> {
    let path = entry.resolve(&row.path)?;
    let (owner, group) = (entry.resolve(&row.owner)?, entry.resolve(&row.group)?);
    Ok(StateDirectory {
        overlay: entry.overlay.clone(),
        path,
        owner,
        group,
        mode: row.mode,
        class: row.class,
        nocow: row.nocow,
        subvolume: row.subvolume.then(|| disk_limit(entry)),
    })
}

fn disk_limit(entry: &Entry<'_>) -> DiskLimit {
    let wanted = entry.place.site.and_then(|site| site.limits.disk);
    wanted.map_or(DiskLimit::None, |size| DiskLimit::Bytes(size.bytes()))
}

fn secret(entry: &Entry<'_>, row: &SecretRow) -> Result<Secret, PlanError> {
    let material = match &row.kind {
        SecretKind::RandomHex => SecretMaterial::RandomHex,
        SecretKind::SshHostKey => SecretMaterial::SshHostKey,
        SecretKind::TlsSelfSigned { certificate, names } => {
            let names = if names.is_empty() {
                site_names(entry)
            } else {
                names.iter().map(|name| entry.resolve(name)).collect::<Result<_, _>>()?
            };
            SecretMaterial::TlsSelfSigned { certificate: entry.resolve(certificate)?, names }
        }
    };
    let (path, owner, group) = (entry.resolve(&row.path)?, entry.resolve(&row.owner)?, entry.resolve(&row.group)?);
    Ok(Secret { overlay: entry.overlay.clone(), material, path, owner, group, mode: row.mode })
}

fn site_names(entry: &Entry<'_>) -> Vec<DomainName> {
    entry
        .place
        .site
        .map(|site| std::iter::once(&site.name).chain(&site.aliases).chain(&site.preview).cloned().collect())
        .unwrap_or_default()
}

fn rendered_file(entry: &Entry<'_>, row: &RenderRow, template: &str) -> Result<RenderedFile, PlanError> {
    let to: AbsolutePath = entry.resolve(&row.to)?;
    let (owner, group) = (entry.resolve(&row.owner)?, entry.resolve(&row.group)?);
    let bytes = expand(template, &entry.place.context).map_err(|reason| entry.error(reason))?.into_bytes();
    Ok(RenderedFile { overlay: entry.overlay.clone(), path: to.below(RUN), owner, group, mode: row.mode, bytes })
}

fn setup_step(entry: &Entry<'_>, row: &SetupRow) -> Result<SetupStep, PlanError> {
    let exec = row.exec.iter().map(|word| entry.resolve(word)).collect::<Result<_, _>>()?;
    let env = row
        .env
        .iter()
        .map(|(name, value)| Ok((name.clone(), entry.resolve(value)?)))
        .collect::<Result<_, PlanError>>()?;
    Ok(SetupStep {
        overlay: entry.overlay.clone(),
        name: row.name.clone(),
        site: entry.place.site.map(|site| site.name.clone()),
        exec,
        user: entry.resolve(&row.user)?,
        env,
        after: row.after.clone(),
        timeout_seconds: row.timeout_seconds,
    })
}

fn no_account(overlay: &OverlayName, site: &Site) -> PlanError {
    let reason = "the site has no account: assign accounts before planning".to_owned();
    PlanError { overlay: overlay.clone(), place: format!("site `{}`", site.name), reason }
}
