//! From wanted names to the set of packages that satisfies them: the same set as apt makes without recommends in an empty root.
//!
//! Pure. apt's ways are kept on purpose, because Debian's dependencies are written for them: wanted packages are chosen first,
//! dependencies are followed depth first in the order `Pre-Depends`, `Depends`; of alternatives an already chosen one counts,
//! else the first that can be installed; providers of a virtual package are tried in apt's order. A package that cannot be
//! installed is given up for good and the next alternative is tried. At the end everything that nothing needs any more is
//! dropped and the whole set is checked anew, so that a mistake in the search can never become a wrong lock.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    package::PackageName,
    packages::{Package, PackageIndex, PackagesError, Priority},
    relations::{Catalog, Entry, Group},
    resolve_error::{Cause, ResolveError},
};

/// What the set must hold besides the wanted packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Base {
    /// Nothing.
    Empty,
    /// All packages marked essential: what a Debian system may take for granted.
    #[default]
    Essential,
    /// These and all of priority `required`, as debootstrap's smallest variant has it.
    Required,
}

/// Finds the packages that `wanted` and `base` need, sorted by name.
///
/// The base is followed first, then `wanted` in the order given: it can decide between alternatives, as on apt's command line.
pub fn resolve<'a>(
    index: &'a PackageIndex,
    wanted: &[PackageName],
    base: Base,
) -> Result<Vec<Package<'a>>, ResolveError> {
    let mut solver = Solver { catalog: Catalog::new(index)?, states: BTreeMap::new(), given_up: BTreeMap::new() };
    let roots = solver.find_roots(wanted, base)?;
    solver.choose_roots(&roots)?;
    solver.follow_roots(&roots)?;
    solver.repair(&roots)?;
    solver.drop_unneeded(&roots)?;
    solver.check()?;
    let mut chosen: Vec<_> = solver.chosen().filter_map(|number| index.package(number)).collect();
    chosen.sort_by_key(Package::name);
    Ok(chosen)
}

/// How firmly a package is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Chosen among others; may make way.
    Chosen,
    /// Chosen because nothing else will do, its dependencies not yet followed as such.
    Fixed,
    /// The same, dependencies followed.
    Settled,
}

/// How an attempt to choose a package treats what is in its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// One of several possibilities.
    Possible,
    /// The only one.
    Only,
}

struct Solver<'a> {
    catalog: Catalog<'a>,
    states: BTreeMap<u32, State>,
    given_up: BTreeMap<u32, Cause>,
}

type Outcome = Result<Result<(), Cause>, PackagesError>;

