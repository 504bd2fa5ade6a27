//! The check of comments: no line of a comment is longer than 100 columns, because rustfmt leaves
//! comments as they are.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::outcome::Outcome;
use crate::repository_files::{has_extension, repository_files};
use crate::workspace::Workspace;

/// The extensions of files with comments that begin with `//`, or with `*` in a block.
const LANGUAGES: [&str; 4] = ["rs", "js", "mjs", "ts"];

const MAX_COLUMNS: usize = 100;

/// Checks all comments.
pub(crate) fn check(workspace: &Workspace) -> Result<Outcome> {
    let mut problems = Vec::new();
    for file in repository_files(workspace.root())? {
        if LANGUAGES.iter().any(|language| has_extension(&file, language)) {
            let text = fs::read_to_string(workspace.root().join(&file))
                .with_context(|| format!("{} cannot be read", file.display()))?;
            let lines = long_comments(&text);
            problems.extend(lines.map(|line| format!("{}:{line}", file.display())));
        }
    }
    if !problems.is_empty() {
        bail!(
            "comments are longer than {MAX_COLUMNS} columns; wrap these lines:\n{}",
            problems.join("\n")
        );
    }
    Ok(1.into())
}

/// Returns the numbers of the lines that are comments and too long.
fn long_comments(text: &str) -> impl Iterator<Item = usize> {
    let is_comment = |line: &str| ["//", "*", "/*"].iter().any(|it| line.starts_with(it));
    let is_long =
        move |line: &str| line.chars().count() > MAX_COLUMNS && is_comment(line.trim_start());
    text.lines().enumerate().filter(move |(_, line)| is_long(line)).map(|(index, _)| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_comment_is_found_and_long_code_is_not() {
        let (word, code) = ("wörd ".repeat(25), format!("let text = \"{}\";", "a".repeat(100)));
        let text = format!("//! Short.\n    /// {word}\n{code}\n * {word}\n// {}", "ä".repeat(97));
        assert_eq!(long_comments(&text).collect::<Vec<_>>(), [2, 4]);
    }
}
