//! Plugins and themes of a managed `WordPress`: installed and updated as the owner, and undone by itself when the site does not answer
//! as before.

use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;
use std::time::SystemTime;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use hostconf::CodeSource;
use serde::Deserialize;
use serde::Serialize;
use tools::Failure;

use super::Site;
use super::pages;
use super::php;
use super::snapshot;
use super::snapshot::SnapshotName;
use crate::files::Access;
use crate::files::read_foreign;
use crate::host::Host;

/// Does the work, with the rights of the owner.
const MANAGE: &str = "/usr/share/casemate/wordpress/manage.php";
/// Remembers a sentence for wp-admin, with the rights of the site.
const NOTE: &str = "/usr/share/casemate/wordpress/note.php";
/// What a site asks for; its PHP writes it.
const REQUEST: &str = "tmp/casemate-request.json";
/// Longest request, in bytes.
const LONGEST_REQUEST: u64 = 4096;
/// Requests of one site that come faster are refused: each costs a snapshot.
const PAUSE: Duration = Duration::from_secs(60);
/// At most so many things at once.
const MOST_ITEMS: usize = 20;

/// What is done with plugins and themes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// To the newest version; without items: all that have a newer one.
    Update,
    /// What is not there yet.
    Install,
}

impl fmt::Display for Action {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Update => "update",
            Self::Install => "install",
        })
    }
}

/// A plugin or theme by the name that wordpress.org has for it: `plugin/akismet`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item(String);

impl FromStr for Item {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let slug = text.strip_prefix("plugin/").or_else(|| text.strip_prefix("theme/"));
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
        if slug.is_some_and(|slug| (1..=100).contains(&slug.len()) && slug.bytes().all(allowed)) {
            return Ok(Self(text.to_owned()));
        }
        Err(Failure::refused(format!("`{}` is no plugin or theme", text.chars().take(120).collect::<String>()))
            .hint("write `plugin/NAME` or `theme/NAME` with the name that wordpress.org has for it"))
    }
}

impl fmt::Display for Item {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// What `manage.php` says.
#[derive(Debug, Default, Deserialize)]
struct Said {
    changed: Vec<String>,
    failed: Vec<String>,
}

/// What a site asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    action: Action,
    items: Vec<String>,
}

/// Changes code and says in one sentence what came of it; that not all was done is an error. A site that does not answer afterwards as it
/// should is put back.
pub fn change(host: Host<'_>, site: &Site, action: Action, items: &[Item]) -> Result<String> {
    check(site, action, items)?;
    let list = items.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let manage = |what: &str| -> Result<Said> {
        let said = php::run_as_owner(host, site, MANAGE, &[("CASEMATE_ACTION", what), ("CASEMATE_ITEMS", &list)])?;
        serde_json::from_str(&said).with_context(|| format!("`{MANAGE}` answers `{said}`"))
    };
    if action == Action::Update && manage("check")?.changed.is_empty() {
        return Ok("nothing to update".to_owned());
    }
    probe(host, site).context("the site does not answer as it should before anything is changed: nothing is done")?;
    let before = snapshot::take_before(host, site, &action.to_string())?;
    let outcome = manage(&action.to_string()).and_then(|said| {
        php::forget_code(host, site)?;
        probe(host, site)?;
        pages::forget(host, site);
        Ok(said)
    });
    let (sentence, is_done) = match outcome {
        Ok(said) => (describe(&said, &before), said.failed.is_empty()),
        Err(error) => (undo(host, site, &before, &error)?, false),
    };
    remember(host, site, &sentence);
    if is_done { Ok(sentence) } else { Err(Failure::refused(sentence).into()) }
}

/// Puts the site back, and says why.
fn undo(host: Host<'_>, site: &Site, before: &SnapshotName, error: &anyhow::Error) -> Result<String> {
    snapshot::restore(host, site, before)
        .and_then(|()| probe(host, site))
        .with_context(|| format!("{error:#}; and the way back to {before} failed"))?;
    Ok(format!("undone, the site is as it was in {before}: {error:#}"))
}

/// Keeps a sentence for the page in wp-admin. One that cannot be kept must not hide what was done.
fn remember(host: Host<'_>, site: &Site, sentence: &str) {
    let _ = php::run(host, &site.account.id(), site.name.as_str(), NOTE, &[("CASEMATE_NOTE", sentence)]);
}

fn check(site: &Site, action: Action, items: &[Item]) -> Result<()> {
    if site.present()?.wordpress()?.code != CodeSource::Managed {
        let message = format!("the code of `{}` is locked: it comes from the image and by SFTP", site.name);
        return Err(Failure::refused(message).hint("write `code = \"managed\"` for the site in host.toml").into());
    }
    ensure!(items.len() <= MOST_ITEMS, "{} plugins and themes at once, {MOST_ITEMS} are the most", items.len());
    ensure!(action != Action::Install || !items.is_empty(), "nothing is named to install");
    Ok(())
}

fn describe(said: &Said, before: &SnapshotName) -> String {
    let list = |items: &[String]| if items.is_empty() { "nothing".to_owned() } else { items.join(", ") };
    let failed = if said.failed.is_empty() { String::new() } else { format!("; failed: {}", list(&said.failed)) };
    format!("changed: {}{failed}; what the site was before is kept as {before}", list(&said.changed))
}

