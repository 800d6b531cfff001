//! Kernel modules: which files a list of module names needs, and in which order they load.
//!
//! Reads the text files that depmod writes. Names are compared as the kernel does, with `-` and `_` the same. A name may be an
//! alias, such as `crypto-crc32c`, which several modules may carry; aliases with wildcards stand for hardware and are not
//! looked at. Modules are not opened here.

mod name;

use std::collections::{BTreeMap, BTreeSet};

pub use name::{ModuleName, ModuleNameError};

/// What depmod knows about the modules of one kernel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModuleIndex {
    modules: BTreeMap<ModuleName, Module>,
    soft: BTreeMap<ModuleName, SoftDependencies>,
    builtin: BTreeSet<ModuleName>,
    aliases: BTreeMap<ModuleName, Vec<ModuleName>>,
}

/// The texts that depmod writes for one kernel.
#[derive(Debug, Clone, Copy, Default)]
pub struct ModuleTexts<'a> {
    /// `modules.dep`: files and the files they need.
    pub dependencies: &'a str,
    /// `modules.softdep`: modules wanted before or after another.
    pub soft_dependencies: &'a str,
    /// `modules.builtin`: modules inside the kernel.
    pub builtin: &'a str,
    /// `modules.alias`: other names of modules.
    pub aliases: &'a str,
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
    #[error("{file} line {line}: `{text}` is not as depmod writes it: run depmod again for this kernel")]
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
    module.map(|name| format!(", but `{name}` needs it")).unwrap_or_default()
}

impl ModuleIndex {
    /// Reads the files' texts.
    pub fn parse(texts: &ModuleTexts<'_>) -> Result<Self, ModulesError> {
        let mut index = Self::default();
        for (number, text) in lines(texts.dependencies) {
            let found = parse_dependency(text);
            let (name, module) = found.ok_or_else(|| bad_line("modules.dep", number, text))?;
            index.modules.insert(name, module);
        }
        for (number, text) in lines(texts.soft_dependencies) {
            let found = index.add_soft_dependency(text);
            found.ok_or_else(|| bad_line("modules.softdep", number, text))?;
        }
        for (number, text) in lines(texts.builtin) {
            let name = ModuleName::from_path(text);
            let name = name.map_err(|_| bad_line("modules.builtin", number, text))?;
            index.builtin.insert(name);
        }
        for (number, text) in lines(texts.aliases) {
            let found = index.add_alias(text);
            found.ok_or_else(|| bad_line("modules.alias", number, text))?;
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
        let mut walk = Walk { index: self, seen: BTreeSet::new(), order: Vec::new() };
        for name in names {
            walk.visit(name, None)?;
        }
        Ok(walk.order)
    }

    /// Adds a line `softdep NAME pre: A B post: C`; `None` if it is of another shape.
    ///
    /// Words before `pre:` or `post:` say nothing to modprobe and are passed over; some modules are written so.
    fn add_soft_dependency(&mut self, text: &str) -> Option<()> {
        let mut words = text.split_whitespace();
        if words.next()? != "softdep" {
            return None;
        }
        let entry = self.soft.entry(words.next()?.parse().ok()?).or_default();
        let mut list = None;
        for word in words {
            match (word, &mut list) {
                ("pre:", _) => list = Some(&mut entry.before),
                ("post:", _) => list = Some(&mut entry.after),
                (name, Some(list)) => list.push(name.parse().ok()?),
                (_, None) => {}
            }
        }
        Some(())
    }

    /// Adds a line `alias NAME MODULE`; `None` if it is of another shape.
    fn add_alias(&mut self, text: &str) -> Option<()> {
        let (alias, module) = text.strip_prefix("alias ")?.rsplit_once(' ')?;
        let module = module.parse().ok()?;
        // What is no plain name is a pattern for a device's identity.
        if let Ok(alias) = alias.parse() {
            self.aliases.entry(alias).or_default().push(module);
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

impl<'a> Walk<'a> {
    /// Lists what a name stands for: a module, something built in, or the modules of an alias.
    fn visit(&mut self, name: &ModuleName, wanted_by: Option<&ModuleName>) -> Result<(), ModulesError> {
        let index = self.index;
        if let Some((name, module)) = index.modules.get_key_value(name) {
            return self.visit_module(name, module);
        }
        if index.is_builtin(name) {
            return Ok(());
        }
        if let Some(modules) = index.aliases.get(name) {
            return self.visit_present(modules);
        }
        Err(ModulesError::Unknown { name: name.clone(), wanted_by: wanted_by.cloned() })
    }

    /// Lists a module behind all it needs; marks it first, so that a circle ends.
    fn visit_module(&mut self, name: &'a ModuleName, module: &'a Module) -> Result<(), ModulesError> {
        if !self.seen.insert(name) {
            return Ok(());
        }
        let soft = self.index.soft.get(name);
        self.visit_present(soft.map_or(&[], |soft| &soft.before))?;
        // depmod lists the nearest dependency first, so the last is to be loaded first.
        for needed in module.needs.iter().rev() {
            self.visit(needed, Some(name))?;
        }
        self.order.push(&module.path);
        self.visit_present(soft.map_or(&[], |soft| &soft.after))
    }

    /// Visits those names that the kernel has.
    fn visit_present(&mut self, names: &[ModuleName]) -> Result<(), ModulesError> {
        let index = self.index;
        let known = |name: &&ModuleName| index.modules.contains_key(*name) || index.aliases.contains_key(*name);
        names.iter().filter(known).try_for_each(|name| self.visit(name, None))
    }
}

/// Returns the lines that say something, with their numbers.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    numbered.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

/// Reads a line `PATH: PATH PATH`; `None` if it is of another shape or a path would leave the module directory.
fn parse_dependency(text: &str) -> Option<(ModuleName, Module)> {
    let (path, needs) = text.split_once(':')?;
    if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return None;
    }
    let needs = needs.split_whitespace().map(ModuleName::from_path).collect::<Result<_, _>>().ok()?;
    Some((ModuleName::from_path(path).ok()?, Module { path: path.to_owned(), needs }))
}

fn bad_line(file: &'static str, line: usize, text: &str) -> ModulesError {
    ModulesError::Line { file, line, text: text.to_owned() }
}

#[cfg(test)]
mod tests;
