//! The order in which packages are set up: what is depended on first, essential packages before others, the same every time.
//!
//! Cycles of `Depends` are legal in Debian; within one, only `Pre-Depends` counts and names decide the rest. dpkg orders the
//! configuration of the packages it is given by itself; this order is for what we run before, and for who owns a directory.

use std::collections::{BTreeMap, BTreeSet};

use crate::dependency::Dependencies;
use crate::package_facts::PackageFacts;

/// Packages that others use without naming them, in the order in which they become usable: accounts, the directory tree, the C
/// library, dpkg, Perl and debconf. All other scripts may count on these.
pub const FIRST_PACKAGES: [&str; 7] = ["base-passwd", "base-files", "libc6", "dpkg", "perl-base", "mawk", "debconf"];

/// The packages of a tree as a graph.
#[derive(Debug)]
pub struct DependencyGraph {
    pre_depends: Vec<Vec<usize>>,
    all: Vec<Vec<usize>>,
}

impl DependencyGraph {
    /// Resolves each relation to the first alternative that is there: by name, then by who provides it, in name order.
    pub fn new(packages: &[PackageFacts]) -> Self {
        let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, facts) in packages.iter().enumerate() {
            by_name.entry(facts.name.as_str()).or_default().insert(0, at);
            facts.provides.iter().for_each(|name| by_name.entry(name.as_str()).or_default().push(at));
        }
        let resolve = |dependencies: &Dependencies| -> Vec<usize> {
            let first = |group: &crate::dependency::Alternatives| {
                group.0.iter().find_map(|relation| by_name.get(relation.name.as_str())?.first().copied())
            };
            dependencies.0.iter().filter_map(first).collect()
        };
        let pre_depends: Vec<Vec<usize>> = packages.iter().map(|facts| resolve(&facts.pre_depends)).collect();
        let all = packages
            .iter()
            .zip(&pre_depends)
            .map(|(facts, pre)| pre.iter().copied().chain(resolve(&facts.depends)).collect())
            .collect();
        Self { pre_depends, all }
    }

    /// The packages and everything they need, as positions.
    pub fn closure(&self, roots: impl IntoIterator<Item = usize>) -> BTreeSet<usize> {
        let mut waiting: Vec<usize> = roots.into_iter().collect();
        let mut found = BTreeSet::new();
        while let Some(at) = waiting.pop() {
            if found.insert(at) {
                waiting.extend(self.all.get(at).into_iter().flatten());
            }
        }
        found
    }

    /// What a package pre-depends on.
    pub fn pre_depends(&self, at: usize) -> &[usize] {
        self.pre_depends.get(at).map_or(&[], Vec::as_slice)
    }
}

/// Positions of all packages in the order in which they are set up.
pub fn configure_order(packages: &[PackageFacts]) -> Vec<usize> {
    let graph = DependencyGraph::new(packages);
    let mut roots: Vec<usize> = (0..packages.len()).collect();
    roots.sort_by_key(|at| packages.get(*at).map(start_key));
    let mut order = Vec::with_capacity(packages.len());
    for component in components(&graph.all, &roots) {
        order.extend(order_within(&component, &graph.pre_depends));
    }
    order
}

/// Where a package would stand if nothing depended on anything.
fn start_key(facts: &PackageFacts) -> (usize, bool, &str) {
    let name = facts.name.as_str();
    let first = FIRST_PACKAGES.iter().position(|wanted| *wanted == name).unwrap_or(FIRST_PACKAGES.len());
    (first, !facts.essential, name)
}

/// A cycle in the order of its `Pre-Depends`, else as it came.
fn order_within(component: &[usize], pre_depends: &[Vec<usize>]) -> Vec<usize> {
    let inside: BTreeSet<usize> = component.iter().copied().collect();
    let edges: Vec<Vec<usize>> = pre_depends
        .iter()
        .map(|targets| targets.iter().copied().filter(|target| inside.contains(target)).collect())
        .collect();
    components(&edges, component).into_iter().flatten().collect()
}

/// Strongly connected components, each after those it leads to (Tarjan 1972, without recursion).
fn components(edges: &[Vec<usize>], roots: &[usize]) -> Vec<Vec<usize>> {
    let mut search = Search {
        index: vec![None; edges.len()],
        low: vec![0; edges.len()],
        on_stack: vec![false; edges.len()],
        stack: Vec::new(),
        count: 0,
        found: Vec::new(),
    };
    for root in roots {
        if search.index.get(*root) == Some(&None) {
            search.visit(edges, *root);
        }
    }
    search.found
}

