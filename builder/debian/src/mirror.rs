//! Where the archive is served: base addresses, and how to find them in a machine's apt sources.
//!
//! No address is written in this program. From apt's sources only base addresses are taken, one for the archive (path ends in
//! `/debian`) and one for security (`/debian-security`); suites and keys are ours. The parsers are pure; [`load_apt_sources`] reads.

use std::{fmt, fs, io, path::Path, str::FromStr};

use crate::{control::Paragraphs, suite::Site};

/// The address of a directory that holds `dists/` and `pool/`; no slash at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl(Box<str>);

/// The two base addresses of one mirror; written as `ARCHIVE` or `ARCHIVE,SECURITY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirrors {
    /// Serves the release and its updates.
    pub archive: BaseUrl,
    /// Serves the security suite.
    pub security: BaseUrl,
}

/// The text is not a mirror.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a mirror: write `http://HOST/PATH` or `https://HOST/PATH`, or two of them joined by a comma for archive and security"
)]
pub struct MirrorError(String);

/// apt's sources cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read apt's sources at `{path}`; name a mirror with `--mirror`")]
pub struct SourcesError {
    path: String,
    source: io::Error,
}

impl BaseUrl {
    /// The address without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address of a path below.
    pub fn join(&self, path: &str) -> String {
        // `+`, `~` and `:` may stand in a path as they are; a `%` belongs to the file name and must be escaped (RFC 3986).
        format!("{}/{}", self.0, path.replace('%', "%25"))
    }
}

impl FromStr for BaseUrl {
    type Err = MirrorError;

    fn from_str(text: &str) -> Result<Self, MirrorError> {
        let refuse = || MirrorError(text.chars().take(200).collect());
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")).ok_or_else(refuse)?;
        let good = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/@%+[]!$&'()*;=".contains(&b);
        if rest.starts_with('/') || rest.is_empty() || !rest.bytes().all(good) {
            return Err(refuse());
        }
        Ok(Self(text.trim_end_matches('/').into()))
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Mirrors {
    /// The address that serves a site.
    pub fn base(&self, site: Site) -> &BaseUrl {
        match site {
            Site::Archive => &self.archive,
            Site::Security => &self.security,
        }
    }

    fn from_found(archive: Option<BaseUrl>, security: Option<BaseUrl>) -> Option<Self> {
        let archive = archive?;
        let security = security.unwrap_or_else(|| sibling(&archive));
        Some(Self { archive, security })
    }
}

impl FromStr for Mirrors {
    type Err = MirrorError;

    fn from_str(text: &str) -> Result<Self, MirrorError> {
        let (archive, security) = text.split_once(',').map_or((text, None), |(a, s)| (a, Some(s)));
        let archive: BaseUrl = archive.trim().parse()?;
        let security = security.map_or_else(|| Ok(sibling(&archive)), |text| text.trim().parse())?;
        Ok(Self { archive, security })
    }
}

impl fmt::Display for Mirrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.archive, self.security)
    }
}

