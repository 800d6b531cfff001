//! Debian version numbers and their order.
//!
//! The order decides which package of several suites is taken and whether a dependency holds, so it follows
//! Debian Policy 5.6.12 exactly: epoch, then upstream version, then revision, `~` before the end of the text.

use std::{cmp::Ordering, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A version such as `1:2.4.62-1~deb13u1`; keeps its spelling, compares as Debian does.
///
/// `1.0` and `1.00` are equal although they are spelt differently, which is why there is no `Hash`.
#[derive(Debug, Clone)]
pub struct DebVersion(Box<str>);

/// The text is not a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a Debian version: {reason}")]
pub struct VersionError {
    text: String,
    reason: &'static str,
}

impl DebVersion {
    /// The version as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DebVersion {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        check(text).map_err(|reason| VersionError { text: text.chars().take(80).collect(), reason })?;
        Ok(Self(text.into()))
    }
}

impl fmt::Display for DebVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Ord for DebVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0)
    }
}

impl PartialOrd for DebVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for DebVersion {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for DebVersion {}

impl Serialize for DebVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for DebVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Checks the spelling without making a value: the index holds versions as parts of one long text.
pub(crate) fn check(text: &str) -> Result<(), &'static str> {
    let (epoch, rest) = text.split_once(':').map_or((None, text), |(epoch, rest)| (Some(epoch), rest));
    if let Some(epoch) = epoch
        && (epoch.is_empty() || !epoch.bytes().all(|b| b.is_ascii_digit()) || epoch.parse::<u32>().is_err())
    {
        return Err("the epoch is not a number");
    }
    let (upstream, revision) = rest.rsplit_once('-').map_or((rest, None), |(up, rev)| (up, Some(rev)));
    if upstream.is_empty() {
        return Err("the upstream version is empty");
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".+~".contains(&b);
    if !upstream.bytes().all(|b| plain(b) || b == b'-' || (b == b':' && epoch.is_some())) {
        return Err("the upstream version holds a character other than letters, digits and `.+-~:`");
    }
    match revision {
        Some("") => Err("the revision after `-` is empty"),
        Some(text) if !text.bytes().all(plain) => {
            Err("the revision holds a character other than letters, digits and `.+~`")
        }
        _ => Ok(()),
    }
}

/// Compares two versions that passed [`check`].
pub(crate) fn compare(left: &str, right: &str) -> Ordering {
    let (left, right) = (Parts::of(left), Parts::of(right));
    left.epoch
        .cmp(&right.epoch)
        .then_with(|| compare_part(left.upstream, right.upstream))
        .then_with(|| compare_part(left.revision, right.revision))
}

struct Parts<'a> {
    epoch: u32,
    upstream: &'a [u8],
    revision: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Self {
        let (epoch, rest) = text.split_once(':').unwrap_or(("0", text));
        // A missing revision is the same as `0`: an empty part and `0` compare equal below.
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        Self { epoch: epoch.parse().unwrap_or(0), upstream: upstream.as_bytes(), revision: revision.as_bytes() }
    }
}

/// Compares by turns the longest prefix of non-digits and the longest prefix of digits.
fn compare_part(mut left: &[u8], mut right: &[u8]) -> Ordering {
    while !(left.is_empty() && right.is_empty()) {
        let text = compare_text(take(&mut left, |b| !b.is_ascii_digit()), take(&mut right, |b| !b.is_ascii_digit()));
        let number = || compare_number(take(&mut left, u8::is_ascii_digit), take(&mut right, u8::is_ascii_digit));
        match text.then_with(number) {
            Ordering::Equal => {}
            unequal => return unequal,
        }
    }
    Ordering::Equal
}

fn take<'a>(bytes: &mut &'a [u8], wanted: impl Fn(&u8) -> bool) -> &'a [u8] {
    let end = bytes.iter().position(|b| !wanted(b)).unwrap_or(bytes.len());
    let (head, tail) = bytes.split_at(end);
    *bytes = tail;
    head
}