struct Search {
    index: Vec<Option<usize>>,
    low: Vec<usize>,
    on_stack: Vec<bool>,
    stack: Vec<usize>,
    count: usize,
    found: Vec<Vec<usize>>,
}

impl Search {
    fn visit(&mut self, edges: &[Vec<usize>], root: usize) {
        let mut path = vec![(root, 0_usize)];
        self.enter(root);
        while let Some((at, next)) = path.pop() {
            if let Some(target) = edges.get(at).and_then(|targets| targets.get(next)).copied() {
                path.push((at, next + 1));
                match self.index[target] {
                    None => {
                        self.enter(target);
                        path.push((target, 0));
                    }
                    Some(index) if self.on_stack[target] => {
                        self.low[at] = self.low[at].min(index);
                    }
                    Some(_) => {}
                }
                continue;
            }
            self.leave(at);
            if let Some((parent, _)) = path.last() {
                self.low[*parent] = self.low[*parent].min(self.low[at]);
            }
        }
    }

    fn enter(&mut self, at: usize) {
        self.index[at] = Some(self.count);
        self.low[at] = self.count;
        self.count += 1;
        self.on_stack[at] = true;
        self.stack.push(at);
    }

    fn leave(&mut self, at: usize) {
        if Some(self.low[at]) != self.index[at] {
            return;
        }
        let start = self.stack.iter().rposition(|member| *member == at).unwrap_or_default();
        let component = self.stack.split_off(start);
        for member in &component {
            self.on_stack[*member] = false;
        }
        self.found.push(component);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packages(list: &[(&str, &str)]) -> Vec<PackageFacts> {
        list.iter()
            .map(|(name, fields)| format!("Package: {name}\nVersion: 1\nArchitecture: all\n{fields}").parse().unwrap())
            .collect()
    }

    fn order(list: &[(&str, &str)]) -> Vec<String> {
        let facts = packages(list);
        configure_order(&facts).into_iter().map(|at| facts[at].name.as_str().to_owned()).collect()
    }

    #[test]
    fn puts_dependencies_first_and_essential_before_others() {
        let list = [("pa", "Depends: pc\n"), ("pb", "Essential: yes\nPre-Depends: pd\n"), ("pc", ""), ("pd", "")];
        assert_eq!(order(&list), ["pd", "pb", "pc", "pa"]);
    }

    #[test]
    fn puts_accounts_before_everything() {
        let list = [
            ("base-files", "Essential: yes\nPre-Depends: awk\n"),
            ("mawk", "Provides: awk\nPre-Depends: libc6\n"),
            ("libc6", ""),
            ("base-passwd", "Depends: libc6\n"),
        ];
        assert_eq!(order(&list), ["libc6", "base-passwd", "mawk", "base-files"]);
    }

    #[test]
    fn breaks_cycles_so_that_pre_depends_hold() {
        for list in [
            [("pa", "Depends: pb\n"), ("pb", "Pre-Depends: pa\n")],
            [("pb", "Pre-Depends: pa\n"), ("pa", "Depends: pb\n")],
        ] {
            assert_eq!(order(&list), ["pa", "pb"]);
        }
    }

    #[test]
    fn closure_follows_provides_and_the_first_alternative_that_is_there() {
        let facts =
            packages(&[("pa", "Depends: gone | pb, virtual\n"), ("pb", ""), ("pc", "Provides: virtual\n"), ("pd", "")]);
        assert_eq!(DependencyGraph::new(&facts).closure([0]).into_iter().collect::<Vec<_>>(), [0, 1, 2]);
    }

    proptest! {
        #[test]
        fn holds_every_package_once_and_keeps_acyclic_edges(edges in proptest::collection::vec((0_usize..12, 0_usize..12), 0..30)) {
            let mut depends = vec![String::new(); 12];
            for (from, to) in &edges {
                // Edges go down only, so there is no cycle and each must hold.
                if from > to {
                    depends[*from] += &["p", &to.to_string(), ", "].concat();
                }
            }
            let facts: Vec<PackageFacts> = depends.iter().enumerate().map(|(at, depends)| format!("Package: p{at}\nVersion: 1\nArchitecture: all\nDepends: {depends}\n").parse().unwrap()).collect();
            let order = configure_order(&facts);
            let place = |wanted: usize| order.iter().position(|at| *at == wanted).unwrap();
            prop_assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), 12);
            for (from, to) in edges.into_iter().filter(|(from, to)| from > to) {
                prop_assert!(place(to) < place(from));
            }
        }
    }
}
