//! Every path a module's code writes: imports, paths in code, paths inside macro calls; not docs, not tests.
//!
//! Never resolves a path; that is `resolve`'s part.

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{
    Attribute, ImplItemFn, ItemConst, ItemExternCrate, ItemFn, ItemImpl, ItemMod, ItemStatic, ItemUse, Macro,
    UseTree, VisRestricted,
};

use crate::source::{Gate, Module};

/// How a path is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// In a `use` or `extern crate`, under this name from then on.
    Import(String),
    /// Anywhere else.
    Code,
}

/// One path in the source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Mention {
    /// As written: `["crate", "block", "Entry"]`.
    pub(crate) segments: Vec<String>,
    /// The inline modules around it, outermost first.
    pub(crate) inline: Vec<String>,
    pub(crate) line: usize,
    pub(crate) place: Place,
    pub(crate) gate: Gate,
}

/// The paths of a module in the order they are written, those only in tests left out.
pub(crate) fn mentions(module: &Module) -> Vec<Mention> {
    let mut finder = Finder { inline: Vec::new(), gate: module.gate, found: Vec::new() };
    if module.gate < Gate::Test {
        finder.visit_file(&module.syntax);
    }
    finder.found
}

struct Finder {
    inline: Vec<String>,
    gate: Gate,
    found: Vec<Mention>,
}

impl Finder {
    fn add(&mut self, segments: Vec<String>, span: Span, place: Place) {
        let (inline, gate) = (self.inline.clone(), self.gate);
        self.found.push(Mention { segments, inline, line: span.start().line, place, gate });
    }

    /// Goes into an item unless it exists only under test.
    fn gated(&mut self, attributes: &[Attribute], enter: impl FnOnce(&mut Self)) {
        let outer = self.gate;
        self.gate = outer.max(Gate::of(attributes));
        if self.gate < Gate::Test {
            enter(self);
        }
        self.gate = outer;
    }

    fn imports(&mut self, tree: &UseTree, before: &[String]) {
        let with = |name: &syn::Ident| before.iter().cloned().chain([name.to_string()]).collect::<Vec<_>>();
        match tree {
            UseTree::Path(path) => self.imports(&path.tree, &with(&path.ident)),
            UseTree::Group(group) => group.items.iter().for_each(|item| self.imports(item, before)),
            UseTree::Glob(glob) => self.add(before.to_vec(), glob.star_token.spans[0], Place::Code),
            UseTree::Name(name) if name.ident == "self" => {
                let known_as = before.last().cloned().unwrap_or_default();
                self.add(before.to_vec(), name.ident.span(), Place::Import(known_as));
            }
            UseTree::Name(name) => {
                self.add(with(&name.ident), name.ident.span(), Place::Import(name.ident.to_string()));
            }
            UseTree::Rename(rename) => {
                let path = if rename.ident == "self" { before.to_vec() } else { with(&rename.ident) };
                self.add(path, rename.ident.span(), Place::Import(rename.rename.to_string()));
            }
        }
    }

    /// A macro's arguments are not parsed by anyone before it is expanded: look for `a::b::c` among the tokens.
    fn tokens(&mut self, stream: TokenStream) {
        let mut path: Option<(Vec<String>, Span)> = None;
        let mut colons = 0;
        for token in stream {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == ':' && colons < 2 => colons += 1,
                TokenTree::Ident(name) if colons == 2 && path.is_some() => {
                    colons = 0;
                    if let Some((segments, _)) = &mut path {
                        segments.push(name.to_string());
                    }
                }
                other => {
                    self.end_of(path.take());
                    colons = 0;
                    match other {
                        TokenTree::Ident(name) => path = Some((vec![name.to_string()], name.span())),
                        TokenTree::Group(group) => self.tokens(group.stream()),
                        TokenTree::Punct(_) | TokenTree::Literal(_) => {}
                    }
                }
            }
        }
        self.end_of(path);
    }

    fn end_of(&mut self, path: Option<(Vec<String>, Span)>) {
        if let Some((segments, span)) = path
            && segments.len() > 1
        {
            self.add(segments, span, Place::Code);
        }
    }
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_attribute(&mut self, _: &'ast Attribute) {}

    fn visit_vis_restricted(&mut self, _: &'ast VisRestricted) {}

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.gated(&item.attrs, |finder| finder.imports(&item.tree, &[]));
    }

    fn visit_item_extern_crate(&mut self, item: &'ast ItemExternCrate) {
        let name = item.ident.to_string();
        self.gated(&item.attrs, |finder| {
            finder.add(vec![name.clone()], item.ident.span(), Place::Import(name))
        });
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        self.gated(&item.attrs, |finder| {
            finder.inline.push(item.ident.to_string());
            visit::visit_item_mod(finder, item);
            finder.inline.pop();
        });
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.gated(&item.attrs, |finder| visit::visit_item_fn(finder, item));
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        self.gated(&item.attrs, |finder| visit::visit_item_impl(finder, item));
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        self.gated(&item.attrs, |finder| visit::visit_impl_item_fn(finder, item));
    }

    fn visit_item_const(&mut self, item: &'ast ItemConst) {
        self.gated(&item.attrs, |finder| visit::visit_item_const(finder, item));
    }

    fn visit_item_static(&mut self, item: &'ast ItemStatic) {
        self.gated(&item.attrs, |finder| visit::visit_item_static(finder, item));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if let Some(first) = path.segments.first() {
            self.add(segments, first.ident.span(), Place::Code);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        self.visit_path(&call.path);
        self.tokens(call.tokens.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::source::ModulePath;

    fn written(code: &str) -> Vec<String> {
        let syntax = syn::parse_file(code).unwrap();
        let module =
            Module { path: ModulePath::default(), file: PathBuf::new(), gate: Gate::Shipped, syntax };
        mentions(&module).iter().map(|mention| mention.segments.join("::")).collect()
    }

    #[test]
    fn imports_are_taken_apart() {
        assert_eq!(
            written("use crate::{block::{self, entry::Entry as E}, frame::*}; extern crate std;"),
            ["crate::block", "crate::block::entry::Entry", "crate::frame", "std"]
        );
    }

    #[test]
    fn code_types_and_macro_arguments_are_read() {
        let code = "pub(crate) fn f(x: crate::a::X) { debug_assert!(g(x) == crate::b::Y, \"{}\", [super::c::z(1)]); }";
        assert_eq!(written(code), ["crate::a::X", "debug_assert", "crate::b::Y", "super::c::z"]);
    }

    #[test]
    fn tests_docs_and_visibility_are_not() {
        let code = "//! See crate::z.\n #[cfg(test)] mod tests { use crate::a; }\n #[cfg(all(test, zonal_loom))] use \
                    crate::b;\n pub(in crate::c) struct S; impl S { #[cfg(test)] fn f() { crate::d::g() } }";
        assert_eq!(written(code), ["S"]);
    }

    #[test]
    fn a_single_colon_joins_no_path() {
        assert_eq!(written("fn f() { m!(a: crate::b::C, d: e); }"), ["m", "crate::b::C"]);
    }
}
