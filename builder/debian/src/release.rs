//! The signed Release file of a suite, and whether it is fresh enough to be believed.
//!
//! Release is the root of all trust in the archive: it lists the digest of every index. [`Release`] values come out of a
//! [`Verified`] text only, and freshness is a pure question with "now" and "last seen" as arguments, so that a replayed
//! old Release (which is correctly signed for ever) is refused.

use std::collections::BTreeMap;

use formats::digest::{DigestError, Sha256Digest};

use crate::{
    control::{Field, Paragraphs},
    date::{DAY, UnixTime},
    keyring::Verified,
    release_error::{ReleaseError, StaleError},
    suite::SuiteName,
};

/// What a Release file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// `Suite`, such as `stable-security`.
    pub suite: Option<String>,
    /// `Codename`, such as `trixie-security`.
    pub codename: Option<String>,
    /// `Date`: when it was made.
    pub date: UnixTime,
    /// `Valid-Until`; the main suite has none.
    pub valid_until: Option<UnixTime>,
    /// Whether indexes are also served under names made of their digest.
    pub acquire_by_hash: bool,
    /// The digest of the signed text with a final line end, which is the plain `Release` file.
    pub digest: Sha256Digest,
    files: BTreeMap<String, IndexFile>,
}

/// An index that a Release lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexFile {
    /// Its length in bytes.
    pub size: u64,
    /// Its digest.
    pub sha256: Sha256Digest,
}

/// How old a Release may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// Days after which a Release without `Valid-Until` is too old; point releases are months apart.
    pub max_age_days: u64,
}

impl Default for Freshness {
    fn default() -> Self {
        Self { max_age_days: 240 }
    }
}

impl Verified<Release> {
    /// Reads a Release from text whose signature was checked.
    pub fn parse(text: Verified<String>) -> Result<Self, ReleaseError> {
        text.try_map(|text| Release::parse(&text))
    }
}

impl Release {
    fn parse(text: &str) -> Result<Self, ReleaseError> {
        let mut paragraphs = Paragraphs::new(text);
        let paragraph = paragraphs.next().transpose()?.unwrap_or_default();
        if let Some(second) = paragraphs.next() {
            return Err(ReleaseError::SecondParagraph(second?.line()));
        }
        let date = |field: Field<'_>| {
            UnixTime::parse_release_date(field.value).map_err(|source| ReleaseError::Date { line: field.line, source })
        };
        let owned = |name| paragraph.get(name).map(str::to_owned);
        Ok(Self {
            suite: owned("Suite"),
            codename: owned("Codename"),
            date: date(paragraph.require("Date")?)?,
            valid_until: paragraph.field("Valid-Until").copied().map(date).transpose()?,
            acquire_by_hash: paragraph.get("Acquire-By-Hash") == Some("yes"),
            digest: Sha256Digest::of(format!("{}\n", text.trim_end_matches('\n')).as_bytes()),
            files: parse_files(paragraph.require("SHA256")?)?,
        })
    }

    /// An index by its path below the suite, such as `main/binary-amd64/Packages.xz`.
    pub fn file(&self, path: &str) -> Option<IndexFile> {
        self.files.get(path).copied()
    }

    /// Decides whether this Release may be used for `asked` at the time `now`.
    ///
    /// `last_seen` is the newest date that a Release of this suite ever had here, if any is known.
    pub fn check_fresh(
        &self,
        asked: &SuiteName,
        policy: Freshness,
        now: UnixTime,
        last_seen: Option<UnixTime>,
    ) -> Result<(), StaleError> {
        let names = [&self.codename, &self.suite];
        if !names.iter().any(|name| name.as_deref() == Some(asked.as_str())) {
            let found = names.into_iter().flatten().next().cloned().unwrap_or_else(|| "(no suite)".into());
            return Err(StaleError::WrongSuite { asked: asked.clone(), found });
        }
        let date = self.date;
        if date > now.plus(DAY) {
            return Err(StaleError::Future { date });
        }
        match self.valid_until {
            Some(until) if until < now => return Err(StaleError::Expired { until }),
            None if date.plus(policy.max_age_days.saturating_mul(DAY)) < now => {
                return Err(StaleError::TooOld { date, max_age_days: policy.max_age_days });
            }
            _ => {}
        }
        match last_seen {
            Some(seen) if date < seen => Err(StaleError::Rollback { date, seen }),
            _ => Ok(()),
        }
    }
}

