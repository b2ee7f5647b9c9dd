//! The catalogue of planted faults, `zonal/mutants.toml`: which promise each breaks and which check must notice.
//!
//! What a fault does is said where it is declared, in the `mutants!` table of `zonal/src/mutant.rs`. Invariant: a name
//! stands once for each check, every promise P1 to P8 has at least one, and catalogue and table have the same names.
//!
//! ```toml
//! [[mutant]]
//! name = "BitsBeforeCount"          # as in the table, and the value of ZONAL_MUTANT
//! promise = "P5"
//! build = "loom"                    # std, loom or shuttle
//! check = "block::entry::loom_tests::loom_refill_against_huge"
//! # package = "zonal"               # the default
//! # target = "lib"                  # the default; or the name of a file in the package's tests/
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Ident, Item, LitStr, Token};

use crate::flavour::Atomics;
use crate::source;

const PROMISES: [&str; 8] = ["P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8"];
const TABLE: &str = "mutants";

/// A planted fault.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mutant {
    pub(crate) name: String,
    pub(crate) promise: String,
    #[serde(flatten)]
    pub(crate) check: Check,
}

/// A test, and the build it is in.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
pub(crate) struct Check {
    pub(crate) build: Atomics,
    #[serde(default = "core")]
    pub(crate) package: String,
    #[serde(default = "library")]
    pub(crate) target: String,
    /// The test's full name.
    #[serde(rename = "check")]
    pub(crate) test: String,
}

fn core() -> String {
    "zonal".into()
}

fn library() -> String {
    "lib".into()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default, rename = "mutant")]
    mutants: Vec<Mutant>,
}

/// Reads the catalogue.
///
/// # Errors
/// If it is no such file, empty, names a mutant and its check twice, or leaves a field empty.
pub(crate) fn parse(text: &str) -> Result<Vec<Mutant>> {
    let File { mutants } = toml::from_str(text)?;
    ensure!(!mutants.is_empty(), "the catalogue has no [[mutant]]");
    let mut names = BTreeSet::new();
    for mutant in &mutants {
        let name = &mutant.name;
        ensure!(
            names.insert((name, &mutant.check)),
            "mutant {name} stands twice in the catalogue with one check"
        );
        let known = PROMISES.contains(&mutant.promise.as_str());
        ensure!(known, "mutant {name}: promise {:?} is none of P1 to P8", mutant.promise);
        ensure!(!mutant.check.test.trim().is_empty(), "mutant {name} names no check");
    }
    Ok(mutants)
}

/// Promises without a mutant, and names that only the catalogue or only the core has.
pub(crate) fn gaps(mutants: &[Mutant], declared: &Declared) -> Vec<String> {
    let names: BTreeSet<String> = mutants.iter().map(|mutant| mutant.name.clone()).collect();
    let unproven =
        PROMISES.into_iter().filter(|promise| !mutants.iter().any(|mutant| mutant.promise == *promise));
    let unproven = unproven.map(|promise| format!("promise {promise} has no mutant"));
    let unbuilt = names.iter().filter(|name| !declared.contains_key(*name));
    let unbuilt = unbuilt.map(|name| format!("mutant {name} is not declared in {TABLE}!"));
    let unlisted = declared.keys().filter(|name| !names.contains(*name));
    let unlisted = unlisted.map(|name| format!("mutant {name} is not in the catalogue"));
    unproven.chain(unbuilt).chain(unlisted).collect()
}

/// The mutants of the core and what each does.
pub(crate) type Declared = BTreeMap<String, String>;

/// Reads the `mutants!` table of the core's source.
///
/// # Errors
/// If the file cannot be read or has no such table.
pub(crate) fn declared(file: &Path) -> Result<Declared> {
    let name = file.display();
    let found = table(&source::parse(file)?).with_context(|| format!("{name}: in {TABLE}!"))?;
    found.with_context(|| format!("{name} has no {TABLE}! table"))
}

fn table(file: &syn::File) -> syn::Result<Option<Declared>> {
    let mut calls = file.items.iter().filter_map(|item| match item {
        Item::Macro(item) if item.mac.path.is_ident(TABLE) => Some(&item.mac),
        _ => None,
    });
    let Some(call) = calls.next() else { return Ok(None) };
    let entries = call.parse_body_with(Punctuated::<Declaration, Token![,]>::parse_terminated)?;
    Ok(Some(entries.into_iter().map(|entry| (entry.name.to_string(), entry.what.value())).collect()))
}

/// `Name: "what it does"`.
struct Declaration {
    name: Ident,
    what: LitStr,
}

impl Parse for Declaration {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let name = input.parse()?;
        input.parse::<Token![:]>()?;
        Ok(Self { name, what: input.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, promise: &str, rest: &str) -> String {
        format!("[[mutant]]\nname = \"{name}\"\npromise = \"{promise}\"\nbuild = \"std\"\n{rest}\n")
    }

    fn error(text: &str) -> String {
        format!("{:#}", parse(text).unwrap_err())
    }

    #[test]
    fn package_and_target_have_defaults() {
        let text =
            entry("A", "P1", "check = \"t::a\"") + &entry("B", "P2", "check = \"b\"\ntarget = \"storm\"");
        let mutants = parse(&text).unwrap();
        assert_eq!((mutants[0].check.package.as_str(), mutants[0].check.target.as_str()), ("zonal", "lib"));
        assert_eq!((mutants[0].check.build, mutants[0].check.test.as_str()), (Atomics::Std, "t::a"));
        assert_eq!(mutants[1].check.target, "storm");
    }

    #[test]
    fn bad_catalogues_are_refused_by_name() {
        let check = "check = \"t\"";
        assert!(error("").contains("no [[mutant]]"));
        assert!(error("[[mutants]]\nname = \"A\"").contains("mutants"));
        assert!(error(&(entry("A", "P1", check) + &entry("A", "P2", check))).contains("A stands twice"));
        assert!(error(&entry("A", "P9", check)).contains("\"P9\""));
        assert!(error(&entry("A", "P1", "check = \" \"")).contains("names no check"));
        assert!(error(&entry("A", "P1", "")).contains("check"));
        assert!(error(&entry("A", "P1", "check = \"t\"\nchekc = \"u\"")).contains("chekc"));
        assert!(error(&entry("A", "P1", check).replace("std", "miri")).contains("miri"));
    }

    #[test]
    fn gaps_are_named_from_both_sides() {
        let all: String =
            (1..=7).map(|p| entry(&format!("M{p}"), &format!("P{p}"), "check = \"t\"")).collect();
        let names = ["M1", "M2", "M3", "M4", "M5", "M6", "Extra"];
        let declared = names.iter().map(|name| (name.to_string(), String::new())).collect();
        let found = gaps(&parse(&all).unwrap(), &declared);
        assert_eq!(
            found,
            [
                "promise P8 has no mutant",
                "mutant M7 is not declared in mutants!",
                "mutant Extra is not in the catalogue"
            ]
        );
    }

    #[test]
    fn the_table_in_the_source_is_read() {
        let code = "macro_rules! mutants { ($($n:ident: $w:literal,)*) => {}; }\nmutants! { A: \"does\", B: \"not\", }";
        let found = table(&syn::parse_str(code).unwrap()).unwrap().unwrap();
        assert_eq!(found, BTreeMap::from([("A", "does"), ("B", "not")].map(|(a, b)| (a.into(), b.into()))));
        assert!(table(&syn::parse_str("fn f() {}").unwrap()).unwrap().is_none());
        assert!(table(&syn::parse_str("mutants! { A }").unwrap()).is_err());
    }
}
