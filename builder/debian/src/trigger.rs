//! The `triggers` member of a package: which triggers it waits for (deb-triggers(5)).

/// Trigger and suffix of an `interest` line; `None` for lines that say what the package activates.
pub(crate) fn parse_interest(line: &str) -> Result<Option<(&str, &'static str)>, ()> {
    let line = line.split('#').next().unwrap_or_default().trim();
    if line.is_empty() {
        return Ok(None);
    }
    let (directive, trigger) = line.split_once(char::is_whitespace).ok_or(())?;
    let trigger = trigger.trim();
    let suffix = match directive {
        "interest" | "interest-await" => "",
        "interest-noawait" => "/noawait",
        "activate" | "activate-await" | "activate-noawait" => return Ok(None),
        _ => return Err(()),
    };
    // deb-triggers(5): printable ASCII without spaces; a name that is not a path becomes a file name, also beside dpkg's own files.
    let printable = trigger.bytes().all(|byte| byte.is_ascii_graphic());
    let reserved = matches!(trigger, "File" | "Unincorp" | "Lock" | "." | "..");
    if !printable || trigger.is_empty() || reserved || (!trigger.starts_with('/') && trigger.contains('/')) {
        return Err(());
    }
    Ok(Some((trigger, suffix)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_trigger_lines_that_would_leave_their_directory() {
        for line in
            ["interest", "interest ../x", "interest a b", "interest File", "interest ..", "other x", "interest \u{e9}"]
        {
            assert!(parse_interest(line).is_err(), "`{line}` was accepted");
        }
    }
}
