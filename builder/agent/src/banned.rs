//! Who is banned, for the web server: the firewall does not see whoever comes through a trusted proxy.
//!
//! `Fail2Ban`'s action leaves an empty file for each ban, `ADDRESS@JAIL`, which was changed last when the ban will end.

use std::collections::HashMap;
use std::fs;
use std::io::BufRead;
use std::io::Write;
use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::SystemTime;

/// The directory is looked at no more often; and what has changed within such a time may change again without another time of change.
const PAUSE: Duration = Duration::from_secs(1);
/// The bits of an IPv6 address that a visitor cannot choose; the firewall bans as many.
const NETWORK: u128 = u128::MAX << 64;

/// The bans of all jails, as the directory has them.
#[derive(Debug)]
pub struct Bans {
    directory: PathBuf,
    ends: HashMap<IpAddr, SystemTime>,
    looked: Option<SystemTime>,
    settled: Option<SystemTime>,
}

impl Bans {
    /// The bans in `directory`, which need not be there: then nobody is banned.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory, ends: HashMap::new(), looked: None, settled: None }
    }

    /// Whether `address`, or of IPv6 its network of 64 bits, is banned at the moment `now`.
    pub fn hold(&mut self, address: IpAddr, now: SystemTime) -> bool {
        self.look(now);
        self.ends.get(&visitor(address)).is_some_and(|end| *end > now)
    }

    fn look(&mut self, now: SystemTime) {
        let is_recent = |time: SystemTime| now.duration_since(time).is_ok_and(|age| age < PAUSE);
        if self.looked.is_some_and(is_recent) {
            return;
        }
        self.looked = Some(now);
        let changed = fs::metadata(&self.directory).and_then(|found| found.modified()).ok();
        if changed.is_some() && changed == self.settled {
            return;
        }
        self.ends = read(&self.directory);
        self.settled = changed.filter(|time| now.duration_since(*time).is_ok_and(|age| age > PAUSE));
    }
}

/// Answers each line, an address, with `banned` or `NULL`, as `RewriteMap` wants it of a program. What is no address is not banned.
///
/// # Errors
/// Who asks is gone.
pub fn answer(mut questions: impl BufRead, mut answers: impl Write, bans: &mut Bans) -> std::io::Result<()> {
    let mut line = Vec::new();
    while questions.read_until(b'\n', &mut line)? > 0 {
        let address = str::from_utf8(&line).ok().and_then(|text| text.trim_end().parse().ok());
        let is_banned = address.is_some_and(|address| bans.hold(address, SystemTime::now()));
        answers.write_all(if is_banned { b"banned\n" } else { b"NULL\n" })?;
        answers.flush()?;
        line.clear();
    }
    Ok(())
}

/// The last end of each visitor's bans. What is no ban is passed over, and so is a file that goes meanwhile.
fn read(directory: &Path) -> HashMap<IpAddr, SystemTime> {
    let mut ends: HashMap<IpAddr, SystemTime> = HashMap::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let address = name.to_str().and_then(|name| name.split_once('@')?.0.parse().ok());
        let end = entry.metadata().and_then(|found| found.modified()).ok();
        if let Some((address, end)) = address.zip(end) {
            let last = ends.entry(visitor(address)).or_insert(end);
            *last = end.max(*last);
        }
    }
    ends
}