/// Reads apt's sources below `directory` (`/etc/apt`); none when they name no Debian archive.
pub fn load_apt_sources(directory: &Path) -> Result<Option<Mirrors>, SourcesError> {
    let fail = |path: &Path| {
        let path = path.display().to_string();
        move |source| SourcesError { path, source }
    };
    let mut addresses = Vec::new();
    let list = directory.join("sources.list");
    match fs::read_to_string(&list) {
        Ok(text) => addresses.extend(parse_sources_list(&text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(fail(&list)(error)),
    }
    let parts = directory.join("sources.list.d");
    let mut paths = match fs::read_dir(&parts) {
        Ok(entries) => {
            entries.map(|entry| entry.map(|e| e.path())).collect::<Result<Vec<_>, _>>().map_err(fail(&parts))?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(fail(&parts)(error)),
    };
    paths.sort();
    for path in paths {
        let parse: fn(&str) -> Vec<BaseUrl> = match path.extension().and_then(|extension| extension.to_str()) {
            Some("list") => parse_sources_list,
            Some("sources") => parse_sources_deb822,
            _ => continue,
        };
        addresses.extend(parse(&fs::read_to_string(&path).map_err(fail(&path))?));
    }
    Ok(pick_mirrors(&addresses))
}

/// The addresses in apt's one-line format (sources.list(5)); what is no enabled binary source over HTTP is passed over.
pub fn parse_sources_list(text: &str) -> Vec<BaseUrl> {
    let parse = |line: &str| {
        let line = line.split('#').next()?.trim();
        let rest = line.strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim_start();
        // Options stand in brackets between the type and the address.
        let rest = if rest.starts_with('[') { rest.split_once(']')?.1.trim_start() } else { rest };
        rest.split_ascii_whitespace().next()?.parse().ok()
    };
    text.lines().filter_map(parse).collect()
}

/// The addresses in apt's deb822 format (sources.list(5)); what is no enabled binary source over HTTP is passed over.
pub fn parse_sources_deb822(text: &str) -> Vec<BaseUrl> {
    let mut found = Vec::new();
    for paragraph in Paragraphs::new(text).filter_map(Result::ok) {
        let disabled = paragraph.get("Enabled").is_some_and(|value| ["no", "false", "0", "off"].contains(&value));
        let binary = paragraph.get("Types").is_some_and(|types| types.split_ascii_whitespace().any(|t| t == "deb"));
        if disabled || !binary {
            continue;
        }
        for (_, line) in paragraph.field("URIs").into_iter().flat_map(crate::control::Field::lines) {
            found.extend(line.split_ascii_whitespace().filter_map(|address| address.parse::<BaseUrl>().ok()));
        }
    }
    found
}

/// The first archive and the first security archive among `addresses`; foreign ones are passed over.
pub fn pick_mirrors(addresses: &[BaseUrl]) -> Option<Mirrors> {
    let first = |end| addresses.iter().find(|address| address.as_str().ends_with(end)).cloned();
    Mirrors::from_found(first("/debian"), first("/debian-security"))
}

fn sibling(archive: &BaseUrl) -> BaseUrl {
    BaseUrl(format!("{archive}-security").into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn finds_both_addresses_in_deb822_sources() {
        let text = "Types: deb deb-src\n# note\nURIs: http://m.example/debian/\nSuites: trixie\n\n\
                    Types: deb\nURIs:\n https://m.example/debian-security\nSuites: trixie-security\n";
        let mirrors = pick_mirrors(&parse_sources_deb822(text)).unwrap();
        assert_eq!(mirrors.to_string(), "http://m.example/debian,https://m.example/debian-security");
    }

    #[test]
    fn finds_both_addresses_in_one_line_sources() {
        let text = "# deb http://old.example/debian x main\ndeb-src http://s.example/debian x main\n\
                    deb [arch=amd64 signed-by=/k] http://m.example/debian trixie main # c\ndeb\thttp://m.example/debian-security x main\n";
        let mirrors = pick_mirrors(&parse_sources_list(text)).unwrap();
        assert_eq!(mirrors.archive.as_str(), "http://m.example/debian");
        assert_eq!(mirrors.security.as_str(), "http://m.example/debian-security");
    }

    #[test]
    fn passes_over_foreign_and_disabled_sources() {
        let deb822 = "Types: deb\nURIs: https://f.example/node\n\nEnabled: no\nTypes: deb\nURIs: http://m.example/debian\n\nTypes: deb-src\nURIs: http://m.example/debian\n";
        assert_eq!(pick_mirrors(&parse_sources_deb822(deb822)), None);
        assert_eq!(
            pick_mirrors(&parse_sources_list("deb cdrom:[x]/ y z\ndeb file:/srv/debian x main\nnonsense\n")),
            None
        );
    }

    #[test]
    fn reads_a_directory_of_sources_in_order() {
        let apt = tempfile::tempdir().unwrap();
        assert_eq!(load_apt_sources(apt.path()).unwrap(), None);
        fs::create_dir(apt.path().join("sources.list.d")).unwrap();
        let part = |name: &str, text: &str| {
            fs::write(apt.path().join("sources.list.d").join(name), text).unwrap();
        };
        part("b.list", "deb http://b.example/debian x main\n");
        part("a.sources", "Types: deb\nURIs: http://a.example/debian\n");
        part("a.save", "deb http://0.example/debian x main\n");
        assert_eq!(load_apt_sources(apt.path()).unwrap().unwrap().archive.as_str(), "http://a.example/debian");
        fs::write(apt.path().join("sources.list"), "deb http://c.example/debian x main\n").unwrap();
        assert_eq!(load_apt_sources(apt.path()).unwrap().unwrap().archive.as_str(), "http://c.example/debian");
    }

    #[test]
    fn one_address_implies_its_security_sibling() {
        let mirrors: Mirrors = "https://m.example/debian/".parse().unwrap();
        assert_eq!(mirrors.base(Site::Security).as_str(), "https://m.example/debian-security");
        let both: Mirrors = "http://a.example/x, http://b.example/y".parse().unwrap();
        assert_eq!(both.security.join("pool/a_1%3a2.deb"), "http://b.example/y/pool/a_1%253a2.deb");
    }

    #[test]
    fn refuses_what_is_no_address() {
        for text in [
            "",
            "m.example/debian",
            "ftp://m.example/debian",
            "http://",
            "http:///x",
            "http://m.example/a b",
            "http://a.example/x,",
            "http://m.example/?q",
            "http://m.example/#f",
        ] {
            assert!(text.parse::<Mirrors>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "[a-c:/# \n\\[\\]debhttpURIsTypes,-]{0,80}") {
            let _ = (parse_sources_list(&text), parse_sources_deb822(&text), text.parse::<Mirrors>());
        }
    }
}
