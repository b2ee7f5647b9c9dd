//! The layer rule: a module of the core names only modules that ARCHITECTURE.md draws below it.
//!
//! Checks that every file of the core is a module and stands in the diagram, that the diagram names nothing else,
//! that each path in the code points down, and that no shipped line names `std` or `alloc`.

mod diagram;
mod mentions;
mod resolve;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use walkdir::WalkDir;

use crate::layers::diagram::Diagram;
use crate::layers::mentions::{Mention, Place, mentions};
use crate::layers::resolve::Resolver;
use crate::outcome::Outcome;
use crate::source::{self, Gate, Module, ModulePath};
use crate::workspace::Workspace;

const DOCUMENT: &str = "ARCHITECTURE.md";
const SOURCES: &str = "zonal/src";

/// Compares the core's sources with the diagram.
///
/// # Errors
/// If the diagram or a source file cannot be read.
pub(crate) fn run(workspace: &Workspace) -> Result<Outcome> {
    let document = workspace.path(DOCUMENT);
    let text = fs::read_to_string(&document).with_context(|| format!("reading {}", document.display()))?;
    let diagram = Diagram::parse(&text).with_context(|| format!("in {DOCUMENT}"))?;
    let sources = workspace.path(SOURCES);
    let modules = source::load(&sources.join("lib.rs"))?;
    let names = |path: &Path| workspace.relative(path);

    let mut findings = strays(&sources, &modules, names);
    findings.extend(differences(&diagram, &modules, names));
    findings.extend(violations(&diagram, &modules, names));
    let layers = Outcome::of_findings(findings);
    Ok(layers.and(Outcome::of_findings(hosted_names(&modules, names))))
}

/// Files that no `mod` leads to.
fn strays(sources: &Path, modules: &[Module], name: impl Fn(&Path) -> String) -> Vec<String> {
    let known: BTreeSet<&PathBuf> = modules.iter().map(|module| &module.file).collect();
    let files = WalkDir::new(sources).sort_by_file_name().into_iter().filter_map(Result::ok);
    let rust = files
        .map(walkdir::DirEntry::into_path)
        .filter(|path| path.extension().is_some_and(|end| end == "rs"));
    rust.filter(|path| !known.contains(path))
        .map(|path| format!("{}: no mod declares it", name(&path)))
        .collect()
}

/// Modules that only the sources or only the diagram has.
fn differences(diagram: &Diagram, modules: &[Module], name: impl Fn(&Path) -> String) -> Vec<String> {
    let shipped: BTreeSet<&ModulePath> = in_layers(modules).map(|module| &module.path).collect();
    let unlisted = in_layers(modules).filter(|module| !diagram.contains(&module.path)).map(|module| {
        format!("{}: module {} is not in the layers of {DOCUMENT}", name(&module.file), module.path)
    });
    let absent = diagram
        .modules()
        .filter(|path| !shipped.contains(path))
        .map(|path| format!("{DOCUMENT}: the layers name {path}, which {SOURCES} does not have"));
    unlisted.chain(absent).collect()
}

/// Paths that do not point down.
fn violations(diagram: &Diagram, modules: &[Module], name: impl Fn(&Path) -> String) -> Vec<String> {
    let known: BTreeSet<ModulePath> = in_layers(modules).map(|module| module.path.clone()).collect();
    let mut findings = Vec::new();
    for module in in_layers(modules).filter(|module| diagram.contains(&module.path)) {
        let mentions = mentions(module);
        let resolver = Resolver::new(&known, &module.path, &mentions);
        for mention in &mentions {
            let Some(named) = resolver.module(mention) else { continue };
            if named != module.path && diagram.contains(&named) && !diagram.allows(&module.path, &named) {
                let (file, written) = (name(&module.file), mention.segments.join("::"));
                let rule = format!("{} may not name {named}, which is not below it", module.path);
                findings.push(format!("{file}:{}: `{written}`: {rule}", mention.line));
            }
        }
    }
    findings
}

/// Lines that need an operating system or a heap, and a crate root that does not say `no_std` in every build.
fn hosted_names(modules: &[Module], name: impl Fn(&Path) -> String) -> Vec<String> {
    let known: BTreeSet<ModulePath> = modules.iter().map(|module| module.path.clone()).collect();
    let mut findings = Vec::new();
    for module in modules.iter().filter(|module| module.gate == Gate::Shipped) {
        if module.path.0.is_empty() && !module.syntax.attrs.iter().any(|attr| attr.path().is_ident("no_std"))
        {
            findings.push(format!("{}: #![no_std] is missing or conditional", name(&module.file)));
        }
        let mentions = mentions(module);
        let resolver = Resolver::new(&known, &module.path, &mentions);
        let hosted = |mention: &&Mention| needs_host(mention) && resolver.module(mention).is_none();
        for mention in mentions.iter().filter(hosted) {
            let written = mention.segments.join("::");
            findings.push(format!(
                "{}:{}: `{written}`: the core has no std and no heap",
                name(&module.file),
                mention.line
            ));
        }
    }
    findings
}

fn needs_host(mention: &Mention) -> bool {
    let is_path = mention.segments.len() > 1 || mention.place != Place::Code;
    let first = mention.segments.first().map(String::as_str);
    mention.gate == Gate::Shipped && is_path && matches!(first, Some("std" | "alloc"))
}

/// The modules the rule is for: not those that exist only under test.
fn in_layers(modules: &[Module]) -> impl Iterator<Item = &Module> {
    modules.iter().filter(|module| module.gate < Gate::Test)
}

#[cfg(test)]
mod tests;
