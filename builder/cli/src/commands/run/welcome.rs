//! What a person wants to know of a host that has just started: what to open, how to get in, how to stop it.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use hostconf::HostConfig;

use vm::guest::{Ports, Seen, SshKey};

use crate::guest::lets_in;

/// A host that has settled.
pub(super) struct Welcome<'a> {
    pub(super) config: &'a HostConfig,
    pub(super) seen: &'a Seen,
    pub(super) ports: Ports,
    /// The key that was made for it, if one was.
    pub(super) key: Option<&'a SshKey>,
    pub(super) log: &'a Path,
    /// Its directory, if that stays.
    pub(super) kept: Option<&'a Path>,
}

impl Welcome<'_> {
    /// For people. `over` says that the machine ends now.
    pub(super) fn text(&self, over: bool) -> String {
        let Self { config, seen, .. } = self;
        let mut text = match seen.healthy {
            Some(time) => format!("{} is healthy after {:.1} s\n", config.hostname, time.as_secs_f64()),
            None => format!("{} is NOT healthy: {}\n", config.hostname, seen.unhealthy.join("; ")),
        };
        if !over {
            self.ways_in(&mut text);
        }
        if over && self.kept.is_none() {
            return text;
        }
        // Writing into a String cannot fail.
        let _ = writeln!(text, "console log: {}", self.log.display());
        let end = match self.kept {
            Some(dir) => format!("the host stays in {}", dir.display()),
            None => "the host and its disk are gone then; `--keep DIR` keeps them".to_owned(),
        };
        let _ = write!(text, "{}{end}", if over { "" } else { "stop it with Ctrl-C: " });
        text
    }

    fn ways_in(&self, text: &mut String) {
        let https = self.ports.https;
        for site in self.config.sites() {
            let name = &site.name;
            let _ = writeln!(text, "\nhttps://{name}/");
            if let Some(sha256) = self.seen.certificates.get(&name.to_string()) {
                let _ = writeln!(text, "  certificate sha256 {sha256} (self-signed: compare before you trust it)");
            }
            let _ = writeln!(text, "  curl --insecure --connect-to {name}:443:127.0.0.1:{https} https://{name}/");
            let _ = writeln!(text, "  chromium --host-resolver-rules='MAP {name} 127.0.0.1:{https}' https://{name}/");
        }
        let _ = writeln!(text, "\n{}", self.ssh());
    }

    fn ssh(&self) -> String {
        if !lets_in(self.config) {
            return "ssh: closed, for `networks` in the document does not hold 10.0.2.0/24, the network of the virtual machine".to_owned();
        }
        let identity = self.key.map(|key| format!("-i {} ", key.path.display())).unwrap_or_default();
        let mut line = format!("ssh {identity}-p {} admin@127.0.0.1", self.ports.ssh);
        for key in &self.seen.ssh_keys {
            let _ = write!(line, "\n  host key {key}");
        }
        line
    }

    /// For machines.
    pub(super) fn as_json(&self, accelerator: &str) -> serde_json::Value {
        let Self { config, seen, ports, .. } = self;
        let sites: Vec<String> = config.sites().map(|site| site.name.to_string()).collect();
        let seconds = |time: Option<Duration>| time.map(|time| (time.as_secs_f64() * 10.0).round() / 10.0);
        serde_json::json!({
            "hostname": config.hostname.to_string(), "serial": config.serial.to_string(), "accelerator": accelerator,
            "healthy": seen.is_healthy(), "unhealthy": seen.unhealthy,
            "seconds_to_personalised": seconds(seen.personalised), "seconds_to_healthy": seconds(seen.healthy),
            "sites": sites, "certificates": seen.certificates, "ssh_keys": seen.ssh_keys,
            "ports": { "https": ports.https, "http": ports.http, "ssh": ports.ssh },
            "ssh_key": self.key.map(|key| &key.path), "serial_log": self.log, "directory": self.kept,
        })
    }
}

#[cfg(test)]
mod tests {
    use vm::guest::Event;

    use super::*;

    fn seen(lines: &[&str]) -> Seen {
        let mut seen = Seen::default();
        for line in lines {
            seen.note(&Event::parse(line).unwrap(), Duration::from_millis(61_540));
        }
        seen
    }

    fn config(image: &str) -> HostConfig {
        let text =
            fs_err::read_to_string(format!("{}/../../images/{image}/host.example.toml", env!("CARGO_MANIFEST_DIR")))
                .unwrap();
        HostConfig::parse("host.toml", &text.replace("192.0.2.0/24", "10.0.2.0/24")).unwrap()
    }

    fn welcome<'a>(config: &'a HostConfig, seen: &'a Seen) -> Welcome<'a> {
        Welcome {
            config,
            seen,
            ports: Ports { https: 8443, http: 8080, ssh: 8022 },
            key: None,
            log: Path::new("/tmp/serial.log"),
            kept: None,
        }
    }

    const LINES: [&str; 4] = [
        "casemate: ssh-key ED25519 SHA256:abc",
        "casemate: certificate www.example.org sha256:00ff",
        "casemate: personalised as web1.example.org serial 1 certificate sha256:00ff",
        "casemate: healthy",
    ];

    #[test]
    fn says_what_to_open_how_to_get_in_and_how_to_stop() {
        let (config, seen) = (config("webhost"), seen(&LINES));
        let text = welcome(&config, &seen).text(false);
        for part in [
            "web1.example.org is healthy after 61.5 s",
            "curl --insecure --connect-to www.example.org:443:127.0.0.1:8443 https://www.example.org/",
            "certificate sha256 00ff",
            "ssh -p 8022 admin@127.0.0.1",
            "ED25519 SHA256:abc",
            "/tmp/serial.log",
            "Ctrl-C",
        ] {
            assert!(text.contains(part), "`{part}` is not in\n{text}");
        }
    }

    #[test]
    fn a_host_without_sites_has_no_address_to_open() {
        let (config, seen) = (config("minimal"), seen(&LINES));
        assert!(!welcome(&config, &seen).text(false).contains("https://"));
    }

    #[test]
    fn closed_ssh_and_failing_probes_are_told() {
        let text =
            fs_err::read_to_string(format!("{}/../../images/minimal/host.example.toml", env!("CARGO_MANIFEST_DIR")))
                .unwrap();
        let config = HostConfig::parse("host.toml", &text).unwrap();
        let seen = seen(&[LINES[2], "casemate: unhealthy: sshd: no answer"]);
        let shown = welcome(&config, &seen).text(false);
        assert!(shown.contains("ssh: closed") && shown.contains("NOT healthy: sshd: no answer"), "{shown}");
    }

    #[test]
    fn json_has_the_times_in_seconds() {
        let (config, seen) = (config("webhost"), seen(&LINES));
        let value = welcome(&config, &seen).as_json("tcg");
        assert_eq!((value["seconds_to_healthy"].as_f64(), value["healthy"].as_bool()), (Some(61.5), Some(true)));
        assert_eq!(
            (value["sites"][0].as_str(), value["ports"]["https"].as_u64()),
            (Some("www.example.org"), Some(8443))
        );
    }
}
