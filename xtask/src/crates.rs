//! What the crates may depend on: the model not on the core, the core on nothing with a standard library, nobody on
//! itself through others, and nothing under a licence that binds its users.
//!
//! Reads `cargo metadata`; never builds.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

use crate::outcome::Outcome;
use crate::workspace::Workspace;

const CORE: &str = "zonal";
const MODEL: &str = "zonal-testkit";

/// Checks the workspace's dependencies.
///
/// # Errors
/// If cargo cannot describe the workspace.
pub(crate) fn run(workspace: &Workspace) -> Result<Outcome> {
    let manifest = workspace.path("Cargo.toml");
    let metadata = MetadataCommand::new().manifest_path(manifest).exec().context("cargo metadata")?;
    let graph = Graph::of(&metadata);
    let mut findings = graph.cycles();
    findings.extend(graph.path(MODEL, CORE).map(|path| {
        format!("{MODEL} depends on {CORE} ({path}): an oracle shares no code with what it judges")
    }));
    for package in metadata.workspace_packages() {
        if package.name.as_str() == CORE {
            findings.extend(hosted_dependencies(package));
        }
    }
    Ok(Outcome::of_findings(findings).and(Outcome::of_findings(binding_licences(&metadata))))
}

/// Unconditional dependencies of the core that come with their default features, where `std` usually is.
fn hosted_dependencies(core: &Package) -> Vec<String> {
    let shipped = core.dependencies.iter().filter(|dependency| {
        dependency.kind == DependencyKind::Normal
            && dependency.target.is_none()
            && dependency.uses_default_features
    });
    shipped.map(|dependency| format!("{CORE} uses {} with default features", dependency.name)).collect()
}

/// Packages whose licence leaves no choice without the word GPL, or that name none.
fn binding_licences(metadata: &Metadata) -> Vec<String> {
    let foreign = metadata.packages.iter().filter(|package| package.source.is_some());
    let bound = foreign.filter(|package| !package.license.as_deref().is_some_and(is_permissive));
    bound
        .map(|package| {
            let licence = package.license.as_deref().unwrap_or("no licence expression");
            format!("{} {}: {licence}", package.name, package.version)
        })
        .collect()
}

/// Whether one of the licences offered is free of the GPL family.
fn is_permissive(expression: &str) -> bool {
    expression.split(" OR ").flat_map(|part| part.split('/')).any(|offer| !offer.contains("GPL"))
}

/// Who depends on whom inside the workspace, whatever for.
#[derive(Debug)]
struct Graph {
    edges: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    fn of(metadata: &Metadata) -> Self {
        let members: BTreeSet<String> =
            metadata.workspace_packages().iter().map(|package| package.name.to_string()).collect();
        let edges = metadata.workspace_packages().into_iter().map(|package| {
            let named = package.dependencies.iter().map(|dependency| dependency.name.clone());
            (package.name.to_string(), named.filter(|name| members.contains(name)).collect())
        });
        Self { edges: edges.collect() }
    }

    /// A way from one crate to another along dependencies, as text.
    fn path(&self, from: &str, to: &str) -> Option<String> {
        let mut waiting = vec![vec![from]];
        let mut seen = BTreeSet::new();
        while let Some(path) = waiting.pop() {
            for next in path.last().and_then(|last| self.edges.get(*last)).into_iter().flatten() {
                let longer: Vec<&str> = path.iter().copied().chain([next.as_str()]).collect();
                if next == to {
                    return Some(longer.join(" -> "));
                }
                if seen.insert(next) {
                    waiting.push(longer);
                }
            }
        }
        None
    }

    fn cycles(&self) -> Vec<String> {
        let closed = self.edges.keys().filter_map(|name| self.path(name, name));
        closed.map(|path| format!("crates depend on themselves: {path}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(&str, &[&str])]) -> Graph {
        let edge = |(from, to): &(&str, &[&str])| {
            (from.to_string(), to.iter().map(|name| name.to_string()).collect())
        };
        Graph { edges: edges.iter().map(edge).collect() }
    }

    #[test]
    fn a_dependency_through_others_is_found() {
        let graph = graph(&[("model", &["util"]), ("util", &["core"]), ("core", &[])]);
        assert_eq!(graph.path("model", "core").unwrap(), "model -> util -> core");
        assert_eq!(graph.path("core", "model"), None);
        assert!(graph.cycles().is_empty());
    }

    #[test]
    fn a_cycle_is_named() {
        let graph = graph(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"])]);
        assert_eq!(graph.cycles().len(), 2);
        assert!(graph.cycles()[0].ends_with("b -> c -> b"));
    }

    #[test]
    fn a_choice_without_the_gpl_is_permissive() {
        assert!(is_permissive("MIT OR Apache-2.0") && is_permissive("MIT/Apache-2.0"));
        assert!(is_permissive("LGPL-2.1-or-later OR MIT"));
        assert!(!is_permissive("GPL-3.0-only") && !is_permissive("GPL-2.0 OR LGPL-2.1"));
    }
}
