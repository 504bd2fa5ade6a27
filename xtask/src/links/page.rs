//! A Markdown file as its links and its anchors, which are made from headings as GitHub and mdBook
//! make them.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

/// A Markdown file.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) links: Vec<Link>,
    pub(super) anchors: BTreeSet<String>,
}

/// A link or a picture.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// The line, from 1.
    pub(super) line: usize,
    /// The target as it is written.
    pub(super) target: String,
}

impl Page {
    /// Reads a text. Links in code are no links.
    pub(super) fn parse(text: &str) -> Self {
        let prose = without_fences(text);
        Self { links: links(&without_spans(&prose)), anchors: anchors(&prose) }
    }
}

impl Link {
    /// Returns path and anchor, or `None` for a link to another server.
    pub(super) fn parts(&self) -> Option<(&str, Option<&str>)> {
        if self.target.contains("://") || self.target.starts_with("mailto:") {
            return None;
        }
        Some(match self.target.split_once('#') {
            Some((path, anchor)) => (path, Some(anchor)),
            None => (&self.target, None),
        })
    }
}

/// Empties the lines of fenced code, so that lines keep their numbers.
fn without_fences(text: &str) -> String {
    let mut prose = String::with_capacity(text.len());
    let mut fence: Option<&str> = None;
    for line in text.lines() {
        let start = line.trim_start();
        match fence {
            Some(mark) => {
                if start.starts_with(mark) && start.trim_matches(['`', '~']).trim().is_empty() {
                    fence = None;
                }
            }
            None => {
                fence = fence_mark(start);
                if fence.is_none() {
                    prose.push_str(line);
                }
            }
        }
        prose.push('\n');
    }
    prose
}

/// Returns the characters that open a fence, if a line does so.
fn fence_mark(line: &str) -> Option<&str> {
    let mark = line.chars().next().filter(|mark| ['`', '~'].contains(mark))?;
    let length = line.len() - line.trim_start_matches(mark).len();
    (length >= 3).then(|| &line[..length])
}

/// Replaces spans of code by blanks.
fn without_spans(prose: &str) -> String {
    let paragraphs: Vec<_> = prose.split("\n\n").map(without_spans_of_paragraph).collect();
    paragraphs.join("\n\n")
}

fn without_spans_of_paragraph(text: &str) -> String {
    let mut blanked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('`') {
        let (before, from) = rest.split_at(start);
        blanked.push_str(before);
        let ticks = from.len() - from.trim_start_matches('`').len();
        let length = span_length(from, ticks).unwrap_or(ticks);
        let blanks = from[..length].chars().map(|it| if it == '\n' { '\n' } else { ' ' });
        blanked.extend(blanks);
        rest = &from[length..];
    }
    blanked + rest
}

/// Returns the bytes of a span that begins with so many backticks, if it ends.
fn span_length(text: &str, ticks: usize) -> Option<usize> {
    let mut at = ticks;
    loop {
        at += text[at..].find('`')?;
        let run = text[at..].len() - text[at..].trim_start_matches('`').len();
        at += run;
        if run == ticks {
            return Some(at);
        }
    }
}

fn links(prose: &str) -> Vec<Link> {
    let forms = [
        // [text](target "title")
        r#"\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)"#,
        // [name]: target
        r"(?m)^ {0,3}\[[^\]\n]+\]:\s*(\S+)",
        // <a href="target">, <img src="target">
        r#"<(?:a|img)\s[^>]*(?:href|src)="([^"]+)""#,
    ];
    let mut links = Vec::new();
    for form in forms {
        let form = Regex::new(form).expect("the expression is valid");
        links.extend(form.captures_iter(prose).map(|found| Link {
            line: prose[..found.get(1).map_or(0, |it| it.start())].matches('\n').count() + 1,
            target: found[1].to_owned(),
        }));
    }
    links.sort_by_key(|link| link.line);
    links
}

fn anchors(prose: &str) -> BTreeSet<String> {
    let heading = Regex::new(r"(?m)^#{1,6}[ \t]+(.+?)[ \t]*#*$").expect("the expression is valid");
    let mut times = BTreeMap::<String, usize>::new();
    let anchors = heading.captures_iter(prose).map(|found| {
        let slug = slug(&found[1]);
        let count = times.entry(slug.clone()).or_default();
        *count += 1;
        if *count == 1 { slug } else { format!("{slug}-{}", *count - 1) }
    });
    anchors.collect()
}

/// Returns the anchor of a heading, as GitHub and mdBook make it.
fn slug(heading: &str) -> String {
    let link = Regex::new(r"\[([^\]]*)\]\([^)]*\)").expect("the expression is valid");
    let text = link.replace_all(heading, "$1").to_lowercase();
    let kept = text.chars().filter(|it| it.is_alphanumeric() || ['-', '_', ' '].contains(it));
    kept.map(|it| if it == ' ' { '-' } else { it }).collect()
}
#[cfg(test)]
mod tests {
    use super::*;

    fn targets(text: &str) -> Vec<(usize, String)> {
        Page::parse(text).links.into_iter().map(|link| (link.line, link.target)).collect()
    }

    fn link(line: usize, target: &str) -> (usize, String) {
        (line, target.to_owned())
    }

    #[test]
    fn every_form_of_a_link_is_found_with_its_line() {
        let text = "[a](a.md) and\n![b](b.png \"B\")\n[text\nin two lines](<c.md>)\n\n[d]: d.md\n\
                    <a href=\"e.md\">e</a> <img alt=\"f\" src=\"f.png\">\n";
        let expected = [
            link(1, "a.md"),
            link(2, "b.png"),
            link(4, "c.md"),
            link(6, "d.md"),
            link(7, "e.md"),
            link(7, "f.png"),
        ];
        assert_eq!(targets(text), expected);
    }

    #[test]
    fn code_has_no_links() {
        let text = "`[a](a.md)` ``x ` [b](b.md)`` [`c`](c.md)\n\n```md\n[d](d.md)\n# D\n```\n\
                    ~~~~\n```\n[e](e.md)\n~~~~\n\nan open ` is text [f](f.md)\n";
        assert_eq!(targets(text), [link(1, "c.md"), link(12, "f.md")]);
        assert!(Page::parse(text).anchors.is_empty());
    }

    #[test]
    fn anchors_are_made_from_headings() {
        let text = "# The `config.yml` file\n## Let's go: A & B\n## Same\n### Same ###\n\
                    ## See [there](a.md)\n#no heading\n";
        let anchors = Page::parse(text).anchors;
        let expected = ["lets-go-a--b", "same", "same-1", "see-there", "the-configyml-file"]
            .map(str::to_owned);
        assert_eq!(anchors, expected.into());
    }

    #[test]
    fn link_to_another_server_has_no_path() {
        let parts = |target: &str| {
            let link = Link { line: 1, target: target.to_owned() };
            link.parts().map(|(path, anchor)| (path.to_owned(), anchor.map(str::to_owned)))
        };
        assert_eq!(parts("https://example.org/a#b"), None);
        assert_eq!(parts("mailto:a@example.org"), None);
        assert_eq!(parts("a.md#b"), Some(("a.md".to_owned(), Some("b".to_owned()))));
        assert_eq!(parts("a.md"), Some(("a.md".to_owned(), None)));
    }
}
