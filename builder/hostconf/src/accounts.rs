//! Accounts with numbers that are fixed for ever: those of the overlays (300-899) and the pool for sites (20000 and up).
//!
//! State outlives an image, so a number is never derived from the order of anything. Site `n` has the owner `siteNNN` with uid and gid
//! `20000 + 2(n-1)` and the PHP user `siteNNN-php` with uid and gid one higher.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use serde::{Serialize, Serializer};

use crate::names::AccountName;
use crate::overlay_set::OverlaySet;

/// Uid of the first site's owner.
const FIRST_SITE_UID: u32 = 20_000;

/// Largest pool: three digits in the name.
pub(crate) const LARGEST_POOL: u16 = 999;

/// The web server's account; it reads the files of each site through the site's group.
const WEB_SERVER: &str = "www-data";

/// Nobody logs in with a site's account.
const NO_SHELL: &str = "/usr/sbin/nologin";

/// Where the files of the sites are.
const SITES: &str = "/var/lib/casemate/sites";

/// One account pair of the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteAccount(u16);

impl SiteAccount {
    /// The account with this number, from 1 to 999.
    pub fn new(number: u16) -> Option<Self> {
        (1..=LARGEST_POOL).contains(&number).then_some(Self(number))
    }

    /// All accounts of a pool of this size.
    pub fn pool(size: u16) -> impl Iterator<Item = Self> {
        (1..=size.min(LARGEST_POOL)).map(Self)
    }

    /// The number in the pool, from 1.
    pub fn number(self) -> u16 {
        self.0
    }

    /// The id, which is also the owner's user and group name and the database's name, e.g. `site001`.
    pub fn id(self) -> String {
        format!("site{:03}", self.0)
    }

    /// Name of the user and group that run PHP, e.g. `site001-php`.
    pub fn php_user(self) -> String {
        format!("{}-php", self.id())
    }

    /// Uid and gid of the owner.
    pub fn uid(self) -> u32 {
        FIRST_SITE_UID + 2 * (u32::from(self.0) - 1)
    }

    /// Uid and gid of the PHP user.
    pub fn php_uid(self) -> u32 {
        self.uid() + 1
    }

    /// Whether this is the number of a site's user, in the largest pool.
    pub fn is_of_pool(uid: u32) -> bool {
        let (first, last) = Self::all_uids();
        (first..=last).contains(&uid)
    }

    /// The first and the last uid of the largest pool.
    pub(crate) fn all_uids() -> (u32, u32) {
        (Self(1).uid(), Self(LARGEST_POOL).php_uid())
    }

    /// The loopback address at which the proxy knows the site: `127.77.0.1` for the first.
    pub fn proxy(self) -> Ipv4Addr {
        let [high, low] = self.0.to_be_bytes();
        Ipv4Addr::new(127, 77, high, low)
    }

    /// The site's own directory.
    pub fn home(self) -> String {
        format!("{SITES}/{}", self.id())
    }

    /// The directory that the web server shows.
    pub fn docroot(self) -> String {
        format!("{}/htdocs", self.home())
    }
}

impl Serialize for SiteAccount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.id())
    }
}

/// A user that shall be a member of a group which a Debian package makes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Membership {
    /// The group, e.g. `adm`.
    pub group: AccountName,
    /// The member.
    pub user: AccountName,
}

/// Lines for the account files of an image; Debian's own accounts (uid below 100) are not among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountTables {
    /// Lines of `/etc/passwd`.
    pub passwd: String,
    /// Lines of `/etc/group`.
    pub group: String,
    /// Lines of `/etc/shadow`: no password matches, but keys may.
    pub shadow: String,
    /// Lines of `/etc/gshadow`.
    pub gshadow: String,
    /// Members of groups that are not in `group`; to be added to the lines of base-passwd.
    pub memberships: Vec<Membership>,
}

/// One line of `passwd` before it is written.
struct User {
    name: String,
    id: u32,
    comment: String,
    home: String,
    shell: String,
}

