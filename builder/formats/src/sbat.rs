//! SBAT: the generation numbers by which a boot loader can revoke old programs.
//!
//! Format: shim's SBAT.md; lines of comma-separated fields, the first line is about `sbat` itself. Merging keeps every component of every
//! part of an image, so that each can be revoked. Enforced only by shim; carried always.

/// The line that every SBAT text starts with.
const HEADER: &str = "sbat,1,SBAT Version,sbat,1,https://github.com/rhboot/shim/blob/main/SBAT.md";

/// Why bytes are not SBAT text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SbatError {
    /// Not text.
    #[error("SBAT data is not text: the section is damaged")]
    Text,
    /// No header line.
    #[error("SBAT text starts with `{line}`, expected a line `sbat,1,…`: copy the first line from SBAT.md")]
    Header {
        /// The first line.
        line: String,
    },
    /// A line without component and generation.
    #[error("SBAT line `{line}` is not `component,generation,…` with a generation above 0")]
    Line {
        /// The line.
        line: String,
    },
}

/// Merges SBAT texts in order into one section content, closed by a zero byte.
///
/// A component line that occurs twice in the same words is kept once.
pub fn merge(parts: &[&[u8]]) -> Result<Vec<u8>, SbatError> {
    let mut lines = vec![HEADER];
    for part in parts {
        for line in component_lines(part)? {
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    let mut bytes = lines.join("\n").into_bytes();
    bytes.extend(b"\n\0");
    Ok(bytes)
}

/// Returns the lines behind the header line.
fn component_lines(part: &[u8]) -> Result<Vec<&str>, SbatError> {
    let text = std::str::from_utf8(part).map_err(|_| SbatError::Text)?;
    let mut lines = text.trim_end_matches('\0').lines();
    let first = lines.next().unwrap_or_default();
    if !first.starts_with("sbat,") {
        return Err(SbatError::Header { line: first.to_owned() });
    }
    let lines = lines.filter(|line| !line.is_empty());
    lines
        .map(|line| if is_component(line) { Ok(line) } else { Err(SbatError::Line { line: line.to_owned() }) })
        .collect()
}

/// Returns whether a line names a component and a generation.
fn is_component(line: &str) -> bool {
    let mut fields = line.split(',');
    let name = fields.next().unwrap_or_default();
    let generation: Option<u32> = fields.next().and_then(|field| field.parse().ok());
    !name.is_empty() && line.is_ascii() && generation.is_some_and(|number| number > 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keeps_all_components_in_order_and_one_header() {
        let stub = b"sbat,1,SBAT Version,sbat,1,x\nsystemd-stub,1,s,s,257,y\n\0\0";
        let own = b"sbat,1,a,b,c,d\ncasemate,1,c,c,1,z\nsystemd-stub,1,s,s,257,y\n";
        let merged = String::from_utf8(merge(&[stub, own]).unwrap()).unwrap();
        assert_eq!(merged, format!("{HEADER}\nsystemd-stub,1,s,s,257,y\ncasemate,1,c,c,1,z\n\0"));
    }

    #[test]
    fn refuses_text_without_header_or_generation() {
        assert_eq!(merge(&[b"casemate,1,c"]).unwrap_err(), SbatError::Header { line: "casemate,1,c".to_owned() });
        assert_eq!(merge(&[b"sbat,1\ncasemate,0,c"]).unwrap_err(), SbatError::Line { line: "casemate,0,c".to_owned() });
        assert_eq!(merge(&[b"\xff"]).unwrap_err(), SbatError::Text);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100), text: String) {
            let _ = merge(&[&bytes]);
            let _ = merge(&[format!("sbat,1\n{text}").as_bytes()]);
        }
    }
}
