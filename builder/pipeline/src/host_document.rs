//! `host.toml` on the operator's side: read, signed, put on a disk, and rendered as the host would do it.
//!
//! A document with a mistake is never signed, and a signature that does not fit its document is never passed on.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use bundle::{Context, Envelope, Limit, SigningKey, TrustedKeys, VerifyError, sign};
use hostconf::{Assignments, HostConfig, HostId, HostTarget, RenderPlan, SealedImage, plan};
use tools::{Failure, failure::HintExt as _};

use crate::definition::Definition;
use crate::esp::{Esp, EspFile};
use crate::programs::ToolsTree;
use crate::verify_output::signed_file;

/// Where the document lies on the ESP (docs/formats/host-toml.md, "Where a host looks").
const ESP_DOCUMENT: &str = "casemate/host.toml";
const ESP_SIGNATURE: &str = "casemate/host.toml.sig";
const ESP_HOST_ID: &str = "casemate/host-id";

/// A document that may be given to a host.
#[derive(Debug)]
pub struct SignedHost {
    /// What it says.
    pub config: HostConfig,
    /// Its bytes.
    pub document: Vec<u8>,
    /// The bytes of its `.sig`.
    pub signature: Vec<u8>,
    /// Ids of the keys that signed it.
    pub signed_by: Vec<String>,
    /// Whether the signature was checked here; not so when no public key of a signer is at hand.
    pub checked: bool,
}

