//! Reads `overlay.toml`: one function for each kind of entry (`docs/formats/overlay-toml.md`).

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use crate::document::{Section, read};
use crate::host::SiteKind;
use crate::mistake::Mistakes;
use crate::names::{AbsolutePath, AccountName, Word};
use crate::overlay::{
    DebconfAnswer, Dropped, Egress, JailRow, Listen, Local, LocalUser, OverlayDef, ProvidedRow, RenderRow, Scope,
    SetUid, SkeletonRow, StateRow, UserDef,
};
use crate::overlay_rows::{Mode, StateClass};
use crate::overlay_work_reader::{read_check, read_health, read_secret, read_setup};
use crate::pattern::{Pattern, Templates, pattern, pattern_or};
use crate::state_formats::FormatRule;

/// Numbers for fixed accounts: above Debian's own, below what adduser gives out.
const FIXED_IDS: std::ops::RangeInclusive<u64> = 300..=899;

/// Where the roots of jailed services are.
const SKELETONS: &str = "/usr/lib/casemate/jail";

/// Files of `/etc` that are never rendered: they are part of the image or belong to PID 1.
const NEVER_RENDERED: [&str; 6] =
    ["/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow", "/etc/machine-id", "/etc/fstab"];

pub(crate) fn read_overlay(name: &str, text: &str) -> Result<OverlayDef, Mistakes> {
    read(name, text, |root| {
        root.allow(&[
            "summary", "needs", "packages", "units", "early", "debconf", "users", "groups", "listen", "egress",
            "state", "dropped", "provided", "setuid", "render", "secret", "check", "setup", "health", "trim",
            "skeleton", "jail", "local",
        ]);
        Some(OverlayDef {
            needs: root.plain_texts("needs"),
            packages: root.plain_texts("packages"),
            units: root.plain_texts("units"),
            early: root.plain_texts("early"),
            debconf: read_named(root, "debconf", read_answer),
            users: read_named(root, "users", read_user),
            groups: read_named(root, "groups", read_group),
            listen: read_rows(root, "listen", read_listen),
            egress: read_rows(root, "egress", read_egress),
            local: read_rows(root, "local", read_local),
            state: read_rows(root, "state", read_state),
            dropped: read_rows(root, "dropped", read_dropped),
            provided: read_rows(root, "provided", read_provided),
            setuid: read_rows(root, "setuid", read_setuid),
            render: read_rows(root, "render", read_render),
            secrets: read_rows(root, "secret", read_secret),
            checks: read_rows(root, "check", read_check),
            setups: read_rows(root, "setup", read_setup),
            health: read_rows(root, "health", read_health),
            trim: read_rows(root, "trim", read_trim),
            skeletons: read_rows(root, "skeleton", read_skeleton),
            jails: read_rows(root, "jail", read_jail),
            summary: root.text("summary")?,
        })
    })
}

fn read_rows<T>(root: &Section<'_, '_>, key: &str, row: fn(&Section<'_, '_>) -> Option<T>) -> Vec<T> {
    root.sections(key).iter().filter_map(row).collect()
}

fn read_named<K: FromStr<Err: Display> + Ord, T>(
    root: &Section<'_, '_>,
    key: &str,
    row: fn(&Section<'_, '_>) -> Option<T>,
) -> BTreeMap<K, T> {
    let Some(section) = root.optional_section(key) else {
        return BTreeMap::new();
    };
    section.named_sections().into_iter().filter_map(|(name, entry)| Some((name, row(&entry)?))).collect()
}

fn read_answer(row: &Section<'_, '_>) -> Option<DebconfAnswer> {
    row.allow(&["type", "value"]);
    let kind = row.text("type");
    let value = row.text("value");
    Some(DebconfAnswer { kind: kind?, value: value? })
}

fn read_user(row: &Section<'_, '_>) -> Option<UserDef> {
    row.allow(&["uid", "groups", "home", "shell"]);
    let uid = row.integer("uid", FIXED_IDS).and_then(|uid| u32::try_from(uid).ok());
    let groups = row.plain_texts("groups");
    let home = text_or(row, "home", "/nonexistent");
    let shell = text_or(row, "shell", "/usr/sbin/nologin");
    Some(UserDef { uid: uid?, groups, home: home?, shell: shell? })
}

fn read_group(row: &Section<'_, '_>) -> Option<u32> {
    row.allow(&["gid"]);
    row.integer("gid", FIXED_IDS).and_then(|gid| u32::try_from(gid).ok())
}

