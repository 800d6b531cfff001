//! Debian's short names of licences and those of SPDX.

/// Names that are spelled otherwise, lower case.
const OTHERWISE: [(&str, &str); 8] = [
    ("expat", "MIT"),
    ("apache-2", "Apache-2.0"),
    ("artistic-2", "Artistic-2.0"),
    ("bsl-1", "BSL-1.0"),
    ("cc0", "CC0-1.0"),
    ("mpl-2", "MPL-2.0"),
    ("psf-2", "PSF-2.0"),
    ("zlib/libpng", "Zlib"),
];

/// Names that both know, whatever their case.
const SAME: [&str; 43] = [
    "0BSD",
    "AFL-2.1",
    "Apache-2.0",
    "Artistic-2.0",
    "Beerware",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSD-4-Clause",
    "BSD-4-Clause-UC",
    "BSL-1.0",
    "bzip2-1.0.6",
    "CC-BY-3.0",
    "CC-BY-4.0",
    "CC-BY-SA-3.0",
    "CC-BY-SA-4.0",
    "CC0-1.0",
    "CDDL-1.0",
    "curl",
    "FSFAP",
    "FSFUL",
    "FSFULLR",
    "FSFULLRWD",
    "HPND",
    "HPND-sell-variant",
    "ICU",
    "IJG",
    "ISC",
    "Latex2e",
    "MIT",
    "MIT-0",
    "MPL-1.1",
    "MPL-2.0",
    "NTP",
    "OFL-1.1",
    "OLDAP-2.8",
    "OpenSSL",
    "PHP-3.01",
    "PSF-2.0",
    "Python-2.0",
    "Unlicense",
    "WTFPL",
    "Zlib",
];

/// The families of the Free Software Foundation, and the versions that SPDX has of them.
const FAMILIES: [(&str, &str, &[&str]); 5] = [
    ("agpl", "AGPL", &["3.0"]),
    ("gfdl-niv", "GFDL", &["1.1", "1.2", "1.3"]),
    ("gfdl", "GFDL", &["1.1", "1.2", "1.3"]),
    ("gpl", "GPL", &["1.0", "2.0", "3.0"]),
    ("lgpl", "LGPL", &["2.0", "2.1", "3.0"]),
];

/// SPDX's name for one of Debian's.
pub(super) fn spdx_name(debian: &str) -> Option<String> {
    let name = debian.to_ascii_lowercase();
    let same = || SAME.iter().find(|same| same.eq_ignore_ascii_case(&name));
    let known = OTHERWISE.iter().find(|(debian, _)| *debian == name).map(|(_, spdx)| spdx).or_else(same);
    known.map(ToString::to_string).or_else(|| of_family(&name))
}

/// `gpl-2+`, `gpl-2.0-or-later`, `lgpl-2.1`: a version, and whether later ones may be chosen. Without a version there is no such name.
fn of_family(name: &str) -> Option<String> {
    let (prefix, family, versions) = FAMILIES.iter().find(|(prefix, ..)| {
        name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-')).is_some_and(|rest| !rest.starts_with("niv"))
    })?;
    let rest = &name[prefix.len() + 1..];
    let later = rest.strip_suffix('+').or_else(|| rest.strip_suffix("-or-later"));
    let version = later.unwrap_or_else(|| rest.strip_suffix("-only").unwrap_or(rest));
    let version = version.strip_prefix('v').unwrap_or(version);
    let whole = if version.contains('.') { version.to_owned() } else { format!("{version}.0") };
    let version = versions.iter().find(|known| **known == whole)?;
    let variant = if *prefix == "gfdl-niv" { "-no-invariants" } else { "" };
    Some(format!("{family}-{version}{variant}-{}", if later.is_some() { "or-later" } else { "only" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debians_names_become_those_of_spdx() {
        for (debian, spdx) in [
            ("Expat", "MIT"),
            ("BSD-3-clause", "BSD-3-Clause"),
            ("GPL-2", "GPL-2.0-only"),
            ("GPL-2+", "GPL-2.0-or-later"),
            ("GPL-2.0-only", "GPL-2.0-only"),
            ("GPL-3.0-or-later", "GPL-3.0-or-later"),
            ("LGPL-2.1+", "LGPL-2.1-or-later"),
            ("LGPL-2", "LGPL-2.0-only"),
            ("GFDL-1.3+", "GFDL-1.3-or-later"),
            ("GFDL-NIV-1.3+", "GFDL-1.3-no-invariants-or-later"),
            ("zlib/libpng", "Zlib"),
        ] {
            assert_eq!(spdx_name(debian).as_deref(), Some(spdx), "{debian}");
        }
    }

    #[test]
    fn a_name_that_says_less_than_spdx_wants_is_not_translated() {
        for name in [
            "GPL",
            "Artistic",
            "MPL-2.0+",
            "GPL-+",
            "GPL-4",
            "GPL-2.1",
            "LGPL",
            "BSD",
            "public-domain",
            "",
            "-",
            "GPL-2+ with x",
        ] {
            assert_eq!(spdx_name(name), None, "{name}");
        }
    }
}
