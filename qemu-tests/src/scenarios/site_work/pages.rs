//! Pages that are kept as files: who gets them, who does not, and when they are forgotten.

use anyhow::{Context as _, Result, ensure};

use super::{PREVIEW, SITE, STAGING, Visitor};
use crate::container_host::put_file;

const FOR_ONE: &str = include_str!("for_one.php");
const PHP: &str = "casemate-php-fpm@site001";

impl Visitor<'_> {
    /// The files that are kept for a site, by path.
    fn kept(&self, id: &str) -> Result<Vec<String>> {
        let found = self
            .shell(&format!("cd /var/lib/casemate/sites/{id}/pages && find . -name 'index.html*' | LC_ALL=C sort"))?;
        Ok(found.lines().map(str::to_owned).collect())
    }

    /// The status of an answer while PHP is away: 200 is a kept page.
    fn without_php(&self, path: &str, further: &[&str]) -> Result<u16> {
        Ok(self.page(SITE, path, further)?.status)
    }

    pub(super) fn pages_are_kept(&self) -> Result<()> {
        for site in [SITE, STAGING] {
            self.run(&format!("site forget-pages {site}"))?;
        }
        ensure!(self.kept("site001")?.is_empty(), "pages are left: {:?}", self.kept("site001")?);
        let made = self.page(SITE, "/", &[])?;
        ensure!(self.kept("site001")? == ["./index.html", "./index.html.gz"], "kept are {:?}", self.kept("site001")?);
        self.is_for_those_without_a_name(&made.body)?;
        self.is_forgotten_with_changes()?;
        self.is_made_for_all_or_not_kept()
    }

    fn is_for_those_without_a_name(&self, made: &str) -> Result<()> {
        self.shell(&format!("systemctl stop {PHP}.socket {PHP}.service"))?;
        let kept = self.page(SITE, "/", &[])?;
        ensure!(kept.status == 200 && kept.body == made, "the kept page is another: {}", kept.head);
        for header in [
            "Content-Type: text/html; charset=utf-8",
            "Accept-Encoding",
            "Strict-Transport-Security",
            "Cache-Control: no-cache",
        ] {
            ensure!(kept.head.contains(header), "`{header}` is not said with a kept page: {}", kept.head);
        }
        let small = self.page(SITE, "/", &["--compressed"])?;
        ensure!(
            small.head.contains("Content-Encoding: gzip") && small.body == made,
            "compressed it is another: {}",
            small.head
        );
        ensure!(self.without_php("/", &["--head"])? == 200, "nobody may ask for the head alone");
        ensure!(self.without_php("/", &["--cookie", "_ga=GA1.2.3"])? == 200, "a cookie of somebody else matters");
        for (path, further) in [
            ("/?s=word", &[][..]),
            ("/", &["--cookie", "wordpress_logged_in_x=y"]),
            ("/", &["--cookie", "a=b; comment_author_x=y"]),
            ("/", &["--data", "a=b"]),
            ("/", &["--user", "editor:password"]),
            ("/index.html", &[]),
            ("/.mark", &[]),
        ] {
            let status = self.without_php(path, further)?;
            ensure!([403, 404, 503].contains(&status), "`{path}` {further:?} is answered with {status} without PHP");
        }
        ensure!(self.page(PREVIEW, "/", &[])?.head.contains("X-Robots-Tag"), "the preview is not PHP's own");
        ensure!(self.kept("site002")?.is_empty(), "a page is kept under a preview's name");
        self.shell(&format!("systemctl start {PHP}.socket")).map(drop)
    }

    fn is_forgotten_with_changes(&self) -> Result<()> {
        let number = self.shell("mariadb --batch --skip-column-names site001 --execute=\"SELECT MAX(ID) FROM wp_posts WHERE post_type = 'post' AND post_status = 'publish'\"")?;
        let link = format!("/?p={}", number.trim());
        let moved = self.page(SITE, &link, &[])?;
        let link =
            moved.head.lines().find_map(|line| line.strip_prefix("Location: ")).context("the post has no address")?;
        let link = link.trim().strip_prefix(&format!("https://{SITE}")).context("the post is elsewhere")?.to_owned();
        self.page(SITE, &link, &[])?;
        ensure!(self.kept("site001")?.len() == 4, "the post is not kept: {:?}", self.kept("site001")?);
        self.probe(SITE, "?do=comment")?;
        ensure!(
            self.kept("site001")?.is_empty(),
            "a comment that everybody may see leaves {:?}",
            self.kept("site001")?
        );
        ensure!(self.page(SITE, &link, &[])?.body.contains("Seen by all"), "the comment is not on the page");
        self.shell(
            "find /var/lib/casemate/sites/site001/pages -name 'index.html*' -exec touch --date='2 hours ago' {} +",
        )?;
        self.page(SITE, "/", &[])?;
        self.run("site cron")?;
        ensure!(
            self.kept("site001")? == ["./index.html", "./index.html.gz"],
            "after an hour there are {:?}",
            self.kept("site001")?
        );
        Ok(())
    }

    /// What is made for one visitor, or is said with headers, is not kept; nor is a page that was begun before a change.
    fn is_made_for_all_or_not_kept(&self) -> Result<()> {
        const SWITCH: &str = "/var/lib/casemate/sites/site001/tmp/for-one";
        put_file(self.container, "/var/lib/casemate/sites/site001/htdocs/wp-content/plugins/for-one.php", FOR_ONE)?;
        self.probe(SITE, "?do=activate&plugin=for-one.php")?;
        for what in ["nothing", "cookie", "header", "constant", "change", "rival"] {
            self.run(&format!("site forget-pages {SITE}"))?;
            self.shell(&format!("printf {what} > {SWITCH}"))?;
            ensure!(self.page(SITE, "/", &[])?.status == 200, "with a {what} the front page is away");
            let kept = self.kept("site001")?;
            ensure!(kept.is_empty() != (what == "nothing"), "of a page with a {what} are kept {kept:?}");
        }
        self.shell(&format!("printf nothing > {SWITCH}"))?;
        self.run(&format!("site forget-pages {SITE}"))?;
        self.page(SITE, "/", &["--cookie", "currency=EUR"])?;
        ensure!(self.kept("site001")?.is_empty(), "a page is kept that was made for somebody with a cookie");
        self.probe(SITE, "?do=activate&plugin=")?;
        self.shell(&format!("rm {SWITCH} /var/lib/casemate/sites/site001/htdocs/wp-content/plugins/for-one.php"))
            .map(drop)
    }
}
