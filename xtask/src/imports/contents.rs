//! The definitions of a Rust module and the references in its code. Code of tests is left out.

use std::collections::HashMap;

use proc_macro2::TokenStream;
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{Attribute, Ident, ImplItem, Item, Meta, Token, UseTree, Visibility};

use super::tokens::{Segments, paths_in};

/// Something that has a name in a module.
#[derive(Debug)]
pub(super) enum Name {
    /// It is defined here.
    Item,
    /// It is the child module with this index.
    Module(usize),
    /// It is imported.
    Import(Segments),
}

/// A path that stands in the code.
#[derive(Debug)]
pub(super) struct Reference {
    /// Its segments.
    pub(super) path: Segments,
    /// Its line, from 1.
    pub(super) line: usize,
    /// Whether it is imported only to be exported again.
    pub(super) is_reexport: bool,
}

/// The contents of a module.
#[derive(Default)]
pub(super) struct Contents<'ast> {
    /// The modules in it, whether they have a file of their own or not.
    pub(super) children: Vec<&'ast syn::ItemMod>,
    /// Its names. A name can be both a module and a function.
    pub(super) names: HashMap<String, Vec<Name>>,
    /// The modules from which all names are imported.
    pub(super) globs: Vec<Segments>,
    /// The paths in its code.
    pub(super) references: Vec<Reference>,
}

impl<'ast> Contents<'ast> {
    /// Collects the contents of a module. Items in a function count as items of its module.
    pub(super) fn of(items: &'ast [Item]) -> Self {
        let mut contents = Self::default();
        for item in items {
            contents.visit_item(item);
        }
        contents
    }

    fn define(&mut self, name: impl ToString, what: Name) {
        self.names.entry(name.to_string()).or_default().push(what);
    }

    fn refer(&mut self, path: Segments, line: usize, is_reexport: bool) {
        self.references.push(Reference { path, line, is_reexport });
    }

    fn import(&mut self, tree: &UseTree, mut path: Segments, is_reexport: bool) {
        match tree {
            UseTree::Path(use_path) => {
                path.push(use_path.ident.to_string());
                self.import(&use_path.tree, path, is_reexport);
            }
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.import(tree, path.clone(), is_reexport));
            }
            UseTree::Glob(_) => self.globs.push(path),
            UseTree::Name(name) => self.import_name(path, &name.ident, None, is_reexport),
            UseTree::Rename(name) => {
                self.import_name(path, &name.ident, Some(&name.rename), is_reexport);
            }
        }
    }

    fn import_name(
        &mut self,
        mut path: Segments,
        name: &Ident,
        rename: Option<&Ident>,
        is_reexport: bool,
    ) {
        if name != "self" {
            path.push(name.to_string());
        }
        let Some(last) = path.last() else { return };
        let visible = rename.map_or_else(|| last.clone(), Ident::to_string);
        self.define(visible, Name::Import(path.clone()));
        self.refer(path, name.span().start().line, is_reexport);
    }

    /// Collects the paths in the tokens of a macro or an attribute.
    fn scan(&mut self, tokens: &TokenStream) {
        for (path, line) in paths_in(tokens) {
            self.refer(path, line, false);
        }
    }
}

impl<'ast> Visit<'ast> for Contents<'ast> {
    fn visit_item(&mut self, item: &'ast Item) {
        let (attributes, name) = attributes_and_name(item);
        if is_test(attributes) {
            return;
        }
        if let Some(name) = name {
            self.define(name, Name::Item);
        }
        visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        self.children.push(module);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if item.leading_colon.is_none() {
            let is_reexport = !matches!(item.vis, Visibility::Inherited);
            self.import(&item.tree, Vec::new(), is_reexport);
        }
    }

    fn visit_item_macro(&mut self, item: &'ast syn::ItemMacro) {
        self.visit_macro(&item.mac);
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let is_test = match item {
            ImplItem::Fn(item) => is_test(&item.attrs),
            ImplItem::Const(item) => is_test(&item.attrs),
            _ => false,
        };
        if !is_test {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if !is_test(&field.attrs) {
            visit::visit_field(self, field);
        }
    }

    fn visit_field_value(&mut self, field: &'ast syn::FieldValue) {
        if !is_test(&field.attrs) {
            visit::visit_field_value(self, field);
        }
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        if !is_test(&local.attrs) {
            visit::visit_local(self, local);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if let (None, Some(first)) = (&path.leading_colon, path.segments.first()) {
            let segments = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            self.refer(segments, first.ident.span().start().line, false);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.visit_path(&item.path);
        self.scan(&item.tokens);
    }

    /// `serde`, for example, takes the paths of functions, some of them as strings.
    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let Meta::List(list) = &attribute.meta {
            self.scan(&list.tokens);
        }
    }
}

fn attributes_and_name(item: &Item) -> (&[Attribute], Option<&Ident>) {
    match item {
        Item::Const(item) => (&item.attrs, Some(&item.ident)),
        Item::Enum(item) => (&item.attrs, Some(&item.ident)),
        Item::Fn(item) => (&item.attrs, Some(&item.sig.ident)),
        Item::Macro(item) => (&item.attrs, item.ident.as_ref()),
        Item::Static(item) => (&item.attrs, Some(&item.ident)),
        Item::Struct(item) => (&item.attrs, Some(&item.ident)),
        Item::Trait(item) => (&item.attrs, Some(&item.ident)),
        Item::TraitAlias(item) => (&item.attrs, Some(&item.ident)),
        Item::Type(item) => (&item.attrs, Some(&item.ident)),
        Item::Union(item) => (&item.attrs, Some(&item.ident)),
        Item::Impl(item) => (&item.attrs, None),
        Item::Mod(item) => (&item.attrs, None),
        Item::Use(item) => (&item.attrs, None),
        _ => (&[], None),
    }
}

/// Whether something is compiled for tests only.
pub(super) fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args().is_ok_and(|meta| needs_test(&meta))
    })
}

fn needs_test(condition: &Meta) -> bool {
    let Meta::List(list) = condition else { return condition.path().is_ident("test") };
    let parts = || {
        list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated).unwrap_or_default()
    };
    if list.path.is_ident("all") {
        parts().iter().any(needs_test)
    } else {
        list.path.is_ident("any") && parts().iter().all(needs_test)
    }
}
