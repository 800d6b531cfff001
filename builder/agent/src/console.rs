//! Writes the screen to every active console, once for each change.
//!
//! A console that cannot be opened is passed over: a container sees the names of its host's consoles.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use crate::files::Access;
use crate::files::FileError;
use crate::files::Files;
use crate::paths::Paths;
use crate::screen;
use crate::status::Status;

/// Stores the status for other programs and shows it if the text is not the one that was shown last.
pub fn publish(paths: &Paths, files: &Files, status: &Status) -> Result<(), FileError> {
    files.make_directory(&paths.run(), Access::PUBLIC_DIRECTORY)?;
    let json = serde_json::to_vec_pretty(status).unwrap_or_default();
    files.write(&paths.status(), &json, Access::PUBLIC)?;
    let text = text(status);
    if fs::read_to_string(paths.screen()).is_ok_and(|shown| shown == text) {
        return Ok(());
    }
    show(paths, &text);
    files.write(&paths.screen(), text.as_bytes(), Access::PUBLIC)
}

/// The screen, then the lines that log readers wait for.
fn text(status: &Status) -> String {
    let mut text = screen::draw(status);
    for token in status.tokens() {
        text.push_str(&screen::plain(&token));
        text.push('\n');
    }
    text
}

/// Serial lines need carriage returns; a console in raw mode does not add them.
fn show(paths: &Paths, text: &str) {
    let text = format!("\r\n{}", text.replace('\n', "\r\n"));
    let mut shown = false;
    for console in consoles(paths) {
        shown |= write_to(&console, &text);
    }
    if !shown {
        write_to(&paths.devices().join("console"), &text);
    }
}

fn consoles(paths: &Paths) -> Vec<PathBuf> {
    let names = fs::read_to_string(paths.active_consoles()).unwrap_or_default();
    names.split_whitespace().map(|name| paths.devices().join(name)).collect()
}

/// Opens without creating: a missing device must not become a file in `/dev`.
fn write_to(console: &PathBuf, text: &str) -> bool {
    let opened = fs::OpenOptions::new().append(true).open(console);
    opened.and_then(|mut console| console.write_all(text.as_bytes())).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Ownership;

    fn tree() -> (tempfile::TempDir, Paths) {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path());
        fs::create_dir_all(paths.devices()).unwrap();
        fs::create_dir_all(paths.active_consoles().parent().unwrap()).unwrap();
        (folder, paths)
    }

    #[test]
    fn shows_on_all_active_consoles_and_only_when_the_text_changes() {
        let (_folder, paths) = tree();
        fs::write(paths.active_consoles(), "tty0 ttyS0\n").unwrap();
        for name in ["tty0", "ttyS0", "console"] {
            fs::write(paths.devices().join(name), "").unwrap();
        }
        let files = Files::new(Ownership::Leave);
        let status = Status { problems: vec!["first".into()], ..Status::default() };
        publish(&paths, &files, &status).unwrap();
        publish(&paths, &files, &status).unwrap();
        let serial = fs::read_to_string(paths.devices().join("ttyS0")).unwrap();
        assert_eq!(serial.matches("casemate: waiting: first\r\n").count(), 1, "{serial}");
        assert_eq!(serial, fs::read_to_string(paths.devices().join("tty0")).unwrap());
        publish(&paths, &files, &Status { problems: vec!["second".into()], ..status }).unwrap();
        assert!(fs::read_to_string(paths.devices().join("ttyS0")).unwrap().contains("casemate: waiting: second"));
        assert_eq!(fs::read_to_string(paths.devices().join("console")).unwrap(), "");
    }

    #[test]
    fn falls_back_to_the_console_when_the_named_ones_are_missing() {
        let (_folder, paths) = tree();
        fs::write(paths.active_consoles(), "tty0").unwrap();
        fs::write(paths.devices().join("console"), "").unwrap();
        publish(&paths, &Files::new(Ownership::Leave), &Status::default()).unwrap();
        assert!(fs::read_to_string(paths.devices().join("console")).unwrap().contains("casemate"));
        assert!(!paths.devices().join("tty0").exists());
    }
}
