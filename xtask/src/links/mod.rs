//! The check of links: each link of a Markdown file leads to a file of the repository and, with a
//! `#`, to a heading in it.
//!
//! It reads every Markdown file once ([`page`]), and compares links with files and headings. The
//! site has the pages of `docs` only, so these pages link to no file outside of it, and
//! `SUMMARY.md` lists all of them. Sources name pages of `docs` in messages and comments
//! ([`mention`]); these pages exist, too. Links to other servers are not followed.

mod mention;
mod page;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::outcome::Outcome;
use crate::output::print_line;
use crate::repository_files::{has_extension, repository_files};
use crate::workspace::Workspace;

use page::{Link, Page};

/// The list of pages that the site has.
const SUMMARY: &str = "docs/SUMMARY.md";

/// The files of a repository, and its Markdown files as pages, by their paths from its root.
struct Repository {
    root: PathBuf,
    files: Vec<PathBuf>,
    pages: BTreeMap<PathBuf, Page>,
}

/// Checks all links. The outcome counts them.
pub(crate) fn check(workspace: &Workspace) -> Result<Outcome> {
    let repository = Repository::read(workspace.root())?;
    let problems = repository.problems()?;
    if !problems.is_empty() {
        bail!("there are broken links:\n{}", problems.join("\n"));
    }
    let links: usize = repository.pages.values().map(|page| page.links.len()).sum();
    print_line(format_args!("{links} links in {} pages", repository.pages.len()))?;
    Ok(1.into())
}

impl Repository {
    fn read(root: &Path) -> Result<Self> {
        let files = repository_files(root)?;
        let mut pages = BTreeMap::new();
        for file in files.iter().filter(|file| has_extension(file, "md")) {
            let text = fs::read_to_string(root.join(file))
                .with_context(|| format!("{} cannot be read", file.display()))?;
            pages.insert(file.clone(), Page::parse(&text));
        }
        Ok(Self { root: root.to_owned(), files, pages })
    }

    /// Returns a line for each problem.
    fn problems(&self) -> Result<Vec<String>> {
        let mut problems = Vec::new();
        for (file, page) in &self.pages {
            for link in &page.links {
                let problem = self.problem(file, link);
                problems.extend(problem.map(|problem| {
                    format!("{}:{}: {}: {problem}", file.display(), link.line, link.target)
                }));
            }
        }
        problems.extend(self.unlisted());
        problems.extend(mention::problems(&self.root, &self.files)?);
        Ok(problems)
    }

    /// Returns what is wrong with a link of a file, if anything is.
    fn problem(&self, file: &Path, link: &Link) -> Option<String> {
        let (path, anchor) = link.parts()?;
        let target = match path {
            "" => file.to_owned(),
            path => match normalize(&file.parent().unwrap_or(Path::new("")).join(path)) {
                Some(target) => target,
                None => return Some("this is outside of the repository".to_owned()),
            },
        };
        if !self.root.join(&target).exists() {
            return Some(format!("there is no {}", target.display()));
        }
        if file.starts_with("docs") && !target.starts_with("docs") {
            return Some(
                "the site has no files outside of docs; name it without a link".to_owned(),
            );
        }
        let anchor = anchor?;
        match self.pages.get(&target) {
            Some(page) if page.anchors.contains(anchor) => None,
            _ => Some(format!("{} has no heading #{anchor}", target.display())),
        }
    }

    /// Returns a line for each page of the documentation that the site does not list.
    fn unlisted(&self) -> Vec<String> {
        let Some(summary) = self.pages.get(Path::new(SUMMARY)) else { return Vec::new() };
        let is_listed = |file: &PathBuf| {
            summary
                .links
                .iter()
                .any(|link| file.strip_prefix("docs") == Ok(Path::new(&link.target)))
        };
        let pages = self.pages.keys().filter(|file| file.starts_with("docs"));
        let unlisted = pages.filter(|file| *file != Path::new(SUMMARY) && !is_listed(file));
        unlisted
            .map(|file| format!("{}: {SUMMARY} does not list this page", file.display()))
            .collect()
    }
}

/// Returns a path without `.` and `..`, or `None` if it leads out of the first folder.
fn normalize(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => normal.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !normal.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(normal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(files: &[(&str, &str)]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Repository::read(folder.path()).unwrap().problems().unwrap()
    }

    #[test]
    fn links_to_files_and_headings_are_accepted() {
        let files = [
            ("README.md", "[a](docs/a.md#two-words) [b](docs/) [c](https://example.org/x#y)"),
            ("docs/a.md", "# A\n\n## Two words\n\n[self](#a) ![picture](p.png) [b](b/../b/b.md)"),
            ("docs/b/b.md", "[up](../a.md#two-words)"),
            ("docs/p.png", ""),
            ("docs/SUMMARY.md", "- [A](a.md)\n- [B](b/b.md)"),
        ];
        assert_eq!(problems(&files), [""; 0]);
    }

    #[test]
    fn broken_link_is_reported_with_file_line_and_target() {
        let files =
            [("a.md", "# A\n\nSee [b](b.md)\nand [c](#see).\n"), ("x/c.md", "[a](../a.md#x)")];
        let expected = [
            "a.md:3: b.md: there is no b.md",
            "a.md:4: #see: a.md has no heading #see",
            "x/c.md:1: ../a.md#x: a.md has no heading #x",
        ];
        assert_eq!(problems(&files), expected);
    }

    #[test]
    fn page_of_the_site_must_not_link_to_files_outside() {
        let files = [("docs/a.md", "[x](../x.md)"), ("x.md", "[y](../y.md)")];
        let expected = [
            "docs/a.md:1: ../x.md: the site has no files outside of docs; name it without a link",
            "x.md:1: ../y.md: this is outside of the repository",
        ];
        assert_eq!(problems(&files), expected);
    }

    #[test]
    fn page_that_the_summary_does_not_list_is_reported() {
        let files = [("docs/SUMMARY.md", "- [A](a.md)"), ("docs/a.md", ""), ("docs/b.md", "")];
        assert_eq!(problems(&files), ["docs/b.md: docs/SUMMARY.md does not list this page"]);
    }

    #[test]
    fn source_that_names_a_missing_page_is_reported() {
        let files = [("src/a.rs", "//! See docs/b.md.\n"), ("node_modules/x.js", "// docs/c.md")];
        assert_eq!(problems(&files), ["src/a.rs:1: docs/b.md: there is no docs/b.md"]);
    }
}