fn read_listen(row: &Section<'_, '_>) -> Option<Listen> {
    row.allow(&["port", "proto", "zone", "unit"]);
    let port = read_port(row);
    let protocol = row.text("proto");
    let zone = row.text("zone");
    let unit = row.text("unit");
    Some(Listen { port: port?, protocol: protocol?, zone: zone?, unit: unit? })
}

fn read_egress(row: &Section<'_, '_>) -> Option<Egress> {
    row.allow(&["user", "proto", "port", "zone"]);
    let user = row.text("user");
    let protocol = row.text("proto");
    let port = read_port(row);
    let zone = row.text("zone");
    Some(Egress { user: user?, protocol: protocol?, port: port?, zone: zone? })
}

/// `sites` is no account's name: it stands for the users of all sites.
fn read_local(row: &Section<'_, '_>) -> Option<Local> {
    row.allow(&["user", "proto", "port"]);
    let user = row.text::<AccountName>("user");
    let user =
        user.map(|user| if user.as_str() == LocalUser::SITES { LocalUser::Sites } else { LocalUser::Account(user) });
    let protocol = row.text("proto");
    let port = read_port(row);
    Some(Local { user: user?, protocol: protocol?, port: port? })
}

fn read_state(row: &Section<'_, '_>) -> Option<StateRow> {
    row.allow(&["path", "owner", "group", "mode", "class", "format", "nocow", "subvolume", "for", "kinds"]);
    let (scope, templates) = read_scope(row);
    let path = pattern::<AbsolutePath>(row, "path", templates);
    require_below(row, "path", path.as_ref(), "/var");
    let owner = pattern(row, "owner", templates);
    let group = pattern_or(row, "group", templates, owner.clone());
    let mode = row.text("mode");
    let class = row.text("class");
    let format = row.optional_section("format").and_then(|rule| read_format(&rule));
    if row.has("format") && (class.is_some_and(|class| class != StateClass::Database) || !scope.is_host()) {
        let message =
            "`format` is for files of a database server of the host: only they are put back (`class = \"db\"`)";
        row.note(row.spot_of("format"), message.to_owned());
    }
    let (nocow, subvolume) = (row.flag("nocow"), row.flag("subvolume"));
    if subvolume && scope.is_host() {
        row.note(row.spot_of("subvolume"), "`subvolume` is for directories of sites: add `for = \"site\"`".to_owned());
    }
    Some(StateRow {
        path: path?,
        owner: owner?,
        group: group?,
        mode: mode?,
        class: class?,
        format,
        nocow,
        subvolume,
        scope,
    })
}

fn read_format(rule: &Section<'_, '_>) -> Option<FormatRule> {
    rule.allow(&["name", "package", "numbers"]);
    if rule.has("name") {
        if rule.has("package") || rule.has("numbers") {
            rule.note(rule.spot(), "`format` has a `name`, or a `package` and `numbers`".to_owned());
        }
        return rule.text("name").map(FormatRule::Named);
    }
    let package = rule.text("package");
    let numbers = rule.integer("numbers", 1..=4);
    Some(FormatRule::Package { package: package?, numbers: u8::try_from(numbers?).ok()? })
}

fn read_dropped(row: &Section<'_, '_>) -> Option<Dropped> {
    row.allow(&["path", "reason"]);
    let path = row.text::<AbsolutePath>("path");
    let reason = row.text("reason");
    if let Some(path) = path.as_ref().filter(|path| !path.is_below("/var")) {
        row.note(
            row.spot_of("path"),
            format!("`path` is `{path}`: only paths below `/var` are dropped; use `[[trim]]` for others"),
        );
    }
    Some(Dropped { path: path?, reason: reason? })
}

fn read_provided(row: &Section<'_, '_>) -> Option<ProvidedRow> {
    row.allow(&["package", "reason"]);
    let package = row.text("package");
    let reason = row.text("reason");
    Some(ProvidedRow { package: package?, reason: reason? })
}

fn read_setuid(row: &Section<'_, '_>) -> Option<SetUid> {
    row.allow(&["path", "reason"]);
    let path = row.text("path");
    let reason = row.text("reason");
    Some(SetUid { path: path?, reason: reason? })
}

fn read_render(row: &Section<'_, '_>) -> Option<RenderRow> {
    row.allow(&["template", "to", "mode", "owner", "group", "for", "kinds"]);
    let (scope, templates) = read_scope(row);
    let template = row.text("template");
    let to = pattern::<AbsolutePath>(row, "to", templates);
    check_target(row, to.as_ref(), &scope);
    let mode = if row.has("mode") { row.text("mode") } else { Some(Mode::READABLE) };
    let owner = pattern_or(row, "owner", templates, Some(root_account()));
    let group = pattern_or(row, "group", templates, owner.clone());
    Some(RenderRow { template: template?, to: to?, mode: mode?, owner: owner?, group: group?, scope })
}

