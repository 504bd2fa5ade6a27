//! The modules of a crate, and which of them defines what a path means.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::contents::{Contents, Name, Reference, is_test};
use super::tokens::Segments;

/// All modules of a crate but those of tests. The first is the root.
#[derive(Default)]
pub(super) struct Tree {
    modules: Vec<Module>,
}

/// A module.
pub(super) struct Module {
    /// The file that it is in.
    pub(super) file: PathBuf,
    /// The paths in its code.
    pub(super) references: Vec<Reference>,
    parent: Option<usize>,
    names: HashMap<String, Vec<Name>>,
    globs: Vec<Segments>,
}

/// A search for a definition.
struct Search<'a> {
    tree: &'a Tree,
    /// The names that are being looked up, with their modules. None is looked up for itself.
    names: Vec<(usize, String)>,
    /// The modules with a definition.
    found: Vec<usize>,
}

impl Tree {
    /// Reads a crate, given the file of its root.
    pub(super) fn read(root: &Path) -> Result<Self> {
        let mut tree = Self::default();
        let folder = root.parent().context("a file is in a folder")?;
        tree.add_file(None, root, folder)?;
        Ok(tree)
    }

    /// Its modules.
    pub(super) fn modules(&self) -> impl Iterator<Item = (usize, &Module)> {
        self.modules.iter().enumerate()
    }

    /// A module.
    pub(super) fn module(&self, index: usize) -> &Module {
        &self.modules[index]
    }

    /// Whether the module is below another one.
    pub(super) fn is_below(&self, module: usize, other: usize) -> bool {
        let parent = |module: &usize| self.modules[*module].parent;
        std::iter::successors(parent(&module), parent).any(|ancestor| ancestor == other)
    }

    /// Returns the modules that define what the path means in a module. There are none for paths of
    /// other crates.
    pub(super) fn defined_in(&self, module: usize, path: &[String]) -> Vec<usize> {
        let mut search = Search { tree: self, names: Vec::new(), found: Vec::new() };
        search.path(module, path);
        search.found
    }

    fn add_file(&mut self, parent: Option<usize>, file: &Path, folder: &Path) -> Result<usize> {
        let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let source = syn::parse_file(&text).with_context(|| file.display().to_string())?;
        let items = if is_test(&source.attrs) { &[][..] } else { &source.items };
        self.add(parent, file, folder, items)
    }

    /// Adds a module and those in it. The files of those are in the folder.
    fn add(
        &mut self,
        parent: Option<usize>,
        file: &Path,
        folder: &Path,
        items: &[syn::Item],
    ) -> Result<usize> {
        let Contents { children, names, globs, references } = Contents::of(items);
        let index = self.modules.len();
        self.modules.push(Module { file: file.to_owned(), references, parent, names, globs });
        for child in children {
            let name = child.ident.to_string();
            let below = folder.join(&name);
            let added = match &child.content {
                Some((_, items)) => self.add(Some(index), file, &below, items)?,
                None => self.add_file(Some(index), &file_of(folder, &name)?, &below)?,
            };
            self.modules[index].names.entry(name).or_default().push(Name::Module(added));
        }
        Ok(index)
    }
}

impl Search<'_> {
    /// Follows a path that stands in a module.
    fn path(&mut self, module: usize, path: &[String]) {
        match path.first().map(String::as_str) {
            Some("crate") => self.member(0, &path[1..]),
            Some("self" | "super") => self.member(module, path),
            Some(name) => _ = self.name(module, name, &path[1..]),
            None => {}
        }
    }

    /// Follows what comes after a module in a path.
    fn member(&mut self, module: usize, path: &[String]) {
        match path.first().map(String::as_str) {
            Some("self") => self.member(module, &path[1..]),
            Some("super") => {
                if let Some(parent) = self.tree.modules[module].parent {
                    self.member(parent, &path[1..]);
                }
            }
            // A name that is not seen is defined there all the same, by a macro.
            Some(name) if !self.name(module, name, &path[1..]) => self.found.push(module),
            Some(_) | None => {}
        }
    }

    /// Looks up a name in a module. `false` if the module cannot have it by what is seen of it.
    fn name(&mut self, module: usize, name: &str, rest: &[String]) -> bool {
        let key = (module, name.to_owned());
        if self.names.contains(&key) {
            return true;
        }
        self.names.push(key);
        let Module { names, globs, .. } = &self.tree.modules[module];
        match names.get(name) {
            Some(meanings) => self.meanings(module, meanings, rest),
            None => {
                for glob in globs {
                    self.path(module, &[glob, &[name.to_owned()][..], rest].concat());
                }
            }
        }
        self.names.pop();
        names.contains_key(name) || !globs.is_empty()
    }

    fn meanings(&mut self, module: usize, meanings: &[Name], rest: &[String]) {
        let is_module = meanings.iter().any(|name| matches!(name, Name::Module(_)));
        for meaning in meanings {
            match meaning {
                Name::Module(child) => self.member(*child, rest),
                Name::Import(path) => self.path(module, &[path, rest].concat()),
                // A function `list` is not meant by `list::Item`.
                Name::Item if is_module && !rest.is_empty() => {}
                Name::Item => self.found.push(module),
            }
        }
    }
}

fn file_of(folder: &Path, name: &str) -> Result<PathBuf> {
    let candidates = [folder.join(format!("{name}.rs")), folder.join(name).join("mod.rs")];
    match candidates.into_iter().find(|file| file.exists()) {
        Some(file) => Ok(file),
        None => bail!("the module {name} has no file in {}", folder.display()),
    }
}
