//! No text makes a reader panic, and no accepted text gives a plan that leaves its directories.

use hostconf::{Assignments, DomainName, HostConfig, ImageDef, Network, OverlayDef, SealedImage, SshPublicKey};
use proptest::prelude::*;

const HOST: &str = include_str!("../../../images/webhost/host.example.toml");
const OVERLAY: &str = include_str!("../../../overlays/wordpress/overlay.toml");

fn read_all(text: &str) {
    drop(HostConfig::parse("x", text));
    drop(OverlayDef::parse("x", text));
    drop(ImageDef::parse("x", text));
    drop(SealedImage::parse("x", text));
    drop(Assignments::parse("x", text));
    drop(text.parse::<SshPublicKey>());
    drop(text.parse::<Network>());
    drop(text.parse::<DomainName>());
}

/// Puts `piece` into `text` at a character boundary near `at`, in place of up to `remove` bytes.
fn edited(text: &str, at: usize, remove: usize, piece: &str) -> String {
    let boundary =
        |wanted: usize| (0..=wanted.min(text.len())).rev().find(|&index| text.is_char_boundary(index)).unwrap_or(0);
    let (start, end) = (boundary(at), boundary(at.saturating_add(remove)));
    format!("{}{piece}{}", &text[..start], &text[end.max(start)..])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_text(text in "\\PC{0,200}") {
        read_all(&text);
    }

    #[test]
    fn damaged_documents(at in 0_usize..6000, remove in 0_usize..40, piece in "[\\[\\]{}=\"a-z0-9\\n.{}%-]{0,8}") {
        read_all(&edited(HOST, at, remove, &piece));
        read_all(&edited(OVERLAY, at, remove, &piece));
    }

    #[test]
    fn ssh_blobs(kind in "(ssh-rsa|ssh-ed25519|ecdsa-sha2-nistp256)", blob in proptest::collection::vec(any::<u8>(), 0..100)) {
        use base64::Engine as _;
        drop(format!("{kind} {}", base64::engine::general_purpose::STANDARD.encode(blob)).parse::<SshPublicKey>());
    }
}

#[test]
fn deeply_nested_documents_are_refused() {
    read_all(&format!("a = {}", "[".repeat(100_000)));
    read_all(&format!("{} = 1", vec!["a"; 100_000].join(".")));
    read_all(&"[a]\n".repeat(1000));
}
