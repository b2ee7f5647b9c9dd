//! `zonal` without arguments.

use std::fs::OpenOptions;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::zonal;

#[test]
fn the_bundled_recording_replays_clean() {
    let start = Instant::now();
    let run = zonal(&[]);
    assert!(start.elapsed() < Duration::from_secs(30));
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("operations replayed"), "{}", run.stderr);
    let lines: Vec<&str> = run.stdout.lines().collect();
    for node in ["Node 0, zone    DMA32 ", "Node 1, zone   Normal "] {
        let line = lines.iter().find(|line| line.starts_with(node)).unwrap();
        let counts = &line[node.len()..];
        assert_eq!(counts.len(), 11 * 7, "{line:?}");
        assert!(counts.as_bytes().chunks(7).all(|count| count.ends_with(b" ")), "{line:?}");
    }
    assert!(run.stdout.contains("M Movable"));
    assert!(run.stdout.contains(" ns per operation"));
    assert!(lines.last().unwrap().starts_with("audit: clean"));
}

#[test]
fn as_an_object() {
    let run = zonal(&["--json"]);
    let object = run.object();
    assert!(object["events"].as_u64().unwrap() >= 100_000);
    for clean in ["failed", "lost", "double"] {
        assert_eq!(object[clean], 0);
    }
    assert_eq!(object["audit"], serde_json::json!([]));
}

#[test]
fn what_is_told_about_arguments_is_told_or_an_error() {
    let help = zonal(&["help"]);
    assert_eq!((help.status, help.stderr.as_str()), (Some(0), ""));
    assert!(help.stdout.contains("replay"), "{}", help.stdout);
    let wrong = zonal(&["replay", "--nonsense"]);
    assert_eq!((wrong.status, wrong.stdout.as_str()), (Some(2), ""));
    assert!(wrong.stderr.contains("--nonsense"), "{}", wrong.stderr);
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let lost = Command::new(env!("CARGO_BIN_EXE_zonal")).arg("help").stdout(full).output().unwrap();
    assert_eq!(lost.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&lost.stderr).contains("No space left"), "{lost:?}");
}
