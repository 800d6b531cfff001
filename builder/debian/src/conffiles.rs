//! The `conffiles` member of a package: which of its files are configuration (deb-conffiles(5)).

use crate::tree_path::{TreePath, TreePathError};

/// One configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conffile {
    /// Where it is.
    pub path: TreePath,
    /// True if the package does not ship it any more and wants it gone.
    pub remove_on_upgrade: bool,
}

/// Parses the member: absolute paths, one a line, perhaps with a flag before them.
pub fn parse_conffiles(text: &str) -> Result<Vec<Conffile>, TreePathError> {
    text.lines().map(str::trim_end).filter(|line| !line.is_empty()).map(parse_line).collect()
}

fn parse_line(line: &str) -> Result<Conffile, TreePathError> {
    let (remove_on_upgrade, path) = match line.strip_prefix("remove-on-upgrade ") {
        Some(rest) => (true, rest.trim_start()),
        None => (false, line),
    };
    let relative = path.strip_prefix('/').ok_or_else(|| TreePathError {
        path: line.escape_debug().to_string(),
        reason: "a configuration file must be named by an absolute path",
    })?;
    Ok(Conffile { path: relative.parse()?, remove_on_upgrade })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_paths_and_flags() {
        let found = parse_conffiles("/etc/a\nremove-on-upgrade /etc/b\n\n").unwrap();
        assert_eq!(
            found.iter().map(|conffile| (conffile.path.as_str(), conffile.remove_on_upgrade)).collect::<Vec<_>>(),
            [("etc/a", false), ("etc/b", true)]
        );
    }

    #[test]
    fn refuses_paths_that_are_not_absolute_or_leave_the_tree() {
        for text in ["etc/a", "/../a", "/etc//a", "unknown-flag /etc/a"] {
            assert!(parse_conffiles(text).is_err(), "`{text}` was accepted");
        }
    }
}
