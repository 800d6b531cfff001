//! The trust roots of a repository: version 1 and each that follows, so that a host that was away for long finds its
//! way.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use bundle::{Context, Limit, PublicKey, TrustRoot};
use fs_err as fs;
use tools::{Failure, ResultExt as _, failure::HintExt as _};

use super::{PublishRequest, Repository};
use crate::host_document::signature_path;
use crate::sealed_trust_root::SealedTrustRoot;
use crate::trust_root::file_name;
use crate::verify_output::signed_file;

const NAME_ONE: &str = "name a trust root, e.g. `trust-root-1.json`";
const CHECK: &str =
    "let all sign it first, and add all versions in their order: `casemate trust-root check FILE` says who is missing";

impl Repository {
    pub(super) fn has_trust_root(&self) -> bool {
        self.trust_root_path(NonZeroU32::MIN).is_file()
    }

    /// Where the trust root with this version is.
    pub(super) fn trust_root_path(&self, version: NonZeroU32) -> PathBuf {
        self.dir.join(file_name(version))
    }

    /// All trust roots from version 1 on, each verified by the one before. Empty where there is none.
    pub(super) fn trust_roots(&self) -> Result<Vec<TrustRoot>> {
        let mut roots: Vec<TrustRoot> = Vec::new();
        let mut version = NonZeroU32::MIN;
        while self.trust_root_path(version).is_file() {
            let path = self.trust_root_path(version);
            let (document, envelope) = read(&path)?;
            let root = match roots.last() {
                None => TrustRoot::sealed(&document, &envelope),
                Some(before) => before.successor(&document, &envelope),
            };
            let root = root
                .with_context(|| format!("`{}` is not good", path.display()))
                .or_refuse("lay the trust root and its `.sig` there again, as they were signed")?
                .into_inner();
            if root.image != self.image {
                return Err(other_image(&path, &root));
            }
            roots.push(root);
            version = version.checked_add(1).context("there are too many trust roots")?;
        }
        Ok(roots)
    }

    /// The trust roots, of which there must be one.
    pub(super) fn some_trust_roots(&self) -> Result<(Vec<TrustRoot>, TrustRoot)> {
        let roots = self.trust_roots()?;
        match roots.last().cloned() {
            Some(last) => Ok((roots, last)),
            None => Err(Failure::refused(format!("`{}` holds no trust root", self.dir.display()))
                .hint("begin with `casemate repo trust trust-root-1.json --repo DIR`")
                .into()),
        }
    }

    /// Whether a trust root is the next one; one that is there already is not, and any other is refused.
    fn accept(&self, claimed: &TrustRoot, document: &[u8], envelope: &[u8]) -> Result<bool> {
        let roots = self.trust_roots()?;
        if roots.iter().any(|root| root.version == claimed.version) {
            let same = fs::read(self.trust_root_path(claimed.version))? == document;
            return if same { Ok(false) } else { Err(another(claimed)) };
        }
        let verified = match roots.last() {
            None if claimed.version == NonZeroU32::MIN => TrustRoot::sealed(document, envelope),
            None => return Err(not_first(claimed)),
            Some(last) => last.successor(document, envelope),
        };
        verified.context("this trust root cannot be added").or_refuse(CHECK)?;
        Ok(true)
    }

    /// The signatures first: who finds the document finds them too.
    fn add_trust_root(&self, version: NonZeroU32, document: &[u8], envelope: &[u8]) -> Result<()> {
        let path = self.trust_root_path(version);
        tools::write_atomic(&signature_path(&path), envelope, 0o644).remedied()?;
        tools::write_atomic(&path, document, 0o644).remedied()
    }
}

/// Adds a trust root to a repository, or begins one with version 1. The second value says whether it was not there
/// before.
pub fn trust(path: &Path, repo: &Path) -> Result<(TrustRoot, bool)> {
    let document = signed_file::read(path, Limit::Document(Context::TrustRoot)).or_refuse(NAME_ONE)?;
    let envelope = signed_file::read(&signature_path(path), Limit::Signature).or_refuse(CHECK)?;
    let claimed = TrustRoot::parse_unverified(&document).or_refuse(NAME_ONE)?;
    let repository = Repository::new(repo, claimed.image.clone());
    // Before anything is made, and once more when nobody else writes.
    repository.accept(&claimed, &document, &envelope)?;
    let _lock = repository.lock()?;
    let added = repository.accept(&claimed, &document, &envelope)?;
    if added {
        repository.add_trust_root(claimed.version, &document, &envelope)?;
    }
    Ok((claimed, added))
}

/// A repository for trying out begins with the trust root that a build with development keys seals.
pub(super) fn begin_development(request: &PublishRequest<'_>, public: PublicKey) -> Result<()> {
    let image = super::publish::image_of(request.output)?;
    let repository = Repository::new(request.repo, image.clone());
    if repository.has_trust_root() {
        return Ok(());
    }
    let [key] = request.signers.keys.as_slice() else {
        return Ok(());
    };
    let root = SealedTrustRoot::of_release_key(&image, public, key)?;
    let _lock = repository.lock()?;
    repository.add_trust_root(NonZeroU32::MIN, &root.document, &root.envelope)
}

fn read(path: &Path) -> Result<(Vec<u8>, Vec<u8>)> {
    let document = signed_file::read(path, Limit::Document(Context::TrustRoot))?;
    Ok((document, signed_file::read(&signature_path(path), Limit::Signature)?))
}

fn other_image(path: &Path, root: &TrustRoot) -> anyhow::Error {
    Failure::refused(format!("`{}` is the trust root of the image `{}`", path.display(), root.image))
        .hint("each image has a folder of its own name: move it there")
        .into()
}

fn another(root: &TrustRoot) -> anyhow::Error {
    let message = format!("the repository holds another trust root {} of `{}`", root.version, root.image);
    Failure::refused(message).hint("hosts know that one: make the next version, `casemate trust-root next`").into()
}

fn not_first(root: &TrustRoot) -> anyhow::Error {
    let message = format!("this is version {} for `{}`, and the repository has no version 1", root.version, root.image);
    Failure::refused(message).hint("add all versions in their order, from `trust-root-1.json` on").into()
}
