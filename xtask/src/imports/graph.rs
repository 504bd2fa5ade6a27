//! The graph of imports, and its cycles.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::path::Path;

/// The place of an import in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Import {
    /// Its line, from 1.
    pub(super) line: usize,
    /// The imported path, as the source has it.
    pub(super) path: String,
}

/// Which file imports which. Files have their paths as names.
#[derive(Default)]
pub(super) struct Graph {
    files: BTreeMap<String, BTreeMap<String, Import>>,
}

/// Files of which each imports the next and the last imports the first.
#[derive(Debug)]
pub(super) struct Cycle<'a>(Vec<(&'a str, &'a Import)>);

impl Graph {
    /// Adds an import. Of several imports between two files, the first is kept.
    pub(super) fn add(&mut self, from: &str, to: &str, import: Import) {
        if from != to {
            let imports = self.files.entry(from.to_owned()).or_default();
            imports.entry(to.to_owned()).or_insert(import);
        }
    }

    /// The number of files that import others.
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// Returns a shortest cycle with each file that is part of one. No cycle is returned twice.
    pub(super) fn cycles(&self) -> Vec<Cycle<'_>> {
        let mut seen = BTreeSet::new();
        let cycles = self.files.keys().filter_map(|file| self.shortest_cycle(file));
        cycles.filter(|cycle| seen.insert(cycle.files())).collect()
    }

    /// A breadth-first search from the file back to it.
    fn shortest_cycle<'a>(&'a self, start: &'a str) -> Option<Cycle<'a>> {
        let mut importers: HashMap<&str, &str> = HashMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(file) = queue.pop_front() {
            for next in self.imports(file) {
                if next == start {
                    return Some(self.cycle(start, file, &importers));
                }
                if !importers.contains_key(next) {
                    importers.insert(next, file);
                    queue.push_back(next);
                }
            }
        }
        None
    }

    fn imports(&self, file: &str) -> impl Iterator<Item = &str> {
        self.files.get(file).into_iter().flat_map(|imports| imports.keys().map(String::as_str))
    }

    fn cycle<'a>(
        &'a self,
        start: &'a str,
        last: &'a str,
        importers: &HashMap<&'a str, &'a str>,
    ) -> Cycle<'a> {
        let mut files = vec![last];
        while let Some(importer) = files.last().filter(|file| **file != start) {
            files.push(importers[importer]);
        }
        files.reverse();
        let nexts = files.iter().skip(1).chain([&start]);
        let steps = files.iter().zip(nexts).map(|(file, next)| (*file, &self.files[*file][*next]));
        Cycle(steps.collect())
    }
}

impl<'a> Cycle<'a> {
    /// Its files, in the order of their names.
    fn files(&self) -> Vec<&'a str> {
        let mut files: Vec<_> = self.0.iter().map(|(file, _)| *file).collect();
        files.sort_unstable();
        files
    }
}

impl fmt::Display for Cycle<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (file, Import { line, path }) in &self.0 {
            write!(f, "{file} (line {line}: {path}) → ")?;
        }
        let first = self.0.first().map(|(file, _)| *file);
        f.write_str(first.unwrap_or_default())
    }
}

/// Returns the name of a file: its path below the root.
pub(super) fn name_of(file: &Path, root: &Path) -> String {
    file.strip_prefix(root).unwrap_or(file).display().to_string()
}

/// Returns the cycles of files, each a name and a text. For the tests of the callers of
/// [`Graph::add`].
#[cfg(test)]
pub(super) fn cycles_of(
    files: &[(&str, &str)],
    add: impl FnOnce(&mut Graph, &Path) -> anyhow::Result<()>,
) -> Vec<String> {
    let root = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let file = root.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    let mut graph = Graph::default();
    add(&mut graph, root.path()).unwrap();
    graph.cycles().iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(imports: &[(&str, &str)]) -> Graph {
        let mut graph = Graph::default();
        for (from, to) in imports {
            graph.add(from, to, Import { line: 1, path: (*to).to_owned() });
        }
        graph
    }

    fn cycles(imports: &[(&str, &str)]) -> Vec<String> {
        graph(imports).cycles().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn imports_in_one_direction_are_not_a_cycle() {
        assert!(cycles(&[("a", "b"), ("a", "c"), ("b", "c"), ("c", "d")]).is_empty());
    }

    #[test]
    fn file_may_import_itself() {
        assert!(cycles(&[("a", "a")]).is_empty());
    }

    #[test]
    fn cycle_is_printed_with_the_line_of_each_import() {
        let mut graph = graph(&[("a", "b")]);
        graph.add("b", "a", Import { line: 12, path: "crate::a::A".to_owned() });
        let cycles = graph.cycles();
        assert_eq!(cycles.len(), 1);
        assert_eq!(cycles[0].to_string(), "a (line 1: b) → b (line 12: crate::a::A) → a");
    }

    #[test]
    fn each_file_of_a_cycle_is_in_a_printed_one_and_the_shortest_are_printed() {
        let imports = [("a", "b"), ("b", "c"), ("c", "a"), ("c", "b"), ("d", "a")];
        let cycles = cycles(&imports);
        assert_eq!(cycles.len(), 2, "{cycles:?}");
        assert!(cycles[0].starts_with("a (line 1: b) → b (line 1: c) → c"), "{cycles:?}");
        assert_eq!(cycles[1], "b (line 1: c) → c (line 1: b) → b");
    }
}
