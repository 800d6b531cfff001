//! A chain of certificates as an authority sends it: read, held against a request, and written again by ourselves.

use std::collections::BTreeSet;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::der::DecodePem as _;
use x509_cert::der::EncodePem as _;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::pem::LineEnding;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::request::CertReq;
use x509_cert::spki::SubjectPublicKeyInfoOwned;

/// `id-ce-subjectAltName` (RFC 5280 4.2.1.6) and `id-extensionReq` (RFC 2985 5.4.2).
const ALTERNATIVE_NAMES: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
const EXTENSIONS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.14");
/// Most certificates in a chain, and its longest text in bytes.
const LONGEST: usize = 8;
pub(crate) const LARGEST: u64 = 64 * 1024;

/// What a request asks for (RFC 2986).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    key: SubjectPublicKeyInfoOwned,
    /// The names.
    pub names: BTreeSet<String>,
}

impl Request {
    /// Reads PEM.
    pub fn read(pem: &str) -> Result<Self> {
        let request = CertReq::from_pem(pem).context("not a certificate request")?;
        let mut names = BTreeSet::new();
        let attributes = request.info.attributes.iter().filter(|attribute| attribute.oid == EXTENSIONS);
        for value in attributes.flat_map(|attribute| attribute.values.iter()) {
            let extensions: x509_cert::ext::Extensions = value.decode_as().context("no list of extensions")?;
            for extension in extensions.iter().filter(|extension| extension.extn_id == ALTERNATIVE_NAMES) {
                names.extend(dns_names(extension.extn_value.as_bytes())?);
            }
        }
        Ok(Self { key: request.info.public_key, names })
    }
}

/// A certificate with those that lead to its authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    certificates: Vec<Certificate>,
    /// Names in the first.
    pub names: BTreeSet<String>,
    /// Its beginning and end, in seconds since 1970.
    pub validity: (u64, u64),
}

impl Chain {
    /// Reads PEM; anything but a few certificates is refused.
    pub fn read(pem: &[u8]) -> Result<Self> {
        // Not x509-cert's own reader of chains, which panics at an empty one.
        let certificates = CertificateDer::pem_slice_iter(pem).map(|der| Ok(Certificate::from_der(&der?)?));
        let certificates: Vec<Certificate> =
            certificates.collect::<Result<_>>().context("not a chain of certificates")?;
        ensure!(certificates.len() <= LONGEST, "a chain of {} certificates: {LONGEST} at most", certificates.len());
        let Some(first) = certificates.first() else { bail!("an empty chain") };
        let parts = &first.tbs_certificate;
        let mut names = BTreeSet::new();
        let extensions = parts.extensions.iter().flatten();
        for extension in extensions.filter(|extension| extension.extn_id == ALTERNATIVE_NAMES) {
            names.extend(dns_names(extension.extn_value.as_bytes())?);
        }
        let seconds = |time: &x509_cert::time::Time| time.to_unix_duration().as_secs();
        let validity = (seconds(&parts.validity.not_before), seconds(&parts.validity.not_after));
        Ok(Self { certificates, names, validity })
    }

    /// Whether this is what was asked for: our key, all names, and in force.
    pub fn answers(&self, request: &Request, now: u64) -> Result<()> {
        let key = self.certificates.first().map(|first| &first.tbs_certificate.subject_public_key_info);
        ensure!(key == Some(&request.key), "it is for another key");
        let missing: Vec<&String> = request.names.difference(&self.names).collect();
        ensure!(missing.is_empty() && !request.names.is_empty(), "it lacks names: {missing:?}");
        ensure!(now < self.validity.1, "it has ended");
        Ok(())
    }

    /// The same chain as we write it (RFC 7468).
    pub fn to_pem(&self) -> Result<String> {
        let texts = self.certificates.iter().map(|each| each.to_pem(LineEnding::LF));
        Ok(texts.collect::<Result<String, _>>()?)
    }
}

/// The DNS names among alternative names.
fn dns_names(value: &[u8]) -> Result<Vec<String>> {
    let names = SubjectAltName::from_der(value).context("no list of names")?;
    let dns = names.0.iter().filter_map(|name| match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_ascii_lowercase()),
        _ => None,
    });
    Ok(dns.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAIN: &str = include_str!("../../tests/data/issued.pem");
    const REQUEST: &str = include_str!("../../tests/data/request.csr");
    const OTHER: &str = include_str!("../../tests/data/certificate.pem");
    /// Within the life of `issued.pem`.
    const NOW: u64 = 1_800_000_000;

    #[test]
    fn what_was_asked_for_is_taken_and_written_again_as_it_was() {
        let (chain, request) = (Chain::read(CHAIN.as_bytes()).unwrap(), Request::read(REQUEST).unwrap());
        assert_eq!(request.names.iter().collect::<Vec<_>>(), ["example.org", "www.example.org"]);
        chain.answers(&request, NOW).unwrap();
        assert_eq!(chain.to_pem().unwrap(), CHAIN);
        assert!(chain.answers(&request, chain.validity.1).is_err());
    }

    #[test]
    fn a_certificate_for_another_key_or_with_a_name_less_is_refused() {
        let (chain, request) = (Chain::read(CHAIN.as_bytes()).unwrap(), Request::read(REQUEST).unwrap());
        let more = Request {
            names: request.names.iter().cloned().chain(["more.example.org".into()]).collect(),
            ..request.clone()
        };
        assert!(chain.answers(&more, NOW).unwrap_err().to_string().contains("more.example.org"));
        let other = Chain::read(OTHER.as_bytes()).unwrap();
        assert!(other.answers(&request, NOW).unwrap_err().to_string().contains("another key"));
    }

    #[test]
    fn what_is_no_chain_is_refused() {
        for bad in ["", "no", REQUEST, &CHAIN.repeat(5), &CHAIN.replace("MII", "MIJ")] {
            assert!(Chain::read(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(Request::read(CHAIN).is_err());
    }
}
