//! perf.data: the same figures as the text of the same recording, and exit 2 with the place for what is damaged.
//!
//! The recording in `data` is the start of a real one: header, the first 8,000 samples with their round marks, and of the features
//! those that describe the events. One CPU's samples stand before the other's. The text is `perf script` of it.

use std::path::Path;

use crate::recordings::figures;
use crate::support::{file, gz, refused, replay, unxz, xz, zonal, zst};
use serde_json::{Value, json};

const PACKED: &[u8] = include_bytes!("data/copy-files-start.perf.data.xz");
const TEXT: &[u8] = include_bytes!("data/copy-files-start.perf-script.txt.xz");

/// Where things are in the file's header.
const ATTRIBUTES: usize = 24;
const DATA: usize = 40;
/// Where things are in this recording's samples.
const TYPE: usize = 60;
const PFN: usize = 68;
const ORDER: usize = 76;

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn section(bytes: &[u8], at: usize) -> std::ops::Range<usize> {
    let start = u64_at(bytes, at) as usize;
    start..start + u64_at(bytes, at + 8) as usize
}

/// A recording to be damaged.
struct Recording(Vec<u8>);

impl Recording {
    fn new() -> Self {
        Self(unxz(PACKED))
    }

    /// Where the records of this type begin.
    fn records(&self, kind: u32) -> Vec<usize> {
        let data = section(&self.0, DATA);
        let mut at = data.start;
        let mut found = Vec::new();
        while at < data.end {
            if self.0[at..at + 4] == kind.to_le_bytes() {
                found.push(at);
            }
            at += usize::from(u16::from_le_bytes([self.0[at + 6], self.0[at + 7]]));
        }
        found
    }

    /// The sample in the middle.
    fn sample(&self) -> usize {
        self.records(9)[4000]
    }

    fn with(mut self, at: usize, bytes: &[u8]) -> Vec<u8> {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self.0
    }

    /// The same as `perf record -o -` writes it: descriptions as records, no sections.
    fn piped(&self) -> Vec<u8> {
        let bytes = &self.0;
        let mut piped = [b"PERFILE2".as_slice(), &16u64.to_le_bytes()].concat();
        let mut record = |kind: u32, body: &[&[u8]], behind: &[u8]| {
            let body = body.concat();
            piped.extend(kind.to_le_bytes());
            piped.extend([0, 0]);
            piped.extend((body.len() as u16 + 8).to_le_bytes());
            piped.extend(body.iter().chain(behind));
        };
        let each = u64_at(bytes, 16) as usize;
        for entry in bytes[section(bytes, ATTRIBUTES)].chunks(each) {
            let (attribute, ids) = entry.split_at(each - 16);
            record(64, &[attribute, &bytes[section(ids, 0)]], &[]);
        }
        let mut tracing = bytes[section(bytes, section(bytes, DATA).end)].to_vec();
        tracing.resize(tracing.len().next_multiple_of(8), 0);
        record(66, &[&(tracing.len() as u32).to_le_bytes()], &tracing);
        piped.extend(&bytes[section(bytes, DATA)]);
        piped
    }
}

fn expected() -> Value {
    figures(&replay("start.txt", TEXT).object())
}

#[test]
fn the_same_figures_as_the_text() {
    assert_eq!(expected(), json!([8000, 7627, 243, 130, 0, 79, 0, 0, 10_541]));
    let plain = Recording::new().0;
    for (name, bytes) in [
        ("plain.txt", plain.clone()),
        ("data.xz", PACKED.to_vec()),
        ("data.gz", gz(&plain)),
        ("data.zst", zst(&plain)),
        ("data.nested", xz(gz(&plain))),
        ("data.piped", Recording::new().piped()),
    ] {
        let path = file(name, bytes);
        for threads in ["1", "2", "5"] {
            let run = zonal(&["replay", path.to_str().unwrap(), "--threads", threads, "--json"]);
            assert_eq!(run.status, Some(0), "{}", run.stderr);
            assert_eq!(figures(&run.object()), expected(), "{name} on {threads} threads");
        }
    }
}

#[test]
fn several_files_of_both_formats() {
    let (first, second) = (file("mixed.data", PACKED), file("mixed.txt", TEXT));
    let run = zonal(&["replay", first.to_str().unwrap(), second.to_str().unwrap(), "--json"]);
    assert_eq!(run.object()["events"], 16_000);
}

#[test]
fn lost_events_are_counted() {
    // A sample becomes PERF_RECORD_LOST { id, lost: 7 }, another PERF_RECORD_LOST_SAMPLES { lost: 9 }: the 7 again.
    let recording = Recording::new();
    let (lost, samples) = (recording.records(9)[100], recording.records(9)[200]);
    let bytes = recording.with(lost, &2u32.to_le_bytes());
    let bytes = Recording(bytes).with(lost + 16, &7u64.to_le_bytes());
    let bytes = Recording(bytes).with(samples, &13u32.to_le_bytes());
    let bytes = Recording(bytes).with(samples + 8, &9u64.to_le_bytes());
    let object = replay("lost.data", bytes).object();
    assert_eq!((&object["events"], &object["events_lost"]), (&json!(7998), &json!(9)));
}

