//! The index of all packages, read from the decompressed `Packages` files of the chosen suites.
//!
//! Some 70000 packages are read and a few hundred are used: the needed fields of all go into one text, and a [`Package`] is a
//! view of it whose relations are parsed on demand. The names, versions, sizes, digests and paths are checked at once.
//! This file never decompresses and never opens anything.

pub use crate::package_view::{MultiArch, Package, Priority, RelationField};
pub use crate::packages_error::{FieldProblem, PackagesError, PackagesProblem};
use crate::{
    control::{Field, Paragraph, Paragraphs},
    package::{Architecture, is_package_name},
    package_view::{Record, Span},
    placeholder::{self, Provided},
    pool_path::is_pool_path,
    stanza::{
        ARCHITECTURE, ESSENTIAL, FILENAME, INSTALLED_SIZE, KEPT, MULTI_ARCH, Mentions, PACKAGE, PRIORITY, PROTECTED,
        SHA256, SIZE, Slots, VERSION, WANTED, sort_fields,
    },
    suite::Origin,
    version,
};

/// One decompressed `Packages` file and what it is.
#[derive(Debug, Clone)]
pub struct Source<'a> {
    /// Where it comes from.
    pub origin: Origin,
    /// Its text.
    pub text: &'a str,
}

/// All packages of all sources.
#[derive(Debug, Clone, Default)]
pub struct PackageIndex {
    origins: Vec<Origin>,
    text: String,
    records: Vec<Record>,
    /// Record numbers by name, then falling version, then order of the sources.
    sorted: Vec<u32>,
}

impl PackageIndex {
    /// Reads all `sources`, keeping packages of `architecture` and `all`.
    pub fn parse(sources: &[Source<'_>], architecture: &Architecture) -> Result<Self, PackagesError> {
        let mut index = Self::default();
        let mut mentions = Mentions::default();
        for source in sources {
            index.origins.push(source.origin.clone());
            index.read(source, architecture, &mut mentions)?;
        }
        for record in &mut index.records {
            let name = record.spans.get(PACKAGE).and_then(|span| index.text.get(span.range())).unwrap_or_default();
            record.mention = mentions.order(name);
        }
        index.sort();
        Ok(index)
    }

    /// Adds the package that stands for what is provided without a package.
    pub(crate) fn add_placeholder(&mut self, provided: &[Provided]) -> Result<(), PackagesError> {
        let text = placeholder::index_paragraph(provided);
        let origin = Origin::placeholder();
        self.origins.push(origin.clone());
        self.read(&Source { origin, text: &text }, &Architecture::all(), &mut Mentions::default())?;
        self.sort();
        Ok(())
    }

    fn read<'a>(
        &mut self,
        source: &Source<'a>,
        architecture: &Architecture,
        mentions: &mut Mentions<'a>,
    ) -> Result<(), PackagesError> {
        let mut paragraphs = Paragraphs::new(source.text);
        let mut paragraph = Paragraph::default();
        let fail = |line, problem| PackagesError { origin: source.origin.to_string().into(), line, problem };
        while paragraphs.next_into(&mut paragraph).map_err(|error| fail(error.line, error.problem.into()))? {
            let slots = sort_fields(&paragraph);
            let wanted = |name: &str| name == architecture.as_str() || name == "all";
            if slots[ARCHITECTURE].is_some_and(|field| !wanted(field.value)) {
                continue;
            }
            mentions.add(&slots);
            let record = self.make_record(&paragraph, &slots).map_err(|(line, problem)| fail(line, problem))?;
            self.records.push(record);
        }
        Ok(())
    }

