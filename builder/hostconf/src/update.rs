//! Where new versions come from, and when a host may take them: `[update]` of `host.toml`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

use crate::document::Section;
use crate::domain_name::DomainName;
use crate::https_address::HttpsAddress;
use crate::names::ValueError;
use crate::tls::RootCertificates;
use formats::names::ImageName;

const CHANNEL: &str = "stable";
/// Two weeks; who wants more wants another channel.
const LONGEST_SPREAD: u64 = 14 * 24;
const MINUTES_A_DAY: u16 = 24 * 60;
/// Shortest window, in minutes: hosts look every half hour.
const SHORTEST_WINDOW: u16 = 60;

/// Where new versions come from, and when they may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateSettings {
    /// The folder that holds the folder of the image.
    pub repository: HttpsAddress,
    /// Which of its channels is followed.
    pub channel: ImageName,
    /// Whom to trust when it is asked, as PEM; absent: the authorities that Debian trusts. What it says is signed in any case.
    pub roots: Option<RootCertificates>,
    /// When the host may write a new version and restart into it; absent: somebody does that by hand.
    pub window: Option<Window>,
    /// Over how many hours the hosts of a fleet take a version, each at its own time.
    pub spread_hours: u16,
}

/// Some time of each day, in UTC: from a minute of the day to another one, perhaps over midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Window {
    from: u16,
    to: u16,
}

impl Window {
    /// Whether it is open at this time, in seconds since 1970.
    pub fn is_open(self, seconds: u64) -> bool {
        let minute = u16::try_from(seconds / 60 % u64::from(MINUTES_A_DAY)).unwrap_or_default();
        if self.from < self.to {
            (self.from..self.to).contains(&minute)
        } else {
            minute >= self.from || minute < self.to
        }
    }

    fn minutes(self) -> u16 {
        (self.to + MINUTES_A_DAY - self.from) % MINUTES_A_DAY
    }
}

impl FromStr for Window {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let both = text.split_once('-').and_then(|(from, to)| Some((minute(from)?, minute(to)?)));
        let window = both.map(|(from, to)| Self { from, to }).filter(|window| window.minutes() >= SHORTEST_WINDOW);
        window.ok_or_else(|| ValueError::new(text, "a time of the day of an hour or more, in UTC, e.g. `03:00-05:00`"))
    }
}

impl TryFrom<String> for Window {
    type Error = ValueError;

    fn try_from(text: String) -> Result<Self, ValueError> {
        text.parse()
    }
}

impl fmt::Display for Window {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to } = self;
        write!(out, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)
    }
}

/// `HH:MM`.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str, below: u16| -> Option<u16> {
        let is_written_out = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|number| is_written_out && *number < below)
    };
    Some(number(hour, 24)? * 60 + number(minute, 60)?)
}

impl Serialize for UpdateSettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Seen<'a> {
            repository: &'a str,
            server: &'a DomainName,
            channel: String,
            roots: Option<&'a RootCertificates>,
            window: Option<String>,
            spread_hours: u16,
        }
        let seen = Seen {
            repository: self.repository.as_str(),
            server: self.repository.host(),
            channel: self.channel.to_string(),
            roots: self.roots.as_ref(),
            window: self.window.map(|window| window.to_string()),
            spread_hours: self.spread_hours,
        };
        seen.serialize(serializer)
    }
}

/// Reads `[update]`.
pub(crate) fn read_update(section: &Section<'_, '_>) -> Option<UpdateSettings> {
    section.allow(&["repository", "channel", "roots", "window", "spread_hours"]);
    let repository = section.text("repository");
    let channel = if section.has("channel") { section.text("channel") } else { CHANNEL.parse().ok() };
    let (roots, window) = (section.optional_text("roots"), section.optional_text("window"));
    let spread_hours = section.optional_integer("spread_hours", 0..=LONGEST_SPREAD).unwrap_or(0);
    if spread_hours > 0 && !section.has("window") {
        section.note(
            section.spot_of("spread_hours"),
            "`spread_hours` is for hosts with a `window`: without one nothing is taken by itself".to_owned(),
        );
    }
    let spread_hours = u16::try_from(spread_hours).ok()?;
    Some(UpdateSettings { repository: repository?, channel: channel?, roots, window, spread_hours })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::HostConfig;
    use crate::sample::SMALL_HOST;

    fn read(update: &str) -> Result<UpdateSettings, String> {
        let text = SMALL_HOST.replace("[[domain]]\n", &format!("[update]\n{update}\n[[domain]]\n"));
        HostConfig::parse("host.toml", &text).map(|host| host.update.unwrap()).map_err(|mistakes| mistakes.to_string())
    }

    #[test]
    fn a_repository_is_enough() {
        let usual = read("repository = \"https://updates.example.net/casemate\"").unwrap();
        assert_eq!((usual.channel.to_string(), usual.window, usual.spread_hours), ("stable".into(), None, 0));
        assert_eq!(usual.repository.host().as_str(), "updates.example.net");
        assert_eq!(HostConfig::parse("host.toml", SMALL_HOST).unwrap().update, None);
    }

    #[test]
    fn a_window_is_open_at_its_times_also_over_midnight() {
        let open = |window: &str, hour: u64, minute: u64| {
            window.parse::<Window>().unwrap().is_open(1_800_000_000 / 86_400 * 86_400 + hour * 3600 + minute * 60)
        };
        assert!(open("03:00-05:30", 3, 0) && open("03:00-05:30", 5, 29));
        assert!(!open("03:00-05:30", 2, 59) && !open("03:00-05:30", 5, 30));
        assert!(open("23:00-01:00", 23, 0) && open("23:00-01:00", 0, 59));
        assert!(!open("23:00-01:00", 1, 0) && !open("23:00-01:00", 12, 0));
        assert_eq!("03:00-05:30".parse::<Window>().unwrap().to_string(), "03:00-05:30");
        for bad in ["", "3:00-5:00", "03:00", "03:00-24:00", "03:00-03:59", "03:00-03:00", "03:60-05:00", "+3:00-05:00"]
        {
            assert!(bad.parse::<Window>().unwrap_err().to_string().contains("03:00-05:00"), "{bad}");
        }
    }

    #[test]
    fn mistakes_say_what_is_meant() {
        let address = "repository = \"https://updates.example.net/\"\n";
        assert!(read("repository = \"http://updates.example.net/\"").unwrap_err().contains("port 443"));
        assert!(read(&format!("{address}spread_hours = 24")).unwrap_err().contains("for hosts with a `window`"));
        assert!(read(&format!("{address}chanel = \"x\"")).unwrap_err().contains("channel"));
        assert!(read("channel = \"stable\"").unwrap_err().contains("repository"));
        assert!(read(&format!("{address}window = \"03:00-05:00\"\nspread_hours = 400")).is_err());
    }
}
