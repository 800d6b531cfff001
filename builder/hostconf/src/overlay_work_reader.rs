//! Reads the entries of `overlay.toml` that are work for the agent: secrets, checks, setup steps and probes.

use std::collections::BTreeMap;

use crate::document::{Section, shown};
use crate::names::{AbsolutePath, VariableName, Word};
use crate::overlay::{CheckRow, HealthRow, Scope, SecretKind, SecretRow, SetupRow};
use crate::overlay_reader::{read_kinds, read_scope, require_below, root_account};
use crate::overlay_rows::Mode;
use crate::pattern::{Pattern, Templates, pattern, pattern_or, patterns};
use crate::probe::{ProbeKind, read_command, read_probe};

/// How long a setup step may take when the entry does not say, in seconds.
const SETUP_TIMEOUT: u64 = 120;

pub(crate) fn read_secret(row: &Section<'_, '_>) -> Option<SecretRow> {
    row.allow(&["kind", "path", "owner", "group", "mode", "certificate", "names", "for", "kinds"]);
    let (scope, templates) = read_scope(row);
    let kind = read_secret_kind(row, &scope, templates);
    let path = pattern::<AbsolutePath>(row, "path", templates);
    require_below(row, "path", path.as_ref(), "/var/lib/casemate");
    let owner = pattern_or(row, "owner", templates, Some(root_account()));
    let group = pattern_or(row, "group", templates, owner.clone());
    let mode = if row.has("mode") { row.text("mode") } else { Some(Mode::PRIVATE) };
    Some(SecretRow { kind: kind?, path: path?, owner: owner?, group: group?, mode: mode?, scope })
}

fn read_secret_kind(row: &Section<'_, '_>, scope: &Scope, templates: Templates) -> Option<SecretKind> {
    let kind = row.text::<Word>("kind")?;
    if kind.as_str() != "tls-self-signed" {
        for key in ["certificate", "names"].into_iter().filter(|key| row.has(key)) {
            row.note(row.spot_of(key), format!("`{key}` is for secrets of kind `tls-self-signed`: remove it"));
        }
    }
    match kind.as_str() {
        "random-hex" => Some(SecretKind::RandomHex),
        "ssh-host-key" => Some(SecretKind::SshHostKey),
        "tls-self-signed" => {
            let certificate = pattern::<AbsolutePath>(row, "certificate", templates);
            require_below(row, "certificate", certificate.as_ref(), "/var/lib/casemate");
            let names = patterns(row, "names", with_host(templates));
            if names.is_empty() && scope.is_host() {
                row.note(
                    row.spot(),
                    "a certificate of the host needs `names`, e.g. `[\"{{ host.hostname }}\"]`".to_owned(),
                );
            }
            Some(SecretKind::TlsSelfSigned { certificate: certificate?, names })
        }
        other => {
            let found = shown(other);
            row.note(
                row.spot_of("kind"),
                format!("`{found}` is not a kind of secret: `random-hex`, `ssh-host-key` or `tls-self-signed`"),
            );
            None
        }
    }
}

pub(crate) fn read_check(row: &Section<'_, '_>) -> Option<CheckRow> {
    row.allow(&["exec"]);
    Some(CheckRow { exec: read_command(row, "exec")? })
}

pub(crate) fn read_setup(row: &Section<'_, '_>) -> Option<SetupRow> {
    row.allow(&["name", "exec", "user", "env", "after", "timeout_seconds", "for", "kinds"]);
    let (scope, templates) = read_scope(row);
    let name = row.text("name");
    let command = read_command(row, "exec");
    let exec = patterns(row, "exec", with_host(templates));
    let user = pattern_or(row, "user", templates, Some(root_account()));
    let env = row.optional_section("env").map(|section| read_env(&section, with_host(templates))).unwrap_or_default();
    let after = row.plain_texts("after");
    let timeout_seconds = row.optional_integer("timeout_seconds", 1..=3600).unwrap_or(SETUP_TIMEOUT);
    command?;
    Some(SetupRow { name: name?, exec, user: user?, env, after, timeout_seconds, scope })
}

fn read_env(section: &Section<'_, '_>, templates: Templates) -> BTreeMap<VariableName, Pattern<Word>> {
    let names = section.names::<VariableName>();
    names.into_iter().filter_map(|(name, key)| Some((name, pattern(section, &key, templates)?))).collect()
}

pub(crate) fn read_health(row: &Section<'_, '_>) -> Option<HealthRow> {
    row.allow(&["name", "ssh", "smtp", "tcp", "unix", "exec", "https", "kinds"]);
    let name = row.text("name");
    let probe = read_probe(row);
    let of_sites = matches!(probe, Some(ProbeKind::Https { .. }));
    if !of_sites && probe.is_some() && row.has("kinds") {
        row.note(row.spot_of("kinds"), "`kinds` is for `https` probes: other probes look at the host".to_owned());
    }
    let scope = if of_sites { Scope::Sites(read_kinds(row)) } else { Scope::Host };
    Some(HealthRow { name: name?, probe: probe?, scope })
}

/// Commands, variables and names may use what is known of the host even without a site; paths and owners may not.
fn with_host(templates: Templates) -> Templates {
    if templates == Templates::Refused { Templates::Host } else { templates }
}