/// Whether the site's front page and its login are what `WordPress` makes of them.
fn probe(host: Host<'_>, site: &Site) -> Result<()> {
    for (script, uri, expected) in [
        ("/usr/share/wordpress/index.php", "/", "https://api.w.org/"),
        ("/usr/share/wordpress/wp-login.php", "/wp-login.php", "loginform"),
    ] {
        let page = php::run(host, &site.account.id(), site.name.as_str(), script, &[("REQUEST_URI", uri)])?;
        if !page.contains(expected) {
            bail!("`{uri}` of {} is no page of WordPress any more", site.name);
        }
    }
    Ok(())
}

/// Takes what a site asks for, if it does, and does it. The file is gone afterwards, whatever it held.
pub fn answer_request(host: Host<'_>, site: &Site) -> Result<Option<String>> {
    let path = host.paths.site(&site.account.id()).join(REQUEST);
    let request = read_request(&path);
    host.files.remove(&path)?;
    let Some(request) = request? else { return Ok(None) };
    let done = accept(host, site, &request).and_then(|items| change(host, site, request.action, &items));
    // Whoever asked in wp-admin looks there for the answer, also for a refusal.
    remember(host, site, &done.as_ref().map_or_else(|error| format!("{error:#}"), Clone::clone));
    done.map(Some)
}

/// The items of a request that does not come too soon after another.
fn accept(host: Host<'_>, site: &Site, request: &Request) -> Result<Vec<Item>> {
    let stamps = host.paths.run().join("requests");
    let stamp = stamps.join(site.account.id());
    let recent = fs::metadata(&stamp)
        .and_then(|found| found.modified())
        .is_ok_and(|then| SystemTime::now().duration_since(then).is_ok_and(|passed| passed < PAUSE));
    ensure!(!recent, "{} asks again within {} seconds: refused", site.name, PAUSE.as_secs());
    host.files.ensure_directory(&stamps, Access::SECRET_DIRECTORY)?;
    // Its time counts, and an equal file is not written again.
    host.files.remove(&stamp)?;
    host.files.write(&stamp, b"", Access::SECRET)?;
    Ok(request.items.iter().map(|item| item.parse()).collect::<Result<Vec<Item>, Failure>>()?)
}

/// The directory is the site's: a link or a pipe in it is not followed and not waited for.
fn read_request(path: &Path) -> Result<Option<Request>> {
    let Some(bytes) = read_foreign(path, LONGEST_REQUEST)? else { return Ok(None) };
    Ok(Some(serde_json::from_slice(&bytes).with_context(|| format!("cannot understand `{}`", path.display()))?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sites::tests::sites;
    use crate::testing::Tree;

    #[test]
    fn items_are_names_and_nothing_else() {
        for good in ["plugin/akismet", "theme/twentytwenty-5", "plugin/a_b"] {
            assert!(good.parse::<Item>().is_ok(), "{good}");
        }
        for bad in ["", "plugin/", "akismet", "plugin/../x", "plugin/a b", "theme/https://x", "core/x", "plugin/A"] {
            assert!(bad.parse::<Item>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_locked_site_changes_no_code() {
        let (tree, sites) = (Tree::new(), sites());
        let error = change(tree.host(), sites.find("blog.example.org").unwrap(), Action::Update, &[]).unwrap_err();
        assert!(error.to_string().contains("locked"), "{error}");
        assert!(tree.programs.commands().is_empty());
    }

    #[test]
    fn a_request_is_gone_after_one_look_whatever_it_is() {
        let (tree, sites) = (Tree::new(), sites());
        let site = sites.find("blog.example.org").unwrap();
        let path = format!("/var/lib/casemate/sites/site002/{REQUEST}");
        assert!(answer_request(tree.host(), site).unwrap().is_none());
        for content in ["{}", "no json", &"x".repeat(5000), r#"{"action":"update","items":["../x"]}"#] {
            tree.put(&path, content);
            assert!(answer_request(tree.host(), site).is_err(), "{content}");
            assert!(!tree.paths.at(&path).exists());
        }
        let secret = tree.paths.at("/secret");
        tree.put("/secret", r#"{"action":"update","items":[]}"#);
        std::os::unix::fs::symlink(&secret, tree.paths.at(&path)).unwrap();
        assert!(answer_request(tree.host(), site).is_err());
        assert!(secret.exists() && !tree.paths.at(&path).is_symlink());
    }

    #[test]
    fn a_site_that_asks_all_the_time_is_refused() {
        let (tree, sites) = (Tree::new(), sites());
        let site = sites.find("blog.example.org").unwrap();
        let path = format!("/var/lib/casemate/sites/site002/{REQUEST}");
        let mut said = Vec::new();
        for _ in 0..2 {
            tree.put(&path, r#"{"action":"update","items":[]}"#);
            said.push(answer_request(tree.host(), site).unwrap_err().to_string());
        }
        assert!(said[0].contains("locked") && said[1].contains("asks again"), "{said:?}");
    }
}
