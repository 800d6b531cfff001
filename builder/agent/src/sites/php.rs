//! Starts, stops and asks the PHP of one site.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use anyhow::bail;
use tools::ResultExt as _;
use tools::Tool;

use super::Site;
use crate::fastcgi;
use crate::fastcgi::Request;
use crate::host::Host;

/// A first installation on an emulated machine takes minutes; FPM itself ends a request after this time (`pool.conf.j2`).
const PATIENCE: Duration = Duration::from_secs(300);
/// The status page of FPM (`pool.conf.j2`), and how long it may take.
const STATUS: &str = "/casemate-status";
const SOON: Duration = Duration::from_secs(10);
/// How often it is asked whether one that was just asked something has come to its end: a process cleans up after its answer, and counts as at work
/// meanwhile.
const LOOKS: u32 = 20;
const BETWEEN_LOOKS: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 500 });

/// Whom PHP runs as, and what it may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// As for visitors: uploads only.
    Visitors,
    /// As the site's owner, for the time of one request: `wp-content`.
    Owner,
}

impl Pool {
    fn unit(self, id: &str, kind: &str) -> String {
        let name = match self {
            Self::Visitors => "fpm",
            Self::Owner => "owner",
        };
        format!("casemate-php-{name}@{id}.{kind}")
    }

    /// The name of its lines in the journal (`pool.conf.j2`, `owner.conf.j2`).
    fn log(self, id: &str) -> String {
        match self {
            Self::Visitors => format!("php-{id}"),
            Self::Owner => format!("php-owner-{id}"),
        }
    }

    fn socket(self, id: &str) -> String {
        match self {
            Self::Visitors => format!("/run/php/{id}.sock"),
            Self::Owner => format!("/run/php-owner/{id}.sock"),
        }
    }
}

/// The same as [`run`] with the rights of the owner; nothing of it runs before or after.
pub fn run_as_owner(host: Host<'_>, site: &Site, script: &str, variables: &[(&str, &str)]) -> Result<String> {
    let id = site.account.id();
    let done = ask(host, Pool::Owner, (&id, site.name.as_str()), script, variables);
    let units = ["socket", "service"].map(|kind| Pool::Owner.unit(&id, kind));
    host.runner.run(&Tool::new("systemctl").args(["stop", "--"]).args(units)).remedied()?;
    done
}

/// Lets the next request see code that has changed: opcache looks at files every two seconds only.
pub fn forget_code(host: Host<'_>, site: &Site) -> Result<()> {
    let service = Pool::Visitors.unit(&site.account.id(), "service");
    host.runner.run(&Tool::new("systemctl").args(["try-restart", "--"]).arg(service)).remedied()?;
    Ok(())
}

/// Lets the site's PHP run a program of the image and returns what it says; a status other than 200 is a failure with that text.
///
/// `name` is the name under which the site is asked. Its socket is started where it is not.
pub fn run(host: Host<'_>, id: &str, name: &str, script: &str, variables: &[(&str, &str)]) -> Result<String> {
    ask(host, Pool::Visitors, (id, name), script, variables)
}

/// The same; where no PHP of the site ran before, none runs afterwards.
pub fn run_and_rest(host: Host<'_>, id: &str, name: &str, script: &str, variables: &[(&str, &str)]) -> Result<String> {
    let rests = !running(host)?.contains(id);
    let done = run(host, id, name, script, variables);
    if rests {
        rest(host, [&id.to_owned()])?;
    }
    done
}

fn ask(
    host: Host<'_>,
    pool: Pool,
    (id, name): (&str, &str),
    script: &str,
    variables: &[(&str, &str)],
) -> Result<String> {
    host.runner.run(&Tool::new("systemctl").args(["start", "--"]).arg(pool.unit(id, "socket"))).remedied()?;
    let mut all = vec![("HTTP_HOST", name), ("SERVER_NAME", name), ("WORDPRESS_CONFIG", id)];
    all.extend(variables);
    let socket = host.paths.at(&pool.socket(id));
    let answer = fastcgi::ask(&socket, &Request { script, variables: &all, patience: PATIENCE })?;
    if answer.status == 200 {
        return Ok(answer.body);
    }
    bail!("`{script}` of {name} failed with status {}{}", answer.status, reason(&answer, &pool.log(id)));
}

/// What a program says of its failure. A page for visitors does not say it: that is in the journal.
fn reason(answer: &fastcgi::Answer, log: &str) -> String {
    let body = if answer.body.contains('<') { "" } else { answer.body.trim() };
    match [body, &answer.errors].join(" ").trim() {
        "" => format!("; `journalctl -t {log}` says why"),
        said => format!(": {said}"),
    }
}

/// Ids of the sites whose PHP runs.
pub fn running(host: Host<'_>) -> Result<BTreeSet<String>> {
    let pattern = Pool::Visitors.unit("*", "service");
    let tool = Tool::new("systemctl").args(["list-units", "--plain", "--no-legend", "--state=active,activating", "--"]);
    let listed = host.runner.run(&tool.arg(pattern)).remedied()?.stdout_text();
    let id = |line: &str| Some(line.split_whitespace().next()?.split_once('@')?.1.strip_suffix(".service")?.to_owned());
    Ok(listed.lines().filter_map(id).collect())
}

