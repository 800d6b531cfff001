//! `casemate trust-root`: trust roots as files, signed by several people one after the other, each on a machine of his
//! own.
//!
//! Nobody signs blindly: who signs version N + 1 needs version N beside it, which shows what changes, and no key signs
//! that neither names.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use bundle::{
    Context, Envelope, ImageName, KeySet, Limit, PublicKey, SchemaVersion, SigningKey, Standing, TrustRoot,
    TrustRootError, countersign,
};
use tools::{Failure, ResultExt as _, failure::HintExt as _};

use crate::host_document::signature_path;
use crate::keys::load_public_key;
use crate::verify_output::signed_file;

const NAME_ONE: &str = "name a trust root, e.g. `trust-root-1.json`; `casemate trust-root new` makes one";

/// The keys of a role as the command line names them.
#[derive(Debug, Clone, Default)]
pub struct RoleChange {
    /// Files with public keys; none: those of the trust root before.
    pub keys: Vec<PathBuf>,
    /// How many must sign; absent: as many as before.
    pub threshold: Option<usize>,
}

impl RoleChange {
    /// The keys of a role that there was not before.
    pub fn first(&self) -> Result<KeySet> {
        let keys = self.keys.iter().map(|path| load_public_key(path)).collect::<Result<Vec<_>>>();
        let keys = keys.or_refuse("name files with public keys, e.g. `keys/release.pub`")?;
        KeySet::new(keys, self.threshold.unwrap_or(1)).or_refuse("name each key once, and no more signatures than keys")
    }

    fn after(&self, before: &KeySet) -> Result<KeySet> {
        let threshold = self.threshold.unwrap_or(before.threshold().get());
        if self.keys.is_empty() {
            return KeySet::new(before.keys().to_vec(), threshold).or_refuse("ask for no more signatures than keys");
        }
        Self { keys: self.keys.clone(), threshold: Some(threshold) }.first()
    }
}

/// Version 1 for an image.
pub fn first(image: ImageName, root: &RoleChange, release: &RoleChange) -> Result<TrustRoot> {
    let (root, release) = (root.first()?, release.first()?);
    Ok(TrustRoot { schema: SchemaVersion, image, version: NonZeroU32::MIN, root, release })
}

/// The trust root in `path`, which must be signed by all who must, and the version that follows it.
pub fn next(path: &Path, root: &RoleChange, release: &RoleChange) -> Result<(TrustRoot, TrustRoot)> {
    let before = read_signed(path)?;
    let version = before.version.checked_add(1).context("there is no version after this one")?;
    let (root, release) = (root.after(&before.root)?, release.after(&before.release)?);
    if root == before.root && release == before.release {
        return Err(Failure::refused("nothing changes from this trust root to the next")
            .hint("name other keys with `--root-key` or `--release-key`, or another threshold")
            .into());
    }
    let next = TrustRoot { version, root, release, ..before.clone() };
    Ok((before, next))
}

/// Writes one that is new; one that is there is never overwritten.
pub fn write_new(root: &TrustRoot, path: &Path) -> Result<()> {
    for there in [path.to_owned(), signature_path(path)] {
        if there.exists() {
            return Err(Failure::refused(format!("`{}` is there already", there.display()))
                .hint("name another file with `--output FILE`, or move that one away")
                .into());
        }
    }
    tools::write_atomic(path, root.to_json().as_bytes(), 0o644).remedied()
}

/// A trust root, the one before it, and who has signed.
#[derive(Debug)]
pub struct Ceremony {
    /// The trust root.
    pub root: TrustRoot,
    /// The one before; absent for version 1.
    pub before: Option<TrustRoot>,
    /// Its own root keys.
    pub own: Standing,
    /// The root keys of the one before.
    pub of_before: Option<Standing>,
    /// Whether a host accepts it, or why not.
    pub verdict: Result<(), TrustRootError>,
    path: PathBuf,
    document: Vec<u8>,
    envelope: Option<Envelope>,
}

impl Ceremony {
    /// Reads a trust root with its signatures so far. `previous` is the file of the one before, by default beside it.
    pub fn read(path: &Path, previous: Option<&Path>) -> Result<Self> {
        let document = signed_file::read(path, Limit::Document(Context::TrustRoot)).or_refuse(NAME_ONE)?;
        let root = TrustRoot::parse_unverified(&document)
            .with_context(|| format!("cannot use `{}`", path.display()))
            .or_refuse(NAME_ONE)?;
        let before = read_before(path, previous, &root)?;
        let signatures = signature_path(path);
        let bytes = if signatures.exists() { Some(signed_file::read(&signatures, Limit::Signature)?) } else { None };
        let envelope = bytes.as_deref().map(Envelope::parse).transpose().or_refuse(sign_again(&signatures))?;
        Self::judge(path.to_owned(), document, root, before, envelope).or_refuse(sign_again(&signatures))
    }

