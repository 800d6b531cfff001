//! A signed file and its signature, read with the limits of `docs/formats/signature.md` before anything of them is believed.

use std::path::Path;

use anyhow::{Context as _, Result};
use bundle::{Context, Limit, TrustedKeys, Verified, read_limited};
use fs_err as fs;

use super::THRESHOLD;

/// Reads a file up to the limit; the error names it.
pub(crate) fn read(path: &Path, limit: Limit) -> Result<Vec<u8>> {
    read_limited(fs::File::open(path)?, limit).with_context(|| format!("cannot read `{}`", path.display()))
}

/// Reads a document and its envelope and checks the signature.
pub(crate) fn verified(
    document: &Path,
    signature: &Path,
    context: Context,
    trusted: &TrustedKeys,
) -> Result<Verified<Vec<u8>>> {
    let envelope = read(signature, Limit::Signature)?;
    Ok(bundle::verify(&read(document, Limit::Document(context))?, &envelope, context, trusted, THRESHOLD)?)
}
