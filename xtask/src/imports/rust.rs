//! The imports of a crate.
//!
//! A file imports another one if its code names an item that the other one defines, in a `use` or
//! anywhere else. Names are followed through re-exports to the definition. The declaration of a
//! module, re-exports of what is defined below the module itself, comments and the code of tests
//! are no imports.

use std::path::Path;

use anyhow::Result;

use super::graph::{Graph, Import, name_of};
use super::tree::Tree;

/// Adds the imports of the crate with this root module. The names of files are relative to `root`.
pub(super) fn add_crate(graph: &mut Graph, root: &Path, file: &Path) -> Result<()> {
    let tree = Tree::read(file)?;
    for (index, module) in tree.modules() {
        let from = name_of(&module.file, root);
        for reference in &module.references {
            for target in tree.defined_in(index, &reference.path) {
                if reference.is_reexport && tree.is_below(target, index) {
                    continue;
                }
                let path = reference.path.join("::");
                let to = name_of(&tree.module(target).file, root);
                graph.add(&from, &to, Import { line: reference.line, path });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imports::graph::cycles_of;

    fn cycles(files: &[(&str, &str)]) -> Vec<String> {
        cycles_of(files, |graph, root| add_crate(graph, root, &root.join("lib.rs")))
    }

    /// Returns the cycles of a crate with the modules `a`, which imports `B` from `b`, and `b`.
    fn cycles_with(b: &str) -> Vec<String> {
        let a = "use crate::b::B;\npub struct A(B);\npub fn make() -> A { A(B) }";
        let b = format!("pub struct B;\n{b}");
        cycles(&[("lib.rs", "mod a;\nmod b;\npub use a::A;"), ("a.rs", a), ("b.rs", &b)])
    }

    #[test]
    fn one_import_back_is_a_cycle() {
        assert!(cycles_with("").is_empty());
        let expected = "a.rs (line 1: crate::b::B) → b.rs (line 2: crate::a::A) → a.rs";
        assert_eq!(cycles_with("use crate::a::A;"), [expected]);
    }

    #[test]
    fn each_way_to_name_an_item_is_an_import() {
        for code in [
            "use super::a::{A, make};",
            "use super::a as other; fn f(_: other::A) {}",
            "use super::a::{self}; fn f(_: a::A) {}",
            "use super::a::*; fn f(_: A) {}",
            "use crate::A as Other;",
            "fn f(_: &[crate::A]) {}",
            "fn f() { use super::a::A; }",
            "fn f() { println!(\"{:?}\", super::a::make()) }",
            "fn f() { let _ = <super::A as Clone>::clone; }",
            "#[serde(with = \"crate::a::make\")] struct C;",
            "mod inner { use super::super::a::A; }",
            "macro_rules! m { () => { $crate::a::make() } }",
            "#[cfg(not(test))] use super::a::A;",
            "pub use super::a::A;",
        ] {
            assert_eq!(cycles_with(code).len(), 1, "{code}");
        }
    }

    #[test]
    fn tests_comments_and_other_crates_are_exempt() {
        for code in [
            "/// Like [`A`](crate::a::A).\npub struct C;",
            "// use crate::a::A;",
            "#[cfg(test)] mod tests { use crate::a::A; }",
            "#[cfg(test)] use crate::a::A;",
            "#[cfg(all(test, unix))] fn f(_: crate::a::A) {}",
            "struct C; impl C { #[cfg(test)] fn f(_: crate::a::A) {} }",
            "use other::a::A;",
            "use ::a::A;",
            "fn f(a: u8) -> u8 { a.make() }",
        ] {
            assert!(cycles_with(code).is_empty(), "{code}");
        }
    }

    #[test]
    fn file_of_tests_is_exempt() {
        let files = [
            ("lib.rs", "mod a;"),
            ("a.rs", "pub struct A;\n#[cfg(test)]\nmod tests;"),
            ("a/tests.rs", "use super::A;\npub fn f() { super::f() }"),
        ];
        assert!(cycles(&files).is_empty());
    }

    /// Returns the cycles of a module whose child uses an item.
    fn cycles_of_parent(parent: &str, child: &str) -> Vec<String> {
        cycles(&[("lib.rs", "mod parent;"), ("parent/mod.rs", parent), ("parent/child.rs", child)])
    }

    #[test]
    fn parent_that_only_declares_and_reexports_its_child_may_be_used_by_it() {
        let parent =
            "mod child;\npub use child::Child;\npub(crate) use child::*;\npub struct Parent;";
        assert!(cycles_of_parent(parent, "pub struct Child(super::Parent);").is_empty());
    }

    #[test]
    fn parent_and_child_that_use_each_other_are_a_cycle() {
        let child = "use super::Parent;\npub struct Child(Parent);";
        for parent in [
            "mod child;\npub use child::Child;\npub struct Parent(Box<Child>);",
            "mod child;\nuse child::Child;\npub struct Parent;",
            "mod child;\npub struct Parent;\nfn f() { child::Child::new() }",
        ] {
            assert_eq!(cycles_of_parent(parent, child).len(), 1, "{parent}");
        }
    }

    #[test]
    fn item_that_a_macro_defines_is_an_item_of_the_file() {
        let a = "use crate::b::B;\nmacro_rules! define { ($($name:ident)*) => { $(pub struct $name(B);)* } }\n\
            define! { A }";
        let files = |b| [("lib.rs", "mod a;\nmod b;\npub use a::A;"), ("a.rs", a), ("b.rs", b)];
        assert_eq!(cycles(&files("pub struct B;\nuse crate::a::A;")).len(), 1);
        assert_eq!(cycles(&files("pub struct B;\nuse crate::A;")).len(), 1);
        assert!(cycles(&files("pub struct B;\nuse std::a::A;")).is_empty());
    }

    #[test]
    fn reexported_name_of_another_crate_is_not_an_item_of_the_file() {
        let a = "use crate::b::B;\npub use other::{A, *};\npub struct C(B);";
        let files = |b| [("lib.rs", "mod a;\nmod b;"), ("a.rs", a), ("b.rs", b)];
        assert!(cycles(&files("pub struct B;\nuse crate::a::{A, D};")).is_empty());
        assert_eq!(cycles(&files("pub struct B;\nuse crate::a::C;")).len(), 1);
    }

    #[test]
    fn module_and_function_of_the_same_name_are_distinguished() {
        let files = [
            ("lib.rs", "mod list;\nmod user;\npub use list::list;\npub fn user() { list() }"),
            ("list.rs", "pub struct Item;\npub fn list() -> crate::user::User { todo!() }"),
            ("user.rs", "pub struct User;"),
        ];
        assert!(cycles(&files).is_empty());
    }

    #[test]
    fn imports_that_name_themselves_end_the_search() {
        let files = [
            ("lib.rs", "mod a;\nuse a::a;"),
            ("a.rs", "use regex::regex;\npub use b::c as d; use d::c as b;"),
        ];
        assert!(cycles(&files).is_empty());
    }
}
