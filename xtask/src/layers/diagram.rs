//! The layer diagram: a fenced block ` ```layers ` in ARCHITECTURE.md, one layer a line, the top one first.
//!
//! Module names (`block::entry`, the crate's root is `lib`) are separated by spaces; `#` begins a comment. A module
//! may name modules on lines below its own, and those it is joined to by `+` on its own line. Nothing else.
//! Invariant: each name stands once.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};

use crate::source::ModulePath;

const FENCE: &str = "```";
const OPENING: &str = "```layers";

/// Where a module stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    layer: usize,
    circle: usize,
}

/// Which module may name which.
#[derive(Debug)]
pub(crate) struct Diagram {
    places: BTreeMap<ModulePath, Place>,
}

impl Diagram {
    /// Reads the diagram out of a Markdown text.
    ///
    /// # Errors
    /// If there is not exactly one such block, it is empty or unclosed, a name is no module path or stands twice,
    /// or a `+` joins nothing.
    pub(crate) fn parse(markdown: &str) -> Result<Self> {
        let mut places = BTreeMap::new();
        let mut circle = 0;
        for (layer, line) in block(markdown)?.into_iter().enumerate() {
            let line = line.split('#').next().unwrap_or_default().replace('+', " + ");
            let mut joined = true;
            for word in line.split_whitespace() {
                if word == "+" {
                    ensure!(!joined, "layer {:?}: a + needs a module on both sides", line.trim());
                    joined = true;
                    continue;
                }
                circle += usize::from(!joined);
                joined = false;
                let Some(path) = ModulePath::parse(word) else {
                    bail!("{word:?} in the layers is no module path")
                };
                let place = Place { layer, circle };
                ensure!(places.insert(path, place).is_none(), "{word} stands twice in the layers");
            }
            let is_blank = line.trim().is_empty();
            ensure!(is_blank || !joined, "layer {:?}: a + needs a module on both sides", line.trim());
            circle += 1;
        }
        ensure!(!places.is_empty(), "the {OPENING} block names no module");
        Ok(Self { places })
    }

    /// The modules named, in order of their paths.
    pub(crate) fn modules(&self) -> impl Iterator<Item = &ModulePath> {
        self.places.keys()
    }

    /// Whether the diagram names the module.
    pub(crate) fn contains(&self, module: &ModulePath) -> bool {
        self.places.contains_key(module)
    }

    /// Whether `from` may name `to`; a module outside the diagram may neither name nor be named.
    pub(crate) fn allows(&self, from: &ModulePath, to: &ModulePath) -> bool {
        let (Some(from), Some(to)) = (self.places.get(from), self.places.get(to)) else { return false };
        to.layer > from.layer || to.circle == from.circle
    }
}

fn block(markdown: &str) -> Result<Vec<&str>> {
    let mut blocks = markdown.split('\n').enumerate().filter(|(_, line)| line.trim() == OPENING);
    let Some((start, _)) = blocks.next() else { bail!("there is no {OPENING} block") };
    if let Some((second, _)) = blocks.next() {
        bail!("there are two {OPENING} blocks, on lines {} and {}", start + 1, second + 1);
    }
    let lines: Vec<&str> = markdown.lines().skip(start + 1).take_while(|line| line.trim() != FENCE).collect();
    let end = start + 1 + lines.len();
    ensure!(end < markdown.lines().count(), "the {OPENING} block on line {} is not closed", start + 1);
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagram(body: &str) -> Result<Diagram> {
        Diagram::parse(&format!("# Layers\n\n{OPENING}\n{body}\n{FENCE}\nmore text\n"))
    }

    fn path(text: &str) -> ModulePath {
        ModulePath::parse(text).unwrap()
    }

    fn error(body: &str) -> String {
        diagram(body).unwrap_err().to_string()
    }

    #[test]
    fn lower_lines_and_joined_names_are_allowed() {
        let diagram =
            diagram("lib\n\nzone cache+slot # two of them\nblock::entry + block::row hint\nframe").unwrap();
        let allows = |from, to| diagram.allows(&path(from), &path(to));
        assert!(allows("lib", "frame") && allows("zone", "hint") && allows("cache", "block::row"));
        assert!(allows("cache", "slot") && allows("slot", "cache"));
        assert!(allows("block::row", "block::entry"));
        assert!(!allows("zone", "cache") && !allows("slot", "zone"));
        assert!(!allows("hint", "block::row") && !allows("frame", "lib") && !allows("frame", "zone"));
        assert!(!allows("lib", "nowhere") && !allows("nowhere", "frame"));
        assert_eq!(diagram.modules().count(), 8);
    }

    #[test]
    fn bad_diagrams_are_refused_by_name() {
        assert!(Diagram::parse("no block").unwrap_err().to_string().contains("there is no"));
        assert!(Diagram::parse("```layers\nlib\n").unwrap_err().to_string().contains("not closed"));
        assert!(
            Diagram::parse("```layers\na\n```\n```layers\nb\n```\n").unwrap_err().to_string().contains("two")
        );
        assert!(error("").contains("names no module"));
        assert!(error("# only a comment").contains("names no module"));
        assert!(error("zone\ncache zone").contains("zone stands twice"));
        assert!(error("block/entry").contains("\"block/entry\""));
        assert!(error("+ zone").contains("both sides"));
        assert!(error("zone +").contains("both sides"));
        assert!(error("zone ++ cache").contains("both sides"));
    }
}
