//! The trust root that an image begins with: the one that `image.toml` names, or one that the release key makes for
//! itself.
//!
//! Every image has one, or its host could never be updated. The one of the release key alone leads further as well: the
//! next trust root can name keys that are kept offline, and the release key signs that once.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use bundle::{Context, ImageName, KeySet, Limit, PublicKey, SchemaVersion, SigningKey, TrustRoot, sign};
use tools::{Failure, failure::HintExt as _};

use crate::definition::Definition;
use crate::host_document::signature_path;
use crate::keys::{KeyRing, load_public_key};
use crate::verify_output::signed_file;

/// Where it is in the image.
pub(crate) const IN_IMAGE: &str = "/usr/share/casemate/trust-root.json";
/// Where its signatures are in the image.
pub(crate) const SIGNATURE_IN_IMAGE: &str = "/usr/share/casemate/trust-root.json.sig";

/// A trust root that is signed by its own root keys and names the release key of the build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedTrustRoot {
    /// Its bytes.
    pub document: Vec<u8>,
    /// The bytes of its `.sig`.
    pub envelope: Vec<u8>,
    file: Option<PathBuf>,
}

impl SealedTrustRoot {
    /// Reads and checks the one that `image.toml` names, or makes one. Development keys are in no trust root but one
    /// made for them, so with those the named one is taken only where it does name them.
    pub(crate) fn of_image(definition: &Definition, keys: &KeyRing) -> Result<Self> {
        let (image, release) = (&definition.image.name, load_public_key(&keys.release_public_path())?);
        let Some(name) = &definition.image.update.trust_root else {
            return Self::of_release_key(image, release, &keys.release()?);
        };
        let (named, root) = Self::read(&definition.image_dir.join(name), image)?;
        match (root.release.holds(release.id()), keys.is_development()) {
            (true, _) => Ok(named),
            (false, true) => Self::of_release_key(image, release, &keys.release()?),
            (false, false) => Err(foreign_key(name, &release)),
        }
    }

    /// The file that `image.toml` names, where it is that one.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    fn read(path: &Path, image: &ImageName) -> Result<(Self, TrustRoot)> {
        const HINT: &str =
            "`casemate trust-root check FILE` says who has to sign; or name another file in `[update]` of image.toml";
        let document = signed_file::read(path, Limit::Document(Context::TrustRoot)).or_refuse(HINT)?;
        let envelope = signed_file::read(&signature_path(path), Limit::Signature).or_refuse(HINT)?;
        let root = TrustRoot::sealed(&document, &envelope)
            .with_context(|| format!("`{}` is no trust root to begin with", path.display()))
            .or_refuse(HINT)?
            .into_inner();
        if root.image != *image {
            let message = format!("`{}` is the trust root of `{}`, not of `{image}`", path.display(), root.image);
            return Err(Failure::refused(message)
                .hint("name the one of this image in `[update]` of image.toml")
                .into());
        }
        Ok((Self { document, envelope, file: Some(path.to_owned()) }, root))
    }

    /// One in which the release key is also the only root key. The signature is a function of key and bytes, so equal
    /// keys make equal bytes.
    pub(crate) fn of_release_key(image: &ImageName, release: PublicKey, key: &SigningKey) -> Result<Self> {
        let only = KeySet::new(vec![release], 1)?;
        let root = TrustRoot {
            schema: SchemaVersion,
            image: image.clone(),
            version: NonZeroU32::MIN,
            root: only.clone(),
            release: only,
        };
        let document = root.to_json().into_bytes();
        let envelope = sign(&document, Context::TrustRoot, &[key]).to_json().into_bytes();
        TrustRoot::sealed(&document, &envelope)
            .context("`release.key` and `release.pub` do not belong together")
            .or_refuse("take both from the same set of keys")?;
        Ok(Self { document, envelope, file: None })
    }
}

fn foreign_key(name: &str, release: &PublicKey) -> anyhow::Error {
    let message =
        format!("the release key {} is none of those in `{name}`: its hosts would believe no update", release.id());
    Failure::refused(message)
        .hint("build with a key that is, or make the next trust root with this one: `casemate trust-root next`")
        .into()
}

#[cfg(test)]
mod tests {
    use fs_err as fs;

    use super::*;
    use crate::test_artifacts::key;

    const NAME: &str = "trust-root-1.json";