#[test]
fn failed_allocations() {
    for (name, pfn) in [("nowhere.data", u64::MAX), ("zero.data", 0)] {
        let recording = Recording::new();
        let sample = recording.records(9)[0];
        let object = replay(name, recording.with(sample + PFN, &pfn.to_le_bytes())).object();
        assert_eq!((&object["recorded_failures"], &object["allocs"]), (&json!(1), &json!(7626)));
    }
}

#[test]
fn damaged_samples() {
    for (name, place, bytes, reason) in [
        ("order.data", ORDER, &19u32.to_le_bytes()[..], "order=19 is outside 0..=18"),
        ("pfn.data", PFN, &(1u64 << 50).to_le_bytes(), "pfn=0x4000000000000 with order"),
        ("type.data", TYPE, &[1, 1], "common_type=257 is another event's"),
        ("id.data", 8, &u64::MAX.to_le_bytes(), "of no event that the header names"),
        ("raw.data", TYPE - 4, &u32::MAX.to_le_bytes(), "does not hold the fields"),
        ("short.data", TYPE - 4, &4u32.to_le_bytes(), "has no pfn"),
        ("size.data", 6, &7u16.to_le_bytes(), "no whole record begins here"),
        (
            "compressed.data",
            0,
            &81u32.to_le_bytes(),
            "a compressed record (perf record -z), which is not read",
        ),
        (
            "compressed2.data",
            0,
            &83u32.to_le_bytes(),
            "a compressed record (perf record -z), which is not read",
        ),
    ] {
        let recording = Recording::new();
        let sample = recording.sample();
        let run = replay(name, recording.with(sample + place, bytes));
        refused(&run, &format!("{name}:byte {sample}: "), reason);
    }
}

#[test]
fn damaged_headers() {
    let end = |recording: &Recording| section(&recording.0, DATA).end;
    let unended = Recording::new().with(DATA + 8, &0u64.to_le_bytes());
    refused(&replay("killed.data", unended), "killed.data:byte 0: ", "perf record did not end properly");
    let long = Recording::new().with(DATA + 8, &u64::MAX.to_le_bytes());
    refused(&replay("long.data", long), "long.data:byte 0: ", "names sections that its ");
    let recording = Recording::new();
    let named = recording.0.windows(6).rposition(|text| text == b"field:").unwrap();
    assert!(named > end(&recording));
    let run = replay("format.data", recording.with(named + 7, &[0xe4]));
    refused(&run, "format.data:byte 0: ", "the description of an event's fields is no text");
    refused(&replay("bare.data", b"PERFILE2\x68\0\0\0"), "bare.data:byte 0: ", "cut or damaged");
}

#[test]
fn cut_anywhere() {
    for (name, whole, place) in [
        ("cut.data", Recording::new().0, "cut.data:byte 0: "),
        ("cut-pipe.data", Recording::new().piped(), "cut-pipe.data:byte "),
    ] {
        // Half a magic is no perf.data, so the first cut is behind it.
        for part in 1..64 {
            let run = replay(name, &whole[..whole.len() * part / 64 / 16 * 16 + 5]);
            refused(&run, place, "cut or damaged");
        }
    }
    for (name, whole) in [("cut.data.gz", gz(&Recording::new().0)), ("cut.data.xz", PACKED.to_vec())] {
        for part in 1..64 {
            let run = replay(name, &whole[..whole.len() * part / 64]);
            refused(&run, &format!("{name}:1: "), "the archive is cut");
        }
    }
}

#[test]
fn flipped_bytes_are_no_panic() {
    let whole = Recording::new().0;
    let data = section(&whole, DATA);
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..96 {
        let area = [0..data.start, data.clone(), data.end..whole.len()][round % 3].clone();
        let mut bytes = whole.clone();
        for _ in 0..[1, 3, 30][random.usize(0..3)] {
            bytes[random.usize(area.clone())] = random.u8(..);
        }
        let run = replay("flipped.data", bytes);
        assert!(matches!(run.status, Some(0 | 2)), "round {round}: {:?} {}", run.status, run.stderr);
        assert!(!run.stderr.contains("panicked"), "round {round}: {}", run.stderr);
    }
}

/// Each `NAME.perf.data.xz` in the folder that `ZONAL_RECORDINGS` names, against its `NAME.perf-script.txt.xz`.
#[test]
fn further_recordings() {
    let Some(folder) = std::env::var_os("ZONAL_RECORDINGS") else { return };
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let paths: Vec<_> = paths.filter(|path| path.to_string_lossy().ends_with(".perf.data.xz")).collect();
    assert!(!paths.is_empty());
    for path in paths {
        let text = path.to_string_lossy().replace(".perf.data.xz", ".perf-script.txt.xz");
        let of = |path: &Path| figures(&zonal(&["replay", path.to_str().unwrap(), "--json"]).object());
        assert_eq!(of(&path), of(Path::new(&text)), "{}", path.display());
    }
}
