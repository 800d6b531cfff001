//! Who takes the mail that sites send: `[relay]` of `host.toml`.

use serde::Serialize;

use crate::document::Section;
use crate::domain_name::DomainName;
use crate::overlay_rows::words;

/// Submission (RFC 6409).
const PORT: u16 = 587;

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
        Some(port) => u16::try_from(port).ok(),
        None => Some(PORT),
    };
    let tls = if section.has("tls") { section.text("tls") } else { Some(RelayTls::Verify) };
    Some(Relay { host: host?, port: port?, tls: tls? })
}
