//! The lengths of files and functions: at most 400 and 70 lines, or what `xtask/ratchet.toml` grants, which only
//! shrinks: an entry that is longer than what it stands for fails too, so it follows the code down.
//!
//! A file's length is all its lines; a function's runs from its signature to its closing brace.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Block, ImplItemFn, ItemFn, ItemImpl, ItemMod, ItemTrait, Signature, TraitItemFn, Type};
use walkdir::WalkDir;

use crate::outcome::Outcome;
use crate::source;
use crate::workspace::Workspace;

const FILE_LINES: usize = 400;
const FUNCTION_LINES: usize = 70;
const RATCHET: &str = "xtask/ratchet.toml";

/// Measures every source file of the workspace.
///
/// # Errors
/// If the ratchet or a source file cannot be read.
pub(crate) fn run(workspace: &Workspace) -> Result<Outcome> {
    let ratchet = Ratchet::parse(&fs::read_to_string(workspace.path(RATCHET)).context(RATCHET)?)?;
    let (mut files, mut functions) = (Lengths::new(), Lengths::new());
    for file in sources(workspace.root()) {
        let name = workspace.relative(&file);
        let text = fs::read_to_string(&file).with_context(|| format!("reading {name}"))?;
        files.insert(name.clone(), text.lines().count());
        let mut ruler = Ruler { file: name, scope: Vec::new(), lengths: &mut functions };
        ruler.visit_file(&source::parse(&file)?);
    }
    let files = findings("file", &files, &ratchet.files, FILE_LINES);
    let functions = findings("function", &functions, &ratchet.functions, FUNCTION_LINES);
    Ok(Outcome::of_findings(files).and(Outcome::of_findings(functions)))
}

type Lengths = BTreeMap<String, usize>;

/// Lengths granted beyond the limits.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ratchet {
    #[serde(default)]
    files: Lengths,
    #[serde(default)]
    functions: Lengths,
}

impl Ratchet {
    fn parse(text: &str) -> Result<Self> {
        toml::from_str(text).context(RATCHET)
    }
}

/// The Rust files of the workspace, build directories and hidden ones left out.
fn sources(root: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = WalkDir::new(root).min_depth(1).sort_by_file_name().into_iter().filter_entry(|entry| {
        let name = entry.file_name().to_string_lossy();
        let is_build = entry.depth() == 1 && name.starts_with("target");
        !is_build && !name.starts_with('.')
    });
    let files = entries.filter_map(Result::ok).map(walkdir::DirEntry::into_path);
    files.filter(|path| path.extension().is_some_and(|end| end == "rs"))
}

/// What is too long, and what the ratchet grants without need.
fn findings(what: &str, lengths: &Lengths, granted: &Lengths, limit: usize) -> Vec<String> {
    let measured = lengths.iter().filter_map(|(name, &lines)| match granted.get(name) {
        None if lines > limit => Some(format!("{name}: this {what} has {lines} lines, the limit is {limit}")),
        Some(&grant) if lines > grant => {
            Some(format!("{name}: this {what} grew from {grant} lines to {lines}"))
        }
        Some(_) if lines <= limit => {
            Some(format!("{RATCHET}: {name} has {lines} lines now: delete its entry"))
        }
        Some(&grant) if lines < grant => {
            Some(format!("{RATCHET}: {name} has {lines} lines now: lower its {grant}"))
        }
        _ => None,
    });
    let absent = granted.keys().filter(|name| !lengths.contains_key(*name));
    measured.chain(absent.map(|name| format!("{RATCHET}: there is no {what} {name}"))).collect()
}

/// Measures the functions of one file; each is called `file::Scope::name`.
struct Ruler<'a> {
    file: String,
    scope: Vec<String>,
    lengths: &'a mut Lengths,
}

impl Ruler<'_> {
    fn measure(&mut self, signature: &Signature, body: &Block) {
        let lines = body.span().end().line + 1 - signature.span().start().line;
        let mut name = self.file.clone();
        for part in self.scope.iter().chain([&signature.ident.to_string()]) {
            name.push_str("::");
            name.push_str(part);
        }
        let longest = self.lengths.entry(name).or_default();
        *longest = lines.max(*longest);
    }

    fn within(&mut self, name: String, enter: impl FnOnce(&mut Self)) {
        self.scope.push(name);
        enter(self);
        self.scope.pop();
    }
}

impl<'ast> Visit<'ast> for Ruler<'_> {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        self.within(item.ident.to_string(), |ruler| visit::visit_item_mod(ruler, item));
    }

    fn visit_item_trait(&mut self, item: &'ast ItemTrait) {
        self.within(item.ident.to_string(), |ruler| visit::visit_item_trait(ruler, item));
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        let name = match item.self_ty.as_ref() {
            Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.to_string()),
            _ => None,
        };
        self.within(name.unwrap_or_else(|| "impl".into()), |ruler| visit::visit_item_impl(ruler, item));
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.measure(&item.sig, &item.block);
        self.within(item.sig.ident.to_string(), |ruler| visit::visit_item_fn(ruler, item));
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        self.measure(&item.sig, &item.block);
        self.within(item.sig.ident.to_string(), |ruler| visit::visit_impl_item_fn(ruler, item));
    }

    fn visit_trait_item_fn(&mut self, item: &'ast TraitItemFn) {
        if let Some(body) = &item.default {
            self.measure(&item.sig, body);
        }
        visit::visit_trait_item_fn(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(pairs: &[(&str, usize)]) -> Lengths {
        pairs.iter().map(|(name, lines)| (name.to_string(), *lines)).collect()
    }

    #[test]
    fn functions_are_measured_from_signature_to_brace() {
        let code = "/// Docs do\n/// not count.\n#[inline]\nfn a() {\n}\nimpl S {\n fn b(\n ) {\n\n }\n}\ntrait T { fn c(); }";
        let mut measured = Lengths::new();
        let mut ruler = Ruler { file: "x.rs".into(), scope: Vec::new(), lengths: &mut measured };
        ruler.visit_file(&syn::parse_file(code).unwrap());
        assert_eq!(measured, lengths(&[("x.rs::a", 2), ("x.rs::S::b", 4)]));
    }

    #[test]
    fn too_long_is_found_unless_granted_and_grants_follow_the_code_down() {
        let measured = lengths(&[
            ("fits", 70),
            ("long", 71),
            ("grown", 91),
            ("shrunk", 80),
            ("cured", 60),
            ("same", 99),
        ]);
        let granted = lengths(&[("grown", 90), ("shrunk", 90), ("cured", 90), ("same", 99), ("gone", 75)]);
        let found = findings("function", &measured, &granted, 70).join("\n");
        assert_eq!(found.lines().count(), 5, "{found}");
        assert!(found.contains("long: this function has 71 lines, the limit is 70"));
        assert!(found.contains("grew from 90 lines to 91"));
        assert!(found.contains("shrunk has 80 lines now: lower its 90"));
        assert!(found.contains("cured has 60 lines now: delete its entry"));
        assert!(found.contains("there is no function gone"));
    }

    #[test]
    fn a_ratchet_with_an_unknown_table_is_refused() {
        assert!(Ratchet::parse("[file]\nx = 1").is_err());
        assert!(Ratchet::parse("[files]\nx = -1").is_err());
        assert_eq!(Ratchet::parse("").unwrap().files.len(), 0);
    }
}
