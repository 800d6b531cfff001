//! No text makes a reader panic, and no accepted text gives a plan that leaves its directories.

mod overlays;

use std::sync::LazyLock;

use hostconf::{
    Assignments, DomainName, HostConfig, ImageDef, Network, OverlayDef, OverlaySet, RenderPlan, SealedImage,
    SshPublicKey, plan,
};
use proptest::prelude::*;

const HOST: &str = include_str!("../../../images/webhost/host.example.toml");
const OVERLAY: &str = include_str!("../../../overlays/wordpress/overlay.toml");
const IMAGE: &str = include_str!("../../../images/webhost/image.toml");
const ASSET: &str = "[[asset]]\nname = \"rules\"\nurl = \"https://example.org/rules.tar.gz\"\nsize = \"2M\"\nunpack = \"tar\"\n\
    sha256 = \"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"\ninto = \"/usr/share/rules\"\nstrip = 1\n\
    licence = \"Apache-2.0\"\n";

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

static OVERLAYS: LazyLock<OverlaySet> =
    LazyLock::new(|| OverlaySet::new(overlays::all()).unwrap_or_else(|conflicts| panic!("{conflicts}")));

/// What a host would make of a document, if it is accepted at all.
fn planned(text: &str) -> Option<RenderPlan> {
    let host = HostConfig::parse("x", text).ok()?;
    let image = "schema = 1\nname = \"x\"\nversion = \"1\"\noverlays = []\nsites = 50\ndevelopment = true\n";
    let image = SealedImage::parse("x", image).ok()?;
    let assignments = Assignments::default().assign(host.sites().map(|site| &site.name), image.sites).ok()?;
    Some(plan(&host, &assignments, &OVERLAYS, &image).unwrap_or_else(|errors| panic!("{errors}\n{text}")))
}

/// Files stay in the rendered directory, all that lasts stays on state.
fn stays_in_its_directories(plan: &RenderPlan) {
    let files = plan.files.iter().map(|file| (&file.path, "/run/casemate/etc"));
    let state = plan.state.iter().map(|row| (&row.path, "/var"));
    let secrets = plan.secrets.iter().map(|row| (&row.path, "/var/lib/casemate"));
    for (path, home) in files.chain(state).chain(secrets) {
        assert!(path.is_below(home) && !path.as_str().contains(".."), "{path}");
    }
}

/// Puts `piece` into `text` at a character boundary near `at`, in place of up to `remove` bytes.
fn edited(text: &str, at: usize, remove: usize, piece: &str) -> String {
    let boundary =
        |wanted: usize| (0..=wanted.min(text.len())).rev().find(|&index| text.is_char_boundary(index)).unwrap_or(0);
    let (start, end) = (boundary(at), boundary(at.saturating_add(remove)));
    format!("{}{piece}{}", &text[..start], &text[end.max(start)..])
}

/// A text as escapes of TOML, so that any letter can be in it.
fn toml_text(text: &str) -> String {
    text.chars().fold(String::new(), |escaped, letter| escaped + &format!("\\U{:08x}", u32::from(letter)))
}

/// The number of lines of each rendered file.
fn lines(plan: &RenderPlan) -> Vec<(String, usize)> {
    plan.files.iter().map(|file| (file.path.to_string(), file.bytes.split(|byte| *byte == b'\n').count())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_text(text in "\\PC{0,200}") {
        read_all(&text);
    }

    #[test]
    fn damaged_documents(at in 0_usize..6000, remove in 0_usize..40, piece in "[\\[\\]{}=\"a-z0-9\\n.{}%-]{0,8}") {
        // Each document has its whole length to be hurt in.
        let host = edited(HOST, at % HOST.len(), remove, &piece);
        read_all(&host);
        planned(&host).iter().for_each(stays_in_its_directories);
        read_all(&edited(OVERLAY, at % OVERLAY.len(), remove, &piece));
        let image = format!("{IMAGE}\n{ASSET}");
        read_all(&edited(&image, at % image.len(), remove, &piece));
    }

    /// A value may be odd; it never becomes a line of its own in a file that a service reads.
    #[test]
    fn no_value_breaks_a_line_of_what_is_rendered(place in 0_usize..9, value in "[ -~\\x00-\\x1f\\u{80}-\\u{9f}\\u{2028}é'\"\\\\<>{}%$;#]{0,30}") {
        let old = ["web1.example.org", "ops@example.org", " ops\"]", "192.0.2.0/24", "www.example.org", "Example\"", "\"editor\"", "editor@example.org", "[\"example.org\"]"][place];
        let quoted = toml_text(&value);
        let new = match place {
            2 => format!(" {quoted}\"]"),
            5 => format!("{quoted}\""),
            6 => format!("\"{quoted}\""),
            8 => format!("[\"{quoted}\"]"),
            _ => quoted,
        };
        if let (Some(found), Some(expected)) = (planned(&HOST.replacen(old, &new, 1)), planned(HOST)) {
            prop_assert_eq!(lines(&found), lines(&expected));
        }
    }

    #[test]
    fn ssh_blobs(kind in "(ssh-rsa|ssh-ed25519|ecdsa-sha2-nistp256)", blob in proptest::collection::vec(any::<u8>(), 0..100)) {
        use base64::Engine as _;
        drop(format!("{kind} {}", base64::engine::general_purpose::STANDARD.encode(blob)).parse::<SshPublicKey>());
    }
}

#[test]
fn the_example_is_planned() {
    let plan = planned(HOST).expect("the example is good");
    assert!(plan.files.len() > 5 && plan.state.len() > 3 && plan.secrets.len() > 3);
    stays_in_its_directories(&plan);
}

#[test]
fn deeply_nested_documents_are_refused() {
    read_all(&format!("a = {}", "[".repeat(100_000)));
    read_all(&format!("{} = 1", vec!["a"; 100_000].join(".")));
    read_all(&"[a]\n".repeat(1000));
}
