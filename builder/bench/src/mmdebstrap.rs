//! mmdebstrap on the packages of a lock, with what our builder lays before and after the packages: accounts, answers, members.
//!
//! It gets nothing else from us: it extracts, orders and configures as it does for everyone.

use std::path::Path;

use anyhow::Result;
use debian::accounts::render_accounts;
use debian::lock::Lock;
use fs_err as fs;
use hostconf::AccountTables;
use pipeline::definition::Definition;
use pipeline::programs::{ToolsTree, Workplace};
use pipeline::stages::rootfs::{fixed_groups, fixed_users};
use tools::Tool;

use crate::mirror::{INSIDE, Mirror, SUITE};
use crate::ours::accounts;

/// Where the hooks find what they lay.
const HOOKS: &str = "/run/hooks";

/// Accounts come when packages are unpacked and no script has run, as ours do.
const LAY_ACCOUNTS: &str = "cp /run/hooks/passwd /run/hooks/group \"$1/etc/\"";
const ANSWER: &str = "chroot \"$1\" debconf-set-selections < /run/hooks/answers";
const ADD_MEMBERS: &str = "sh /run/hooks/add-members \"$1\"";

/// Makes the root in `out/root`.
pub fn make_root(definition: &Definition, lock: &Lock, mirror: &Mirror, tools: &ToolsTree, out: &Path) -> Result<()> {
    let hooks = tempfile::tempdir()?;
    write_hooks(definition, tools, hooks.path())?;
    let source = format!("deb [trusted=yes] copy://{INSIDE} {SUITE} main");
    let tool = Tool::new("mmdebstrap")
        .args(["--mode=root", "--variant=essential", "--format=directory", "--verbose"])
        // The tree is our own, and the device nodes of a host are made when it starts.
        .arg("--skip=output/dev")
        .arg(format!("--include={}", mirror.packages.join(",")))
        .arg(format!("--extract-hook={LAY_ACCOUNTS}"))
        .arg(format!("--essential-hook={ANSWER}"))
        .arg(format!("--customize-hook={ADD_MEMBERS}"))
        .args([SUITE, "/run/out/root", source.as_str()])
        .env("INITRD", "No")
        .env("HOME", "/root")
        .source_date_epoch(lock.source_date_epoch);
    tools.run(
        &tool,
        &[
            Workplace::Input(&mirror.dir, INSIDE),
            Workplace::Input(hooks.path(), HOOKS),
            Workplace::Output(out, "/run/out"),
        ],
    )?;
    Ok(())
}

/// Writes what the hooks lay: our fixed accounts among Debian's own, answers for debconf, and members of groups.
fn write_hooks(definition: &Definition, tools: &ToolsTree, dir: &Path) -> Result<()> {
    let tables = accounts(definition);
    let master = |name: &str| fs::read_to_string(tools.file(&format!("/usr/share/base-passwd/{name}.master")));
    let (passwd, group) =
        render_accounts(&master("passwd")?, &master("group")?, &fixed_users(&tables)?, &fixed_groups(&tables)?)?;
    fs::write(dir.join("passwd"), passwd)?;
    fs::write(dir.join("group"), group)?;
    fs::write(dir.join("answers"), definition.debconf_answers())?;
    let mut script = String::from("set -e\n");
    for (group, member) in members(&tables) {
        script.push_str(&format!("chroot \"$1\" gpasswd --add {member} {group} >&2\n"));
    }
    Ok(fs::write(dir.join("add-members"), script)?)
}

/// Group and member, in the order of our tables.
fn members(tables: &AccountTables) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for line in tables.group.lines() {
        let mut fields = line.split(':');
        if let (Some(group), Some(members)) = (fields.next(), fields.nth(2)) {
            let members = members.split(',').filter(|member| !member.is_empty());
            pairs.extend(members.map(|member| (group.to_owned(), member.to_owned())));
        }
    }
    pairs.extend(tables.memberships.iter().map(|row| (row.group.to_string(), row.user.to_string())));
    pairs
}
