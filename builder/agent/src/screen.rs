//! One console screen, 80 columns by 24 lines, plain ASCII: a pure function of the status.
//!
//! Whatever a document or a program said is printed only after control characters are taken out,
//! so nobody can draw on the console through an error message.

use crate::status::Phase;
use crate::status::Status;

/// Columns of a serial console.
const WIDTH: usize = 80;
/// Lines of a serial console; the last one stays free for the cursor.
const HEIGHT: usize = 23;
/// Sites whose certificate is shown; more would push what is wrong off the screen.
const CERTIFICATES: usize = 3;
/// Columns of the label before a fact.
const LABEL: usize = 9;

/// Draws the status so that it fits on one screen.
pub fn draw(status: &Status) -> String {
    frame(fit(lines(status)))
}

/// Draws all of the status, however long it is.
pub fn full(status: &Status) -> String {
    frame(lines(status))
}

fn frame(mut lines: Vec<String>) -> String {
    lines.push("=".repeat(WIDTH - 1));
    lines.join("\n") + "\n"
}

fn lines(status: &Status) -> Vec<String> {
    let mut lines = vec!["=".repeat(WIDTH - 1), title(status)];
    if status.development {
        lines.push(" *** DEVELOPMENT IMAGE, made with throw-away keys: never use it in earnest ***".to_owned());
    }
    lines.push("-".repeat(WIDTH - 1));
    lines.extend(facts(status));
    lines.extend(trouble(status));
    lines
}

fn title(status: &Status) -> String {
    let left = format!(" casemate {} {}", status.image, status.version);
    let right = plain(status.hostname.as_deref().unwrap_or("(no name yet)"));
    let gap = (WIDTH - 2).saturating_sub(left.len() + right.len()).max(1);
    cut(&format!("{left}{}{right}", " ".repeat(gap)))
}

fn facts(status: &Status) -> Vec<String> {
    let mut lines = vec![fact("state", status.phase.word())];
    if let (Some(serial), Some(origin)) = (status.serial, &status.origin) {
        lines.push(fact("document", &format!("serial {serial} from {origin}")));
    }
    let addresses = if status.addresses.is_empty() { "none yet".to_owned() } else { status.addresses.join(" ") };
    lines.extend(wrap(&addresses, WIDTH - 2 - LABEL).iter().take(3).map(|part| fact("address", part)));
    lines.extend(status.ssh_keys.iter().map(|key| fact("ssh key", key)));
    lines.extend(certificates(status));
    if !status.health.is_empty() {
        let good: Vec<&str> =
            status.health.iter().filter(|check| check.passes()).map(|check| check.name.as_str()).collect();
        lines.extend(wrap(&good.join(" "), WIDTH - 2 - LABEL).iter().take(3).map(|part| fact("good", part)));
    }
    lines
}

/// A SHA-256 in hex fills a line of its own.
fn certificates(status: &Status) -> Vec<String> {
    let mut lines = Vec::new();
    for certificate in status.certificates.iter().take(CERTIFICATES) {
        lines.push(fact("tls", &certificate.name));
        lines.push(cut(&format!("   {}", certificate.fingerprint)));
    }
    let more = status.certificates.len().saturating_sub(CERTIFICATES);
    if 0 < more {
        lines.push(fact("", &format!("and {more} more: `casemate-agent status`")));
    }
    lines
}

fn trouble(status: &Status) -> Vec<String> {
    let failing: Vec<String> = status.failing().collect();
    let mut lines = Vec::new();
    lines.extend(list("what is wrong:", &status.problems));
    let heading = if status.phase == Phase::Personalised { "not yet:" } else { "failing:" };
    lines.extend(list(heading, &failing));
    lines.extend(list("note:", &status.notices));
    if status.phase == Phase::Unhealthy {
        lines.push(" what to do: log in as `admin`, then `sudo casemate-agent health` and `journalctl -b`".to_owned());
    }
    lines.iter().map(|line| cut(line)).collect()
}

fn list(heading: &str, items: &[String]) -> Vec<String> {
    let mut lines = Vec::new();
    if items.is_empty() {
        return lines;
    }
    lines.push(format!(" {heading}"));
    for item in items {
        for (number, part) in wrap(item, WIDTH - 6).iter().enumerate() {
            lines.push(format!(" {} {part}", if number == 0 { "-" } else { " " }));
        }
    }
    lines
}

