//! The modules of a crate, found by walking `mod` declarations from its root, each parsed in full.
//!
//! Never guesses at modules from file names. Invariant: a file appears once, with the strictest gate on its way.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, Item, ItemMod, Lit, Meta, Token};

/// The path of a module from the crate's root, which is the empty path and is written `lib`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct ModulePath(pub(crate) Vec<String>);

impl ModulePath {
    /// The path written as in `block::entry`; the crate's root is `lib`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text == "lib" {
            return Some(Self::default());
        }
        let segments: Vec<String> = text.split("::").map(str::to_owned).collect();
        segments.iter().all(|segment| syn::parse_str::<syn::Ident>(segment).is_ok()).then_some(Self(segments))
    }

    /// The module `name` inside this one.
    pub(crate) fn child(&self, name: &str) -> Self {
        let mut segments = self.0.clone();
        segments.push(name.to_owned());
        Self(segments)
    }
}

impl fmt::Display for ModulePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("lib") } else { f.write_str(&self.0.join("::")) }
    }
}

/// In which builds an item exists.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Gate {
    /// In builds that ship, perhaps among others.
    Shipped,
    /// Only under test, in a model checker or with planted faults: never where `std` is missing.
    Hosted,
    /// Only under `cfg(test)`.
    Test,
}

impl Gate {
    /// What the attributes of an item allow.
    pub(crate) fn of(attributes: &[Attribute]) -> Self {
        let gates = attributes.iter().filter(|attribute| attribute.path().is_ident("cfg"));
        gates.filter_map(|attribute| attribute.parse_args::<Meta>().ok()).fold(
            Self::Shipped,
            |gate, predicate| {
                let own = if implies(&predicate, &["test"]) {
                    Self::Test
                } else if implies(&predicate, &["test", "zonal_loom", "zonal_shuttle", "zonal_mutants"]) {
                    Self::Hosted
                } else {
                    Self::Shipped
                };
                gate.max(own)
            },
        )
    }
}

/// Whether the predicate can hold only where one of `names` is set.
fn implies(predicate: &Meta, names: &[&str]) -> bool {
    match predicate {
        Meta::Path(path) => names.iter().any(|name| path.is_ident(name)),
        Meta::NameValue(_) => false,
        Meta::List(list) => {
            let inner =
                list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated).unwrap_or_default();
            let mut parts = inner.iter();
            (list.path.is_ident("all") && parts.any(|part| implies(part, names)))
                || (list.path.is_ident("any") && !inner.is_empty() && parts.all(|part| implies(part, names)))
        }
    }
}

/// A parsed source file.
pub(crate) struct Module {
    pub(crate) path: ModulePath,
    pub(crate) file: PathBuf,
    pub(crate) gate: Gate,
    pub(crate) syntax: syn::File,
}

/// Every module of the crate whose root file is `root`, parents before children.
///
/// # Errors
/// If a file is missing, unreadable or no Rust.
pub(crate) fn load(root: &Path) -> Result<Vec<Module>> {
    let mut found = Vec::new();
    let mut waiting = vec![(ModulePath::default(), root.to_path_buf(), Gate::Shipped)];
    while let Some((path, file, gate)) = waiting.pop() {
        let syntax = parse(&file)?;
        let children = directory_of_children(&file, &path);
        declared(&syntax.items, &Scope { path: &path, file: &file, children, gate }, &mut waiting)?;
        found.push(Module { path, file, gate, syntax });
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// Reads and parses one file.
///
/// # Errors
/// If it is unreadable or no Rust.
pub(crate) fn parse(file: &Path) -> Result<syn::File> {
    let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    syn::parse_file(&text).with_context(|| format!("parsing {}", file.display()))
}

/// Where the declarations of some items lead.
struct Scope<'a> {
    path: &'a ModulePath,
    file: &'a Path,
    children: PathBuf,
    gate: Gate,
}

fn directory_of_children(file: &Path, path: &ModulePath) -> PathBuf {
    let is_root = path.0.is_empty() || file.file_name().is_some_and(|name| name == "mod.rs");
    if is_root { file.with_file_name("") } else { file.with_extension("") }
}

type Waiting = Vec<(ModulePath, PathBuf, Gate)>;

fn declared(items: &[Item], scope: &Scope<'_>, waiting: &mut Waiting) -> Result<()> {
    for item in items {
        let Item::Mod(module) = item else { continue };
        let name = module.ident.to_string();
        let gate = scope.gate.max(Gate::of(&module.attrs));
        let path = scope.path.child(&name);
        match &module.content {
            Some((_, inner)) => {
                let children = scope.children.join(&name);
                declared(inner, &Scope { path: &path, file: scope.file, children, gate }, waiting)?;
            }
            None => {
                let file = file_of(module, scope)?;
                waiting.push((path, file, gate));
            }
        }
    }
    Ok(())
}

fn file_of(module: &ItemMod, scope: &Scope<'_>) -> Result<PathBuf> {
    let name = module.ident.to_string();
    if let Some(path) = module.attrs.iter().find_map(path_attribute) {
        return Ok(scope.file.with_file_name(path));
    }
    let flat = scope.children.join(format!("{name}.rs"));
    let nested = scope.children.join(&name).join("mod.rs");
    match (flat.is_file(), nested.is_file()) {
        (true, false) => Ok(flat),
        (false, true) => Ok(nested),
        (true, true) => bail!("module {name} is both {} and {}", flat.display(), nested.display()),
        (false, false) => bail!("module {name} of {} has no file", scope.file.display()),
    }
}

fn path_attribute(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(pair) = &attribute.meta else { return None };
    if !pair.path.is_ident("path") {
        return None;
    }
    let Expr::Lit(literal) = &pair.value else { return None };
    let Lit::Str(text) = &literal.lit else { return None };
    Some(text.value())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(attribute: &str) -> Gate {
        let item: syn::ItemFn = syn::parse_str(&format!("{attribute} fn f() {{}}")).unwrap();
        Gate::of(&item.attrs)
    }

    #[test]
    fn a_gate_is_what_the_predicate_implies() {
        assert_eq!(gate(""), Gate::Shipped);
        assert_eq!(gate("#[cfg(test)]"), Gate::Test);
        assert_eq!(gate("#[cfg(all(test, zonal_loom))]"), Gate::Test);
        assert_eq!(gate("#[cfg(any(zonal_loom, zonal_shuttle))]"), Gate::Hosted);
        assert_eq!(gate("#[cfg(zonal_mutants)] #[cfg(test)]"), Gate::Test);
        assert_eq!(gate("#[cfg(not(test))]"), Gate::Shipped);
        assert_eq!(gate("#[cfg(any(test, unix))]"), Gate::Shipped);
        assert_eq!(gate("#[cfg(any())]"), Gate::Shipped);
        assert_eq!(gate("#[cfg(feature = \"test\")]"), Gate::Shipped);
    }

    #[test]
    fn module_paths_are_identifiers_only() {
        assert_eq!(ModulePath::parse("lib"), Some(ModulePath::default()));
        assert_eq!(ModulePath::parse("block::entry").unwrap().to_string(), "block::entry");
        assert_eq!(ModulePath::parse("block/entry"), None);
        assert_eq!(ModulePath::parse("block::"), None);
        assert_eq!(ModulePath::parse("fn"), None);
    }

    #[test]
    fn a_missing_root_is_an_error() {
        assert!(load(Path::new("/nonexistent/lib.rs")).is_err());
    }
}
