//! Where certificates of sites come from: `[tls]` of `host.toml`.

use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::document::Section;
use crate::domain_name::DomainName;
use crate::https_address::HttpsAddress;
use crate::names::{ValueError, text_type};
use crate::overlay_rows::words;

/// Let's Encrypt, which everybody trusts and nobody pays.
const USUAL: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// Longest list of roots, in bytes.
const LONGEST_ROOTS: usize = 16 * 1024;
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

words!(
    /// The word for it in the document.
    TlsMode, "a TLS mode", /// Each host signs its own.
    SelfSigned = "self-signed", /// An authority signs.
    Acme = "acme"
);

/// Where certificates come from. Templates see `mode` and, with `acme`, `directory`, `authority` and `roots`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum TlsSettings {
    /// Each host signs its own.
    #[default]
    SelfSigned,
    /// An authority signs them, asked by ACME (RFC 8555); until then the host's own are in use.
    Acme(Authority),
}

/// A certificate authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// Where it is asked: its directory (RFC 8555 7.1.1).
    pub directory: HttpsAddress,
    /// Whom to trust when it is asked, as PEM; absent: the authorities that Debian trusts.
    pub roots: Option<RootCertificates>,
}

/// Certificates as PEM (RFC 7468) and nothing else; whether they are certificates is found by who uses them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootCertificates(String);

text_type!(RootCertificates);

impl FromStr for RootCertificates {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let mut inside = false;
        let mut found = false;
        let is_right = text.len() <= LONGEST_ROOTS
            && text.lines().map(str::trim).filter(|line| !line.is_empty()).all(|line| match (inside, line) {
                (false, BEGIN) | (true, END) => {
                    inside = !inside;
                    found = true;
                    true
                }
                (true, base64) => base64.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte)),
                (false, _) => false,
            });
        if is_right && found && !inside {
            return Ok(Self(text.to_owned()));
        }
        Err(ValueError::new(
            text,
            format!("certificates as PEM, `{BEGIN}` to `{END}`, 16 KiB at most and nothing beside them"),
        ))
    }
}

impl Serialize for TlsSettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Seen<'a> {
            mode: TlsMode,
            directory: Option<&'a str>,
            authority: Option<&'a DomainName>,
            roots: Option<&'a RootCertificates>,
        }
        let seen = match self {
            Self::SelfSigned => Seen { mode: TlsMode::SelfSigned, directory: None, authority: None, roots: None },
            Self::Acme(Authority { directory, roots }) => Seen {
                mode: TlsMode::Acme,
                directory: Some(directory.as_str()),
                authority: Some(directory.host()),
                roots: roots.as_ref(),
            },
        };
        seen.serialize(serializer)
    }
}

/// Reads `[tls]`.
pub(crate) fn read_tls(section: &Section<'_, '_>) -> Option<TlsSettings> {
    section.allow(&["mode", "directory", "roots"]);
    let mode = section.text("mode");
    let directory = if section.has("directory") { section.text("directory") } else { USUAL.parse().ok() };
    let roots = section.optional_text("roots");
    match mode? {
        TlsMode::Acme => Some(TlsSettings::Acme(Authority { directory: directory?, roots })),
        TlsMode::SelfSigned => {
            for key in ["directory", "roots"].into_iter().filter(|key| section.has(key)) {
                section.note(
                    section.spot_of(key),
                    format!("`{key}` is for `mode = \"acme\"`: remove it or change the mode"),
                );
            }
            Some(TlsSettings::SelfSigned)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::HostConfig;
    use crate::sample::SMALL_HOST;

    fn read(tls: &str) -> Result<TlsSettings, String> {
        let text = SMALL_HOST.replace("[[domain]]\n", &format!("[tls]\n{tls}\n[[domain]]\n"));
        HostConfig::parse("host.toml", &text).map(|host| host.tls).map_err(|mistakes| mistakes.to_string())
    }

    #[test]
    fn an_authority_is_asked_only_where_the_document_says_so() {
        assert_eq!(read("mode = \"self-signed\"").unwrap(), TlsSettings::SelfSigned);
        let TlsSettings::Acme(usual) = read("mode = \"acme\"").unwrap() else { panic!("not acme") };
        assert_eq!((usual.directory.as_str(), usual.roots), (USUAL, None));
        let own = format!(
            "mode = \"acme\"\ndirectory = \"https://ca.example.net/dir\"\nroots = \"\"\"\n{BEGIN}\nMIIB\n{END}\n\"\"\""
        );
        let TlsSettings::Acme(own) = read(&own).unwrap() else { panic!("not acme") };
        assert_eq!(own.directory.host().as_str(), "ca.example.net");
        assert!(own.roots.unwrap().as_str().contains("MIIB"));
    }

    #[test]
    fn what_no_authority_has_is_refused_with_what_is_meant() {
        for bad in [
            "http://ca.example.net/",
            "https://ca.example.net:9000/",
            "https://",
            "https://ca.example.net/a b",
            "https://u@ca.example.net/",
        ] {
            let said = read(&format!("mode = \"acme\"\ndirectory = \"{bad}\"")).unwrap_err();
            assert!(said.contains("`https://` and a name, port 443"), "{bad}: {said}");
        }
        let said = read("mode = \"self-signed\"\ndirectory = \"https://ca.example.net/\"").unwrap_err();
        assert!(said.contains("remove it or change the mode"), "{said}");
        assert!(read("mode = \"letsencrypt\"").unwrap_err().contains("`self-signed`, `acme`"));
    }

    #[test]
    fn roots_are_certificates_and_nothing_else() {
        let good = format!("{BEGIN}\nMIIB+/=\n{END}\n");
        assert!(good.parse::<RootCertificates>().is_ok());
        assert!(format!("{good}{good}").parse::<RootCertificates>().is_ok());
        for bad in
            ["", "MIIB", BEGIN, &good.replace("CERTIFICATE", "PRIVATE KEY"), &format!("{good}more"), &good.repeat(400)]
        {
            assert!(bad.parse::<RootCertificates>().is_err(), "{bad}");
        }
    }
}
