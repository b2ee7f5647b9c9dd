//! `zonal storm`: short storms, the list, faults, and what is refused.

use std::collections::BTreeSet;

use crate::support::{refused, zonal};

const STORMS: [&str; 22] = [
    "churn",
    "mixed-orders",
    "drain",
    "cross-cpu",
    "signals",
    "own-words",
    "nmi",
    "nolock",
    "parked",
    "single-cpu",
    "floors",
    "pressure",
    "cpuset",
    "last-block",
    "hotplug",
    "everything",
    "paused-rebuild",
    "console",
    "nodemask",
    "kfree-rcu",
    "kill",
    "step",
];

const KEYS: [&str; 15] = [
    "storm",
    "words",
    "seconds",
    "rounds",
    "requests",
    "failed_blocking",
    "failed_atomic",
    "premature",
    "false_oom",
    "lost",
    "double",
    "interruptions",
    "max_steps",
    "longest_wait_us",
    "audit",
];

#[test]
fn every_storm_passes() {
    for storm in STORMS {
        let run = zonal(&["storm", storm, "--seconds", "1", "--seed", "7", "--json"]);
        if storm == "own-words" && run.stderr.contains("words cannot be their CPUs' own here") {
            continue;
        }
        assert_eq!(run.status, Some(0), "{}", run.stderr);
        let object = run.object();
        let keys: BTreeSet<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, BTreeSet::from(KEYS));
        assert_eq!(object["storm"], storm);
        assert_eq!(object["words"], if storm == "own-words" { "owned" } else { "locked" });
        for zero in ["failed_blocking", "failed_atomic", "premature", "false_oom", "lost", "double"] {
            assert_eq!(object[zero], 0, "{storm}: {zero}");
        }
        assert_eq!(object["audit"], serde_json::json!([]));
        assert!(object["rounds"].as_u64().unwrap() >= 2, "{storm}: {object}");
        assert!(object["requests"].as_u64().unwrap() > 1_000, "{storm}: {object}");
        let is_interrupted = object["interruptions"].as_u64().unwrap() > 0;
        let with_handlers =
            ["drain", "signals", "own-words", "nmi", "single-cpu", "everything", "kfree-rcu", "kill", "step"];
        let has_handlers = with_handlers.contains(&storm);
        assert_eq!(is_interrupted, has_handlers, "{object}");
        let is_stepped = object["max_steps"].as_u64().unwrap() > 10;
        // Walks, as many as what moves happens to cause.
        let are_walks = ["cpuset", "last-block", "hotplug", "everything"].contains(&storm);
        let is_counted = storm != "kill" && cfg!(target_arch = "x86_64");
        assert!(are_walks || is_stepped == is_counted, "{object}");
        assert!(run.stderr.contains(&format!("{storm}: --seed 7")), "{}", run.stderr);
    }
}

#[test]
fn a_storm_on_words_that_cpus_own() {
    let run = zonal(&["storm", "cross-cpu", "--words", "owned", "--seconds", "1", "--json"]);
    if run.stderr.contains("words cannot be their CPUs' own here") {
        return;
    }
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    assert_eq!(run.object()["words"], "owned");
}

#[test]
fn for_people() {
    let run = zonal(&["storm", "churn", "--seconds", "1"]);
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    assert!(run.stdout.lines().any(|line| line.starts_with("audit: clean")), "{}", run.stdout);
    assert!(run.stderr.contains("seconds over"), "{}", run.stderr);
}

#[test]
fn the_list_has_a_fault_for_every_storm() {
    let run = zonal(&["storm", "--list", "--json"]);
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    let storms: Vec<serde_json::Value> =
        run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = storms.iter().map(|storm| storm["storm"].as_str().unwrap()).collect();
    assert_eq!(names, STORMS);
    assert!(storms.iter().all(|storm| !storm["faults"].as_array().unwrap().is_empty()), "{}", run.stdout);
    let run = zonal(&["storm", "--list"]);
    assert!(STORMS.iter().all(|storm| run.stdout.lines().any(|line| line.starts_with(storm))));
}

#[test]
fn what_is_refused() {
    for (arguments, reason) in [
        (vec!["storm"], "<NAME>"),
        (vec!["storm", "teacup"], "cross-cpu"),
        (vec!["storm", "churn", "--seconds", "0"], "--seconds"),
        (vec!["storm", "churn", "--seconds", "soon"], "soon"),
        (vec!["storm", "churn", "--seed", "-1"], "-1"),
        (vec!["storm", "drain", "--fault", "Thunder"], "DrainPlain, InstallIgnoresClose, IsolateNoDebit"),
        (vec!["storm", "drain", "--fault", "HintLost"], "no fault \"HintLost\""),
        (vec!["storm", "kill", "--words", "owned"], "everybody's"),
        (vec!["storm", "own-words", "--words", "locked"], "it is about words that their CPUs own"),
        (vec!["storm", "churn", "--words", "nobodys"], "nobodys"),
    ] {
        refused(&zonal(&arguments), "", reason);
    }
}

#[cfg(not(feature = "faults"))]
#[test]
fn a_program_without_faults_says_how_to_get_one() {
    refused(&zonal(&["storm", "drain", "--fault", "DrainPlain"]), "DrainPlain", "--features faults");
}
