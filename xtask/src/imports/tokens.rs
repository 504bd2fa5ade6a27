//! Paths in the tokens of macros and attributes, whose grammar is not known.

use proc_macro2::{Ident, Literal, TokenStream, TokenTree};

/// The segments of a path.
pub(super) type Segments = Vec<String>;

/// Returns the paths in tokens, with their lines. A single word is a path, too.
pub(super) fn paths_in(tokens: &TokenStream) -> Vec<(Segments, usize)> {
    let mut scanner = Scanner::default();
    tokens.clone().into_iter().for_each(|token| scanner.add(token));
    scanner.finish();
    scanner.paths
}

/// The paths that were found, and the one that is being read.
#[derive(Default)]
struct Scanner {
    paths: Vec<(Segments, usize)>,
    path: Segments,
    line: usize,
    /// The punctuation since the last word.
    between: String,
}

impl Scanner {
    fn add(&mut self, token: TokenTree) {
        match token {
            TokenTree::Ident(word) => self.word(&word),
            TokenTree::Punct(mark) => self.between.push(mark.as_char()),
            TokenTree::Literal(literal) => {
                self.finish();
                self.paths.extend(path_in(&literal));
            }
            TokenTree::Group(group) => {
                self.finish();
                group.stream().into_iter().for_each(|token| self.add(token));
                self.finish();
            }
        }
    }

    fn word(&mut self, word: &Ident) {
        let continues = self.between == "::";
        if !continues {
            self.finish_path();
        }
        // After a dot it is a field or a method, and after `>::` a part of a type.
        let is_part = self.between.ends_with('.') || self.between.ends_with("::");
        if !is_part || (continues && !self.path.is_empty()) {
            self.line = word.span().start().line;
            self.path.push(word.to_string());
        }
        self.between.clear();
    }

    fn finish(&mut self) {
        self.finish_path();
        self.between.clear();
    }

    fn finish_path(&mut self) {
        if !self.path.is_empty() {
            self.paths.push((std::mem::take(&mut self.path), self.line));
        }
    }
}

/// The path in a string such as `"module::function"`.
fn path_in(literal: &Literal) -> Option<(Segments, usize)> {
    let text = literal.to_string();
    let path: syn::Path = syn::parse_str(text.strip_prefix('"')?.strip_suffix('"')?).ok()?;
    let segments: Segments = path.segments.iter().map(|part| part.ident.to_string()).collect();
    (segments.len() > 1).then(|| (segments, literal.span().start().line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(tokens: &str) -> Vec<String> {
        let paths = paths_in(&tokens.parse().unwrap());
        paths.into_iter().map(|(path, _)| path.join("::")).collect()
    }

    #[test]
    fn paths_and_words_are_found_in_groups_too() {
        assert_eq!(paths("\"{}\", crate::a::B, f(c::D)"), ["crate::a::B", "f", "c::D"]);
        assert_eq!(paths("$crate::a::B { name: e::F }"), ["crate::a::B", "name", "e::F"]);
    }

    #[test]
    fn fields_methods_and_parts_of_types_are_not_paths() {
        assert_eq!(paths("self.list.len()"), ["self"]);
        assert_eq!(paths("Vec::<u8>::new()"), ["Vec", "u8"]);
    }

    #[test]
    fn path_in_a_string_is_found() {
        assert_eq!(paths("deserialize_with = \"text::read\""), ["deserialize_with", "text::read"]);
        assert_eq!(paths("rename = \"type\", alias = \"word\""), ["rename", "alias"]);
    }

    #[test]
    fn path_has_its_line() {
        let tokens = "a,\nb::C".parse().unwrap();
        let lines: Vec<_> = paths_in(&tokens).into_iter().map(|(_, line)| line).collect();
        assert_eq!(lines, [1, 2]);
    }
}
