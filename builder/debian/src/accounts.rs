//! Accounts with fixed numbers that are in a tree before any script of a package runs.
//!
//! Files of a service live on a state partition and outlive the image, so its numbers may never change. `adduser --system`
//! and `systemd-sysusers` keep an account that is there. The base accounts come from `base-passwd` of the tree itself, whose
//! scripts leave existing files alone. Passwords are never set: `*` for all.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::root_dir::{RootDir, TreeError};
use crate::tree_path::TreePath;

/// A group with a fixed number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedGroup {
    /// Its name.
    pub name: String,
    /// Its number.
    pub gid: u32,
}

/// An account with a fixed number and a group of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedUser {
    /// Its name.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// Number of its own group, which is made if it is not there.
    pub gid: u32,
    /// What stands as full name.
    pub comment: String,
    /// Home directory, as the programs of the tree see it.
    pub home: String,
    /// Login shell.
    pub shell: String,
    /// Further groups; each must be a base group or a fixed one.
    pub groups: Vec<String>,
}

/// Why accounts cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The tree cannot be changed.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The base accounts are not there.
    #[error("`/{0}` is not in the tree: add the package `base-passwd`, which holds the base accounts")]
    NoMaster(&'static str),
    /// A field holds something that would break the file.
    #[error("account `{account}`: `{value}` cannot stand in `/etc/passwd` or `/etc/group`; use plain names and no `:`")]
    Value {
        /// The account or group.
        account: String,
        /// The value.
        value: String,
    },
    /// A name or number is taken.
    #[error("account `{account}`: its name or number {id} is taken by `{other}`; choose another")]
    Taken {
        /// The account or group.
        account: String,
        /// Its number.
        id: u32,
        /// Who has it.
        other: String,
    },
    /// A further group is not known.
    #[error(
        "account `{account}` shall be in group `{group}`, which is neither a base group nor a fixed one; declare it with a number"
    )]
    UnknownGroup {
        /// The account.
        account: String,
        /// The group.
        group: String,
    },
}

/// Makes `/etc/passwd` and `/etc/group` of the base accounts and the fixed ones; call it when `base-passwd` is unpacked.
pub fn write_accounts(root: &RootDir, users: &[FixedUser], groups: &[FixedGroup]) -> Result<(), AccountError> {
    let passwd = read_master(root, "usr/share/base-passwd/passwd.master")?;
    let group = read_master(root, "usr/share/base-passwd/group.master")?;
    let (passwd, group) = render_accounts(&passwd, &group, users, groups)?;
    root.write(&tree_path("etc/passwd"), 0o644, passwd.as_bytes())?;
    Ok(root.write(&tree_path("etc/group"), 0o644, group.as_bytes())?)
}

/// The text of `/etc/passwd` and `/etc/group`.
pub fn render_accounts(
    passwd: &str,
    group: &str,
    users: &[FixedUser],
    groups: &[FixedGroup],
) -> Result<(String, String), AccountError> {
    let mut members = Table::parse(group);
    let own = users.iter().map(|user| FixedGroup { name: user.name.clone(), gid: user.gid });
    for FixedGroup { name, gid } in groups.iter().cloned().chain(own) {
        members.add(&name, gid, "")?;
    }
    let mut accounts = Table::parse(passwd);
    for user in users {
        for value in [&user.comment, &user.home, &user.shell] {
            check_value(&user.name, value)?;
        }
        let rest = format!("{}:{}:{}:{}", user.gid, user.comment, user.home, user.shell);
        accounts.add(&user.name, user.uid, &rest)?;
        for name in &user.groups {
            let entry = members
                .0
                .get_mut(name)
                .ok_or_else(|| AccountError::UnknownGroup { account: user.name.clone(), group: name.clone() })?;
            let comma = if entry.rest.is_empty() { "" } else { "," };
            let _ = write!(entry.rest, "{comma}{}", user.name);
        }
    }
    Ok((accounts.render(), members.render()))
}

/// Lines `NAME:*:NUMBER:REST`, as both files have them.
struct Table(BTreeMap<String, Line>);

struct Line {
    id: u32,
    rest: String,
}

