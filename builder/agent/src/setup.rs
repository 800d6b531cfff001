//! Runs the steps that prepare services: databases, the first installation of a site.
//!
//! Each step does nothing when its work is done; so all of them run at every boot and a cut step is simply run again.

use std::time::Duration;

use tools::Tool;

use crate::accounts::Owner;
use crate::checks;
use crate::checks::reason;
use crate::host::Host;
use crate::work::Step;

/// A database that repairs itself after a cut takes its time; its unit has limits of its own.
const START: Duration = Duration::from_secs(900);

/// Runs the steps in order and stops at the first of the host that fails; returns what failed for single sites.
///
/// What a site's database or code holds is in the hands of whoever broke into it, and must not keep the host from starting.
pub fn run(host: Host<'_>, steps: &[Step]) -> Result<Vec<String>, String> {
    let mut of_sites = Vec::new();
    for step in steps {
        for unit in &step.after {
            let start = Tool::new("systemctl").args(["start", "--", unit]).timeout(START);
            host.runner.run(&start).map_err(|error| reason(&format!("start of `{unit}`"), &error))?;
        }
        match host.runner.run(&tool(step)).map_err(|error| reason(&format!("setup step `{}`", step.name), &error)) {
            Err(failure) if step.of_site => of_sites.push(failure),
            done => drop(done?),
        }
    }
    Ok(of_sites)
}

/// Runs a program with arguments as a user. `setpriv` gives up root with numbers; no name service is asked.
pub fn as_user(plain: &Tool, user: Owner) -> Tool {
    if user == Owner::ROOT {
        return plain.clone();
    }
    let Owner { uid, gid } = user;
    let user = [format!("--reuid={uid}"), format!("--regid={gid}")];
    let rights = ["--clear-groups", "--no-new-privs", "--inh-caps=-all", "--"];
    Tool::new("setpriv").args(user).args(rights).arg(plain.program()).args(plain.arguments())
}

fn tool(step: &Step) -> Tool {
    let tool = as_user(&checks::tool(&step.command), step.owner);
    let environment = step.environment.iter();
    environment.fold(tool, |tool, (name, value)| tool.env(name, value)).timeout(step.timeout)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;
    use crate::work::Command;

    fn step(name: &str, owner: Owner) -> Step {
        Step {
            name: name.to_owned(),
            command: Command(vec!["/usr/bin/php".to_owned(), format!("{name}.php")]),
            owner,
            environment: vec![("SITE".to_owned(), "site001".to_owned())],
            after: vec!["mariadb.service".to_owned()],
            timeout: Duration::from_secs(120),
            of_site: false,
        }
    }

    #[test]
    fn what_fails_for_a_site_is_told_and_keeps_nobody_else() {
        let tree = Tree::new();
        tree.programs.fail("one.php", "tables, but none of WordPress");
        let of_site = |name| Step { of_site: true, ..step(name, Owner { uid: 20001, gid: 20001 }) };
        let told = run(tree.host(), &[of_site("one"), of_site("two")]).unwrap();
        assert!(told.len() == 1 && told[0].contains("setup step `one` failed"), "{told:?}");
        assert!(tree.programs.commands().iter().any(|command| command.contains("two.php")));
    }

    #[test]
    fn starts_units_and_gives_up_root() {
        let tree = Tree::new();
        run(tree.host(), &[step("install", Owner { uid: 20001, gid: 20001 })]).unwrap();
        assert_eq!(
            tree.programs.commands(),
            [
                "systemctl start -- mariadb.service",
                "SITE=site001 setpriv --reuid=20001 --regid=20001 --clear-groups --no-new-privs --inh-caps=-all -- /usr/bin/php install.php",
            ]
        );
    }

    #[test]
    fn stops_at_the_first_failure_and_names_it() {
        let tree = Tree::new();
        tree.programs.fail("one.php", "no database");
        let reason = run(tree.host(), &[step("one", Owner::ROOT), step("two", Owner::ROOT)]).unwrap_err();
        assert!(reason.contains("setup step `one` failed") && reason.contains("no database"), "{reason}");
        assert!(!tree.programs.commands().iter().any(|command| command.contains("two.php")));
    }
}