impl<'a> Solver<'a> {
    fn find_roots(&self, wanted: &[PackageName], base: Base) -> Result<Vec<u32>, ResolveError> {
        let in_base = |package: &Package<'_>| match base {
            Base::Empty => false,
            Base::Essential => package.is_essential(),
            Base::Required => package.is_essential() || package.priority() == Priority::Required,
        };
        let candidates = self.catalog.index.candidates();
        let mut roots: Vec<u32> = candidates.filter(in_base).map(|package| package.number()).collect();
        let mut unknown = Vec::new();
        for name in wanted {
            match self.catalog.find_wanted(name) {
                Ok(number) if roots.contains(&number) => {}
                Ok(number) => roots.push(number),
                Err(problem) => unknown.push(problem),
            }
        }
        if unknown.is_empty() { Ok(roots) } else { Err(ResolveError::Unknown(unknown)) }
    }

    fn choose_roots(&mut self, roots: &[u32]) -> Result<(), ResolveError> {
        for root in roots {
            let entry = self.catalog.entry(*root)?;
            if let Some(other) = self.catalog.conflicting(&entry, roots.iter().copied())?.first() {
                let cause = Cause::conflict(entry.name, self.catalog.name(*other));
                return Err(ResolveError::Unsatisfiable(vec![cause]));
            }
            self.states.insert(*root, State::Fixed);
        }
        Ok(())
    }

    fn follow_roots(&mut self, roots: &[u32]) -> Result<(), ResolveError> {
        let mut causes = Vec::new();
        for root in roots {
            if let Err(cause) = self.choose(*root, Need::Only)? {
                causes.push(cause);
            }
        }
        if causes.is_empty() { Ok(()) } else { Err(ResolveError::Unsatisfiable(causes)) }
    }

    /// Chooses a package and all that it needs.
    fn choose(&mut self, number: u32, need: Need) -> Outcome {
        let state = self.states.get(&number).copied();
        match (state, need) {
            (Some(State::Settled), _) | (Some(State::Chosen), Need::Possible) => return Ok(Ok(())),
            _ => {}
        }
        if let Some(cause) = self.given_up.get(&number) {
            return Ok(Err(cause.clone()));
        }
        let entry = self.catalog.entry(number)?;
        let fixed = need == Need::Only || state == Some(State::Fixed);
        if let Err(cause) = self.make_room(&entry, fixed)? {
            return Ok(Err(cause));
        }
        if let Some(cause) = self.find_hopeless(&entry) {
            return Ok(Err(self.give_up(number, cause)));
        }
        // While its dependencies are followed, the package must not make way for any of them.
        self.states.insert(number, State::Settled);
        let outcome = self.follow(&entry, fixed)?;
        match outcome {
            Ok(()) if !fixed => {
                self.states.insert(number, State::Chosen);
            }
            Err(ref cause) if !fixed => {
                self.states.remove(&number);
                self.give_up(number, cause.clone());
            }
            _ => {}
        }
        Ok(outcome)
    }

    /// Takes back chosen packages that conflict with `entry`, or says which of them stays.
    fn make_room(&mut self, entry: &Entry<'a>, fixed: bool) -> Outcome {
        let chosen: Vec<_> = self.chosen().filter(|other| *other != entry.number).collect();
        let rivals = self.catalog.conflicting(entry, chosen.iter().copied())?;
        let mut victims = Vec::new();
        for rival in rivals {
            let may_go = self.states.get(&rival) == Some(&State::Chosen);
            // A rival that rejects this package (and not the other way round) stays unless there is no other way.
            let rejects_rival = entry.rejects(rival);
            if !may_go || !(fixed || rejects_rival) {
                return Ok(Err(Cause::conflict(entry.name, self.catalog.name(rival))));
            }
            victims.push(rival);
        }
        for victim in victims {
            self.states.remove(&victim);
            if fixed {
                let cause = Cause::conflict(self.catalog.name(victim), entry.name);
                self.given_up.insert(victim, cause);
            }
        }
        Ok(Ok(()))
    }

    /// A dependency that no package left could satisfy.
    fn find_hopeless(&self, entry: &Entry<'a>) -> Option<Cause> {
        let given_up = |target: &u32| self.given_up.get(target);
        let group = entry.depends.iter().find(|group| group.targets.iter().all(|t| given_up(t).is_some()))?;
        let deeper = group.targets.iter().find_map(given_up).cloned();
        Some(Cause::unmet(entry.name, &group.alternatives, deeper))
    }

    fn follow(&mut self, entry: &Entry<'a>, fixed: bool) -> Outcome {
        let mut first_failure = Ok(());
        for group in &entry.depends {
            let mut targets = group.targets.clone();
            targets.retain(|target| !self.given_up.contains_key(target));
            let need = if fixed && targets.len() == 1 { Need::Only } else { Need::Possible };
            let met = targets.iter().any(|target| self.states.contains_key(target));
            if met && need == Need::Possible {
                continue;
            }
            let mut failure = None;
            let found = self.choose_one(&targets, need, &mut failure)?;
            if !found {
                let cause = Cause::unmet(entry.name, &group.alternatives, failure);
                if !fixed {
                    return Ok(Err(cause));
                }
                first_failure = first_failure.and(Err(cause));
            }
        }
        Ok(first_failure)
    }

    fn choose_one(&mut self, targets: &[u32], need: Need, failure: &mut Option<Cause>) -> Result<bool, PackagesError> {
        for target in targets {
            match self.choose(*target, need)? {
                Ok(()) => return Ok(true),
                Err(cause) => failure.get_or_insert(cause),
            };
        }
        Ok(false)
    }

    fn give_up(&mut self, number: u32, cause: Cause) -> Cause {
        self.given_up.insert(number, cause.clone());
        cause
    }

    /// Finds new ways for packages whose chosen alternative had to make room for another package.
    fn repair(&mut self, roots: &[u32]) -> Result<(), ResolveError> {
        // Each round either settles one more package or ends, so the number of packages bounds the rounds.
        for _ in 0..=self.catalog.index.len() {
            let Some((number, cause)) = self.find_broken(roots)? else {
                return Ok(());
            };
            self.states.insert(number, State::Fixed);
            if let Err(deeper) = self.choose(number, Need::Only)? {
                return Err(ResolveError::Unsatisfiable(vec![deeper]));
            }
            if self.find_unmet(&*self.catalog.entry(number)?).is_some() {
                return Err(ResolveError::Unsatisfiable(vec![cause]));
            }
        }
        Ok(())
    }

    fn find_broken(&self, roots: &[u32]) -> Result<Option<(u32, Cause)>, PackagesError> {
        for number in self.reachable(roots)? {
            if let Some(cause) = self.find_unmet(&*self.catalog.entry(number)?) {
                return Ok(Some((number, cause)));
            }
        }
        Ok(None)
    }

    fn find_unmet(&self, entry: &Entry<'a>) -> Option<Cause> {
        let met = |group: &&Group| group.targets.iter().any(|target| self.states.contains_key(target));
        let group = entry.depends.iter().find(|group| !met(group))?;
        Some(Cause::unmet(entry.name, &group.alternatives, None))
    }

    fn drop_unneeded(&mut self, roots: &[u32]) -> Result<(), ResolveError> {
        let needed = self.reachable(roots)?;
        self.states.retain(|number, _| needed.contains(number));
        Ok(())
    }

    /// All chosen packages that a chain of dependencies leads to from `roots`.
    fn reachable(&self, roots: &[u32]) -> Result<BTreeSet<u32>, PackagesError> {
        let mut seen: BTreeSet<u32> = roots.iter().copied().collect();
        let mut open: Vec<u32> = roots.to_vec();
        while let Some(number) = open.pop() {
            for group in &self.catalog.entry(number)?.depends {
                for target in &group.targets {
                    if self.states.contains_key(target) && seen.insert(*target) {
                        open.push(*target);
                    }
                }
            }
        }
        Ok(seen)
    }

    /// Checks the finished set from nothing: every dependency is met and nothing conflicts.
    fn check(&self) -> Result<(), ResolveError> {
        let mut causes = Vec::new();
        for number in self.chosen() {
            let entry = self.catalog.entry(number)?;
            causes.extend(self.find_unmet(&entry));
            let rivals = self.catalog.conflicting(&entry, self.chosen())?;
            causes.extend(rivals.into_iter().map(|rival| Cause::conflict(entry.name, self.catalog.name(rival))));
        }
        if causes.is_empty() { Ok(()) } else { Err(ResolveError::Unsatisfiable(causes)) }
    }

    fn chosen(&self) -> impl Iterator<Item = u32> {
        self.states.keys().copied()
    }
}
