//! Logging in by a link, and who tries to log in otherwise.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::{ADMIN_PAGE, FILES, PREVIEW, SITE, STAGING, Visitor};

impl Visitor<'_> {
    pub(super) fn log_in_by_link(&self) -> Result<()> {
        let link = self.run(&format!("site login {SITE}"))?;
        let path = link.trim().strip_prefix(&format!("https://{SITE}")).context("the link leads elsewhere")?;
        let (_, token) = path.split_once('=').context("the link has no token")?;
        for _ in 0..2 {
            let look = self.page(SITE, path, &[])?;
            ensure!(
                look.status == 200 && look.body.contains("Log in as editor"),
                "the link shows {}{}",
                look.head,
                look.body
            );
            ensure!(!look.head.contains("wordpress_logged_in"), "a look at the link logs in: {}", look.head);
        }
        let form = format!("casemate-login={token}");
        let cookie = self.use_link(&form)?;
        let admin = self.page(SITE, "/wp-admin/", &["--cookie", &cookie])?;
        ensure!(admin.status == 200 && admin.body.contains(ADMIN_PAGE), "logged in, wp-admin answers {}", admin.head);
        ensure!(self.page(SITE, "/wp-admin/", &[])?.status == 302, "wp-admin is open to everybody");
        ensure!(self.page(SITE, "/", &["--data", &form])?.status == 403, "the link works twice");
        self.is_not_in_the_log(link.trim(), token)?;
        self.forged_links(token)?;
        self.failed_login()
    }

    /// Neither as what was asked for nor as where one came from, in no log; and the words of a link hide nothing else.
    fn is_not_in_the_log(&self, link: &str, token: &str) -> Result<()> {
        self.page(SITE, "/favicon.ico", &["--referer", link])?;
        self.page(SITE, "/.denied", &["--referer", link])?;
        self.page(SITE, "/?hidden=%3Cx%3E&casemate-login=", &["--referer", "https://example.net/kept"])?;
        self.page(SITE, "/?after=the-link", &[])?;
        let shown = [
            "\"GET /?casemate-login=- HTTP/1.1\" 200",
            "\"GET /favicon.ico HTTP/1.1\"",
            &format!("\"https://{SITE}/?casemate-login=-\""),
            "\"GET /?hidden=%3Cx%3E&casemate-login=- HTTP/1.1\"",
            "\"https://example.net/kept\"",
        ];
        let mut lines = String::new();
        for _ in 0..40 {
            lines = self.shell("journalctl --boot --no-pager --output=cat")?;
            if lines.contains("/?after=the-link") {
                ensure!(!lines.contains(token), "the access log holds the login link: {lines}");
                let missing: Vec<&&str> = shown.iter().filter(|part| !lines.contains(**part)).collect();
                ensure!(missing.is_empty(), "the journal has no line with {missing:?}: {lines}");
                return Ok(());
            }
            thread::sleep(Duration::from_millis(250));
        }
        bail!("the access log does not hold the last request: {lines}")
    }

    /// What the button of the page behind the link does; returns the browser's cookies.
    fn use_link(&self, form: &str) -> Result<String> {
        let used = self.page(SITE, "/", &["--data", form])?;
        let cookies: Vec<&str> =
            used.head.lines().filter_map(|line| line.strip_prefix("Set-Cookie: ")?.split(';').next()).collect();
        let logged_in = cookies.iter().any(|cookie| cookie.starts_with("wordpress_logged_in"));
        ensure!(used.status == 302 && logged_in, "no login: {}", used.head);
        Ok(cookies.join("; "))
    }

    /// Logs in by a fresh link.
    pub(super) fn log_in(&self) -> Result<String> {
        let link = self.run(&format!("site login {SITE}"))?;
        let (_, token) = link.trim().split_once('=').context("the link has no token")?;
        self.use_link(&format!("casemate-login={token}"))
    }

    /// Another account, a later end, the other site: none of it is signed.
    fn forged_links(&self, token: &str) -> Result<()> {
        let [user, until, number, signature] =
            token.split('.').collect::<Vec<_>>().try_into().ok().context("not four parts")?;
        let later = until.parse::<u64>()? + 1000;
        for forged in [
            format!("{user}.{later}.{number}.{signature}"),
            format!("{user}.{until}.{}.{signature}", "0".repeat(64)),
            format!("{user}.{until}.{number}."),
            "x".to_owned(),
        ] {
            let answer = self.page(SITE, "/", &["--data", &format!("casemate-login={forged}")])?;
            ensure!(answer.status == 403, "the forged link {forged} answers {}", answer.head);
        }
        let of_staging = self.run(&format!("site login {STAGING} --user editor"))?;
        // Its own name may still lead to somebody else.
        ensure!(of_staging.starts_with(&format!("https://{PREVIEW}/")), "a link is {of_staging}");
        let (_, foreign) = of_staging.trim().split_once('=').context("no token")?;
        let answer = self.page(SITE, "/", &["--data", &format!("casemate-login={foreign}")])?;
        ensure!(answer.status == 403, "a link of another site answers {}", answer.head);
        ensure!(self.refused(&format!("site login {FILES}"))?.contains("no WordPress"), "a static site has a login");
        Ok(())
    }

    /// Whoever tries passwords leaves a line with an address, and cannot write lines of their own.
    fn failed_login(&self) -> Result<()> {
        let form =
            ["--data-urlencode", "log=editor\nwordpress: login failed from 192.0.2.9 for \"x\"", "--data", "pwd=wrong"];
        let answer = self.page(SITE, "/wp-login.php", &form)?;
        ensure!(
            answer.status == 200 && answer.body.contains("login_error"),
            "a wrong password answers {}",
            answer.head
        );
        for _ in 0..20 {
            let journal = self.shell("journalctl --boot --no-pager --output=cat --identifier=php-site001")?;
            if journal.contains("wordpress: login failed from 10.0.2.2 for \"editor") {
                ensure!(
                    !journal.lines().any(|line| line.contains("failed from 192.0.2.9") && !line.contains("10.0.2.2")),
                    "a forged line: {journal}"
                );
                ensure!(
                    journal.contains("wordpress: login by link from 10.0.2.2 for \"editor\""),
                    "no line of the login by link"
                );
                return Ok(());
            }
            thread::sleep(Duration::from_millis(250));
        }
        anyhow::bail!("the failed login has left no line")
    }
}
