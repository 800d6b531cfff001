//! Standard output: data only, for people or for machines.

use std::io::{self, Write};

use anyhow::Result;

/// Prints text for people, or the value as JSON where `--json` was given.
pub(crate) fn print(json: bool, value: &serde_json::Value, text: &str) -> Result<()> {
    Ok(write_to(io::stdout().lock(), &if json { format!("{value:#}") } else { text.trim_end().to_owned() })?)
}

/// Who closes the other end of a pipe, as `head` does, has seen enough.
fn write_to(mut out: impl Write, text: &str) -> io::Result<()> {
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_who_has_seen_enough_is_no_error_and_a_full_disk_is() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        write_to(&writer, "text").unwrap();
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        assert_eq!(write_to(&full, "text").unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
