//! Who takes the mail that sites send: `[relay]` of `host.toml`.

use serde::Serialize;

use crate::document::Section;
use crate::domain_name::DomainName;
use crate::overlay_rows::words;

/// Submission (RFC 6409).
const PORT: u16 = 587;
/// Those that relays use; the firewall is compiled for them (`overlays/nullmail`).
const PORTS: [u16; 5] = [25, 465, 587, 2525, 2587];

/// A mail server that takes all mail of this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Relay {
    /// Its name.
    pub host: DomainName,
    /// Its port.
    pub port: u16,
    /// How the way to it is kept secret.
    pub tls: RelayTls,
}

words!(
    /// What is asked of the relay's TLS.
    RelayTls, "a use of TLS", /// A certificate of its name by an authority that Debian trusts, or no mail.
    Verify = "verify", /// Encrypted whatever the certificate.
    Encrypt = "encrypt", /// Encrypted where the relay can.
    May = "may"
);

/// Reads `[relay]`.
pub(crate) fn read_relay(section: &Section<'_, '_>) -> Option<Relay> {
    section.allow(&["host", "port", "tls"]);
    let host = section.text("host");
    let port = match section.optional_integer("port", 1..=u64::from(u16::MAX)) {
        Some(port) => one_of_relays(section, port),
        None => Some(PORT),
    };
    let tls = if section.has("tls") { section.text("tls") } else { Some(RelayTls::Verify) };
    Some(Relay { host: host?, port: port?, tls: tls? })
}

fn one_of_relays(section: &Section<'_, '_>, port: u64) -> Option<u16> {
    let known = PORTS.into_iter().find(|known| u64::from(*known) == port);
    if known.is_none() {
        let all = PORTS.map(|port| port.to_string()).join(", ");
        section.note(section.spot_of("port"), format!("port {port} is none of a relay: give one of {all}"));
    }
    known
}