/// Keeps the head of what is too long and says how much is missing and where to read it.
fn fit(mut lines: Vec<String>) -> Vec<String> {
    let room = HEIGHT - 1;
    if room < lines.len() {
        let missing = lines.len() - (room - 1);
        lines.truncate(room - 1);
        lines.push(format!(" ... {missing} more lines: see the log above, or `casemate-agent status`"));
    }
    lines
}

fn fact(label: &str, value: &str) -> String {
    cut(&format!(" {label:<LABEL$}{}", plain(value)))
}

fn cut(line: &str) -> String {
    plain(line).chars().take(WIDTH - 1).collect()
}

/// Printable ASCII only.
pub fn plain(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_ascii_graphic() || c == ' ' {
                c
            } else if c == '\n' {
                ' '
            } else {
                '?'
            }
        })
        .collect()
}

/// Breaks between words; a word that is longer than a line is broken inside.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let text = plain(text);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let mut rest: Vec<char> = word.chars().collect();
        if !line.is_empty() && width < line.len() + 1 + rest.len() {
            lines.push(std::mem::take(&mut line));
        }
        while width < rest.len() {
            lines.push(rest.drain(..width).collect());
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.extend(rest);
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Certificate;
    use crate::status::CheckResult;

    fn healthy() -> Status {
        Status {
            phase: Phase::Healthy,
            image: "webhost".into(),
            version: "0.1.0".into(),
            hostname: Some("web1.example.org".into()),
            serial: Some(3),
            origin: Some("the ESP".into()),
            addresses: vec!["192.0.2.7".into(), "2001:db8::7".into()],
            ssh_keys: vec!["ED25519 SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU".into()],
            certificates: vec![Certificate {
                name: "www.example.org".into(),
                fingerprint: format!("sha256:{}", "0f".repeat(32)),
            }],
            health: vec![CheckResult { name: "ssh".into(), failure: None }],
            ..Status::default()
        }
    }

    #[test]
    fn draws_a_healthy_host() {
        let expected = "\
===============================================================================
 casemate webhost 0.1.0                                       web1.example.org
-------------------------------------------------------------------------------
 state    healthy
 document serial 3 from the ESP
 address  192.0.2.7 2001:db8::7
 ssh key  ED25519 SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU
 tls      www.example.org
   sha256:0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f
 good     ssh
===============================================================================
";
        assert_eq!(draw(&healthy()), expected);
    }

    #[test]
    fn draws_a_waiting_host_with_reasons() {
        let status = Status {
            image: "minimal".into(),
            version: "0.1.0".into(),
            development: true,
            problems: vec![
                "no host.toml was found: put one on the ESP with `casemate personalise`, or give a seed volume".into(),
            ],
            ..Status::default()
        };
        let expected = "\
===============================================================================
 casemate minimal 0.1.0                                          (no name yet)
 *** DEVELOPMENT IMAGE, made with throw-away keys: never use it in earnest ***
-------------------------------------------------------------------------------
 state    waiting, no service is started
 address  none yet
 what is wrong:
 - no host.toml was found: put one on the ESP with `casemate personalise`, or
   give a seed volume
===============================================================================
";
        assert_eq!(draw(&status), expected);
    }

    #[test]
    fn never_leaves_the_screen() {
        let status = Status {
            development: true,
            hostname: Some("x".repeat(253)),
            addresses: vec!["2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff".into(); 40],
            certificates: vec![healthy().certificates.remove(0); 9],
            problems: vec!["y ".repeat(300), "z".repeat(300)],
            ..healthy()
        };
        let text = draw(&status);
        assert!(text.lines().count() <= 24, "{text}");
        assert!(text.lines().all(|line| line.len() < 80), "{text}");
        assert!(text.contains("more lines"), "{text}");
    }

    #[test]
    fn takes_control_characters_out() {
        let status = Status { problems: vec!["bad \u{1b}[2Jname \u{7}".into()], ..Status::default() };
        let text = draw(&status);
        assert!(text.contains("bad ?[2Jname ?"), "{text}");
    }

    proptest::proptest! {
        #[test]
        fn never_panics_and_stays_ascii(problem: String, name: String) {
            let text = draw(&Status { hostname: Some(name), problems: vec![problem], ..healthy() });
            proptest::prop_assert!(text.is_ascii() && text.lines().all(|line| line.len() < 80));
        }
    }
}
