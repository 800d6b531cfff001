//! What the agent says on the serial console (docs/formats/artifacts.md, "What the console says"), read while it grows.
//!
//! Only whole lines count: half a line may still become another one.

/// How every line of the agent begins.
const MARK: &str = "casemate: ";
/// What a guest writes when it is lost.
const PANIC: &str = "Kernel panic - not syncing";
/// Lines of a log that an error shows.
const TAIL_LINES: usize = 30;

/// A line that means something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Nothing was started, for this reason.
    Waiting(String),
    /// A host key, as `ED25519 SHA256:...`.
    SshKey(String),
    /// A site's certificate: its name, and SHA-256 over its DER bytes as hex digits.
    Certificate {
        /// The site.
        name: String,
        /// Hex digits.
        sha256: String,
    },
    /// The host is what its document says.
    Personalised {
        /// Who it says it is.
        hostname: String,
        /// Serial of its document.
        serial: String,
    },
    /// Every probe passed.
    Healthy,
    /// A probe failed for too long.
    Unhealthy(String),
    /// Another line of the agent.
    Said(String),
    /// The kernel gave up.
    Panic(String),
}

impl Event {
    /// Reads a line; `None` for what neither the agent nor a panic wrote.
    pub fn parse(line: &str) -> Option<Self> {
        if line.contains(PANIC) {
            return Some(Self::Panic(line.trim().to_owned()));
        }
        let said = line.split_once(MARK)?.1.trim();
        let known = match said.split_once(' ').unwrap_or((said, "")) {
            ("waiting:", reason) => Some(Self::Waiting(reason.to_owned())),
            ("ssh-key", key) => Some(Self::SshKey(key.to_owned())),
            ("certificate", rest) => certificate(rest),
            ("personalised", rest) => personalised(rest),
            ("healthy", "") => Some(Self::Healthy),
            ("unhealthy:", reason) => Some(Self::Unhealthy(reason.to_owned())),
            _ => None,
        };
        Some(known.unwrap_or_else(|| Self::Said(said.to_owned())))
    }

    /// What a person reads while waiting.
    pub fn text(&self) -> String {
        match self {
            Self::Waiting(reason) => format!("the host waits: {reason}"),
            Self::SshKey(key) => format!("ssh host key {key}"),
            Self::Certificate { name, sha256 } => format!("certificate of {name}: sha256 {sha256}"),
            Self::Personalised { hostname, serial } => {
                format!("personalised as {hostname} (serial {serial})")
            }
            Self::Healthy => "healthy".to_owned(),
            Self::Unhealthy(reason) => format!("unhealthy: {reason}"),
            Self::Said(text) => text.clone(),
            Self::Panic(line) => format!("the kernel of the guest gave up: {line}"),
        }
    }
}

fn certificate(rest: &str) -> Option<Event> {
    let (name, digest) = rest.split_once(' ')?;
    let sha256 = digest.strip_prefix("sha256:")?.to_owned();
    Some(Event::Certificate { name: name.to_owned(), sha256 })
}

fn personalised(rest: &str) -> Option<Event> {
    let mut words = rest.strip_prefix("as ")?.split(' ');
    let hostname = words.next()?.to_owned();
    let serial = words.nth(1)?.to_owned();
    Some(Event::Personalised { hostname, serial })
}

/// A growing log and how much of it was read.
#[derive(Debug, Default)]
pub struct Console {
    position: usize,
}

impl Console {
    /// The events in the lines that became whole since the last call; `text` is the whole log so far.
    pub fn read(&mut self, text: &str) -> Vec<Event> {
        // A wrong byte at the old end may have become a character since: then we stand inside it.
        let start = (0..=self.position.min(text.len())).rev().find(|place| text.is_char_boundary(*place)).unwrap_or(0);
        let fresh = text.get(start..).unwrap_or_default();
        let Some(end) = fresh.rfind('\n') else {
            return Vec::new();
        };
        self.position = start + end + 1;
        fresh.get(..end).unwrap_or_default().lines().filter_map(Event::parse).collect()
    }
}

/// The end of a log, for an error.
pub fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let start = lines.len().saturating_sub(TAIL_LINES);
    lines.iter().skip(start).flat_map(|line| ["\n  | ", line]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_line_that_the_agent_documents() {
        let hex = "0f".repeat(32);
        let cases = [
            ("casemate: waiting: no host.toml", Event::Waiting("no host.toml".into())),
            ("casemate: ssh-key ED25519 SHA256:x", Event::SshKey("ED25519 SHA256:x".into())),
            (
                &format!("casemate: certificate www.example.org sha256:{hex}"),
                Event::Certificate { name: "www.example.org".into(), sha256: hex.clone() },
            ),
            (
                &format!("casemate: personalised as web1.example.org serial 7 certificate sha256:{hex}"),
                Event::Personalised { hostname: "web1.example.org".into(), serial: "7".into() },
            ),
            ("casemate: healthy", Event::Healthy),
            ("casemate: unhealthy: web: no answer", Event::Unhealthy("web: no answer".into())),
            (
                "[    1.5] Kernel panic - not syncing: dm-verity",
                Event::Panic("[    1.5] Kernel panic - not syncing: dm-verity".into()),
            ),
        ];
        for (line, event) in cases {
            assert_eq!(Event::parse(line), Some(event), "{line}");
        }
    }

    #[test]
    fn words_around_a_state_are_not_that_state() {
        for line in ["casemate: healthy soon", "casemate: personalised", "casemate: certificate x"] {
            assert!(matches!(Event::parse(line), Some(Event::Said(_))), "{line}");
        }
        assert_eq!(Event::parse("healthy"), None);
    }

    #[test]
    fn half_a_line_waits_for_its_end_and_no_line_comes_twice() {
        let mut console = Console::default();
        let log = "boot\ncasemate: healthy\ncasemate: unhealthy: web: x\n";
        let mut events = Vec::new();
        for end in 0..=log.len() {
            events.extend(console.read(&log[..end]));
        }
        assert_eq!(events, [Event::Healthy, Event::Unhealthy("web: x".into())]);
    }

    #[test]
    fn a_log_that_changes_its_length_never_panics() {
        let mut console = Console::default();
        for log in ["é\n", "casemate: healthy é\n", "\u{fffd}\u{fffd}\n", "", "é"] {
            console.read(log);
        }
    }

    #[test]
    fn an_error_shows_the_end_of_the_log_only() {
        let log = (0..100).map(|number| format!("line {number}\n")).collect::<Vec<_>>().join("\n");
        let shown = tail(&log);
        assert!(shown.contains("line 99") && shown.contains("line 70") && !shown.contains("line 69"), "{shown}");
    }
}
