//! Assets: files that belong to no Debian package, pinned by digest in `image.toml`, fetched into the store and laid into the root.
//!
//! An asset is foreign and may be hostile even though its digest is known: somebody chose it, nobody unpacked it by hand. So it can
//! only add plain files, directories and links among its own files below one declared directory, and replaces nothing.

mod laying;
mod tarball;
#[cfg(test)]
mod tests;
mod zipfile;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use debian::deb;
use debian::fetch_address::{AddressError, Wanted, fetch_address, keep_file};
use debian::store::Store;
use download::Http;
use formats::digest::Sha256Digest;
use fs_err as fs;
use hostconf::{Asset, AssetSource, Unpack};
use tools::failure::HintExt as _;

use self::laying::Laying;
use crate::root_tree::RootTree;

/// An asset whose file is in the store.
#[derive(Debug, Clone)]
pub struct StoredAsset {
    /// What the definition says of it.
    pub asset: Asset,
    /// Its digest.
    pub sha256: Sha256Digest,
    /// Its file.
    pub path: PathBuf,
}

/// Paths of the root by the asset that they belong to, as `asset:NAME`.
pub type Owners = BTreeMap<String, String>;

/// Brings every asset into the store; without a client only files of this machine and what is there already.
pub fn fetch(assets: &[Asset], image_dir: &Path, store: &Store, http: Option<&Http>) -> Result<Vec<StoredAsset>> {
    assets.iter().map(|asset| fetch_one(asset, image_dir, store, http)).collect()
}

fn fetch_one(asset: &Asset, image_dir: &Path, store: &Store, http: Option<&Http>) -> Result<StoredAsset> {
    let (sha256, label) = (asset.sha256.parse()?, format!("asset `{}`", asset.name));
    let (place, limit) = (asset.source.to_string(), asset.size.bytes());
    let wanted = Wanted { label: &label, place: &place, sha256, limit };
    let stored = match &asset.source {
        AssetSource::Url(_) => fetch_address(store, wanted, http),
        AssetSource::File(file) => keep_file(store, wanted, &image_dir.join(file)),
    };
    let path = stored.or_else(|error| {
        let hint = hint(&error);
        Err(error).or_refuse(hint)
    })?;
    Ok(StoredAsset { asset: asset.clone(), sha256, path })
}

/// What to do about it.
fn hint(error: &AddressError) -> &'static str {
    match error {
        AddressError::Digest { .. } => {
            "look at the file; if it is the wanted one, write the found digest into `sha256`"
        }
        AddressError::TooLong { .. } => "look at the file; if it is the wanted one, raise `size`",
        AddressError::Offline { .. } => "run once without `--offline`",
        _ => "look at `file` or `url` of the asset in image.toml, and at the network",
    }
}

/// Lays all assets into the tree, in order, and says which paths are theirs.
pub fn lay(assets: &[StoredAsset], tree: &RootTree) -> Result<Owners> {
    let mut owners = Owners::new();
    for stored in assets {
        let name = &stored.asset.name;
        let paths = lay_one(stored, tree).with_context(|| format!("cannot unpack asset `{name}`"));
        let paths = paths.or_refuse("mend its row in image.toml, or make an archive without this and pin that")?;
        owners.extend(paths.into_iter().map(|path| (path, format!("asset:{name}"))));
    }
    Ok(owners)
}

fn lay_one(stored: &StoredAsset, tree: &RootTree) -> Result<Vec<String>> {
    let mut file = fs::File::open(&stored.path)?;
    let size = file.metadata()?.len();
    // The store is a place on disk like any other: the bytes count that are read now.
    deb::verify(stored.asset.name.as_str(), &mut file, stored.sha256, size)?;
    let mut laying = Laying::new(tree, &stored.asset, size)?;
    match stored.asset.unpack {
        Unpack::None => laying.whole(&mut file, size)?,
        Unpack::Tar => tarball::unpack(file, size, &mut laying)?,
        Unpack::Zip => zipfile::unpack(file, size, &mut laying)?,
    }
    laying.finish()
}
