//! Paths of the root that no package, overlay or asset brings, and the step that makes each: the lint lets in these and no others.
//!
//! `docs/formats/root-paths.md` has the same table for people; a test compares the two.

/// Who makes a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The overlay stage: the agent, what it reads, identity, which units start.
    Overlay,
    /// The rootfs stage: package database, accounts, module indexes.
    Rootfs,
    /// Maintainer scripts that every Debian system runs.
    BaseScripts,
    /// Maintainer scripts of services: which modules are on, certificates.
    ServiceScripts,
}

/// A pattern and who makes what it stands for: `*` is a part of one name, a `/` at the end takes the directory and all below it.
pub type Row = (&'static str, Step);

/// All of them.
pub const GENERATED: &[Row] = &[
    ("/usr/lib/casemate/", Step::Overlay),
    ("/usr/bin/casemate-agent", Step::Overlay),
    ("/usr/bin/casemate-initrd", Step::Overlay),
    ("/usr/share/casemate", Step::Overlay),
    ("/usr/share/casemate/ports.txt", Step::Overlay),
    ("/usr/share/casemate/sbom.spdx.json", Step::Overlay),
    ("/usr/share/casemate/trust-root.json", Step::Overlay),
    ("/usr/share/casemate/trust-root.json.sig", Step::Overlay),
    ("/usr/lib/clock-epoch", Step::Overlay),
    ("/etc/systemd/system/", Step::Overlay),
    ("/etc/machine-id", Step::Overlay),
    ("/usr/lib/tmpfiles.d/casemate-state.conf", Step::Overlay),
    ("/etc/fail2ban/jail.d/casemate.conf", Step::Overlay),
    ("/efi", Step::Overlay),
    ("/mnt", Step::Overlay),
    ("/srv", Step::Overlay),
    ("/usr/lib/sysimage/", Step::Rootfs),
    ("/usr/lib/modules/*/modules.*", Step::Rootfs),
    ("/etc/passwd", Step::Rootfs),
    ("/etc/group", Step::Rootfs),
    ("/etc/shadow", Step::Rootfs),
    ("/etc/gshadow", Step::Rootfs),
    ("/etc/subuid", Step::Rootfs),
    ("/etc/subgid", Step::Rootfs),
    ("/etc/alternatives/", Step::BaseScripts),
    ("/etc/default/locale", Step::BaseScripts),
    ("/etc/dpkg/origins/default", Step::BaseScripts),
    ("/etc/environment", Step::BaseScripts),
    ("/etc/hosts.allow", Step::BaseScripts),
    ("/etc/hosts.deny", Step::BaseScripts),
    ("/etc/ld.so.cache", Step::BaseScripts),
    ("/etc/localtime", Step::BaseScripts),
    ("/etc/modules", Step::BaseScripts),
    ("/etc/motd", Step::BaseScripts),
    ("/etc/mtab", Step::BaseScripts),
    ("/etc/networks", Step::BaseScripts),
    ("/etc/nsswitch.conf", Step::BaseScripts),
    ("/etc/opt", Step::BaseScripts),
    ("/etc/pam.d/common-*", Step::BaseScripts),
    ("/etc/profile", Step::BaseScripts),
    ("/etc/security/opasswd", Step::BaseScripts),
    ("/etc/shells", Step::BaseScripts),
    ("/etc/systemd/user/*.wants", Step::BaseScripts),
    ("/etc/systemd/user/*.wants/*", Step::BaseScripts),
    ("/etc/vconsole.conf", Step::BaseScripts),
    ("/media", Step::BaseScripts),
    ("/opt", Step::BaseScripts),
    ("/usr/lib/udev/hwdb.bin", Step::BaseScripts),
    ("/usr/local", Step::BaseScripts),
    ("/usr/local/*", Step::BaseScripts),
    ("/usr/local/share/*", Step::BaseScripts),
    ("/etc/apache2/*-enabled/*", Step::ServiceScripts),
    ("/etc/ca-certificates.conf", Step::ServiceScripts),
    ("/etc/fonts/conf.d/*", Step::ServiceScripts),
    ("/etc/lighttpd/conf-enabled", Step::ServiceScripts),
    ("/etc/lighttpd/conf-enabled/*", Step::ServiceScripts),
    ("/etc/php/*/mods-available/*.ini", Step::ServiceScripts),
    ("/etc/php/*/*/conf.d/*.ini", Step::ServiceScripts),
    ("/etc/php/*/*/php.ini", Step::ServiceScripts),
    ("/etc/ssl/certs/*", Step::ServiceScripts),
];

/// Whether a pattern stands for this path.
pub fn covers(pattern: &str, path: &str) -> bool {
    if let Some(dir) = pattern.strip_suffix('/') {
        return path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    }
    let (mut patterns, mut names) = (pattern.split('/'), path.split('/'));
    loop {
        match (patterns.next(), names.next()) {
            (None, None) => return true,
            (Some(pattern), Some(name)) if covers_name(pattern, name) => {}
            _ => return false,
        }
    }
}

/// One name of a path; at most one `*`, which stands for one or more characters.
fn covers_name(pattern: &str, name: &str) -> bool {
    let Some((front, back)) = pattern.split_once('*') else {
        return pattern == name;
    };
    name.strip_prefix(front).and_then(|rest| rest.strip_suffix(back)).is_some_and(|middle| !middle.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_stands_for_its_paths_and_for_no_neighbours() {
        for (pattern, path) in [
            ("/a/b", "/a/b"),
            ("/a/", "/a"),
            ("/a/", "/a/b/c"),
            ("/a/*/modules.*", "/a/6.12/modules.dep"),
            ("/a/common-*", "/a/common-auth"),
        ] {
            assert!(covers(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("/a/b", "/a/b/c"),
            ("/a/b", "/a"),
            ("/a/", "/ab"),
            ("/a/*/modules.*", "/a/6.12/kernel/modules.dep"),
            ("/a/*", "/a/"),
            ("/a/common-*", "/a/common"),
        ] {
            assert!(!covers(pattern, path), "{pattern} {path}");
        }
    }

    #[test]
    fn every_pattern_is_written_down_once_for_people_and_nothing_else_is() {
        let page = include_str!("../../../../docs/formats/root-paths.md");
        let written: Vec<&str> = page
            .lines()
            .filter_map(|line| line.strip_prefix("| `/").and_then(|rest| rest.split_once('`')).map(|(path, _)| path))
            .collect();
        let here: Vec<&str> = GENERATED.iter().map(|(pattern, _)| pattern.trim_start_matches('/')).collect();
        assert_eq!(written, here);
    }
}