/// A rendered file has its usual name below `/etc`; with sites, the name and not the directory tells them apart.
fn check_target(row: &Section<'_, '_>, to: Option<&Pattern<AbsolutePath>>, scope: &Scope) {
    require_below(row, "to", to, "/etc");
    let problem = match to {
        Some(Pattern::Literal(path)) if NEVER_RENDERED.contains(&path.as_str()) => {
            "this file belongs to the image and is never rendered"
        }
        Some(Pattern::Literal(_)) if !scope.is_host() => {
            "with `for = \"site\"` each site needs a file of its own: put `{{ site.id }}` into the file name"
        }
        Some(Pattern::Template(text)) if text.rsplit_once('/').is_none_or(|(directory, _)| directory.contains('{')) => {
            "a template may stand in the file name only: the directory becomes a link in the image"
        }
        _ => return,
    };
    row.note(row.spot_of("to"), format!("`to`: {problem}"));
}

fn read_trim(row: &Section<'_, '_>) -> Option<crate::names::Glob> {
    row.allow(&["glob"]);
    row.text("glob")
}

fn read_skeleton(row: &Section<'_, '_>) -> Option<SkeletonRow> {
    row.allow(&["path", "copy", "mount_points"]);
    let path = row.text::<AbsolutePath>("path");
    if let Some(path) = path.as_ref().filter(|path| !path.is_below(SKELETONS)) {
        row.note(row.spot_of("path"), format!("`path` is `{path}`, it must be below `{SKELETONS}`"));
    }
    let copy = row.some_texts("copy").into_iter().map(|placed| placed.value).collect();
    let mount_points = row.plain_texts("mount_points");
    Some(SkeletonRow { path: path?, copy, mount_points })
}

fn read_jail(row: &Section<'_, '_>) -> Option<JailRow> {
    row.allow(&["name", "filter", "journal", "retry", "find_minutes", "ban_minutes"]);
    let (name, filter, journal) = (row.text("name"), row.text("filter"), row.text("journal"));
    let number = |key: &str, most| row.integer(key, 1..=most).and_then(|number| u32::try_from(number).ok());
    let (retry, find, ban) = (number("retry", 1000), number("find_minutes", 10_080), number("ban_minutes", 10_080));
    Some(JailRow {
        name: name?,
        filter: filter?,
        journal: journal?,
        retry: retry?,
        find_minutes: find?,
        ban_minutes: ban?,
    })
}

/// Reads `for` and `kinds`, and says where templates may stand.
pub(crate) fn read_scope(row: &Section<'_, '_>) -> (Scope, Templates) {
    match row.optional_text::<Word>("for").as_ref().map(Word::as_str) {
        Some("site") => return (Scope::Sites(read_kinds(row)), Templates::Site),
        Some("host") | None => {}
        Some(other) => {
            let found = crate::document::shown(other);
            row.note(row.spot_of("for"), format!("`for` is `{found}`, it must be `host` or `site`"));
        }
    }
    if row.has("kinds") {
        row.note(row.spot_of("kinds"), "`kinds` needs `for = \"site\"`".to_owned());
    }
    (Scope::Host, Templates::Refused)
}

pub(crate) fn read_kinds(row: &Section<'_, '_>) -> std::collections::BTreeSet<SiteKind> {
    if row.has("kinds") {
        return row.some_texts("kinds").into_iter().map(|placed| placed.value).collect();
    }
    SiteKind::ALL.into_iter().collect()
}

pub(crate) fn require_below(row: &Section<'_, '_>, key: &str, path: Option<&Pattern<AbsolutePath>>, directory: &str) {
    if let Some(path) = path.and_then(Pattern::sample).filter(|path| !path.is_below(directory)) {
        row.note(row.spot_of(key), format!("`{key}` is `{path}`, it must be below `{directory}`"));
    }
}

pub(crate) fn root_account() -> Pattern<AccountName> {
    Pattern::Literal(AccountName::root())
}

fn text_or<T: FromStr<Err: Display>>(row: &Section<'_, '_>, key: &str, default: &str) -> Option<T> {
    if row.has(key) { row.text(key) } else { default.parse().ok() }
}

fn read_port(row: &Section<'_, '_>) -> Option<u16> {
    row.integer("port", 1..=65535).and_then(|port| u16::try_from(port).ok())
}
