//! Pages of the documentation that sources name in messages, comments and tests.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use regex::Regex;

use crate::repository_files::has_extension;

/// The kinds of files that are searched.
const SOURCES: [&str; 5] = ["rs", "js", "mjs", "ts", "toml"];

/// This folder, whose tests name pages that do not exist.
const EXEMPT: &str = "xtask/src/links";

/// Returns a line for each page that a source names and that does not exist.
pub(super) fn problems(root: &Path, files: &[PathBuf]) -> Result<Vec<String>> {
    let page = Regex::new(r"\bdocs/[A-Za-z0-9/_-]+\.md\b").expect("the expression is valid");
    let mut problems = Vec::new();
    let is_source = |file: &Path| SOURCES.iter().any(|kind| has_extension(file, kind));
    for file in files.iter().filter(|file| is_source(file) && !file.starts_with(EXEMPT)) {
        // A file that is not text names nothing.
        let Ok(text) = fs::read_to_string(root.join(file)) else { continue };
        for (number, line) in text.lines().enumerate() {
            let missing = page.find_iter(line).map(|found| found.as_str());
            let missing = missing.filter(|page| !root.join(page).exists());
            problems.extend(missing.map(|page| {
                format!("{}:{}: {page}: there is no {page}", file.display(), number + 1)
            }));
        }
    }
    Ok(problems)
}