    fn judge(
        path: PathBuf,
        document: Vec<u8>,
        root: TrustRoot,
        before: Option<TrustRoot>,
        envelope: Option<Envelope>,
    ) -> Result<Self> {
        let so_far = envelope.clone().unwrap_or(Envelope { context: Context::TrustRoot, entries: Vec::new() });
        let standing = |keys: &KeySet| keys.standing(&document, &so_far, Context::TrustRoot);
        let own = standing(&root.root)?;
        let of_before = before.as_ref().map(|before| standing(&before.root)).transpose()?;
        let signatures = so_far.to_json();
        let verdict = match &before {
            None => TrustRoot::sealed(&document, signatures.as_bytes()),
            Some(before) => before.successor(&document, signatures.as_bytes()),
        };
        let verdict = verdict.map(drop);
        Ok(Self { root, before, own, of_before, verdict, path, document, envelope })
    }

    /// Adds the signature of a key; the second value says whether it was not there before.
    pub fn sign(self, key: &SigningKey) -> Result<(Self, bool)> {
        let id = key.public().id();
        let holds = |root: &TrustRoot| root.root.holds(id);
        if !holds(&self.root) && !self.before.as_ref().is_some_and(holds) {
            return Err(Failure::refused(format!("{id} is no root key of this trust root or of the one before"))
                .hint("sign with a root key; `casemate trust-root check FILE` lists them")
                .into());
        }
        if self.envelope.iter().flat_map(|envelope| &envelope.entries).any(|entry| entry.key == id) {
            return Ok((self, false));
        }
        let envelope = countersign(&self.document, Context::TrustRoot, self.envelope, key)?;
        tools::write_atomic(&signature_path(&self.path), envelope.to_json().as_bytes(), 0o644).remedied()?;
        Ok((Self::judge(self.path, self.document, self.root, self.before, Some(envelope))?, true))
    }
}

fn sign_again(signatures: &Path) -> String {
    format!(
        "the document was changed after it was signed, or the signatures are damaged: remove `{}` and let all sign again",
        signatures.display()
    )
}

/// Reads a trust root that its own root keys signed.
fn read_signed(path: &Path) -> Result<TrustRoot> {
    let document = signed_file::read(path, Limit::Document(Context::TrustRoot)).or_refuse(NAME_ONE)?;
    let hint = "let all sign it first: `casemate trust-root check FILE` says who is missing";
    let envelope = signed_file::read(&signature_path(path), Limit::Signature).or_refuse(hint)?;
    let root = TrustRoot::sealed(&document, &envelope).with_context(|| format!("cannot follow `{}`", path.display()));
    Ok(root.or_refuse(hint)?.into_inner())
}

/// The trust root before `root`, as far as a version can follow another at all.
fn read_before(path: &Path, previous: Option<&Path>, root: &TrustRoot) -> Result<Option<TrustRoot>> {
    let Some(wanted) = NonZeroU32::new(root.version.get() - 1) else {
        return Ok(None);
    };
    let beside = path.with_file_name(file_name(wanted));
    let path = previous.unwrap_or(&beside);
    let before = read_signed(path)
        .with_context(|| format!("version {} needs the trust root before it", root.version))
        .or_refuse("have that one and its `.sig` beside it, or name it with `--previous FILE`")?;
    if (&before.image, before.version) == (&root.image, wanted) {
        return Ok(Some(before));
    }
    let message = format!("`{}` is version {} for `{}`", path.display(), before.version, before.image);
    Err(Failure::refused(message)
        .hint(format!("name version {wanted} for `{}` with `--previous FILE`", root.image))
        .into())
}

/// The name of the file with this version.
pub fn file_name(version: NonZeroU32) -> String {
    format!("trust-root-{version}.json")
}