    fn make_record(&mut self, paragraph: &Paragraph<'_>, slots: &Slots<'_>) -> Result<Record, (u32, PackagesProblem)> {
        let require = |which: usize| slots[which].ok_or((paragraph.line(), PackagesProblem::Missing(WANTED[which])));
        let name = require(PACKAGE)?;
        let refuse = |field: Field<'_>, reason: String| {
            let (package, value) = (name.value.to_owned(), field.value.to_owned());
            let problem = FieldProblem { package, field: field.name.to_owned(), value, reason };
            (field.line, Box::new(problem).into())
        };
        let version = require(VERSION)?;
        require(ARCHITECTURE)?;
        let (file, size, sha256) = (require(FILENAME)?, require(SIZE)?, require(SHA256)?);
        if !is_package_name(name.value) {
            return Err(refuse(name, "not a package name".into()));
        }
        version::check(version.value).map_err(|reason| refuse(version, reason.into()))?;
        if !is_pool_path(file.value) {
            return Err(refuse(file, "not a path in the archive".into()));
        }
        let number = |field: Field<'_>| field.value.parse::<u64>().map_err(|_| refuse(field, "not a number".into()));
        let yes = |which: usize| slots[which].is_some_and(|field| field.value == "yes");
        Ok(Record {
            sha256: sha256.value.parse().map_err(|_| refuse(sha256, "not a SHA-256 digest".into()))?,
            size: number(size)?,
            installed_size: slots[INSTALLED_SIZE].map_or(Ok(0), number)?,
            line: paragraph.line(),
            mention: u32::MAX,
            origin: u16::try_from(self.origins.len().saturating_sub(1)).unwrap_or(u16::MAX),
            priority: slots[PRIORITY].map_or(Priority::Extra, |field| Priority::of(field.value)),
            multi_arch: slots[MULTI_ARCH].map_or(MultiArch::No, |field| MultiArch::of(field.value)),
            essential: yes(ESSENTIAL),
            protected: yes(PROTECTED),
            spans: self.keep(slots).ok_or((paragraph.line(), PackagesProblem::TooLarge))?,
        })
    }

    fn keep(&mut self, slots: &Slots<'_>) -> Option<[Span; KEPT]> {
        let mut spans = [Span::default(); KEPT];
        for (span, field) in spans.iter_mut().zip(slots) {
            let value = field.map_or("", |field| field.value);
            *span = Span { start: u32::try_from(self.text.len()).ok()?, length: u32::try_from(value.len()).ok()? };
            self.text.push_str(value);
        }
        u32::try_from(self.text.len()).ok().map(|_| spans)
    }

    fn sort(&mut self) {
        let mut sorted: Vec<u32> = (0..).take(self.records.len()).collect();
        let key =
            |number: &u32| self.package(*number).map_or(("", ""), |package| (package.name(), package.version_text()));
        sorted.sort_by(|left, right| {
            let ((left_name, left_version), (right_name, right_version)) = (key(left), key(right));
            left_name.cmp(right_name).then_with(|| version::compare(right_version, left_version)).then(left.cmp(right))
        });
        self.sorted = sorted;
    }

    pub(crate) fn slice(&self, span: Span) -> &str {
        self.text.get(span.range()).unwrap_or_default()
    }

    pub(crate) fn origin(&self, number: u16) -> Option<&Origin> {
        self.origins.get(usize::from(number))
    }

    /// The package with a number.
    pub fn package(&self, number: u32) -> Option<Package<'_>> {
        let record = self.records.get(usize::try_from(number).ok()?)?;
        Some(Package::new(self, record, number))
    }

    /// All packages, by name and falling version.
    pub fn packages(&self) -> impl Iterator<Item = Package<'_>> {
        self.sorted.iter().filter_map(|number| self.package(*number))
    }

    /// All versions of one package, the highest first.
    pub fn versions(&self, name: &str) -> impl Iterator<Item = Package<'_>> + use<'_> {
        let name_of = |number: &u32| self.package(*number).map_or("", |package| package.name());
        let start = self.sorted.partition_point(|number| name_of(number) < name);
        let end = self.sorted.partition_point(|number| name_of(number) <= name);
        self.sorted.get(start..end).unwrap_or_default().iter().filter_map(|number| self.package(*number))
    }

    /// The version that counts: the highest of all suites, of equal ones the one of the first suite.
    pub fn candidate(&self, name: &str) -> Option<Package<'_>> {
        self.versions(name).next()
    }

    /// The candidates of all names.
    pub fn candidates(&self) -> impl Iterator<Item = Package<'_>> {
        let mut last = "";
        self.packages().filter(move |package| std::mem::replace(&mut last, package.name()) != package.name())
    }

    /// How many packages there are, older versions included.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn stanza(name: &str, version: &str, extra: &str) -> String {
        format!(
            "Package: {name}\nVersion: {version}\nArchitecture: amd64\nFilename: pool/{name}.deb\nSize: 7\n\
             SHA256: {DIGEST}\n{extra}\n"
        )
    }

    fn parse(texts: &[&str]) -> Result<PackageIndex, PackagesError> {
        let names = ["trixie/main", "trixie-security/main"];
        let source = |(name, text): (&&str, &&'static str)| Source { origin: name.parse().unwrap(), text };
        let leaked: Vec<&'static str> = texts.iter().map(|text| &*text.to_string().leak()).collect();
        let sources: Vec<_> = names.iter().zip(&leaked).map(source).collect();
        PackageIndex::parse(&sources, &"amd64".parse().unwrap())
    }

    #[test]
    fn reads_the_fields_that_the_builder_needs() {
        let extra = "Priority: required\nEssential: yes\nMulti-Arch: same\nDepends: libc6 (>= 2),\n bb | cc\nSource: src (1)\nInstalled-Size: 9\n";
        let index = parse(&[&stanza("aa", "1.0-1", extra)]).unwrap();
        let package = index.candidate("aa").unwrap();
        assert_eq!((package.size(), package.installed_size(), package.source()), (7, 9, "src"));
        assert!(package.is_essential() && package.priority() == Priority::Required);
        assert_eq!(package.multi_arch(), MultiArch::Same);
        assert_eq!(package.relations(RelationField::Depends).unwrap().to_string(), "libc6 (>= 2), bb | cc");
        assert_eq!(package.file().unwrap().as_str(), "pool/aa.deb");
    }

    #[test]
    fn the_highest_version_of_all_suites_is_the_candidate() {
        let main = stanza("aa", "1.0-1", "") + &stanza("bb", "3", "");
        let index = parse(&[&main, &(stanza("aa", "1.0-1+deb13u1", "") + &stanza("bb", "3", ""))]).unwrap();
        let origin = |name| index.candidate(name).unwrap().origin().unwrap().to_string();
        assert_eq!(origin("aa"), "trixie-security/main");
        assert_eq!(origin("bb"), "trixie/main");
        assert_eq!(index.versions("aa").count(), 2);
        assert_eq!(index.candidates().count(), 2);
        assert!(index.candidate("a").is_none() && index.candidate("zz").is_none());
    }

    #[test]
    fn leaves_out_other_architectures() {
        let index = parse(&[&stanza("aa", "1", "").replace("amd64", "arm64")]).unwrap();
        assert!(index.is_empty());
    }

    #[test]
    fn a_malformed_package_is_named_with_its_file_and_line() {
        let good = stanza("aa", "1", "");
        let cases = [
            (good.replace("1\n", "1 2\n"), "trixie/main: line 10: package `bb`: `Version: 1 2`"),
            (good.replace(DIGEST, "12"), "line 14: package `bb`: `SHA256: 12`"),
            (good.replace("pool/", "../"), "line 12: package `bb`: `Filename: ../bb.deb`"),
            (good.replace("Size: 7", "Size: -7"), "line 13: package `bb`: `Size: -7`"),
            (good.replace("Size: 7\n", ""), "line 9: a package without the field `Size`"),
            (good.replace("Package: aa", "Package: ../aa"), "line 9: package `../bb`"),
            ("junk\n".into(), "line 9: `junk`"),
        ];
        for (bad, message) in cases {
            let text = format!("{good}\n{}", bad.replace("aa", "bb"));
            let error = parse(&[&text]).unwrap_err().to_string();
            assert!(error.contains(message), "{error}: {message}");
        }
        let index = parse(&[&stanza("aa", "1", "Depends: (\n")]).unwrap();
        let error = index.candidate("aa").unwrap().relations(RelationField::Depends).unwrap_err().to_string();
        assert!(error.contains("package `aa`: `Depends: (`"), "{error}");
    }

    proptest! {
        /// Whatever is written over a place of two paragraphs, it is read or refused, and what was read can be asked for everything.
        #[test]
        fn parsing_never_panics(at in 0_usize..400, length in 0_usize..30, with in "[ a-z0:.,()|<=>\\n\\[\\]/-]{0,20}") {
            let extra = "Priority: required\nDepends: libc6 (>= 2), bb | cc\nProvides: dd (= 1)\nInstalled-Size: 9\nMulti-Arch: same\n";
            let mut text = format!("{}\n{}", stanza("aa", "1.0-1", extra), stanza("bb", "3", extra));
            let start = at.min(text.len());
            text.replace_range(start..(start + length).min(text.len()), &with);
            let source = Source { origin: "trixie/main".parse().unwrap(), text: &text };
            if let Ok(index) = PackageIndex::parse(&[source], &"amd64".parse().unwrap()) {
                for package in index.candidates() {
                    prop_assert!(is_package_name(package.name()));
                    prop_assert!(package.file().is_ok_and(|path| !path.as_str().contains("..")));
                    let _ = [RelationField::Depends, RelationField::Provides].map(|field| package.relations(field).is_ok());
                }
            }
        }

        #[test]
        fn no_text_makes_parsing_panic(text in "\\PC{0,200}") {
            let source = Source { origin: "trixie/main".parse().unwrap(), text: &text };
            let _ = PackageIndex::parse(&[source], &"amd64".parse().unwrap());
        }
    }
}
