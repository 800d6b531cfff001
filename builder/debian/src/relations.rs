//! Which packages of the index a relation means.
//!
//! Keeps the virtual packages of all candidates at hand and parses a package's relations once. Only candidates take part:
//! of each name the highest version, as apt has it without pinning. Pure.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    rc::Rc,
};

use crate::{
    dependency::{Alternatives, Constraint, Dependencies, Operator, Relation},
    package::PackageName,
    packages::{MultiArch, Package, PackageIndex, PackagesError, RelationField},
    resolve_error::UnknownName,
    version::DebVersion,
};

/// The relations of one package, parsed.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) number: u32,
    pub(crate) name: &'a str,
    /// `Pre-Depends`, then `Depends`.
    pub(crate) depends: Vec<Group>,
    /// The candidates that `Conflicts` and `Breaks` mean, itself never among them.
    rejects: Vec<u32>,
}

/// One dependency and what satisfies it.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) alternatives: Alternatives,
    /// The candidates that satisfy it, in the order in which they are to be tried.
    pub(crate) targets: Vec<u32>,
}

/// The candidates of an index with their virtual packages.
pub(crate) struct Catalog<'a> {
    pub(crate) index: &'a PackageIndex,
    providers: BTreeMap<String, Vec<Provider>>,
    entries: RefCell<HashMap<u32, Rc<Entry<'a>>>>,
}

#[derive(Debug)]
struct Provider {
    number: u32,
    version: Option<DebVersion>,
}

impl Entry<'_> {
    /// Whether it names `other` in `Conflicts` or `Breaks`.
    pub(crate) fn rejects(&self, other: u32) -> bool {
        self.rejects.contains(&other)
    }
}

impl<'a> Catalog<'a> {
    pub(crate) fn new(index: &'a PackageIndex) -> Result<Self, PackagesError> {
        let mut providers: BTreeMap<String, Vec<Provider>> = BTreeMap::new();
        for package in index.candidates() {
            if package.relations_text(RelationField::Provides).is_empty() {
                continue;
            }
            for relation in flatten(package.relations(RelationField::Provides)?) {
                let version = match relation.constraint {
                    Some(Constraint { operator: Operator::Equal, version }) => Some(version),
                    _ => None,
                };
                let provider = Provider { number: package.number(), version };
                providers.entry(relation.name.to_string()).or_default().push(provider);
            }
        }
        Ok(Self { index, providers, entries: RefCell::default() })
    }

