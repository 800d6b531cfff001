//! Runs what must succeed before a service is started: each service's own check of its rendered configuration.

use std::time::Duration;

use tools::Tool;
use tools::ToolError;

use crate::host::Host;
use crate::work::Command;

/// A check only reads configuration.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Runs every check, also after one has failed, and returns the reasons.
pub fn run(host: Host<'_>, checks: &[Command]) -> Vec<String> {
    checks
        .iter()
        .filter_map(|check| host.runner.run(&tool(check).timeout(TIMEOUT)).err())
        .map(|error| reason("check", &error))
        .collect()
}

/// The program of a command.
pub fn tool(Command(words): &Command) -> Tool {
    let mut words = words.iter();
    Tool::new(words.next().cloned().unwrap_or_default()).args(words)
}

/// One line for the screen.
pub fn reason(what: &str, error: &ToolError) -> String {
    format!("{what} failed: {}", error.to_string().split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;

    #[test]
    fn reports_all_failures() {
        let tree = Tree::new();
        tree.programs.fail("sshd", "line 3: bad");
        tree.programs.fail("apache2", "no module");
        let checks = ["/usr/sbin/sshd -t", "/bin/true", "/usr/sbin/apache2 -t"];
        let checks = checks.map(|check| Command(check.split(' ').map(str::to_owned).collect()));
        let reasons = run(tree.host(), &checks);
        assert_eq!(reasons.len(), 2, "{reasons:?}");
        assert!(reasons[0].contains("line 3: bad") && reasons[1].contains("no module"), "{reasons:?}");
    }
}
