//! The table in CONTRIBUTING.md: each crate, its size, and the crates that it imports.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;

use anyhow::{Context, Result, bail};

use super::packages::Package;
use crate::output::print_line;
use crate::workspace::Workspace;

/// The file with the table.
const FILE: &str = "CONTRIBUTING.md";

/// The first line of the table.
const HEADER: &str = "| crate | lines | imports |";

/// The number of lines may differ from the one in the table by a fifth of it.
const TOLERANCE: usize = 5;

/// The row of a crate, as the table has it or as it should be.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    lines: usize,
    /// Names in the order of the alphabet.
    imports: Vec<String>,
}

/// Checks that the table has all crates with their lines and imports.
pub(super) fn check(workspace: &Workspace, packages: &[Package]) -> Result<()> {
    let text = fs::read_to_string(workspace.root().join(FILE)).context(FILE)?;
    let actual = packages.iter().map(|package| Ok((package.name.clone(), Row::of(package)?)));
    let problems = problems(&rows(&text), &actual.collect::<Result<_>>()?);
    if !problems.is_empty() {
        bail!(
            "the table of crates in {FILE} is wrong; correct it or the crate:\n{}",
            problems.join("\n")
        );
    }
    print_line(format_args!("{} crates have the imports that {FILE} has", packages.len()))?;
    Ok(())
}

fn problems(table: &BTreeMap<String, Row>, actual: &BTreeMap<String, Row>) -> Vec<String> {
    let names = actual.keys().chain(table.keys().filter(|name| !actual.contains_key(*name)));
    let problem = |name: &String| match (table.get(name), actual.get(name)) {
        (Some(row), Some(actual)) if row.is_like(actual) => None,
        (_, Some(actual)) => Some(format!("  it needs the row | `{name}` {actual}")),
        (_, None) => Some(format!("  it has `{name}`, which is no crate of the workspace")),
    };
    names.filter_map(problem).collect()
}

/// Reads the table. Other lines are left out.
fn rows(text: &str) -> BTreeMap<String, Row> {
    let lines = text.lines().skip_while(|line| *line != HEADER).skip(2);
    lines.map_while(|line| line.strip_prefix('|')).filter_map(Row::read).collect()
}

impl Row {
    fn of(package: &Package) -> Result<Self> {
        let mut imports = package.dependencies.clone();
        imports.sort_unstable();
        Ok(Self { lines: package.lines()?, imports })
    }

    fn read(line: &str) -> Option<(String, Self)> {
        let mut cells = line.split('|').map(str::trim);
        let name = cells.next()?.trim_matches('`').to_owned();
        let lines = cells.next()?.replace(',', "").parse().ok()?;
        // Names stand between backticks, and between them are commas.
        let mut imports: Vec<_> =
            cells.next()?.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        imports.sort_unstable();
        Some((name, Self { lines, imports }))
    }

    fn is_like(&self, actual: &Self) -> bool {
        self.imports == actual.imports
            && self.lines.abs_diff(actual.lines) * TOLERANCE <= self.lines
    }
}

/// The cells after the name.
impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let imports: Vec<_> = self.imports.iter().map(|name| format!("`{name}`")).collect();
        let imports = if imports.is_empty() { "nothing".to_owned() } else { imports.join(", ") };
        write!(f, "| {} | {imports} |", rounded(self.lines))
    }
}

/// Writes a number with two digits that count, and a comma for thousands.
fn rounded(number: usize) -> String {
    let unit = if number < 1_000 { 10 } else { 100 };
    let rounded = (number + unit / 2) / unit * unit;
    match rounded {
        0..1_000 => rounded.to_string(),
        _ => format!("{},{:03}", rounded / 1_000, rounded % 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "Text.\n\n| crate | lines | imports |\n| --- | --- | --- |\n\
        | `core` | 1,200 | nothing |\n| `server` | 25,000 | `core`, `base` |\n\nMore.\n";

    fn row(lines: usize, imports: &[&str]) -> Row {
        Row { lines, imports: imports.iter().map(ToString::to_string).collect() }
    }

    fn problems_of(actual: [(&str, Row); 2]) -> Vec<String> {
        problems(&rows(TABLE), &actual.map(|(name, row)| (name.to_owned(), row)).into())
    }

    #[test]
    fn crates_may_exceed_the_table_by_a_few_lines() {
        let core = || row(1_400, &[]);
        assert!(
            problems_of([("core", core()), ("server", row(24_000, &["base", "core"]))]).is_empty()
        );
    }

    #[test]
    fn other_import_or_size_needs_another_row() {
        let actual =
            [("core", row(1_200, &["server"])), ("server", row(31_840, &["base", "core"]))];
        let core = "  it needs the row | `core` | 1,200 | `server` |";
        let server = "  it needs the row | `server` | 31,800 | `base`, `core` |";
        assert_eq!(problems_of(actual), [core, server]);
    }

    #[test]
    fn removed_import_needs_another_row() {
        let actual = [("core", row(1_200, &[])), ("server", row(25_000, &["core"]))];
        assert_eq!(problems_of(actual), ["  it needs the row | `server` | 25,000 | `core` |"]);
    }

    #[test]
    fn new_crate_needs_a_row_and_a_removed_one_must_have_none() {
        let actual = [("core", row(1_200, &[])), ("engine", row(987, &["core"]))];
        let engine = "  it needs the row | `engine` | 990 | `core` |";
        let server = "  it has `server`, which is no crate of the workspace";
        assert_eq!(problems_of(actual), [engine, server]);
    }
}