/// Makes the account lines of an image: fixed users and groups of all overlays, then a pool of `pool` sites.
pub fn account_tables(overlays: &OverlaySet, pool: u16) -> AccountTables {
    let mut users = fixed_users(overlays);
    let mut groups = fixed_groups(overlays);
    let memberships = join_groups(overlays, &mut groups);
    for site in SiteAccount::pool(pool) {
        users.insert(site.uid(), site_user(site.id(), site.uid(), format!("site {}", site.number()), site.home()));
        users.insert(
            site.php_uid(),
            site_user(
                site.php_user(),
                site.php_uid(),
                format!("PHP of site {}", site.number()),
                "/nonexistent".to_owned(),
            ),
        );
        groups.insert(site.uid(), (site.id(), BTreeSet::from([site.php_user(), WEB_SERVER.to_owned()])));
        groups.insert(site.php_uid(), (site.php_user(), BTreeSet::new()));
    }
    write_tables(&users, &groups, memberships)
}

fn fixed_users(overlays: &OverlaySet) -> BTreeMap<u32, User> {
    let all = overlays
        .iter()
        .flat_map(|overlay| overlay.def.users.iter().map(move |(name, user)| (&overlay.name, name, user)));
    all.map(|(overlay, name, user)| {
        let comment = format!("overlay {overlay}");
        (
            user.uid,
            User {
                name: name.to_string(),
                id: user.uid,
                comment,
                home: user.home.to_string(),
                shell: user.shell.to_string(),
            },
        )
    })
    .collect()
}

fn fixed_groups(overlays: &OverlaySet) -> BTreeMap<u32, (String, BTreeSet<String>)> {
    let mut groups = BTreeMap::new();
    for overlay in overlays {
        let of_users = overlay.def.users.iter().map(|(name, user)| (user.uid, name));
        let own = overlay.def.groups.iter().map(|(name, gid)| (*gid, name));
        groups.extend(of_users.chain(own).map(|(gid, name)| (gid, (name.to_string(), BTreeSet::new()))));
    }
    groups
}

/// Puts each user into its supplementary groups; what belongs to groups of Debian is returned.
fn join_groups(overlays: &OverlaySet, groups: &mut BTreeMap<u32, (String, BTreeSet<String>)>) -> Vec<Membership> {
    let mut elsewhere = BTreeSet::new();
    for (user, def) in overlays.iter().flat_map(|overlay| &overlay.def.users) {
        for group in &def.groups {
            match groups.values_mut().find(|(name, _)| name == group.as_str()) {
                Some((_, members)) => drop(members.insert(user.to_string())),
                None => drop(elsewhere.insert(Membership { group: group.clone(), user: user.clone() })),
            }
        }
    }
    elsewhere.into_iter().collect()
}

fn site_user(name: String, id: u32, comment: String, home: String) -> User {
    User { name, id, comment, home, shell: NO_SHELL.to_owned() }
}

fn write_tables(
    users: &BTreeMap<u32, User>,
    groups: &BTreeMap<u32, (String, BTreeSet<String>)>,
    memberships: Vec<Membership>,
) -> AccountTables {
    let mut tables = AccountTables {
        passwd: String::new(),
        group: String::new(),
        shadow: String::new(),
        gshadow: String::new(),
        memberships,
    };
    for User { name, id, comment, home, shell } in users.values() {
        // Writing to a String cannot fail.
        let _ = writeln!(tables.passwd, "{name}:x:{id}:{id}:{comment}:{home}:{shell}");
        // `*` and not `!`: sshd without PAM refuses keys too when the entry starts with `!`. Empty dates: no ageing.
        let _ = writeln!(tables.shadow, "{name}:*:::::::");
    }
    for (gid, (name, members)) in groups {
        let members = members.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        let _ = writeln!(tables.group, "{name}:x:{gid}:{members}");
        let _ = writeln!(tables.gshadow, "{name}:*::{members}");
    }
    tables
}
