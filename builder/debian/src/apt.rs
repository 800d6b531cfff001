//! What it takes to ask apt the question that the resolver answers, so that a test can compare the two.
//!
//! Gives the files of a private apt root that sees exactly the given indexes (served from files, no network, nothing installed),
//! and the arguments for apt-get. Pure: the caller writes the files and runs apt, in a tools tree or not.

use std::collections::{BTreeMap, BTreeSet};

use formats::digest::Sha256Digest;

use crate::{package::PackageName, suite::Origin};

/// The files of a private apt root by their paths below its directory.
///
/// `directory` is where apt will see the root. Each of `indexes` is the text of one Packages file.
pub fn render_root(directory: &str, architecture: &str, indexes: &[(Origin, String)]) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut sources = String::new();
    for (number, (origin, text)) in indexes.iter().enumerate() {
        let packages = format!("{}/binary-{architecture}/Packages", origin.component);
        let release = format!(
            "Origin: comparison\nSuite: {0}\nCodename: {0}\nDate: Thu, 01 Jan 1970 00:00:00 UTC\nArchitectures: {architecture}\n\
             Components: {1}\nSHA256:\n {2} {3} {packages}\n",
            origin.suite,
            origin.component,
            Sha256Digest::of(text.as_bytes()),
            text.len(),
        );
        let base = format!("archive{number}");
        files.insert(format!("{base}/dists/{}/Release", origin.suite), release);
        files.insert(format!("{base}/dists/{}/{packages}", origin.suite), text.clone());
        let line = format!("deb [trusted=yes] file:{directory}/{base} {} {}\n", origin.suite, origin.component);
        sources.push_str(&line);
    }
    files.insert("etc/apt/sources.list".into(), sources);
    files.insert("var/lib/dpkg/status".into(), String::new());
    for empty in [
        "var/lib/apt/lists/partial",
        "var/cache/apt/archives/partial",
        "etc/apt/sources.list.d",
        "etc/apt/preferences.d",
    ] {
        files.insert(format!("{empty}/.keep"), String::new());
    }
    files.insert("apt.conf".into(), render_configuration(directory, architecture));
    files
}

fn render_configuration(directory: &str, architecture: &str) -> String {
    format!(
        "Dir \"{directory}\";\nDir::State::status \"{directory}/var/lib/dpkg/status\";\nAPT::Architecture \"{architecture}\";\n\
         APT::Architectures {{ \"{architecture}\"; }};\nAcquire::Languages \"none\";\nDebug::NoLocking \"true\";\n\
         APT::Sandbox::User \"root\";\nAPT::Install-Recommends \"false\";\n"
    )
}

/// The arguments for apt-get that read the indexes; `APT_CONFIG` must name the root's `apt.conf`.
pub fn update_arguments() -> Vec<String> {
    ["-q", "update"].map(String::from).to_vec()
}

/// The arguments for apt-get that ask for a set; `base` names what the resolver takes as its base, in its order.
pub fn install_arguments(base: &[PackageName], wanted: &[PackageName]) -> Vec<String> {
    let fixed = ["-q", "-s", "install"].map(String::from).into_iter();
    let mut seen = BTreeSet::new();
    let names = base.iter().chain(wanted).filter(|name| seen.insert(*name));
    fixed.chain(names.map(ToString::to_string)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_names_every_index_with_its_digest() {
        let files = render_root("/r", "amd64", &[("trixie/main".parse().unwrap(), "Package: aa\n".into())]);
        let digest = Sha256Digest::of(b"Package: aa\n").to_string();
        assert!(files["archive0/dists/trixie/Release"].contains(&format!(" {digest} 12 main/binary-amd64/Packages\n")));
        assert_eq!(files["etc/apt/sources.list"], "deb [trusted=yes] file:/r/archive0 trixie main\n");
    }

    #[test]
    fn a_wanted_package_of_the_base_is_asked_for_once() {
        let names = |text: &str| text.split(' ').map(|name| name.parse().unwrap()).collect::<Vec<PackageName>>();
        assert_eq!(install_arguments(&names("bb aa"), &names("cc bb"))[3..], ["bb", "aa", "cc"]);
    }
}
