//! The imports of scripts.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::LazyLock;

use anyhow::{Context, Result};
use regex::{Captures, Regex};

use super::graph::{Graph, Import, name_of};
use crate::stamp::files_under;

/// `import … from '…'`, `export … from '…'`, `import '…'` and `import('…')`, of files.
static IMPORT: LazyLock<Regex> = LazyLock::new(|| {
    let statement = r#"(?m)^\s*(?:import|export)\b[^'"`;=()]*['"](\.[^'"]*)['"]"#;
    let call = r#"\bimport\(\s*['"](\.[^'"]*)['"]"#;
    Regex::new(&format!("{statement}|{call}")).expect("the expression is constant and valid")
});

/// A comment. One that stands after code is not found, and does no harm.
static COMMENT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?s:/\*.*?\*/)|(?m:^\s*//.*$)").expect("the expression is constant and valid")
});

/// Adds the imports of all scripts in a folder. The names of files are relative to `root`.
pub(super) fn add_scripts(graph: &mut Graph, root: &Path, folder: &Path) -> Result<()> {
    for file in files_under(folder)? {
        if file.extension().is_some_and(|extension| extension == "js") {
            add_script(graph, root, &file)?;
        }
    }
    Ok(())
}

fn add_script(graph: &mut Graph, root: &Path, file: &Path) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let folder = file.parent().context("a file is in a folder")?;
    for import in imports(&text) {
        let imported = joined(folder, &import.path);
        graph.add(&name_of(file, root), &name_of(&imported, root), import);
    }
    Ok(())
}

fn imports(text: &str) -> Vec<Import> {
    // Comments become empty lines, so that all lines keep their numbers.
    let blank = |comment: &Captures<'_>| "\n".repeat(comment[0].matches('\n').count());
    let code = COMMENT.replace_all(text, blank);
    let paths = IMPORT.captures_iter(&code).filter_map(|import| import.get(1).or(import.get(2)));
    let import = |path: regex::Match<'_>| Import {
        line: 1 + code[..path.start()].matches('\n').count(),
        path: path.as_str().to_owned(),
    };
    paths.map(import).collect()
}

/// Joins a folder and a path such as `../records.js`.
fn joined(folder: &Path, path: &str) -> PathBuf {
    let mut joined = folder.to_owned();
    for part in Path::new(path).components() {
        match part {
            Component::ParentDir => _ = joined.pop(),
            Component::CurDir => {}
            part => joined.push(part),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imports::graph::cycles_of;

    fn cycles(files: &[(&str, &str)]) -> Vec<String> {
        cycles_of(files, |graph, root| add_scripts(graph, root, root))
    }

    fn paths(text: &str) -> Vec<String> {
        imports(text).into_iter().map(|import| import.path).collect()
    }

    #[test]
    fn each_kind_of_import_is_found() {
        assert_eq!(paths("import {a} from './a.js';"), ["./a.js"]);
        assert_eq!(paths("import {\n  a,\n  b,\n} from \"./a.js\";"), ["./a.js"]);
        assert_eq!(paths("export * from './a.js';"), ["./a.js"]);
        assert_eq!(paths("import './a.js';"), ["./a.js"]);
        assert_eq!(paths("const a = await import('./a.js');"), ["./a.js"]);
    }

    #[test]
    fn comments_and_packages_are_not_file_imports() {
        assert!(paths("// import {a} from './a.js';\n/* @type {import('./b.js').B} */").is_empty());
        assert!(paths("import $ from 'jquery';").is_empty());
        assert!(paths("export function load() { return './a.js'; }").is_empty());
    }

    #[test]
    fn scripts_that_import_each_other_are_a_cycle() {
        let files = [
            ("a.js", "// The first.\n\nimport {b} from './lib/b.js';"),
            ("lib/b.js", "import {a} from '../a.js';"),
        ];
        let expected = "a.js (line 3: ./lib/b.js) → lib/b.js (line 1: ../a.js) → a.js";
        assert_eq!(cycles(&files), [expected]);
        assert!(cycles(&files[..1]).is_empty());
    }
}
