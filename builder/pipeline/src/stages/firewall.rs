//! The firewall: Shorewall's compiler turns the rules of the overlays and the overlay's own settings into one script for each family.
//!
//! The script holds the time in several places, and digests of its text in the names of chains, so the compiler's clock stands still.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use fs_err as fs;
use hostconf::{Family, OverlayName, OverlaySet, firewall_rules};
use tools::{Scratch, Tool};

use super::overlay::OWN;
use crate::overlay_folders::OverlayFolders;
use crate::programs::{ToolsTree, Workplace, under_fixed_clock};
use crate::root_tree::RootTree;

/// Overlay that brings Shorewall's settings and what runs the result.
pub const OVERLAY: &str = "firewall";

/// Where the compiler sees its input and leaves its output; `CONFIG_PATH` in the settings names the first.
const SOURCE: &str = "/run/firewall";
const RESULT: &str = "/run/result";
const FILES: [&str; 2] = ["firewall", "firewall.conf"];

/// A family, the overlay's folder of settings for it, its number for the compiler, and the program that runs the result.
type FamilyRow = (Family, &'static str, &'static str, &'static str);
const FAMILIES: [FamilyRow; 2] =
    [(Family::V4, "ipv4", "4", "shorewall-lite"), (Family::V6, "ipv6", "6", "shorewall6-lite")];

/// Compiles both families into `tree`. `epoch` is the time that the scripts carry, in seconds since 1970.
pub fn compile(
    tools: &ToolsTree,
    overlays: &OverlaySet,
    folders: &OverlayFolders,
    tree: &RootTree,
    epoch: u64,
    scratch: &Path,
) -> Result<()> {
    let users = accounts(&tree.read_text("/etc/passwd")?)?;
    let own: OverlayName = OVERLAY.parse().context("the overlay of the firewall has no name")?;
    let compile = |(family, folder, number, _): FamilyRow| {
        let settings = folders.of(&own).join(folder);
        let rules = firewall_rules(overlays, &users, family)?;
        compile_family(tools, &settings, &rules, number, epoch, scratch)
            .with_context(|| format!("Shorewall cannot compile the rules of {folder}"))
    };
    let results = std::thread::scope(|scope| {
        let compile = &compile;
        FAMILIES
            .map(|row| scope.spawn(move || compile(row)))
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    for ((.., program), result) in FAMILIES.into_iter().zip(results) {
        for (name, bytes) in FILES.into_iter().zip(result?) {
            let mode = if name == "firewall" { 0o755 } else { 0o644 };
            tree.write(&format!("{OWN}/{program}/{name}"), &bytes, mode)?;
        }
    }
    Ok(())
}

fn compile_family(
    tools: &ToolsTree,
    settings: &Path,
    rules: &str,
    number: &str,
    epoch: u64,
    scratch: &Path,
) -> Result<[Vec<u8>; 2]> {
    let scratch = Scratch::new(scratch, "firewall-")?;
    let [source, result] = ["source", "result"].map(|name| scratch.path().join(name));
    for dir in [&source, &result] {
        fs::create_dir(dir)?;
    }
    for file in fs::read_dir(settings)? {
        let file = file?;
        fs::copy(file.path(), source.join(file.file_name()))?;
    }
    fs::write(source.join("rules"), rules)?;
    let shared = "/usr/share/shorewall";
    let path =
        if number == "6" { format!("{SOURCE}:/usr/share/shorewall6:{shared}") } else { format!("{SOURCE}:{shared}") };
    let tool = Tool::new(format!("{shared}/compiler.pl"))
        .args(["--export", "--verbose=0"])
        .args([format!("--family={number}"), format!("--directory={SOURCE}"), format!("--config_path={path}")])
        .args(["shorewallrc", "shorewallrc1"].map(|option| format!("--{option}={shared}/shorewallrc")))
        .arg(format!("{RESULT}/firewall"));
    let places = [Workplace::Input(&source, SOURCE), Workplace::Output(&result, RESULT)];
    tools.run(&under_fixed_clock(tool, epoch), &places)?;
    let [script, settings] = FILES.map(|name| fs::read(result.join(name)));
    Ok([script?, settings?])
}

/// passwd(5): the accounts that are not for sites, with their numbers.
fn accounts(passwd: &str) -> Result<BTreeMap<String, u32>> {
    let mut users = BTreeMap::new();
    for line in passwd.lines() {
        let mut fields = line.split(':');
        let (name, uid) = (fields.next().unwrap_or_default(), fields.nth(1).unwrap_or_default());
        let uid: u32 = uid.parse().with_context(|| format!("/etc/passwd: `{line}` has no number"))?;
        if !hostconf::SiteAccount::is_of_pool(uid) {
            users.insert(name.to_owned(), uid);
        }
    }
    Ok(users)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_those_of_services() {
        let text = "root:x:0:0:root:/root:/bin/bash\nsite001:x:20000:20000::/:/x\nproxy:x:13:13::/:/x\n";
        let users: Vec<_> = accounts(text).unwrap().into_iter().collect();
        assert_eq!(users, [("proxy".to_owned(), 13), ("root".to_owned(), 0)]);
        assert!(accounts("root").unwrap_err().to_string().contains("has no number"));
    }
}
