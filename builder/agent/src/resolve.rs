//! From the plan of `hostconf` to work on this tree: names become numbers, host paths become paths below the root.
//!
//! Every name that the image does not know is reported, not only the first.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use hostconf::AbsolutePath;
use hostconf::AccountName;
use hostconf::DomainName;
use hostconf::Mode;
use hostconf::ProbeKind;
use hostconf::RenderPlan;
use hostconf::SecretMaterial;

use crate::accounts::Accounts;
use crate::accounts::Owner;
use crate::files::Access;
use crate::paths::Paths;
use crate::secrets::Kind;
use crate::secrets::Secret;
use crate::work::Command;
use crate::work::Directory;
use crate::work::File;
use crate::work::Probe;
use crate::work::Question;
use crate::work::Step;
use crate::work::Work;

/// Where rendered files of the plan are.
const RENDERED: &str = "/run/casemate/etc";

/// Makes the work of a plan, or says every reason why it cannot.
pub fn resolve(plan: &RenderPlan, paths: &Paths, accounts: &Accounts) -> Result<Work, Vec<String>> {
    let mut resolver = Resolver { paths, accounts, reasons: Vec::new() };
    let work = resolver.work(plan);
    if resolver.reasons.is_empty() {
        return Ok(work);
    }
    resolver.reasons.sort();
    resolver.reasons.dedup();
    Err(resolver.reasons)
}

struct Resolver<'a> {
    paths: &'a Paths,
    accounts: &'a Accounts,
    reasons: Vec<String>,
}

impl Resolver<'_> {
    fn work(&mut self, plan: &RenderPlan) -> Work {
        Work {
            directories: plan.state.iter().map(|row| self.directory(row)).collect(),
            secrets: plan.secrets.iter().map(|row| self.secret(row)).collect(),
            folders: plan.directories.iter().filter_map(|path| self.below_rendered(path)).collect(),
            files: plan.files.iter().filter_map(|row| self.file(row)).collect(),
            checks: plan.checks.iter().map(|row| command(&row.exec)).collect(),
            steps: plan.setups.iter().map(|row| self.step(row)).collect(),
            probes: plan.probes.iter().filter_map(|row| self.probe(row, plan)).collect(),
        }
    }

    fn directory(&mut self, row: &hostconf::StateDirectory) -> Directory {
        let access = self.access(&row.owner, &row.group, row.mode);
        Directory { path: self.paths.at(row.path.as_str()), access, nocow: row.nocow, subvolume: row.subvolume }
    }

    fn secret(&mut self, row: &hostconf::Secret) -> Secret {
        let kind = match &row.material {
            SecretMaterial::RandomHex => Kind::RandomHex,
            SecretMaterial::SshHostKey => Kind::SshHostKey,
            SecretMaterial::TlsSelfSigned { certificate, names } => Kind::TlsSelfSigned {
                certificate: self.paths.at(certificate.as_str()),
                names: names.iter().map(ToString::to_string).collect(),
            },
        };
        Secret { kind, path: self.paths.at(row.path.as_str()), access: self.access(&row.owner, &row.group, row.mode) }
    }

    fn file(&mut self, row: &hostconf::RenderedFile) -> Option<File> {
        let access = self.access(&row.owner, &row.group, row.mode);
        Some(File { path: self.below_rendered(&row.path)?, bytes: row.bytes.clone(), access })
    }

    fn step(&mut self, row: &hostconf::SetupStep) -> Step {
        let site = row.site.as_ref().map(|site| format!(" for {site}")).unwrap_or_default();
        Step {
            name: format!("{}{site}", row.name),
            command: command(&row.exec),
            owner: self.owner(&row.user, &row.user),
            environment: row.env.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            after: row.after.iter().map(ToString::to_string).collect(),
            timeout: Duration::from_secs(row.timeout_seconds),
            of_site: row.site.is_some(),
        }
    }

    fn probe(&mut self, row: &hostconf::Probe, plan: &RenderPlan) -> Option<Probe> {
        let site = row.site.as_ref();
        let name = site.map_or_else(|| row.name.to_string(), |site| format!("{} {site}", row.name));
        let question = match &row.probe {
            ProbeKind::Ssh { port } => Question::Ssh(*port),
            ProbeKind::Smtp { port } => Question::Smtp(*port),
            ProbeKind::Tcp { port } => Question::Tcp(*port),
            ProbeKind::Unix { path } => Question::Unix(self.paths.at(path.as_str())),
            ProbeKind::Exec { command } => Question::Exec(command.iter().map(ToString::to_string).collect()),
            ProbeKind::Https { path, expect } => {
                let Some((site, certificate)) = site.and_then(|site| Some((site, certificate_of(plan, site)?))) else {
                    self.reasons.push(format!("probe `{name}`: there is no certificate for it; declare a `tls-self-signed` secret for each site"));
                    return None;
                };
                let certificate = self.paths.at(certificate.as_str());
                Question::Https {
                    name: site.to_string(),
                    path: path.to_string(),
                    expect: expect.to_string(),
                    certificate,
                }
            }
        };
        Some(Probe { name, question })
    }

    fn access(&mut self, user: &AccountName, group: &AccountName, mode: Mode) -> Access {
        Access { mode: mode.bits(), owner: self.owner(user, group) }
    }

    /// A name that is missing is noted; the number that stands in for it is never used.
    fn owner(&mut self, user: &AccountName, group: &AccountName) -> Owner {
        self.accounts.owner(user.as_str(), group.as_str()).unwrap_or_else(|error| {
            self.reasons.push(error.to_string());
            Owner::ROOT
        })
    }

    fn below_rendered(&mut self, path: &AbsolutePath) -> Option<PathBuf> {
        let below = Path::new(path.as_str()).strip_prefix(RENDERED).ok().map(Path::to_owned);
        if below.is_none() {
            self.reasons
                .push(format!("rendered path `{path}` is not below `{RENDERED}`; this is a bug of the planner"));
        }
        below
    }
}

fn command(words: &[impl ToString]) -> Command {
    Command(words.iter().map(ToString::to_string).collect())
}

fn certificate_of<'p>(plan: &'p RenderPlan, site: &DomainName) -> Option<&'p AbsolutePath> {
    plan.secrets.iter().find_map(|secret| match &secret.material {
        SecretMaterial::TlsSelfSigned { certificate, names } if names.contains(site) => Some(certificate),
        _ => None,
    })
}