fn parse_files(list: Field<'_>) -> Result<BTreeMap<String, IndexFile>, ReleaseError> {
    let mut files = BTreeMap::new();
    for (line, text) in list.lines() {
        let fail = |reason: String| ReleaseError::File { line, reason };
        let words: Vec<_> = text.split_ascii_whitespace().collect();
        let [digest, size, path] = words[..] else {
            return Err(fail(format!("found {} words", words.len())));
        };
        let size = size.parse().map_err(|_| fail(format!("`{size}` is not a size")))?;
        let sha256 = digest.parse().map_err(|error: DigestError| fail(error.to_string()))?;
        if files.insert(path.to_owned(), IndexFile { size, sha256 }).is_some() {
            return Err(fail(format!("`{path}` is listed twice")));
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn text() -> String {
        format!(
            "Suite: stable\nCodename: trixie\nDate: Sat, 12 Sep 2026 07:55:41 UTC\nAcquire-By-Hash: yes\n\
             SHA256:\n {DIGEST} 12 main/binary-amd64/Packages.xz\n {DIGEST}  0 main/x"
        )
    }

    fn release(extra: &str) -> Release {
        Release::parse(&format!("{extra}{}", text())).unwrap()
    }

    fn trixie() -> SuiteName {
        "trixie".parse().unwrap()
    }

    const WEEK: &str = "Valid-Until: Sat, 19 Sep 2026 07:55:41 UTC\n";

    #[test]
    fn reads_what_the_archive_writes() {
        let release = release("");
        assert_eq!(release.file("main/binary-amd64/Packages.xz").unwrap().size, 12);
        assert_eq!(release.date.to_string(), "2026-09-12T07:55:41Z");
        assert_eq!(release.digest, Sha256Digest::of(format!("{}\n", text()).as_bytes()));
        assert!(release.acquire_by_hash && release.valid_until.is_none() && release.file("other").is_none());
    }

    #[test]
    fn accepts_a_fresh_release_by_codename_or_suite() {
        let release = release(WEEK);
        let now = release.date.plus(6 * DAY);
        assert_eq!(release.check_fresh(&trixie(), Freshness::default(), now, Some(release.date)), Ok(()));
        assert_eq!(release.check_fresh(&"stable".parse().unwrap(), Freshness::default(), now, None), Ok(()));
    }

    #[test]
    fn refuses_a_release_of_another_suite() {
        let result =
            release("").check_fresh(&"bookworm".parse().unwrap(), Freshness::default(), release("").date, None);
        assert!(matches!(result, Err(StaleError::WrongSuite { found, .. }) if found == "trixie"));
    }

    #[test]
    fn refuses_a_release_past_its_valid_until() {
        let now = release(WEEK).date.plus(7 * DAY + 1);
        let result = release(WEEK).check_fresh(&trixie(), Freshness::default(), now, None);
        assert!(matches!(result, Err(StaleError::Expired { .. })), "{result:?}");
    }

    #[test]
    fn refuses_a_release_without_valid_until_after_the_stated_age() {
        let check =
            |days| release("").check_fresh(&trixie(), Freshness::default(), release("").date.plus(days * DAY), None);
        assert_eq!(check(240), Ok(()));
        assert!(matches!(check(241), Err(StaleError::TooOld { max_age_days: 240, .. })));
    }

    #[test]
    fn refuses_a_release_older_than_the_last_one_seen() {
        let release = release("");
        let seen = release.date.plus(1);
        let result = release.check_fresh(&trixie(), Freshness::default(), release.date, Some(seen));
        assert_eq!(result, Err(StaleError::Rollback { date: release.date, seen }));
    }

    #[test]
    fn refuses_a_release_of_the_future() {
        let now = UnixTime(release("").date.0 - DAY - 1);
        let result = release("").check_fresh(&trixie(), Freshness::default(), now, None);
        assert!(matches!(result, Err(StaleError::Future { .. })));
    }

    #[test]
    fn names_the_line_of_each_mistake() {
        let cases = [
            (text().replace("12 Sep", "32 Sep"), "line 3: `Sat, 32 Sep"),
            (text().replace("Date:", "Daten:"), "no field `Date`"),
            (text().replace(" 12 main", " main"), "line 6"),
            (text().replace(" 12 main", " -1 main"), "`-1` is not a size"),
            (text().replace("main/x", "main/binary-amd64/Packages.xz"), "line 7: expected"),
            (text().replace(DIGEST, "00"), "line 6"),
            (format!("{}\n\nA: 1\n", text()), "line 9: a second paragraph"),
            (String::new(), "no field `Date`"),
        ];
        for (text, message) in cases {
            let error = Release::parse(&text).unwrap_err().to_string();
            assert!(error.contains(message), "{error}: {message}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(at in 0usize..200, with in "[ a0:\n-]{0,4}") {
            let mut text = text();
            text.replace_range(at..=at, &with);
            let _ = Release::parse(&text);
        }
    }
}
