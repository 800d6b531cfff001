//! Kernel modules: which files a list of module names needs, and in which order they load.
//!
//! Reads the text files that depmod writes (`modules.dep`, `modules.softdep`, `modules.builtin`). Names are compared as the kernel
//! does, with `-` and `_` the same. Modules are not opened here; aliases are not resolved.

mod name;

use std::collections::{BTreeMap, BTreeSet};

pub use name::{ModuleName, ModuleNameError};

/// What depmod knows about the modules of one kernel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModuleIndex {
    modules: BTreeMap<ModuleName, Module>,
    soft: BTreeMap<ModuleName, SoftDependencies>,
    builtin: BTreeSet<ModuleName>,
}

/// A loadable module and what it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Module {
    path: String,
    needs: Vec<ModuleName>,
}

/// Modules that should be loaded before and after another.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct SoftDependencies {
    before: Vec<ModuleName>,
    after: Vec<ModuleName>,
}

/// Why an index cannot be read or a module not be found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModulesError {
    /// A line of another shape.
    #[error(
        "{file} line {line}: `{text}` is not as depmod writes it: run depmod again for this kernel"
    )]
    Line {
        /// Name of the file.
        file: &'static str,
        /// Line number, from 1.
        line: usize,
        /// The line.
        text: String,
    },
    /// A module that the kernel does not have.
    #[error("module `{name}` is neither a file nor built in{}: check its name with `modinfo`", needed_by(wanted_by.as_ref()))]
    Unknown {
        /// The module.
        name: ModuleName,
        /// The module that needs it, if it was not asked for itself.
        wanted_by: Option<ModuleName>,
    },
}

/// Words an error message about who needs a module.
fn needed_by(module: Option<&ModuleName>) -> String {
    module
        .map(|name| format!(", but `{name}` needs it"))
        .unwrap_or_default()
}

impl ModuleIndex {
    /// Reads the three files' texts.
    pub fn parse(
        dependencies: &str,
        soft_dependencies: &str,
        builtin: &str,
    ) -> Result<Self, ModulesError> {
        let mut index = Self::default();
        for (number, text) in lines(dependencies) {
            let (name, module) =
                parse_dependency(text).ok_or_else(|| bad_line("modules.dep", number, text))?;
            index.modules.insert(name, module);
        }
        for (number, text) in lines(soft_dependencies) {
            let found = index.add_soft_dependency(text);
            found.ok_or_else(|| bad_line("modules.softdep", number, text))?;
        }
        for (number, text) in lines(builtin) {
            let name = ModuleName::from_path(text)
                .map_err(|_| bad_line("modules.builtin", number, text))?;
            index.builtin.insert(name);
        }
        Ok(index)
    }

    /// Returns whether the kernel has this module inside itself.
    pub fn is_builtin(&self, name: &ModuleName) -> bool {
        self.builtin.contains(name)
    }

    /// Returns the paths of all modules that the named ones need, themselves included, in an order in which they can be loaded.
    ///
    /// Paths are as in `modules.dep`, from the kernel's module directory. Built-in modules need no file. Soft dependencies are taken
    /// if the kernel has them and passed over if not, as modprobe does.
    pub fn resolve(&self, names: &[ModuleName]) -> Result<Vec<&str>, ModulesError> {
        let mut walk = Walk {
            index: self,
            seen: BTreeSet::new(),
            order: Vec::new(),
        };
        for name in names {
            walk.visit(name, None)?;
        }
        Ok(walk.order)
    }

    /// Adds a line `softdep NAME pre: A B post: C`; `None` if it is of another shape.
    fn add_soft_dependency(&mut self, text: &str) -> Option<()> {
        let mut words = text.split_whitespace();
        if words.next()? != "softdep" {
            return None;
        }
        let entry = self.soft.entry(words.next()?.parse().ok()?).or_default();
        let mut list = None;
        for word in words {
            match word {
                "pre:" => list = Some(&mut entry.before),
                "post:" => list = Some(&mut entry.after),
                name => list.as_mut()?.push(name.parse().ok()?),
            }
        }
        Some(())
    }
}

/// A walk through the dependencies that lists each module behind what it needs.
struct Walk<'a> {
    index: &'a ModuleIndex,
    seen: BTreeSet<&'a ModuleName>,
    order: Vec<&'a str>,
}

impl Walk<'_> {
    /// Lists a module and all it needs; marks first, so that a circle ends.
    fn visit(
        &mut self,
        name: &ModuleName,
        wanted_by: Option<&ModuleName>,
    ) -> Result<(), ModulesError> {
        let Some((name, module)) = self.index.modules.get_key_value(name) else {
            if self.index.is_builtin(name) {
                return Ok(());
            }
            return Err(ModulesError::Unknown {
                name: name.clone(),
                wanted_by: wanted_by.cloned(),
            });
        };
        if !self.seen.insert(name) {
            return Ok(());
        }
        let soft = self.index.soft.get(name);
        self.visit_soft(soft.map(|soft| &soft.before[..]))?;
        // depmod lists the nearest dependency first, so the last is to be loaded first.
        for needed in module.needs.iter().rev() {
            self.visit(needed, Some(name))?;
        }
        self.order.push(&module.path);
        self.visit_soft(soft.map(|soft| &soft.after[..]))
    }

    /// Visits those soft dependencies that the kernel has as files.
    fn visit_soft(&mut self, names: Option<&[ModuleName]>) -> Result<(), ModulesError> {
        let index = self.index;
        let present = names
            .unwrap_or_default()
            .iter()
            .filter(|name| index.modules.contains_key(*name));
        present
            .into_iter()
            .try_for_each(|name| self.visit(name, None))
    }
}

/// Returns the lines that say something, with their numbers.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = text
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()));
    numbered.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

/// Reads a line `PATH: PATH PATH`; `None` if it is of another shape or a path would leave the module directory.
fn parse_dependency(text: &str) -> Option<(ModuleName, Module)> {
    let (path, needs) = text.split_once(':')?;
    if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return None;
    }
    let needs = needs
        .split_whitespace()
        .map(ModuleName::from_path)
        .collect::<Result<_, _>>()
        .ok()?;
    Some((
        ModuleName::from_path(path).ok()?,
        Module {
            path: path.to_owned(),
            needs,
        },
    ))
}

fn bad_line(file: &'static str, line: usize, text: &str) -> ModulesError {
    ModulesError::Line {
        file,
        line,
        text: text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
