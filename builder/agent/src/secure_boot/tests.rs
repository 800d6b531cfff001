//! Programs as `sbsign` signs them: `own.efi` by the holder of `own.der`, `issued.efi` by that of `leaf.der`, which `ca.der` has issued. Nobody has their
//! keys any more.

use formats::pe::sample::program;
use formats::signature_list::sample;
use proptest::prelude::*;

use super::*;

const OWN: &[u8] = include_bytes!("../../tests/data/secure-boot/own.efi");
const ISSUED: &[u8] = include_bytes!("../../tests/data/secure-boot/issued.efi");
const OWN_CERTIFICATE: &[u8] = include_bytes!("../../tests/data/secure-boot/own.der");
const LEAF: &[u8] = include_bytes!("../../tests/data/secure-boot/leaf.der");
const AUTHORITY: &[u8] = include_bytes!("../../tests/data/secure-boot/ca.der");

/// Certificates that are allowed and forbidden.
type Lists<'a> = (&'a [&'a [u8]], &'a [&'a [u8]]);

fn certificates(ders: &[&[u8]]) -> Vec<u8> {
    ders.iter().flat_map(|der| sample::certificate(der)).collect()
}

/// A folder as Linux shows the variables of firmware.
fn variables(is_on: bool, allowed: &[u8], forbidden: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write =
        |name: &str, content: &[u8]| fs::write(dir.path().join(name), [&[6, 0, 0, 0], content].concat()).unwrap();
    write(SWITCH, &[u8::from(is_on)]);
    write(ALLOWED, allowed);
    write(FORBIDDEN, forbidden);
    dir
}

fn said(program: &[u8], allowed: &[u8], forbidden: &[u8]) -> String {
    check(variables(true, allowed, forbidden).path(), program)
        .map_or_else(|error| error.to_string(), |()| "starts".to_owned())
}

fn unsigned() -> Vec<u8> {
    program(&[(".text", b"starts"), (".data", b"something")], 1024, 0)
}

fn authenticode(program: &[u8]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    authenticode_digest(&PeFile64::parse(program).unwrap(), &mut hasher).unwrap();
    hasher.finalize().into()
}

#[test]
fn what_a_known_holder_signed_is_started_and_nothing_else() {
    let table: [(&[u8], Lists<'_>, &str); 9] = [
        (OWN, (&[OWN_CERTIFICATE], &[]), "starts"),
        (OWN, (&[AUTHORITY, OWN_CERTIFICATE], &[AUTHORITY]), "starts"),
        (OWN, (&[AUTHORITY], &[]), "nobody whom this machine's firmware knows"),
        (OWN, (&[], &[]), "nobody whom this machine's firmware knows"),
        (OWN, (&[OWN_CERTIFICATE], &[OWN_CERTIFICATE]), "`dbx`"),
        (ISSUED, (&[AUTHORITY], &[]), "starts"),
        (ISSUED, (&[LEAF], &[]), "starts"),
        (ISSUED, (&[OWN_CERTIFICATE], &[]), "nobody whom this machine's firmware knows"),
        (ISSUED, (&[AUTHORITY], &[LEAF]), "`dbx`"),
    ];
    for (number, (program, (allowed, forbidden), expected)) in table.into_iter().enumerate() {
        let said = said(program, &certificates(allowed), &certificates(forbidden));
        assert!(said.contains(expected), "row {number}: {said}");
    }
}

#[test]
fn a_program_without_a_signature_is_started_by_its_digest_only() {
    let (program, known) = (unsigned(), certificates(&[OWN_CERTIFICATE]));
    let digest = sample::program(&authenticode(&program));
    assert_eq!(said(&program, &known, &[]), "it is not signed");
    assert_eq!(said(&program, &digest, &[]), "starts");
    assert!(said(&program, &digest, &digest).contains("`dbx`"));
    let forbidden = sample::program(&authenticode(OWN));
    assert!(said(OWN, &known, &forbidden).contains("`dbx`"));
}

#[test]
fn every_changed_byte_that_is_signed_is_seen() {
    let known = certificates(&[OWN_CERTIFICATE]);
    // Behind what is not signed, checksum and directory of the signature, and before the signature.
    for at in (256..2048).step_by(61) {
        let mut changed = OWN.to_vec();
        changed[at] ^= 1;
        assert_ne!(said(&changed, &known, &[]), "starts", "byte {at}");
    }
    // The signature itself: 256 bytes at the end, before at most seven of padding.
    for at in (OWN.len() - 240..OWN.len() - 8).step_by(17) {
        let mut changed = OWN.to_vec();
        changed[at] ^= 1;
        assert_eq!(said(&changed, &known, &[]), "its signature is not by who it says", "byte {at}");
    }
    assert_ne!(said(&OWN[..OWN.len() - 8], &known, &[]), "starts");
}

#[test]
fn another_signature_does_not_become_ours() {
    // The signature of one program behind the bytes of another.
    let mut other = program(&[(".text", b"evil!!"), (".data", &b"something".repeat(30))], 1024, 0);
    assert_eq!(other.len(), 2048);
    other.extend(&OWN[2048..]);
    other[64 + 24 + 144..64 + 24 + 152].copy_from_slice(&OWN[64 + 24 + 144..64 + 24 + 152]);
    assert_eq!(said(&other, &certificates(&[OWN_CERTIFICATE]), &[]), "it has other bytes than those that were signed");
}

#[test]
fn where_secure_boot_is_off_everything_is_started() {
    check(variables(false, &[], &[]).path(), b"anything").unwrap();
    check(tempfile::tempdir().unwrap().path(), b"anything").unwrap();
    assert!(check(variables(true, &[], &[]).path(), b"anything").unwrap_err().to_string().contains("no EFI program"));
}

#[test]
fn lists_that_nobody_understands_are_no_permission() {
    let error = check(variables(true, b"lists", &[]).path(), OWN).unwrap_err();
    assert!(matches!(error, SecureBootError::Lists { .. }), "{error}");
}

proptest! {
    #[test]
    fn a_changed_signature_never_panics(at in 2048_usize..3576, byte in any::<u8>()) {
        let mut changed = OWN.to_vec();
        changed[at] = byte;
        let _ = said(&changed, &certificates(&[OWN_CERTIFICATE]), &[]);
    }
}