/// Ends the PHP of these sites where nobody is being answered; the next visitor starts it again. For sites that only the host itself has
/// asked: where nobody comes, a site costs its socket. All sites together are looked at for ten seconds at most.
pub fn rest<'i>(host: Host<'_>, ids: impl IntoIterator<Item = &'i String>) -> Result<()> {
    let mut busy: Vec<&String> = ids.into_iter().collect();
    for look in 0..LOOKS {
        if look > 0 && !busy.is_empty() {
            thread::sleep(BETWEEN_LOOKS);
        }
        let mut idle = Vec::new();
        busy.retain(|id| match processes_at_work(host, id) {
            // That which answers this question.
            Some(1) => {
                idle.push(Pool::Visitors.unit(id, "service"));
                false
            }
            // Who does not answer soon is busy, and asking again would take as long.
            count => count.is_some(),
        });
        if !idle.is_empty() {
            host.runner.run(&Tool::new("systemctl").args(["stop", "--quiet", "--"]).args(idle)).remedied()?;
        }
    }
    Ok(())
}

fn processes_at_work(host: Host<'_>, id: &str) -> Option<u32> {
    let request = Request { script: STATUS, variables: &[], patience: SOON };
    at_work(&fastcgi::ask(&host.paths.at(&Pool::Visitors.socket(id)), &request).ok()?.body)
}

/// From FPM's status page: rows `name: value`.
fn at_work(page: &str) -> Option<u32> {
    page.lines().find_map(|line| line.strip_prefix("active processes:")?.trim().parse().ok())
}

/// Does `work` while no program of the site runs; visitors are told to come back (503). The site's socket is there again afterwards,
/// whatever became of the work.
pub fn stopped<T>(host: Host<'_>, site: &Site, work: impl FnOnce() -> Result<T>) -> Result<T> {
    if !site.runs_php() {
        return work();
    }
    let id = site.account.id();
    let [socket, service] = ["socket", "service"].map(|kind| Pool::Visitors.unit(&id, kind));
    host.runner.run(&Tool::new("systemctl").args(["stop", "--", &socket, &service])).remedied()?;
    let done = work();
    // Whoever started it meanwhile has it on the files of before.
    host.runner.run(&Tool::new("systemctl").args(["stop", "--", &socket, &service])).remedied()?;
    host.runner.run(&Tool::new("systemctl").args(["start", "--", &socket])).remedied()?;
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sites::tests::sites;
    use crate::testing::Tree;

    #[test]
    fn the_socket_is_back_after_work_that_failed() {
        let (tree, sites) = (Tree::new(), sites());
        let site = sites.find("blog.example.org").unwrap();
        let done: Result<()> = stopped(tree.host(), site, || bail!("no room"));
        assert!(done.is_err());
        assert_eq!(
            tree.programs.commands(),
            [
                "systemctl stop -- casemate-php-fpm@site002.socket casemate-php-fpm@site002.service",
                "systemctl stop -- casemate-php-fpm@site002.socket casemate-php-fpm@site002.service",
                "systemctl start -- casemate-php-fpm@site002.socket"
            ]
        );
    }

    #[test]
    fn a_failure_says_its_reason_and_not_the_page_for_visitors() {
        let answer = |body: &str| fastcgi::Answer { status: 500, body: body.to_owned(), errors: String::new() };
        assert_eq!(reason(&answer("no room\n"), "php-site001"), ": no room");
        assert_eq!(reason(&answer("<p>sorry"), "php-site001"), "; `journalctl -t php-site001` says why");
    }

    /// FPM of a site, which answers each question with the next of these; then it is gone.
    fn serve(tree: &Tree, id: &str, answers: &'static [&'static str]) -> std::thread::JoinHandle<()> {
        let socket = tree.paths.at(&Pool::Visitors.socket(id));
        std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        std::thread::spawn(move || {
            for answer in answers {
                let (stream, _) = listener.accept().unwrap();
                fastcgi::tests::answer(stream, answer);
            }
        })
    }

    fn stops(tree: &Tree) -> usize {
        tree.programs.count("systemctl stop --quiet -- casemate-php-fpm@site002.service")
    }

    #[test]
    fn php_that_only_the_host_has_asked_ends_again() {
        let tree = Tree::new();
        let served = serve(&tree, "site002", &["done", "pool: site002\nidle processes: 0\nactive processes: 1\n"]);
        assert_eq!(run_and_rest(tree.host(), "site002", "blog.example.org", "/x.php", &[]).unwrap(), "done");
        served.join().unwrap();
        assert_eq!(stops(&tree), 1);
    }

    #[test]
    fn php_that_still_cleans_up_after_its_answer_ends_too() {
        let tree = Tree::new();
        let served = serve(&tree, "site002", &["done", "active processes: 2\n", "active processes: 1\n"]);
        run_and_rest(tree.host(), "site002", "blog.example.org", "/x.php", &[]).unwrap();
        served.join().unwrap();
        assert_eq!(stops(&tree), 1);
    }

    #[test]
    fn php_that_ran_before_or_is_at_work_goes_on() {
        const BUSY: &str = "active processes: 2\n";
        let tree = Tree::new();
        let mut answers = vec![BUSY; LOOKS as usize + 1];
        answers[0] = "done";
        let served = serve(&tree, "site002", answers.leak());
        run_and_rest(tree.host(), "site002", "blog.example.org", "/x.php", &[]).unwrap();
        served.join().unwrap();
        assert_eq!(stops(&tree), 0, "somebody is being answered");

        let tree = Tree::new();
        tree.programs.say("list-units", "casemate-php-fpm@site002.service loaded active running PHP of site002\n");
        let served = serve(&tree, "site002", &["done"]);
        run_and_rest(tree.host(), "site002", "blog.example.org", "/x.php", &[]).unwrap();
        served.join().unwrap();
        assert_eq!(stops(&tree), 0, "a visitor had started it");
    }

    #[test]
    fn a_static_site_has_nothing_to_stop() {
        let (tree, sites) = (Tree::new(), sites());
        stopped(tree.host(), sites.find("www.example.org").unwrap(), || Ok(())).unwrap();
        assert!(tree.programs.commands().is_empty());
    }
}