/// A key as people know it: the start of its id and its comment.
pub fn key_text(key: &PublicKey) -> String {
    let id = key.id().to_string();
    let short = id.get(..16).unwrap_or_default();
    format!("{short} {}", key.comment()).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use fs_err as fs;

    use super::*;
    use crate::test_artifacts::key;

    /// A directory with the public halves of keys 1 to 9.
    struct Bench(tempfile::TempDir);

    impl Bench {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            for seed in 1..10 {
                fs::write(dir.path().join(format!("{seed}.pub")), format!("{}\n", key(seed).public())).unwrap();
            }
            Self(dir)
        }

        fn file(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn role(&self, seeds: &[u8], threshold: Option<usize>) -> RoleChange {
            let keys = seeds.iter().map(|seed| self.file(&format!("{seed}.pub"))).collect();
            RoleChange { keys, threshold }
        }

        /// Version 1: two of the keys 1 to 3, release key 9. Signed by `seeds`.
        fn first(&self, seeds: &[u8]) -> PathBuf {
            let root = first("tiny".parse().unwrap(), &self.role(&[1, 2, 3], Some(2)), &self.role(&[9], None)).unwrap();
            let path = self.file("trust-root-1.json");
            write_new(&root, &path).unwrap();
            sign(&path, seeds);
            path
        }
    }

    fn sign(path: &Path, seeds: &[u8]) {
        for &seed in seeds {
            Ceremony::read(path, None).unwrap().sign(&key(seed)).unwrap();
        }
    }

    fn refusal<T: std::fmt::Debug>(result: Result<T>) -> String {
        let error = result.unwrap_err();
        assert_eq!(tools::failure::exit_kind(&error).code(), 1, "{error:#}");
        tools::failure::render(&error)
    }

    #[test]
    fn the_first_is_complete_when_as_many_as_must_have_signed_in_any_order() {
        let (one, other) = (Bench::new(), Bench::new());
        let path = one.first(&[]);
        let open = Ceremony::read(&path, None).unwrap();
        assert_eq!((open.own.missing(), open.verdict.is_err()), (2, true));
        sign(&path, &[3]);
        let half = Ceremony::read(&path, None).unwrap();
        assert_eq!((half.own.missing(), half.own.signed.len(), half.verdict.is_err()), (1, 1, true));
        sign(&path, &[1]);
        assert!(Ceremony::read(&path, None).unwrap().verdict.is_ok());
        let same = other.first(&[1, 3]);
        assert_eq!(fs::read(signature_path(&path)).unwrap(), fs::read(signature_path(&same)).unwrap());
    }

    #[test]
    fn nobody_signs_twice_and_no_stranger_signs() {
        let bench = Bench::new();
        let path = bench.first(&[1]);
        let before = fs::read(signature_path(&path)).unwrap();
        let (ceremony, added) = Ceremony::read(&path, None).unwrap().sign(&key(1)).unwrap();
        assert_eq!((added, ceremony.own.missing()), (false, 1));
        for stranger in [4, 9] {
            let found = refusal(Ceremony::read(&path, None).unwrap().sign(&key(stranger)));
            assert!(found.contains("is no root key"), "{found}");
        }
        assert_eq!(fs::read(signature_path(&path)).unwrap(), before);
    }

    #[test]
    fn a_document_that_changed_after_a_signature_takes_no_second_one() {
        let bench = Bench::new();
        let path = bench.first(&[1]);
        let changed = fs::read_to_string(&path).unwrap().replace("\"threshold\": 2", "\"threshold\": 1");
        fs::write(&path, changed).unwrap();
        let found = refusal(Ceremony::read(&path, None));
        assert!(found.contains("does not fit") && found.contains("let all sign again"), "{found}");
        fs::write(signature_path(&path), "{}").unwrap();
        assert!(refusal(Ceremony::read(&path, None)).contains("let all sign again"));
    }

    #[test]
    fn the_next_one_is_signed_by_those_of_both() {
        let bench = Bench::new();
        let path = bench.first(&[1, 2]);
        let (_, root) = next(&path, &bench.role(&[3, 4], None), &bench.role(&[8], None)).unwrap();
        assert_eq!((root.version.get(), root.root.threshold().get()), (2, 2));
        let second = bench.file("trust-root-2.json");
        write_new(&root, &second).unwrap();
        sign(&second, &[4, 3]);
        let half = Ceremony::read(&second, None).unwrap();
        assert_eq!((half.own.missing(), half.of_before.unwrap().missing(), half.verdict.is_ok()), (0, 1, false));
        sign(&second, &[1]);
        assert!(Ceremony::read(&second, None).unwrap().verdict.is_ok());
        // And so on: what is not named stays.
        let (_, third) = next(&second, &RoleChange::default(), &bench.role(&[7], None)).unwrap();
        assert_eq!((third.version.get(), &third.root), (3, &root.root));
    }

    #[test]
    fn the_next_one_needs_the_one_before_and_all_its_signatures() {
        let bench = Bench::new();
        let path = bench.first(&[1]);
        let change = bench.role(&[8], None);
        assert!(refusal(next(&path, &RoleChange::default(), &change)).contains("let all sign it first"));
        sign(&path, &[2]);
        let (_, root) = next(&path, &RoleChange::default(), &change).unwrap();
        let second = bench.file("trust-root-2.json");
        write_new(&root, &second).unwrap();
        fs::rename(&path, bench.file("old.json")).unwrap();
        assert!(refusal(Ceremony::read(&second, None)).contains("--previous FILE"));
        fs::rename(signature_path(&path), bench.file("old.json.sig")).unwrap();
        assert!(Ceremony::read(&second, Some(&bench.file("old.json"))).is_ok());
        // One of another image is none that it follows.
        let other = first("other".parse().unwrap(), &bench.role(&[1], None), &change).unwrap();
        write_new(&other, &path).unwrap();
        sign(&path, &[1]);
        assert!(refusal(Ceremony::read(&second, None)).contains("is version 1 for `other`"));
    }

    #[test]
    fn what_changes_nothing_or_cannot_be_reached_is_refused() {
        let bench = Bench::new();
        let path = bench.first(&[1, 2]);
        let same = RoleChange::default();
        assert!(refusal(next(&path, &same, &same)).contains("nothing changes"));
        assert!(refusal(next(&path, &bench.role(&[1], None), &same)).contains("2 of 1 keys must sign"));
        assert!(refusal(next(&path, &bench.role(&[1, 1], None), &same)).contains("stands there twice"));
        assert!(refusal(first("tiny".parse().unwrap(), &same, &same)).contains("1 of 0 keys"));
        let (_, root) = next(&path, &bench.role(&[1], Some(1)), &same).unwrap();
        assert!(refusal(write_new(&root, &path)).contains("is there already"));
    }
}