impl Table {
    /// Lines that do not have this form are dropped: the base files hold none.
    fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let mut fields = line.splitn(4, ':');
            let (name, _, id, rest) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
            Some((name.to_owned(), Line { id: id.parse().ok()?, rest: rest.to_owned() }))
        };
        Self(text.lines().filter_map(line).collect())
    }

    /// The same name with the same number is one account said twice, anything else a clash.
    fn add(&mut self, name: &str, id: u32, rest: &str) -> Result<(), AccountError> {
        check_name(name)?;
        let clash = self.0.iter().find(|(other, line)| (*other == name) != (line.id == id));
        if let Some((other, _)) = clash {
            return Err(AccountError::Taken { account: name.to_owned(), id, other: other.clone() });
        }
        self.0.entry(name.to_owned()).or_insert_with(|| Line { id, rest: rest.to_owned() });
        Ok(())
    }

    /// Sorted by number, as the base files are.
    fn render(&self) -> String {
        let mut lines: Vec<_> = self.0.iter().collect();
        lines.sort_by_key(|(name, line)| (line.id, *name));
        let mut text = String::new();
        for (name, line) in lines {
            let _ = writeln!(text, "{name}:*:{}:{}", line.id, line.rest);
        }
        text
    }
}

fn read_master(root: &RootDir, path: &'static str) -> Result<String, AccountError> {
    let bytes = root.read(&tree_path(path))?.ok_or(AccountError::NoMaster(path))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Names as `useradd` takes them.
fn check_name(name: &str) -> Result<(), AccountError> {
    let first = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    if first && name.len() <= 32 && name.chars().all(plain) {
        Ok(())
    } else {
        Err(AccountError::Value { account: name.to_owned(), value: name.to_owned() })
    }
}

fn check_value(account: &str, value: &str) -> Result<(), AccountError> {
    if value.chars().any(|c| c == ':' || c.is_control()) {
        return Err(AccountError::Value { account: account.to_owned(), value: value.to_owned() });
    }
    Ok(())
}

/// Paths of this file are constants of the right form.
fn tree_path(text: &'static str) -> TreePath {
    text.parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:*:0:0:root:/root:/bin/bash\nmail:*:8:8:mail:/var/mail:/usr/sbin/nologin\n";
    const GROUP: &str = "root:*:0:\nmail:*:8:\nadm:*:4:\n";

    fn user(name: &str, uid: u32, groups: &[&str]) -> FixedUser {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        FixedUser {
            name: name.into(),
            uid,
            gid: uid,
            comment: String::new(),
            home: "/nonexistent".into(),
            shell: "/usr/sbin/nologin".into(),
            groups,
        }
    }

    #[test]
    fn adds_fixed_accounts_to_the_base_ones() {
        let (passwd, group) = render_accounts(
            PASSWD,
            GROUP,
            &[user("postfix", 507, &["mail", "sasl"])],
            &[FixedGroup { name: "sasl".into(), gid: 645 }],
        )
        .unwrap();
        assert_eq!(passwd, format!("{PASSWD}postfix:*:507:507::/nonexistent:/usr/sbin/nologin\n"));
        assert_eq!(group, "root:*:0:\nadm:*:4:\nmail:*:8:postfix\npostfix:*:507:\nsasl:*:645:postfix\n");
    }

    #[test]
    fn refuses_clashes_and_unknown_groups() {
        for (users, groups) in [
            (vec![user("a", 8, &[])], vec![]),
            (vec![user("mail", 500, &[])], vec![]),
            (vec![user("a", 500, &[]), user("b", 500, &[])], vec![]),
            (vec![user("a", 500, &["nosuch"])], vec![]),
            (vec![], vec![FixedGroup { name: "adm".into(), gid: 400 }]),
            (vec![user("a:b", 500, &[])], vec![]),
            (vec![user("a\nb", 500, &[])], vec![]),
            (vec![FixedUser { home: "/x:y".into(), ..user("a", 500, &[]) }], vec![]),
        ] {
            assert!(render_accounts(PASSWD, GROUP, &users, &groups).is_err(), "{users:?} {groups:?} was accepted");
        }
    }

    #[test]
    fn takes_the_same_group_named_twice() {
        let groups = [FixedGroup { name: "a".into(), gid: 500 }];
        assert!(render_accounts(PASSWD, GROUP, &[user("a", 500, &[])], &groups).is_ok());
    }
}