    /// The name of a package by its number.
    pub(crate) fn name(&self, number: u32) -> &'a str {
        self.index.package(number).map_or("", |package| package.name())
    }

    /// The relations of a package.
    pub(crate) fn entry(&self, number: u32) -> Result<Rc<Entry<'a>>, PackagesError> {
        if let Some(entry) = self.entries.borrow().get(&number) {
            return Ok(Rc::clone(entry));
        }
        let mut entry = Entry { number, name: self.name(number), depends: Vec::new(), rejects: Vec::new() };
        if let Some(package) = self.index.package(number) {
            let depends = [RelationField::PreDepends, RelationField::Depends].map(|field| package.relations(field));
            for alternatives in depends.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flat_map(|all| all.0) {
                entry.depends.push(Group { targets: self.targets(&alternatives)?, alternatives });
            }
            for field in [RelationField::Conflicts, RelationField::Breaks] {
                for relation in flatten(package.relations(field)?) {
                    entry.rejects.extend(self.matching(&relation)?.iter().map(Package::number));
                }
            }
            entry.rejects.retain(|rejected| *rejected != number);
        }
        let entry = Rc::new(entry);
        self.entries.borrow_mut().insert(number, Rc::clone(&entry));
        Ok(entry)
    }

    /// A package that the user names: a real one, or the only provider of a virtual one.
    pub(crate) fn find_wanted(&self, name: &PackageName) -> Result<u32, UnknownName> {
        if let Some(package) = self.index.candidate(name.as_str()) {
            return Ok(package.number());
        }
        let providers = self.providers.get(name.as_str()).map(Vec::as_slice).unwrap_or_default();
        match providers {
            [] => Err(UnknownName::Missing { name: name.to_string(), similar: self.similar(name.as_str()) }),
            [only] => Ok(only.number),
            several => {
                let providers = several.iter().map(|provider| self.name(provider.number).to_owned()).collect();
                Err(UnknownName::Virtual { name: name.to_string(), providers })
            }
        }
    }

    /// All candidates that satisfy one of the alternatives, in the order in which they are to be tried.
    fn targets(&self, group: &Alternatives) -> Result<Vec<u32>, PackagesError> {
        let mut all = Vec::new();
        for relation in &group.0 {
            let mut targets = self.matching(relation)?;
            targets.sort_by_key(|package| order(package, relation));
            for number in targets.iter().map(Package::number) {
                if !all.contains(&number) {
                    all.push(number);
                }
            }
        }
        Ok(all)
    }

    fn matching(&self, relation: &Relation) -> Result<Vec<Package<'a>>, PackagesError> {
        let mut found = Vec::new();
        if let Some(package) = self.index.candidate(relation.name.as_str())
            && relation
                .constraint
                .as_ref()
                .map_or(Ok(true), |c| package.version().map(|version| c.accepts(&version)))?
            && serves(&package, relation)
        {
            found.push(package);
        }
        for provider in self.providers.get(relation.name.as_str()).map(Vec::as_slice).unwrap_or_default() {
            let accepted = match (&relation.constraint, &provider.version) {
                (None, _) => true,
                // Policy 7.5: a provider without a version satisfies no relation with one.
                (Some(_), None) => false,
                (Some(constraint), Some(version)) => constraint.accepts(version),
            };
            let package = self.index.package(provider.number).filter(|_| accepted);
            found.extend(package.filter(|package| serves(package, relation)));
        }
        Ok(found)
    }

    /// Those of `others` that `entry` cannot stand beside, whichever of the two says so.
    pub(crate) fn conflicting(
        &self,
        entry: &Entry<'a>,
        others: impl Iterator<Item = u32>,
    ) -> Result<Vec<u32>, PackagesError> {
        let mut found = Vec::new();
        for other in others.filter(|other| *other != entry.number) {
            if entry.rejects(other) || self.entry(other)?.rejects(entry.number) {
                found.push(other);
            }
        }
        Ok(found)
    }

    fn similar(&self, name: &str) -> Vec<String> {
        let close = |other: &&str| is_one_edit_away(name, other);
        self.index.candidates().map(|package| package.name()).filter(close).take(5).map(str::to_owned).collect()
    }
}

/// How apt orders several packages that satisfy one relation: the one of that name, essential ones, protected ones,
/// more important ones; and where nothing decides, the one that was mentioned last.
fn order(package: &Package<'_>, relation: &Relation) -> (bool, bool, bool, crate::packages::Priority, u32) {
    (
        package.name() != relation.name.as_str(),
        !package.is_essential(),
        !package.is_protected(),
        package.priority(),
        u32::MAX - package.mention(),
    )
}

/// Whether the part after the colon allows this package; there is one architecture only.
fn serves(package: &Package<'_>, relation: &Relation) -> bool {
    match relation.qualifier.as_deref() {
        None | Some("native") => true,
        Some("any") => package.multi_arch() == MultiArch::Allowed,
        Some(other) => package.architecture().is_ok_and(|architecture| architecture.as_str() == other),
    }
}

fn flatten(dependencies: Dependencies) -> Vec<Relation> {
    dependencies.0.into_iter().flat_map(|group| group.0).collect()
}

fn is_one_edit_away(left: &str, right: &str) -> bool {
    let (short, long) = if left.len() <= right.len() { (left, right) } else { (right, left) };
    let (short, long) = (short.as_bytes(), long.as_bytes());
    let head = short.iter().zip(long).take_while(|(a, b)| a == b).count();
    let tail = short.iter().skip(head).rev().zip(long.iter().rev()).take_while(|(a, b)| a == b).count();
    long.len() - short.len() <= 1 && short.len() - head - tail <= 1 && long.len() - head - tail <= 1
}