/// What all addresses of a visitor have in common.
fn visitor(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => Ipv6Addr::from_bits(six.to_bits() & NETWORK).into(),
        four @ IpAddr::V4(_) => four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Directory(tempfile::TempDir);

    impl Directory {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn bans(&self) -> Bans {
            Bans::new(self.0.path().to_owned())
        }

        /// A ban that ends so many seconds after `now`.
        fn ban(&self, name: &str, now: SystemTime, seconds: u64) {
            let file = fs::File::create(self.0.path().join(name)).unwrap();
            file.set_modified(now + Duration::from_secs(seconds)).unwrap();
        }
    }

    fn hold(bans: &mut Bans, address: &str, now: SystemTime) -> bool {
        bans.hold(address.parse().unwrap(), now)
    }

    #[test]
    fn a_visitor_is_banned_by_any_jail_until_the_last_ban_ends() {
        let (directory, now) = (Directory::new(), SystemTime::now());
        directory.ban("203.0.113.5@login", now, 10);
        directory.ban("203.0.113.5@refused", now, 60);
        directory.ban("203.0.113.6@login", now, 10);
        for name in ["new.203.0.113.7@login", "203.0.113.7", "@login", "203.0.113@login", "login@203.0.113.7"] {
            directory.ban(name, now, 60);
        }
        let mut bans = directory.bans();
        for (after, held) in [(0, [true, true, false]), (20, [true, false, false]), (60, [false, false, false])] {
            let now = now + Duration::from_secs(after);
            let found = ["203.0.113.5", "203.0.113.6", "203.0.113.7"].map(|address| hold(&mut bans, address, now));
            assert_eq!(found, held, "after {after} s");
        }
    }

    #[test]
    fn of_ipv6_the_network_is_banned_however_it_is_written() {
        let (directory, now) = (Directory::new(), SystemTime::now());
        directory.ban("2001:db8:0:66::70@refused", now, 60);
        let mut bans = directory.bans();
        for banned in ["2001:db8:0:66::", "2001:DB8:0:66:1:2:3:4", "2001:db8:0:66:ffff:ffff:ffff:ffff"] {
            assert!(hold(&mut bans, banned, now), "{banned}");
        }
        for other in ["2001:db8:0:67::70", "2001:db8::66", "2001:db8:66::70"] {
            assert!(!hold(&mut bans, other, now), "{other}");
        }
    }

    #[test]
    fn a_ban_that_is_lifted_or_new_is_known_a_second_later() {
        // Whatever is changed here has just changed at these moments: it cannot be known to be the last change.
        let (directory, now) = (Directory::new(), SystemTime::now() - Duration::from_secs(10));
        let mut bans = directory.bans();
        assert!(!hold(&mut bans, "203.0.113.5", now));
        directory.ban("203.0.113.5@login", now, 60);
        assert!(!hold(&mut bans, "203.0.113.5", now + PAUSE / 2), "it looks at each question");
        assert!(hold(&mut bans, "203.0.113.5", now + PAUSE));
        fs::remove_file(directory.0.path().join("203.0.113.5@login")).unwrap();
        assert!(!hold(&mut bans, "203.0.113.5", now + PAUSE * 2));
    }

    #[test]
    fn a_directory_that_has_not_changed_is_not_read_again() {
        let (directory, now) = (Directory::new(), SystemTime::now());
        directory.ban("203.0.113.5@login", now, 60);
        let mut bans = directory.bans();
        // Changed a while ago, so that nothing can have changed in the moment of the look.
        fs::File::open(directory.0.path()).unwrap().set_modified(now - Duration::from_secs(10)).unwrap();
        assert!(hold(&mut bans, "203.0.113.5", now));
        bans.ends.clear();
        assert!(!hold(&mut bans, "203.0.113.5", now + PAUSE), "it was read again");
        directory.ban("203.0.113.6@login", now, 60);
        assert!(hold(&mut bans, "203.0.113.5", now + PAUSE * 2), "a change was overlooked");
    }

    #[test]
    fn every_line_has_one_answer_whatever_it_is() {
        let directory = Directory::new();
        directory.ban("203.0.113.5@login", SystemTime::now(), 60);
        let long = "1".repeat(100_000);
        let asked = ["203.0.113.5", "", "::ffff:203.0.113.5", "203.0.113.6", "x", "\u{fffd}", &long, "203.0.113.5"];
        let mut asked = asked.join("\n").into_bytes();
        asked.extend(b"\n\xff\xfe\n203.0.113.5");
        let mut answers = Vec::new();
        answer(&asked[..], &mut answers, &mut directory.bans()).unwrap();
        assert_eq!(
            String::from_utf8(answers).unwrap().lines().collect::<Vec<_>>(),
            ["banned", "NULL", "banned", "NULL", "NULL", "NULL", "NULL", "banned", "NULL", "banned"]
        );
    }

    #[test]
    fn without_a_directory_nobody_is_banned() {
        let mut bans = Bans::new("/nonexistent".into());
        assert!(!hold(&mut bans, "203.0.113.5", SystemTime::now()));
    }
}