/// Where the signature comes from.
#[derive(Debug, Clone, Copy)]
pub enum HostSigner<'a> {
    /// Signed now.
    Key(&'a SigningKey),
    /// The `.sig` beside the document, checked against those of its keys that are known here.
    Existing(&'a TrustedKeys),
}

/// Reads a document; the error lists every mistake with its line and column.
pub fn read_host(path: &Path) -> Result<HostConfig> {
    read(path).map(|(config, _)| config)
}

fn read(path: &Path) -> Result<(HostConfig, Vec<u8>)> {
    let bytes = signed_file::read(path, Limit::Document(Context::Host))
        .or_refuse("name a host.toml, e.g. a copy of images/webhost/host.example.toml")?;
    let text = std::str::from_utf8(&bytes)
        .with_context(|| format!("`{}` is not UTF-8 text", path.display()))
        .or_refuse("save the file as UTF-8")?;
    let name = path.display().to_string();
    let config =
        HostConfig::parse(&name, text).or_refuse("mend the document; its format is in docs/formats/host-toml.md")?;
    Ok((config, bytes))
}

/// The signature file that belongs to a document.
pub fn signature_path(document: &Path) -> PathBuf {
    let mut name = document.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

/// Reads a document and signs it, or takes the signature that is there.
pub fn sign_host(path: &Path, signer: HostSigner<'_>) -> Result<SignedHost> {
    let (config, document) = read(path)?;
    match signer {
        HostSigner::Key(key) => {
            let signature = sign(&document, Context::Host, &[key]).to_json().into_bytes();
            let signed_by = vec![key.public().id().to_string()];
            Ok(SignedHost { config, document, signature, signed_by, checked: true })
        }
        HostSigner::Existing(known) => {
            let signature = signed_file::read(&signature_path(path), Limit::Signature)?;
            let (signed_by, checked) = check_existing(&document, &signature, known)
                .with_context(|| format!("`{}` does not fit", signature_path(path).display()))
                .or_refuse("sign the document again: give the operator's key with `--key FILE`")?;
            Ok(SignedHost { config, document, signature, signed_by, checked })
        }
    }
}

/// The keys of an envelope, and whether a known one of them vouches for the document.
fn check_existing(document: &[u8], signature: &[u8], known: &TrustedKeys) -> Result<(Vec<String>, bool)> {
    let signers = Envelope::parse(signature)?.entries.iter().map(|entry| entry.key.to_string()).collect::<Vec<_>>();
    match bundle::verify(document, signature, Context::Host, known, NonZeroUsize::MIN) {
        Ok(_) => Ok((signers, true)),
        // Signed by somebody whose public key is not here: the host knows it.
        Err(VerifyError::NotTrusted { present, .. }) if !present.is_empty() => Ok((signers, false)),
        Err(error) => Err(error.into()),
    }
}

/// Puts a signed document on the EFI system partition of a disk or disk image, and the host's id where one is given.
pub fn personalise(tools: &ToolsTree, disk: &Path, signed: &SignedHost, host_id: Option<&str>, now: u64) -> Result<()> {
    let esp = Esp::find(disk)?;
    let there = esp.read(tools, ESP_HOST_ID)?.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned());
    check_target(&signed.config.host, host_id.or(there.as_deref()))?;
    let id = host_id.map(|id| format!("{id}\n")).unwrap_or_default();
    let mut files = vec![
        EspFile { name: ESP_DOCUMENT, bytes: &signed.document },
        EspFile { name: ESP_SIGNATURE, bytes: &signed.signature },
    ];
    if host_id.is_some() {
        files.push(EspFile { name: ESP_HOST_ID, bytes: id.as_bytes() });
    }
    esp.write(tools, &files, now)
}

/// Refuses a document that a host with this id would ignore.
pub fn check_target(target: &HostTarget, id: Option<&str>) -> Result<()> {
    let id: Option<HostId> = id.map(str::parse).transpose().or_refuse("name another id with `--host-id ID`")?;
    match (target, id) {
        (HostTarget::Any, _) => Ok(()),
        (HostTarget::Only(wanted), Some(id)) if *wanted == id => Ok(()),
        (HostTarget::Only(wanted), found) => {
            let found = found.map_or_else(|| "has no id".to_owned(), |id| format!("is `{id}`"));
            Err(Failure::refused(format!(
                "the document is for the host `{wanted}`, this one {found} and would ignore it"
            ))
            .hint(format!("give `--host-id {wanted}` if it is the right one, or write `host = \"any\"`"))
            .into())
        }
    }
}

/// The plan that a host with this document makes, running the image in `image_dir`.
///
/// Sites get accounts in the order of the document, as on a new host; an older host may have given them others.
pub fn render_host(document: &Path, image_dir: &Path) -> Result<RenderPlan> {
    let config = read_host(document)?;
    let Definition { image, overlays, .. } = Definition::load(image_dir)?;
    let sealed = SealedImage {
        name: image.name,
        version: image.version,
        overlays: image.overlays,
        sites: image.size.sites,
        development: false,
    };
    let sites = config.sites().map(|site| &site.name);
    let assignments = Assignments::default()
        .assign(sites, sealed.sites)
        .or_refuse("name fewer sites, or raise the pool of the image")?;
    plan(&config, &assignments, &overlays, &sealed).or_refuse("mend the templates of the overlays that are named")
}

#[cfg(test)]
mod tests {
    use fs_err as fs;
    use hostconf::SMALL_HOST as GOOD;

    use super::*;
    use crate::test_artifacts::key;

    fn document(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host.toml");
        fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn every_mistake_is_named_with_line_and_column_and_nothing_is_signed() {
        let (_dir, path) = document(&GOOD.replace("serial = 1", "serial = 0").replace("\"static\"", "\"perl\""));
        for error in [read_host(&path).unwrap_err(), sign_host(&path, HostSigner::Key(&key(1))).unwrap_err()] {
            let text = tools::failure::render(&error);
            assert!(text.contains("host.toml:2:10: ") && text.contains("host.toml:13:8: "), "{text}");
            assert_eq!(tools::failure::exit_kind(&error).code(), 1);
        }
    }

    #[test]
    fn a_document_or_signature_beyond_its_limit_is_not_read() {
        let (_dir, path) = document(GOOD);
        fs::write(signature_path(&path), vec![b' '; (64 << 10) + 1]).unwrap();
        let known = TrustedKeys::default();
        let text = tools::failure::render(&sign_host(&path, HostSigner::Existing(&known)).unwrap_err());
        assert!(text.contains("larger than 65536 bytes"), "{text}");
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len((1 << 20) + 1).unwrap();
        let text = tools::failure::render(&read_host(&path).unwrap_err());
        assert!(text.contains("larger than 1048576 bytes"), "{text}");
    }

    #[test]
    fn a_signed_document_verifies_with_the_operators_key() {
        let (_dir, path) = document(GOOD);
        let signed = sign_host(&path, HostSigner::Key(&key(1))).unwrap();
        let trusted = TrustedKeys::new([key(1).public().clone()]);
        bundle::verify(&signed.document, &signed.signature, Context::Host, &trusted, NonZeroUsize::MIN).unwrap();
        assert_eq!(
            (signed.signed_by, signed.config.serial.to_string()),
            (vec![key(1).public().id().to_string()], "1".to_owned())
        );
    }

    #[test]
    fn an_existing_signature_is_kept_and_a_stale_one_refused() {
        let (_dir, path) = document(GOOD);
        let made = sign_host(&path, HostSigner::Key(&key(1))).unwrap();
        fs::write(signature_path(&path), &made.signature).unwrap();
        let known = TrustedKeys::new([key(1).public().clone()]);
        let taken = sign_host(&path, HostSigner::Existing(&known)).unwrap();
        assert_eq!((&taken.signature, &taken.signed_by, taken.checked), (&made.signature, &made.signed_by, true));
        assert!(!sign_host(&path, HostSigner::Existing(&TrustedKeys::default())).unwrap().checked);
        fs::write(&path, GOOD.replace("serial = 1", "serial = 4")).unwrap();
        let text = tools::failure::render(&sign_host(&path, HostSigner::Existing(&known)).unwrap_err());
        assert!(text.contains("host.toml.sig` does not fit") && text.contains("--key"), "{text}");
        let other = sign(GOOD.as_bytes(), Context::Manifest, &[&key(1)]).to_json();
        fs::write(signature_path(&path), other).unwrap();
        assert!(sign_host(&path, HostSigner::Existing(&TrustedKeys::default())).is_err());
    }

    #[test]
    fn a_document_that_the_host_would_ignore_is_refused() {
        let only: HostTarget = "web1".parse().unwrap();
        let cases = [
            (&HostTarget::Any, None, true),
            (&only, Some("web1"), true),
            (&only, Some("web2"), false),
            (&only, None, false),
        ];
        for (target, id, good) in cases {
            assert_eq!(check_target(target, id).is_ok(), good, "{target} {id:?}");
        }
        assert!(check_target(&HostTarget::Any, Some("no id\n")).is_err());
    }

    #[test]
    fn the_examples_of_both_images_render() {
        for name in ["webhost", "minimal"] {
            let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../images").join(name);
            let plan = render_host(&image.join("host.example.toml"), &image).unwrap();
            assert!(plan.files.iter().all(|file| file.path.as_str().starts_with("/run/casemate/etc/")));
            assert!(!plan.files.is_empty());
        }
    }
}
