//! The planted faults: each is woken alone, and its named check must notice.
//!
//! Every check first runs with no mutant awake and must pass. `--canary` shows that this command can fail: the
//! unmutated code stands in for a mutant, nothing is there to notice, and the exit status must be 1.

mod binaries;
mod catalogue;
mod verdict;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;

use crate::mutants::binaries::Binaries;
use crate::mutants::catalogue::{Check, Declared, Mutant};
use crate::mutants::verdict::Verdict;
use crate::outcome::Outcome;
use crate::workspace::Workspace;

const CATALOGUE: &str = "zonal/mutants.toml";
const DECLARATIONS: &str = "zonal/src/mutant.rs";
const CANARY: &str = "canary";

/// Which mutants, and how the result is written.
#[derive(Args, Default)]
pub(crate) struct Options {
    /// One JSON object a line on stdout: mutant, promise, check, caught, how, seconds.
    #[arg(long)]
    json: bool,
    /// Run the unmutated code in place of the mutants named, or of the first one: must exit 1.
    #[arg(long)]
    canary: bool,
    /// Only these mutants.
    names: Vec<String>,
}

impl Options {
    /// The run that must not hold.
    pub(crate) fn of_canary() -> Self {
        Self { canary: true, ..Self::default() }
    }
}

/// One line of the result.
#[derive(Serialize)]
struct Row<'a> {
    mutant: &'a str,
    promise: &'a str,
    check: &'a str,
    caught: bool,
    how: String,
    seconds: f64,
}

/// Wakes each mutant in turn.
///
/// # Errors
/// If the catalogue cannot be read, a name is not in it, or a check does not build, is missing or cannot be started.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<Outcome> {
    let text = fs::read_to_string(workspace.path(CATALOGUE)).context(CATALOGUE)?;
    let all = catalogue::parse(&text).context(CATALOGUE)?;
    let declared = catalogue::declared(&workspace.path(DECLARATIONS))?;
    let chosen = choose(&all, options)?;
    let bench = Bench::new(workspace, &chosen)?;
    let mut outcome = Outcome::default();
    if !options.canary {
        let sound = bench.sound(&chosen)?;
        if !sound.holds() {
            return Ok(sound);
        }
        outcome = sound.and(Outcome::of_findings(catalogue::gaps(&all, &declared)));
    }
    for mutant in chosen {
        outcome = outcome.and(bench.wake(mutant, &declared, options)?);
    }
    Ok(outcome)
}

fn choose<'a>(all: &'a [Mutant], options: &Options) -> Result<Vec<&'a Mutant>> {
    let names = &options.names;
    for name in names {
        ensure!(all.iter().any(|mutant| mutant.name == *name), "there is no mutant {name:?} in {CATALOGUE}");
    }
    let most = if options.canary && names.is_empty() { 1 } else { all.len() };
    Ok(all.iter().filter(|mutant| names.is_empty() || names.contains(&mutant.name)).take(most).collect())
}

/// The built checks and a place for their logs.
#[derive(Debug)]
struct Bench {
    binaries: Binaries,
    logs: PathBuf,
}

impl Bench {
    fn new(workspace: &Workspace, mutants: &[&Mutant]) -> Result<Self> {
        let logs = workspace.target_for("mutants-logs");
        fs::create_dir_all(&logs).with_context(|| format!("creating {}", logs.display()))?;
        let binaries = Binaries::build(workspace, mutants.iter().map(|mutant| &mutant.check))?;
        Ok(Self { binaries, logs })
    }

    /// Whether every check passes while all mutants sleep.
    fn sound(&self, mutants: &[&Mutant]) -> Result<Outcome> {
        let checks: BTreeSet<&Check> = mutants.iter().map(|mutant| &mutant.check).collect();
        let mut outcome = Outcome::default();
        for check in checks {
            let (verdict, log) = self.run(check, None)?;
            if verdict.ending.is_caught() {
                let how = verdict.ending.describe();
                let printed = verdict::tail(&log);
                outcome = outcome
                    .and(Outcome::failed(format!("{} without a mutant: {how}\n{printed}", check.test)));
            }
        }
        Ok(outcome)
    }

    fn wake(&self, mutant: &Mutant, declared: &Declared, options: &Options) -> Result<Outcome> {
        let (name, awake) =
            if options.canary { (CANARY, None) } else { (mutant.name.as_str(), Some(mutant.name.as_str())) };
        let (verdict, _) = self.run(&mutant.check, awake)?;
        let row = Row {
            mutant: name,
            promise: &mutant.promise,
            check: &mutant.check.test,
            caught: verdict.ending.is_caught(),
            how: verdict.ending.describe(),
            seconds: (verdict.took.as_secs_f64() * 1000.0).round() / 1000.0,
        };
        report(&row, options)?;
        if row.caught {
            return Ok(Outcome::passed(1));
        }
        let what = declared.get(&mutant.name).map_or("", String::as_str);
        Ok(Outcome::failed(format!("{name}: not noticed by {}: {what}", row.check)))
    }

    fn run(&self, check: &Check, mutant: Option<&str>) -> Result<(Verdict, PathBuf)> {
        let log = self.logs.join(mutant.unwrap_or("none")).with_extension("log");
        Ok((verdict::run(self.binaries.of(check)?, check, mutant, &log)?, log))
    }
}

fn report(row: &Row<'_>, options: &Options) -> Result<()> {
    if options.json {
        println!("{}", serde_json::to_string(row)?);
    } else {
        let caught = if row.caught { "caught" } else { "MISSED" };
        let Row { mutant, promise, check, how, seconds, .. } = row;
        eprintln!("{caught} {mutant:<28} {promise}  {seconds:>7.2} s  {how:<14} {check}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_refused_and_none_means_all_but_for_the_canary() {
        let text = "[[mutant]]\nname = \"A\"\npromise = \"P1\"\nbuild = \"std\"\ncheck = \"t\"\n";
        let all = catalogue::parse(&(text.to_owned() + &text.replace('A', "B"))).unwrap();
        let only = |name: &str| Options { names: vec![name.into()], ..Options::default() };
        assert_eq!(choose(&all, &Options::default()).unwrap().len(), 2);
        assert_eq!(choose(&all, &Options::of_canary()).unwrap().len(), 1);
        assert_eq!(choose(&all, &only("B")).unwrap()[0].name, "B");
        assert!(choose(&all, &only("C")).unwrap_err().to_string().contains("\"C\""));
    }
}
