//! The counts of real recordings against a slow oracle that shares no code with the program: every frame an entry of a
//! table, every line taken apart by plain string searches.
//!
//! Runs on the bundled recording, and on every `.xz` text in the folder that `ZONAL_RECORDINGS` names.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use crate::support::zonal;
use liblzma::read::XzDecoder;
use serde_json::{Value, json};

#[derive(Default)]
struct Oracle {
    owner: HashMap<u64, u64>,
    frames: HashMap<u64, HashSet<u64>>,
    next: u64,
    events: u64,
    allocs: u64,
    frees: u64,
    others: u64,
    failures: u64,
    unknown: u64,
    missed: u64,
    lost: u64,
    peak: usize,
}

impl Oracle {
    fn line(&mut self, line: &str) {
        if let Some((_, counts)) = line.split_once("entries-in-buffer/entries-written: ") {
            let (kept, rest) = counts.split_once('/').unwrap();
            let written: u64 = rest.split_whitespace().next().unwrap().parse().unwrap();
            self.lost += written - kept.parse::<u64>().unwrap();
        }
        if line.starts_with('#') || line.is_empty() {
            return;
        }
        if !line.contains("mm_page_") {
            self.others += 1;
            return;
        }
        self.events += 1;
        let frames = || {
            let pfn = u64::from_str_radix(value(line, " pfn=0x"), 16).unwrap();
            pfn..pfn + (1 << value(line, " order=").parse::<u32>().unwrap())
        };
        if line.contains("mm_page_alloc: ") {
            if line.contains("pfn=0x0 ") { self.failures += 1 } else { self.alloc(frames()) }
        } else if line.contains("mm_page_free: ") {
            self.free(frames());
        } else {
            self.others += 1;
        }
    }

    fn alloc(&mut self, frames: std::ops::Range<u64>) {
        self.allocs += 1;
        let held: BTreeSet<u64> =
            frames.clone().filter_map(|frame| self.owner.get(&frame).copied()).collect();
        for block in held {
            self.missed += 1;
            for frame in self.frames.remove(&block).unwrap() {
                self.owner.remove(&frame);
            }
        }
        self.next += 1;
        self.frames.insert(self.next, frames.clone().collect());
        frames.for_each(|frame| assert!(self.owner.insert(frame, self.next).is_none()));
        self.peak = self.peak.max(self.owner.len());
    }

    fn free(&mut self, frames: std::ops::Range<u64>) {
        self.frees += 1;
        let mut known = false;
        for frame in frames {
            if let Some(block) = self.owner.remove(&frame) {
                known = true;
                self.frames.get_mut(&block).unwrap().remove(&frame);
            }
        }
        self.unknown += u64::from(!known);
    }

    fn figures(&self) -> [(&'static str, u64); 9] {
        [
            ("events", self.events),
            ("allocs", self.allocs),
            ("frees", self.frees),
            ("other_events", self.others),
            ("recorded_failures", self.failures),
            ("frees_of_unknown", self.unknown),
            ("missed_frees", self.missed),
            ("events_lost", self.lost),
            ("peak_frames", self.peak as u64),
        ]
    }
}

fn value<'l>(line: &'l str, key: &str) -> &'l str {
    line.split_once(key).unwrap().1.split_whitespace().next().unwrap()
}

fn compare(path: &Path) -> Value {
    let mut oracle = Oracle::default();
    let text = BufReader::new(XzDecoder::new_multi_decoder(File::open(path).unwrap()));
    text.lines().for_each(|line| oracle.line(&line.unwrap()));
    let run = zonal(&["replay", path.to_str().unwrap(), "--threads", "2", "--json"]);
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    let object = run.object();
    for (name, figure) in oracle.figures() {
        assert_eq!(object[name], figure, "{name} of {}", path.display());
    }
    for clean in ["failed", "lost", "double"] {
        assert_eq!(object[clean], 0, "{clean} of {}", path.display());
    }
    assert_eq!(object["audit"], json!([]));
    object
}

#[test]
fn the_bundled_recording() {
    let object = compare(&Path::new(env!("CARGO_MANIFEST_DIR")).join("data/cargo-build.perf-script.txt.xz"));
    assert_eq!((&object["events"], &object["peak_frames"]), (&json!(150_000), &json!(107_476)));
}

#[test]
fn the_text_beside_perf_data() {
    compare(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/data/copy-files-start.perf-script.txt.xz"),
    );
}

#[test]
fn further_recordings() {
    let Some(folder) = std::env::var_os("ZONAL_RECORDINGS") else { return };
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let texts: Vec<PathBuf> = entries.filter(|path| path.to_string_lossy().ends_with(".txt.xz")).collect();
    assert!(!texts.is_empty());
    texts.iter().for_each(|path| drop(compare(path)));
}
