//! From a path as written to the module it names.
//!
//! Knows the modules of one crate and the names one file has imported. Never looks inside another file: a path that
//! goes through a re-export names the module that re-exports.

use std::collections::{BTreeMap, BTreeSet};

use crate::layers::mentions::{Mention, Place};
use crate::source::ModulePath;

/// Resolves the paths of one file.
#[derive(Debug)]
pub(crate) struct Resolver<'a> {
    modules: &'a BTreeSet<ModulePath>,
    file: &'a ModulePath,
    imported: BTreeMap<String, ModulePath>,
}

impl<'a> Resolver<'a> {
    /// For the file of module `file`, whose imports are among `mentions`.
    pub(crate) fn new(modules: &'a BTreeSet<ModulePath>, file: &'a ModulePath, mentions: &[Mention]) -> Self {
        let mut resolver = Self { modules, file, imported: BTreeMap::new() };
        for mention in mentions {
            let Place::Import(name) = &mention.place else { continue };
            let Some(path) = resolver.absolute(mention) else { continue };
            if modules.contains(&path) {
                resolver.imported.insert(name.clone(), path);
            }
        }
        resolver
    }

    /// The module of this crate that the path names; `None` for other crates, local items and names in scope.
    pub(crate) fn module(&self, mention: &Mention) -> Option<ModulePath> {
        let mut path = self.absolute(mention)?;
        while !self.modules.contains(&path) && !path.0.is_empty() {
            path.0.pop();
        }
        Some(path)
    }

    fn absolute(&self, mention: &Mention) -> Option<ModulePath> {
        let here = || ModulePath([self.file.0.as_slice(), &mention.inline].concat());
        let mut segments = mention.segments.iter().map(String::as_str).peekable();
        let mut path = match segments.next()? {
            "crate" => ModulePath::default(),
            "self" => here(),
            "super" => {
                let mut path = here();
                path.0.pop();
                path
            }
            first => {
                let is_bare_name = mention.segments.len() == 1 && mention.place == Place::Code;
                let child = here().child(first);
                if is_bare_name {
                    return None;
                }
                if self.modules.contains(&child) { child } else { self.imported.get(first)?.clone() }
            }
        };
        while segments.next_if(|segment| *segment == "super").is_some() {
            path.0.pop();
        }
        path.0.extend(segments.map(str::to_owned));
        Some(path)
    }
}
