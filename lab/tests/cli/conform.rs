//! `zonal conform`: what it prints, and that README shows what it finds.

use serde_json::Value;
use zonal_testkit::conformance::{Check, Repeats, checks};

use crate::support::{refused, zonal};

const README: &str = include_str!("../../../README.md");
const HEADER: &str =
    "| check | promise, found in | what must be so | zonal | frame-alloc | frame-alloc-depot | buddy-spin |";

/// A row of README's table.
fn row(objects: &[Value]) -> String {
    let text = |object: &Value, key: &str| object[key].as_str().unwrap().to_owned();
    let word = |object: &Value| match text(object, "verdict").as_str() {
        "holds" => "holds".to_owned(),
        "unsupported" => "-".to_owned(),
        other => format!("**{other}**"),
    };
    let head = ["check", "origin", "says"].map(|key| text(&objects[0], key));
    let cells: Vec<String> = head.into_iter().chain(objects.iter().map(word)).collect();
    format!("| {} |", cells.join(" | "))
}

#[test]
fn readme_shows_what_the_checks_find() {
    let always = || checks().filter(|check| check.repeats == Repeats::Always).map(|check| check.name);
    let run = zonal(&[vec!["conform", "--json"], always().collect()].concat());
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    let objects: Vec<Value> = run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects.len(), 4 * always().count());
    let differs = |objects: &&[Value]| objects.iter().any(|object| object["verdict"] != "holds");
    let found: Vec<String> = objects.chunks(4).filter(differs).map(row).collect();
    let table = README.lines().skip_while(|line| *line != HEADER).skip(2);
    let table = table.take_while(|line| line.starts_with('|'));
    let (racing, shown): (Vec<&str>, Vec<&str>) = table.partition(|line| line.contains(" * |"));
    assert_eq!(shown, found, "the table in README is not what `zonal conform` finds");
    let races = |line: &str| {
        let mut racing = checks().filter(|check| check.repeats != Repeats::Always);
        racing.any(|Check { name, origin, says, .. }| {
            line.starts_with(&format!("| {name} * | {origin} | {says} | holds |"))
        })
    };
    assert!(racing.iter().all(|line| races(line)), "{racing:?}");
}

#[test]
fn every_check_holds_here() {
    let run = zonal(&["conform", "--engine", "zonal"]);
    assert_eq!((run.status, run.stderr.as_str()), (Some(0), ""));
    assert!(!run.stdout.contains("**"), "{}", run.stdout);
    assert_eq!(run.stdout.lines().filter(|line| line.ends_with("| holds |")).count(), checks().count());
}

#[test]
fn what_others_break_is_said_with_its_values() {
    let run = zonal(&["conform", "foreign-frame", "--engine", "buddy-spin"]);
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    let said = ["buddy-spin foreign-frame: broken", "0x800 is none of memory and was handed out"];
    assert!(said.iter().all(|words| run.stdout.contains(words)), "{}", run.stdout);
}

#[test]
fn an_unknown_check_is_refused() {
    refused(&zonal(&["conform", "last-frame", "lost-frame"]), "lost-frame", "there is no check");
}