fn compare_text(left: &[u8], right: &[u8]) -> Ordering {
    let longest = left.len().max(right.len());
    let weights = |text: &[u8]| (0..longest).map(|at| weight(text.get(at).copied())).collect::<Vec<_>>();
    weights(left).cmp(&weights(right))
}

/// `~` sorts before the end of the text, the end before letters, letters before all other characters.
fn weight(byte: Option<u8>) -> u16 {
    match byte {
        Some(b'~') => 0,
        None => 1,
        Some(letter) if letter.is_ascii_alphabetic() => 2 + u16::from(letter),
        Some(other) => 256 + u16::from(other),
    }
}

/// Compares digits of any length, so that a long date never overflows.
fn compare_number(left: &[u8], right: &[u8]) -> Ordering {
    let (left, right) = (strip_zeros(left), strip_zeros(right));
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

fn strip_zeros(digits: &[u8]) -> &[u8] {
    let start = digits.iter().position(|b| *b != b'0').unwrap_or(digits.len());
    digits.split_at(start).1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version(text: &str) -> DebVersion {
        text.parse().unwrap()
    }

    #[test]
    fn orders_known_pairs() {
        let rising = [
            ("1.0~~", "1.0~~a"),
            ("1.0~~a", "1.0~"),
            ("1.0~", "1.0"),
            ("1.0", "1.0a"),
            ("1.0a", "1.0+"),
            ("1.0a", "1.0."),
            ("1.2", "1.10"),
            ("1.0-1", "1.0-2"),
            ("1.0", "1.0-1"),
            ("1.0-9", "1.0-10"),
            ("2.0", "1:1.0"),
            ("1:9", "2:0.1"),
            ("1.0-1~deb13u1", "1.0-1"),
            ("1.0-1", "1.0-1+b1"),
            ("1.0-1+b9", "1.0-1+b10"),
            ("1.0-1+deb13u1", "1.0-1.1"),
            ("1.0-1-1", "1.0-1-2"),
            ("20240203", "20240203+nmu1"),
            ("1.0~rc1-1", "1.0-0"),
            ("6.1.9-1", "6.12.1-1"),
            ("99999999999999999998", "99999999999999999999"),
            ("1.a", "1.+"),
            ("1.0-a", "1.0-+"),
            ("0~", "0"),
            ("1.2.3", "1.2.3-0.1"),
        ];
        for (low, high) in rising {
            assert_eq!(version(low).cmp(&version(high)), Ordering::Less, "{low} < {high}");
            assert_eq!(version(high).cmp(&version(low)), Ordering::Greater, "{high} > {low}");
        }
        for (left, right) in [("1.0", "0:1.0"), ("1.0", "1.0-0"), ("1.01", "1.1"), ("1.0", "1.00"), ("1.", "1.0")] {
            assert_eq!(version(left), version(right), "{left} = {right}");
        }
    }

    #[test]
    fn refuses_malformed_versions() {
        for text in
            ["", ":1", "a:1", "1:", "-1", "1.0-", "1 0", "1.0_2", "1.0-1:2", "99999999999:1", "1/2", "1.0\u{e9}"]
        {
            assert!(text.parse::<DebVersion>().is_err(), "{text}");
        }
        assert_eq!(version("1:2:3-4-5").as_str(), "1:2:3-4-5");
    }

    proptest! {
        #[test]
        fn order_is_total(texts in prop::collection::vec("(([0-2]:)?[0-2a~.+]{1,5}(-[01a~+]{1,3})?)", 3)) {
            let [a, b, c] = [version(&texts[0]), version(&texts[1]), version(&texts[2])];
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            prop_assert_eq!(a.cmp(&a), Ordering::Equal);
            if a <= b && b <= c { prop_assert!(a <= c); }
            if a == b { prop_assert_eq!(a.cmp(&c), b.cmp(&c)); }
        }

        #[test]
        fn parsing_never_panics(text in ".{0,40}") {
            if let Ok(version) = text.parse::<DebVersion>() {
                prop_assert_eq!(version.as_str(), text);
            }
        }
    }
}
