//! Pages of the documentation, whose blocks of code the stories run.

use std::fs;

use crate::paths;

/// A block of code of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The language that follows the fence, such as `js`.
    pub language: String,
    /// The last line of text before the block.
    pub lead: String,
    /// The lines of the block.
    pub code: String,
}

/// Reads a page of `docs`, such as `tutorial/make-a-backbone-app-live.md`.
pub fn page(name: &str) -> String {
    let path = paths::root().join("docs").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the names of all pages of `docs`.
pub fn all_pages() -> Vec<String> {
    let mut names = Vec::new();
    for kind in ["tutorial", "how-to", "reference", "explanation"] {
        let folder = paths::root().join("docs").join(kind);
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{kind}: {error}"));
        let files = entries.map(|entry| entry.expect("the folder is there").file_name());
        names.extend(files.map(|file| format!("{kind}/{}", file.to_string_lossy())));
    }
    names.sort();
    names
}

/// Returns the blocks of code of a page, in order.
pub fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lead = "";
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some((indent, language)) =
            line.split_once("```").filter(|(it, _)| it.trim().is_empty())
        {
            let code = lines.by_ref().take_while(|line| line.trim_start() != "```");
            // A block in a list is indented as a whole.
            let code = code
                .map(|line| format!("{}\n", line.strip_prefix(indent).unwrap_or(line)))
                .collect();
            blocks.push(Block { language: language.to_owned(), lead: lead.to_owned(), code });
        } else if !line.is_empty() {
            lead = line;
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_their_language_and_the_line_before_them() {
        let found =
            blocks("# A\n\nSave this:\n\n```js\na;\n\nb;\n```\n   ```\n   c\n     d\n   ```\n");
        let block = |language: &str, code: &str| Block {
            language: language.to_owned(),
            lead: "Save this:".to_owned(),
            code: code.to_owned(),
        };
        assert_eq!(found, [block("js", "a;\n\nb;\n"), block("", "c\n  d\n")]);
    }
}
