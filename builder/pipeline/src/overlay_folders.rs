//! Where overlays lie: beside the image that uses them, or with all others in the repository.

use std::path::{Path, PathBuf};

use hostconf::OverlayName;

/// The two places of overlays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverlayFolders {
    own: PathBuf,
    shared: PathBuf,
}

impl OverlayFolders {
    /// `overlays` of an image's folder and of its repository.
    pub fn new(image_dir: &Path, repo: &Path) -> Self {
        Self { own: image_dir.join("overlays"), shared: repo.join("overlays") }
    }

    /// The folder of this overlay; the image's own comes first.
    pub fn of(&self, name: &OverlayName) -> PathBuf {
        let own = self.own.join(name.as_str());
        if own.is_dir() { own } else { self.shared.join(name.as_str()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlay_beside_the_image_comes_before_one_of_the_repository() {
        let dir = tempfile::tempdir().unwrap();
        let (image, repo) = (dir.path().join("images/web"), dir.path());
        for folder in ["images/web/overlays/ledger", "overlays/ledger", "overlays/base"] {
            std::fs::create_dir_all(repo.join(folder)).unwrap();
        }
        let folders = OverlayFolders::new(&image, repo);
        assert_eq!(folders.of(&"ledger".parse().unwrap()), image.join("overlays/ledger"));
        assert_eq!(folders.of(&"base".parse().unwrap()), repo.join("overlays/base"));
    }
}
