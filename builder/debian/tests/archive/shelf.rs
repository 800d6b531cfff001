//! Small package indexes, written in one line per package.

use debian::{
    package::PackageName,
    packages::{PackageIndex, Source},
};
use formats::digest::Sha256Digest;

/// The text of a Packages file: each item is `NAME VERSION; Field: value; Field: value`.
pub(crate) fn packages(items: &[&str]) -> String {
    let mut text = String::new();
    for item in items {
        let mut parts = item.split("; ");
        let (name, version) = parts.next().unwrap().split_once(' ').unwrap();
        let digest = Sha256Digest::of(format!("{name} {version}").as_bytes());
        let size = name.len() + 1 + version.len();
        text.extend([
            format!("Package: {name}\nVersion: {version}\nArchitecture: amd64\n"),
            format!("Filename: pool/{name}_{version}.deb\nSize: {size}\nSHA256: {digest}\n"),
        ]);
        for field in parts {
            text.extend([field, "\n"]);
        }
        text.push('\n');
    }
    text
}

pub(crate) fn index(items: &[&str]) -> PackageIndex {
    let text = packages(items);
    let source = Source { origin: "trixie/main".parse().unwrap(), text: &text };
    PackageIndex::parse(&[source], &"amd64".parse().unwrap()).unwrap()
}

pub(crate) fn names(text: &str) -> Vec<PackageName> {
    text.split_whitespace().map(|name| name.parse().unwrap()).collect()
}
