//! One Authenticode signature (Microsoft, "Windows Authenticode Portable Executable Signature Format", 2008): PKCS#7 over the digest of a program.

use authenticode::SPC_INDIRECT_DATA_OBJID;
use authenticode::SpcIndirectDataContent;
use cms::cert::CertificateChoices;
use cms::content_info::ContentInfo;
use cms::signed_data::SignedData;
use cms::signed_data::SignerIdentifier;
use cms::signed_data::SignerInfo;
use formats::signature_list::SignatureLists;
use rustls::crypto::ring;
use sha2::Digest as _;
use sha2::Sha256;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::Encode as _;
use x509_cert::der::SliceReader;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::asn1::OctetString;

use super::SecureBootError;

/// `id-messageDigest` (RFC 5652, section 11.2).
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
/// Most certificates between who signed and one that the firmware knows.
const LONGEST_CHAIN: usize = 8;

/// A signature that is right in itself; whether anybody trusts who made it is another question.
#[derive(Debug)]
pub(super) struct Signature {
    signer: Certificate,
    /// All that came with it.
    others: Vec<Certificate>,
}

impl Signature {
    /// Reads one of a program with this digest. What stands behind it is padding.
    pub(super) fn read(bytes: &[u8], program: &[u8; 32]) -> Result<Self, SecureBootError> {
        let untrusted = SecureBootError::Untrusted;
        let data = parse(bytes).ok_or(untrusted("its signature is none of Authenticode"))?;
        let content = data.encap_content_info.econtent.as_ref();
        let content = content.ok_or(untrusted("its signature is over nothing"))?;
        let indirect = content.decode_as::<SpcIndirectDataContent>();
        let indirect = indirect.map_err(|_| untrusted("its signature is none of Authenticode"))?;
        if indirect.message_digest.digest.as_bytes() != program {
            return Err(untrusted("it has other bytes than those that were signed"));
        }
        let [info] = data.signer_infos.0.as_slice() else { return Err(untrusted("its signature has not one signer")) };
        let certificates = certificates(&data);
        let signer = certificates.iter().find(|each| made(info, each));
        let signer = signer.ok_or(untrusted("its signature came without the certificate of who signed"))?.clone();
        if !is_over(info, &signer, content.value()) {
            return Err(untrusted("its signature is not by who it says"));
        }
        Ok(Self { signer, others: certificates })
    }

    /// Follows it to somebody whom the firmware knows.
    pub(super) fn judge(&self, allowed: &SignatureLists, forbidden: &SignatureLists) -> Result<(), SecureBootError> {
        let known: Vec<Certificate> = allowed.certificates.iter().filter_map(|der| read(der)).collect();
        let mut current = &self.signer;
        for _ in 0..LONGEST_CHAIN {
            if is_forbidden(current, forbidden) {
                return Err(SecureBootError::Forbidden);
            }
            if known.contains(current) {
                return Ok(());
            }
            let mut issuers = known.iter().chain(&self.others);
            let Some(issuer) = issuers.find(|issuer| *issuer != current && issued(issuer, current)) else { break };
            current = issuer;
        }
        Err(SecureBootError::Untrusted("nobody whom this machine's firmware knows (`db`) has signed it"))
    }
}

fn parse(bytes: &[u8]) -> Option<SignedData> {
    let info = ContentInfo::decode(&mut SliceReader::new(bytes).ok()?).ok()?;
    let data = info.content.decode_as::<SignedData>().ok()?;
    (data.encap_content_info.econtent_type == SPC_INDIRECT_DATA_OBJID).then_some(data)
}

fn read(der: &[u8]) -> Option<Certificate> {
    Certificate::from_der(der).ok()
}

fn certificates(data: &SignedData) -> Vec<Certificate> {
    let all = data.certificates.iter().flat_map(|set| set.0.iter());
    let certificates = all.filter_map(|each| match each {
        CertificateChoices::Certificate(certificate) => Some(certificate.clone()),
        CertificateChoices::Other(_) => None,
    });
    certificates.collect()
}

/// Whether the signature says that it is of the holder of this certificate.
fn made(info: &SignerInfo, certificate: &Certificate) -> bool {
    let parts = &certificate.tbs_certificate;
    match &info.sid {
        SignerIdentifier::IssuerAndSerialNumber(id) => {
            id.issuer == parts.issuer && id.serial_number == parts.serial_number
        }
        SignerIdentifier::SubjectKeyIdentifier(_) => false,
    }
}

/// Whether this key signed this content: directly, or its digest among the signed attributes (RFC 2315, section 9.3).
fn is_over(info: &SignerInfo, signer: &Certificate, content: &[u8]) -> bool {
    let Some(attributes) = &info.signed_attrs else { return verifies(signer, content, info.signature.as_bytes()) };
    let digest = attributes.iter().filter(|attribute| attribute.oid == MESSAGE_DIGEST);
    let mut values = digest.flat_map(|attribute| attribute.values.iter());
    let digest = values.next().and_then(|value| value.decode_as::<OctetString>().ok());
    let is_digest = digest.is_some_and(|digest| digest.as_bytes() == Sha256::digest(content).as_slice());
    is_digest && attributes.to_der().is_ok_and(|message| verifies(signer, &message, info.signature.as_bytes()))
}

/// Whether one certificate was signed with the key of another.
fn issued(issuer: &Certificate, certificate: &Certificate) -> bool {
    let signed = &certificate.tbs_certificate;
    issuer.tbs_certificate.subject == signed.issuer
        && signed.to_der().is_ok_and(|message| verifies(issuer, &message, certificate.signature.raw_bytes()))
}

/// By any kind of signature that a key of this kind makes and that is still good for something; a key fits no other kind than its own.
fn verifies(holder: &Certificate, message: &[u8], signature: &[u8]) -> bool {
    let key = holder.tbs_certificate.subject_public_key_info.subject_public_key.raw_bytes();
    let kinds = ring::default_provider().signature_verification_algorithms.all;
    kinds.iter().any(|kind| kind.verify_signature(key, message, signature).is_ok())
}

fn is_forbidden(certificate: &Certificate, forbidden: &SignatureLists) -> bool {
    let is_named = forbidden.certificates.iter().any(|der| read(der).as_ref() == Some(certificate));
    let signed = certificate.tbs_certificate.to_der();
    is_named || signed.is_ok_and(|der| forbidden.certificate_digests.contains(&Sha256::digest(der).into()))
}
