//! The frame of a clear-signed message (RFC 9580 section 7), as used by `InRelease` files.
//!
//! Takes the frame apart and undoes the dash escapes, nothing more: no signature is checked here and nothing of the text is read.
//! The frame is held to the letter. Text before or after the block is not covered by the signature, and a reader that is
//! tolerant about it can be made to see other text than the one that was signed, so any such text is refused.

const BEGIN_MESSAGE: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
const BEGIN_SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";
const END_SIGNATURE: &str = "-----END PGP SIGNATURE-----";

/// The two parts of a clear-signed message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClearSigned {
    /// The text the signature covers: escapes undone, white space at line ends cut, lines joined by `\n`, no last line end.
    pub text: String,
    /// The armored signature block with its first and last line.
    pub signature: String,
}

/// The bytes are not one clear-signed message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClearSignError {
    /// Not UTF-8.
    #[error("the message is not UTF-8 text")]
    NotText,
    /// No signed message at the first byte.
    #[error(
        "the first line is not `-----BEGIN PGP SIGNED MESSAGE-----`: the file is unsigned or has text before the signed part"
    )]
    NoBegin,
    /// A header other than `Hash`.
    #[error("line {0}: expected a `Hash:` header or the empty line that ends the headers")]
    Header(usize),
    /// A line in the text that begins with a dash.
    #[error("line {0}: a signed line that begins with a dash is not escaped")]
    Dash(usize),
    /// A carriage return inside a line.
    #[error("line {0}: a carriage return inside a signed line")]
    CarriageReturn(usize),
    /// The file ends early.
    #[error("the file ends before `{0}`: the download was cut")]
    Cut(&'static str),
    /// Text after the signature.
    #[error("line {0}: text after the signed part is not covered by the signature")]
    Appended(usize),
}

impl ClearSigned {
    /// Takes the frame apart.
    pub fn parse(bytes: &[u8]) -> Result<Self, ClearSignError> {
        let message = str::from_utf8(bytes).map_err(|_| ClearSignError::NotText)?;
        let mut lines = (1..).zip(message.split('\n').map(|line| line.trim_end_matches([' ', '\t', '\r'])));
        if lines.next().is_none_or(|(_, line)| line != BEGIN_MESSAGE) {
            return Err(ClearSignError::NoBegin);
        }
        skip_headers(&mut lines)?;
        let text = take_text(&mut lines)?;
        let signature = take_signature(&mut lines)?;
        match lines.find(|(_, line)| !line.is_empty()) {
            Some((number, _)) => Err(ClearSignError::Appended(number)),
            None => Ok(Self { text, signature }),
        }
    }
}

type Line<'a> = (usize, &'a str);

fn skip_headers<'a>(lines: &mut impl Iterator<Item = Line<'a>>) -> Result<(), ClearSignError> {
    for (number, line) in lines {
        if line.is_empty() {
            return Ok(());
        }
        if !line.starts_with("Hash: ") {
            return Err(ClearSignError::Header(number));
        }
    }
    Err(ClearSignError::Cut(BEGIN_SIGNATURE))
}

fn take_text<'a>(lines: &mut impl Iterator<Item = Line<'a>>) -> Result<String, ClearSignError> {
    let mut text: Option<String> = None;
    for (number, line) in lines {
        if line == BEGIN_SIGNATURE {
            return Ok(text.unwrap_or_default());
        }
        let line = match line.strip_prefix('-') {
            // Cutting the white space first leaves a lone dash where the escaped line was empty.
            Some("") => "",
            Some(rest) => rest.strip_prefix(' ').ok_or(ClearSignError::Dash(number))?,
            None => line,
        };
        if line.contains('\r') {
            return Err(ClearSignError::CarriageReturn(number));
        }
        match &mut text {
            Some(text) => {
                text.push('\n');
                text.push_str(line);
            }
            None => text = Some(line.to_owned()),
        }
    }
    Err(ClearSignError::Cut(BEGIN_SIGNATURE))
}

fn take_signature<'a>(lines: &mut impl Iterator<Item = Line<'a>>) -> Result<String, ClearSignError> {
    let mut signature = format!("{BEGIN_SIGNATURE}\n");
    for (_, line) in lines {
        signature.push_str(line);
        signature.push('\n');
        if line == END_SIGNATURE {
            return Ok(signature);
        }
    }
    Err(ClearSignError::Cut(END_SIGNATURE))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nA: 1 \n- -x\n\n b\n\
                        -----BEGIN PGP SIGNATURE-----\n\nabcd\n-----END PGP SIGNATURE-----\n";

    #[test]
    fn takes_the_frame_apart() {
        let parts = ClearSigned::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(parts.text, "A: 1\n-x\n\n b");
        assert_eq!(parts.signature, "-----BEGIN PGP SIGNATURE-----\n\nabcd\n-----END PGP SIGNATURE-----\n");
    }

    #[test]
    fn refuses_every_other_frame() {
        let refuse = |text: String| ClearSigned::parse(text.as_bytes()).unwrap_err();
        assert_eq!(refuse(format!("\n{GOOD}")), ClearSignError::NoBegin);
        assert_eq!(refuse("A: 1\n".into()), ClearSignError::NoBegin);
        assert_eq!(refuse(format!("{GOOD}\nA: 2\n")), ClearSignError::Appended(13));
        assert_eq!(refuse(format!("{GOOD}{GOOD}")), ClearSignError::Appended(12));
        assert_eq!(refuse(GOOD.replace("Hash: SHA256", "Comment: x")), ClearSignError::Header(2));
        assert_eq!(refuse(GOOD.replace("- -x", "-x")), ClearSignError::Dash(5));
        assert_eq!(refuse(GOOD.replace(" b", " \rb")), ClearSignError::CarriageReturn(7));
        assert_eq!(refuse(GOOD[..60].into()), ClearSignError::Cut(BEGIN_SIGNATURE));
        assert_eq!(refuse(GOOD.replace("-----END", "-----DNE")), ClearSignError::Cut(END_SIGNATURE));
        assert_eq!(ClearSigned::parse(b"-----BEGIN\xff"), Err(ClearSignError::NotText));
    }

    proptest! {
        #[test]
        fn never_panics(cut in 0..GOOD.len(), byte: u8, at in 0..GOOD.len()) {
            let mut bytes = GOOD.as_bytes().to_vec();
            bytes[at] = byte;
            let _ = ClearSigned::parse(&bytes);
            prop_assert!(ClearSigned::parse(&GOOD.as_bytes()[..cut]).is_err() || cut == GOOD.len() - 1);
        }
    }
}
