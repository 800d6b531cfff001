//! Numbers of users and groups, read from the tree's own `/etc/passwd` and `/etc/group`.
//!
//! A static glibc program must not ask the name service: its modules are loaded at run time and end the program.
//! So names are looked up by hand, and only in the two files.

use std::collections::BTreeMap;

use thiserror::Error;

/// Users and groups by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accounts {
    users: BTreeMap<String, u32>,
    groups: BTreeMap<String, u32>,
}

/// The numbers that a file gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User number.
    pub uid: u32,
    /// Group number.
    pub gid: u32,
}

impl Owner {
    /// root:root.
    pub const ROOT: Self = Self { uid: 0, gid: 0 };
}

/// A name that the image does not know.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum AccountError {
    /// No line of `/etc/passwd` has this name.
    #[error("the image has no user `{0}`; declare it in the overlay that uses it")]
    User(String),
    /// No line of `/etc/group` has this name.
    #[error("the image has no group `{0}`; declare it in the overlay that uses it")]
    Group(String),
}

impl Accounts {
    /// Reads the two tables; lines without a number are passed over, as the C library does.
    pub fn parse(passwd: &str, group: &str) -> Self {
        Self { users: numbers(passwd), groups: numbers(group) }
    }

    /// The numbers of an owner and a group; `root` needs no line.
    pub fn owner(&self, user: &str, group: &str) -> Result<Owner, AccountError> {
        let uid = find(&self.users, user).ok_or_else(|| AccountError::User(user.to_owned()))?;
        let gid = find(&self.groups, group).ok_or_else(|| AccountError::Group(group.to_owned()))?;
        Ok(Owner { uid, gid })
    }
}

fn find(table: &BTreeMap<String, u32>, name: &str) -> Option<u32> {
    if name == "root" { Some(0) } else { table.get(name).copied() }
}

/// Both tables have the name in the first field and the number in the third. The first line of a name counts.
fn numbers(table: &str) -> BTreeMap<String, u32> {
    let mut found = BTreeMap::new();
    for line in table.lines() {
        let mut fields = line.split(':');
        let (Some(name), Some(number)) = (fields.next(), fields.nth(1)) else {
            continue;
        };
        if let Ok(number) = number.parse() {
            found.entry(name.to_owned()).or_insert(number);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nmysql:x:401:402:,,,:/var/lib/mysql:/usr/sbin/nologin\n";
    const GROUP: &str = "root:x:0:\nwww-data:x:33:\nbroken\nempty:x::\n";

    #[test]
    fn finds_numbers_in_the_tables() {
        let accounts = Accounts::parse(PASSWD, GROUP);
        assert_eq!(accounts.owner("mysql", "www-data"), Ok(Owner { uid: 401, gid: 33 }));
    }

    #[test]
    fn knows_root_without_tables() {
        assert_eq!(Accounts::default().owner("root", "root"), Ok(Owner::ROOT));
    }

    #[test]
    fn names_what_is_missing() {
        let accounts = Accounts::parse(PASSWD, GROUP);
        assert_eq!(accounts.owner("nobody", "root"), Err(AccountError::User("nobody".into())));
        assert_eq!(accounts.owner("root", "empty"), Err(AccountError::Group("empty".into())));
    }

    proptest::proptest! {
        #[test]
        fn never_panics(passwd: String, group: String) {
            let _ = Accounts::parse(&passwd, &group);
        }
    }
}
