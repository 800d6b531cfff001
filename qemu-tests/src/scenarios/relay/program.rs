//! The program of a site that sends mail: as `WordPress`, or with its own words of SMTP.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use tools::{ResultExt as _, Tool};
use vm::Container;
use vm::guest::Client;

use super::SITE;

/// Programs of the two sites, as the container sees them.
const PROGRAM: &str = "/var/lib/casemate/sites/site001/htdocs/wp-content/plugins/mail.php";
const OTHER_PROGRAM: &str = "/var/lib/casemate/sites/site002/htdocs/mail.php";
/// What they do to send mail.
const MAIL: &str = include_str!("../mail.php");

/// Puts the program where each site has its own.
pub(super) fn plant(container: &Container, dir: &Path) -> Result<()> {
    for program in [PROGRAM, OTHER_PROGRAM] {
        let inside = Path::new(program).strip_prefix("/")?;
        fs::write(dir.join(inside), MAIL)?;
        let own = "chown --reference=\"$(dirname \"$0\")\" \"$0\" && chmod 0640 \"$0\"";
        container.exec(&Tool::new("sh").args(["-c", own, program])).remedied()?;
    }
    Ok(())
}

/// What `WordPress` says of mail that it sends itself.
pub(super) fn wordpress(client: &Client, what: &str) -> Result<String> {
    ask(client, SITE, &format!("/wp-content/plugins/mail.php?what={what}"))
}

/// Words of SMTP from a site's program; a line for each message, the answer that decided it.
pub(super) fn submit(client: &Client, site: &str, values: &[(&str, &str)]) -> Result<Vec<String>> {
    let path = if site == SITE { "/wp-content/plugins/mail.php" } else { "/mail.php" };
    let mut asked = format!("{path}?what=smtp");
    for (name, value) in values {
        asked.push_str(&format!("&{name}={}", hex(value)));
    }
    Ok(ask(client, site, &asked)?.lines().map(str::to_owned).collect())
}

/// One message; the answer that decided it.
pub(super) fn submit_one(client: &Client, site: &str, values: &[(&str, &str)]) -> Result<String> {
    submit(client, site, values)?.pop().context("the program says nothing")
}

fn ask(client: &Client, site: &str, path: &str) -> Result<String> {
    let answer = client.https_unverified(site, path)?;
    ensure!(answer.status == 200, "the site's program answers {}{}", answer.head, answer.body);
    Ok(answer.body)
}

fn hex(text: &str) -> String {
    text.bytes().fold(String::new(), |digits, byte| digits + &format!("{byte:02x}"))
}
