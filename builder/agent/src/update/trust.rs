//! Whose word about updates counts: the trust root in the image, and those that followed it.
//!
//! What is sealed in the image is vouched for by verity. Later ones lie on state, which nobody vouches for: each is
//! verified with the one before it.

use std::fs;
use std::io;
use std::num::NonZeroU32;
use std::path::Path;
use std::path::PathBuf;

use bundle::Context;
use bundle::Limit;
use bundle::TrustRoot;
use bundle::Verified;
use bundle::read_limited;

use super::UpdateError;
use crate::files::Access;
use crate::host::Host;
use crate::paths::Paths;

/// The trust root that counts now: the last of the chain.
pub(super) fn current(paths: &Paths) -> Result<Verified<TrustRoot>, UpdateError> {
    let path = paths.trust_root();
    let (document, signatures) = read_both(&path)?;
    let mut root = TrustRoot::sealed(&document, &signatures).map_err(|source| refused(&path, source))?;
    loop {
        let path = kept(paths, root.version.get().saturating_add(1));
        if !path.exists() {
            return Ok(root);
        }
        let (document, signatures) = read_both(&path)?;
        root = root.successor(&document, &signatures).map_err(|source| refused(&path, source))?;
    }
}

/// Keeps a trust root that follows the current one: its signatures first, for the document is what is looked for.
pub(super) fn keep(host: Host<'_>, version: NonZeroU32, document: &[u8], signatures: &[u8]) -> Result<(), UpdateError> {
    host.files.ensure_directory(&host.paths.update(), Access::SECRET_DIRECTORY)?;
    let path = kept(host.paths, version.get());
    host.files.write(&signatures_of(&path), signatures, Access::SECRET)?;
    Ok(host.files.write(&path, document, Access::SECRET)?)
}

/// Where a later trust root is kept; its signatures are in `.sig` beside it.
pub(super) fn kept(paths: &Paths, version: u32) -> PathBuf {
    paths.update().join(format!("trust-root-{version}.json"))
}

fn read_both(path: &Path) -> Result<(Vec<u8>, Vec<u8>), UpdateError> {
    Ok((read(path, Limit::Document(Context::TrustRoot))?, read(&signatures_of(path), Limit::Signature)?))
}

fn signatures_of(path: &Path) -> PathBuf {
    let mut signatures = path.as_os_str().to_owned();
    signatures.push(".sig");
    signatures.into()
}

fn read(path: &Path, limit: Limit) -> Result<Vec<u8>, UpdateError> {
    let failed = |source: io::Error| UpdateError::Read { path: path.to_owned(), source };
    let file = fs::File::open(path).map_err(failed)?;
    read_limited(file, limit).map_err(|error| failed(io::Error::other(error)))
}

fn refused(path: &Path, source: bundle::TrustRootError) -> UpdateError {
    UpdateError::TrustRoot { path: path.to_owned(), source }
}
