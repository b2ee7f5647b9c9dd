//! The orderings of the sequences on AArch64, by the architecture's own memory model (herd7): what must not come about, as a
//! litmus test of the sequences' instructions beside those that the compiler makes of the others' steps.
//!
//! Each test says by what its instructions may be made weaker; each such change must let come about what must not, so no
//! ordering is there for nothing, and no test that cannot fail.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::finish;
use crate::outcome::Outcome;

const TESTS: &[(&str, &str)] = &[
    ("put-take", include_str!("litmus/put-take.litmus")),
    ("read-take", include_str!("litmus/read-take.litmus")),
    ("release-look", include_str!("litmus/release-look.litmus")),
    ("exchange-look", include_str!("litmus/exchange-look.litmus")),
];

/// Carries them out in a directory to write in.
///
/// # Errors
/// If it cannot be written in.
pub(super) fn run(place: &Path) -> Result<Outcome> {
    if finish(Command::new("herd7").arg("-version")).is_err() {
        return Ok(Outcome::skipped("orderings on AArch64: herd7 (herdtools7) is not installed"));
    }
    let mut findings = Vec::new();
    for (name, test) in TESTS {
        findings.extend(judge(place, name, test, "Never")?);
        for weaker in weaker(test) {
            if weaker == *test {
                findings.push(format!("{name}: a change that makes it weaker changes nothing"));
            }
            findings.extend(judge(place, name, &weaker, "Sometimes")?);
        }
    }
    Ok(Outcome::of_findings(findings))
}

/// The test made weaker in each of the ways that its title names: `A>B` for B in the place of A, `_` for a space.
fn weaker(test: &str) -> Vec<String> {
    let title = test.lines().nth(1).unwrap_or_default();
    let ways = title.split_once("Weaker: ").map_or("", |(_, ways)| ways).trim_end_matches('"');
    let changes = ways.split(' ').filter_map(|way| way.split_once('>'));
    let spaced = |words: &str| words.replace('_', " ");
    changes.map(|(strong, weak)| test.replace(&spaced(strong), &spaced(weak))).collect()
}

/// What is wrong if what the test asks for does not come about as often as this.
fn judge(place: &Path, name: &str, test: &str, often: &str) -> Result<Option<String>> {
    let file = place.join(name).with_extension("litmus");
    fs::write(&file, test).with_context(|| format!("writing {}", file.display()))?;
    let mut command = Command::new("herd7");
    let finished = finish(command.arg(&file))?;
    let holds = finished.stdout.contains(&format!("\nObservation {name} {often} "));
    Ok((!holds).then(|| format!("{name} should be {often}:\n{test}{}", finished.account(&command))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_test_can_be_made_weaker() {
        for (name, test) in TESTS {
            let weaker = weaker(test);
            assert!(!weaker.is_empty() && weaker.iter().all(|weaker| weaker != test), "{name}");
            assert!(test.starts_with(&format!("AArch64 {name}\n")), "{name}");
        }
    }

    #[test]
    fn a_way_names_what_stands_in_its_place() {
        let test = "AArch64 t\n\"Weaker: STLR>STR LDAR_W1>LDR_W1\"\nSTLR W0\nLDAR W1\n";
        let [first, second] = &weaker(test)[..] else { panic!("two ways") };
        assert!(first.ends_with("STR W0\nLDAR W1\n") && second.ends_with("STLR W0\nLDR W1\n"));
    }
}