    /// The small image with a folder of its own, and keys of which `key(7)` is the release key.
    fn bench(development: bool) -> (tempfile::TempDir, Definition, KeyRing) {
        let dir = tempfile::tempdir().unwrap();
        let minimal = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../images/minimal");
        let mut definition = Definition::load(&minimal).unwrap();
        definition.image_dir = dir.path().to_owned();
        fs::create_dir(dir.path().join("secureboot")).unwrap();
        for name in ["operator.pub", "secureboot/db.key", "secureboot/db.crt"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        fs::write(dir.path().join("release.key"), key(7).to_pem().unwrap()).unwrap();
        fs::write(dir.path().join("release.pub"), key(7).public().to_string()).unwrap();
        if development {
            fs::write(dir.path().join("DEVELOPMENT"), "").unwrap();
        }
        let keys = KeyRing::open(dir.path()).unwrap();
        (dir, definition, keys)
    }

    fn set(seed: u8) -> KeySet {
        KeySet::new(vec![key(seed).public().clone()], 1).unwrap()
    }

    /// Lays a trust root of root key 1 into the image's folder, signed by `signer`.
    fn name_one(definition: &mut Definition, image: &str, release: u8, signer: u8) {
        let version = NonZeroU32::MIN;
        let image = image.parse().unwrap();
        let root = TrustRoot { schema: SchemaVersion, image, version, root: set(1), release: set(release) };
        let path = definition.image_dir.join(NAME);
        fs::write(&path, root.to_json()).unwrap();
        let envelope = sign(root.to_json().as_bytes(), Context::TrustRoot, &[&key(signer)]).to_json();
        fs::write(signature_path(&path), envelope).unwrap();
        definition.image.update.trust_root = Some(NAME.to_owned());
    }

    fn refusal(definition: &Definition, keys: &KeyRing) -> String {
        tools::failure::render(&SealedTrustRoot::of_image(definition, keys).unwrap_err())
    }

    #[test]
    fn the_named_one_is_sealed_as_it_is() {
        let (dir, mut definition, keys) = bench(false);
        name_one(&mut definition, "minimal", 7, 1);
        let sealed = SealedTrustRoot::of_image(&definition, &keys).unwrap();
        assert_eq!(sealed.document, fs::read(dir.path().join(NAME)).unwrap());
        assert_eq!(sealed.file(), Some(dir.path().join(NAME).as_path()));
    }

    #[test]
    fn without_one_the_release_key_makes_its_own_and_always_the_same() {
        for development in [false, true] {
            let (_dir, definition, keys) = bench(development);
            let sealed = SealedTrustRoot::of_image(&definition, &keys).unwrap();
            assert_eq!(SealedTrustRoot::of_image(&definition, &keys).unwrap(), sealed);
            let root = TrustRoot::sealed(&sealed.document, &sealed.envelope).unwrap();
            assert_eq!((&root.root, &root.release, sealed.file()), (&set(7), &set(7), None));
        }
    }

    #[test]
    fn a_release_key_that_it_does_not_name_is_refused_and_a_development_key_stands_alone() {
        let (_dir, mut definition, keys) = bench(false);
        name_one(&mut definition, "minimal", 8, 1);
        let found = refusal(&definition, &keys);
        assert!(found.contains("none of those in") && found.contains("trust-root next"), "{found}");
        let (_dir, mut definition, keys) = bench(true);
        name_one(&mut definition, "minimal", 8, 1);
        assert_eq!(SealedTrustRoot::of_image(&definition, &keys).unwrap().file(), None);
        name_one(&mut definition, "minimal", 7, 1);
        assert!(SealedTrustRoot::of_image(&definition, &keys).unwrap().file().is_some());
    }

    #[test]
    fn one_that_is_missing_unsigned_or_of_another_image_is_refused_also_for_development() {
        for development in [false, true] {
            let (dir, mut definition, keys) = bench(development);
            name_one(&mut definition, "webhost", 7, 1);
            assert!(refusal(&definition, &keys).contains("is the trust root of `webhost`, not of `minimal`"));
            name_one(&mut definition, "minimal", 7, 2);
            assert!(refusal(&definition, &keys).contains("0 of 1 needed signatures"));
            fs::remove_file(dir.path().join(format!("{NAME}.sig"))).unwrap();
            let found = refusal(&definition, &keys);
            assert!(found.contains("trust-root-1.json.sig") && found.contains("hint: `casemate trust-root"), "{found}");
        }
    }

    #[test]
    fn keys_that_do_not_belong_together_make_none() {
        let (dir, definition, keys) = bench(false);
        fs::write(dir.path().join("release.pub"), key(8).public().to_string()).unwrap();
        assert!(refusal(&definition, &keys).contains("do not belong together"));
    }
}
