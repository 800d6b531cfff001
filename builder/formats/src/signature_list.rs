//! What firmware trusts and forbids: the signature lists of its variables `db` and `dbx` (UEFI 2.10, section 32.4.1).
//!
//! A variable holds lists one behind the other; a list holds entries of one kind and size. Certificates stay the bytes that they are.

use crate::guid::Guid;
use crate::little_endian::{array_at, slice_at, u32_at};

/// `EFI_CERT_X509_GUID`: a certificate in DER.
const X509: Guid = Guid::from_u128(0xa5c059a1_94e4_4aa7_87b5_ab155c2bf072);
/// `EFI_CERT_SHA256_GUID`: the digest of a program.
const SHA256: Guid = Guid::from_u128(0xc1c41626_504c_4092_aca9_41f936934328);
/// `EFI_CERT_X509_SHA256_GUID`: the digest of what is signed in a certificate, and a time.
const X509_SHA256: Guid = Guid::from_u128(0x3bd2a492_96c0_4079_b420_fcf98ef103ed);
/// Kind, size of the list, of its header and of an entry.
const HEADER_BYTES: usize = 28;
/// Who put an entry there.
const OWNER_BYTES: usize = 16;

/// The entries of a variable, those of kinds that this code does not know left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SignatureLists {
    /// Certificates, DER.
    pub certificates: Vec<Vec<u8>>,
    /// SHA-256 digests of programs, as Authenticode counts them.
    pub programs: Vec<[u8; 32]>,
    /// SHA-256 digests of certificates, without their signatures.
    pub certificate_digests: Vec<[u8; 32]>,
}

/// Why bytes are no signature lists.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no signature list of UEFI at byte {at}: {reason}")]
pub struct SignatureListError {
    /// Where the list begins.
    at: usize,
    /// What is wrong with it.
    reason: &'static str,
}

impl SignatureLists {
    /// Reads the content of a variable, without its attributes.
    pub fn parse(bytes: &[u8]) -> Result<Self, SignatureListError> {
        let mut lists = Self::default();
        let mut at = 0;
        while at < bytes.len() {
            let failed = |reason| SignatureListError { at, reason };
            let list = list_at(bytes, at).ok_or_else(|| failed("it ends inside a list"))?;
            lists.take(list).map_err(failed)?;
            at += list.len();
        }
        Ok(lists)
    }

    fn take(&mut self, list: &[u8]) -> Result<(), &'static str> {
        let size = |offset| u32_at(list, offset).and_then(|size| usize::try_from(size).ok()).unwrap_or_default();
        let (header, entry) = (size(20), size(24));
        let entries = list.get(HEADER_BYTES..).and_then(|rest| rest.get(header..)).ok_or("its header is too long")?;
        if entry <= OWNER_BYTES || !entries.len().is_multiple_of(entry) {
            return Err("its entries do not fill it");
        }
        let kind = Guid::from_gpt_bytes(array_at(list, 0).unwrap_or_default());
        for content in entries.chunks_exact(entry).filter_map(|entry| entry.get(OWNER_BYTES..)) {
            match kind {
                X509 => self.certificates.push(content.to_vec()),
                SHA256 => self.programs.push(array_at(content, 0).ok_or("a digest is too short")?),
                X509_SHA256 => self.certificate_digests.push(array_at(content, 0).ok_or("a digest is too short")?),
                _ => (),
            }
        }
        Ok(())
    }
}

/// The bytes of the list that begins here.
fn list_at(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let size = u32_at(bytes, at.checked_add(16)?)?;
    let list = slice_at(bytes, u64::try_from(at).ok()?, size.into())?;
    (list.len() >= HEADER_BYTES).then_some(list)
}

/// Writes a list of one kind with one entry, for tests.
#[cfg(any(test, feature = "sample"))]
pub mod sample {
    use super::{HEADER_BYTES, OWNER_BYTES, SHA256, X509};
    use crate::guid::Guid;

    /// A list with this certificate.
    pub fn certificate(der: &[u8]) -> Vec<u8> {
        list(X509, der)
    }

    /// A list with the digest of this program.
    pub fn program(digest: &[u8; 32]) -> Vec<u8> {
        list(SHA256, digest)
    }

    pub(super) fn list(kind: Guid, content: &[u8]) -> Vec<u8> {
        let entry = OWNER_BYTES + content.len();
        let mut list = kind.to_gpt_bytes().to_vec();
        for size in [HEADER_BYTES + entry, 0, entry] {
            list.extend(u32::try_from(size).unwrap_or_default().to_le_bytes());
        }
        list.extend([0; OWNER_BYTES]);
        list.extend(content);
        list
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_every_kind_and_passes_over_others() {
        let lists = [
            sample::certificate(b"a certificate"),
            sample::list(Guid::LINUX_GENERIC, b"?"),
            sample::program(&[7; 32]),
            sample::certificate(b"another"),
            sample::list(X509_SHA256, &[9; 48]),
        ];
        let read = SignatureLists::parse(&lists.concat()).unwrap();
        assert_eq!(read.certificates, [b"a certificate".to_vec(), b"another".to_vec()]);
        assert_eq!((read.programs, read.certificate_digests), (vec![[7; 32]], vec![[9; 32]]));
        assert_eq!(SignatureLists::parse(b"").unwrap(), SignatureLists::default());
    }

    #[test]
    fn refuses_what_does_not_add_up() {
        let good = sample::program(&[7; 32]);
        let change = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            SignatureLists::parse(&bytes).map(drop).map_err(|error| error.to_string())
        };
        for (at, byte, said) in [
            (16, 200, "ends inside a list"),
            (16, 3, "ends inside a list"),
            (20, 200, "header is too long"),
            (24, 16, "do not fill it"),
            (24, 0, "do not fill it"),
            (24, 24, "a digest is too short"),
        ] {
            assert!(change(at, byte).unwrap_err().contains(said), "byte {at} is {byte}: {:?}", change(at, byte));
        }
        assert!(SignatureLists::parse(&good[..40]).unwrap_err().to_string().contains("at byte 0"));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), size in 0_u8..120, entry in 0_u8..60) {
            let _ = SignatureLists::parse(&bytes);
            let mut likely = sample::program(&[7; 32]);
            likely[16] = size;
            likely[24] = entry;
            likely.extend(bytes);
            let _ = SignatureLists::parse(&likely);
        }
    }
}
