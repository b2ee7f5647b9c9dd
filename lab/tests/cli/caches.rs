//! `zonal caches`.

use serde_json::Value;

use crate::support::{file, refused, zonal};

/// Frames that are taken one by one and given back, on two CPUs, and a rest of three seconds.
fn recording() -> String {
    let mut text = String::new();
    for (cpu, base) in [(0, 0x1000), (1, 0x9000)] {
        for at in 0..200 {
            let (pfn, seconds) = (base + at, 1 + cpu);
            text += &format!(
                "  a-{cpu} [00{cpu}] d..1. {seconds}.000{at:03}: mm_page_alloc: page=1 pfn={pfn:#x} order=0 migratetype=0 gfp_flags=GFP_KERNEL\n"
            );
        }
    }
    for (cpu, base) in [(0, 0x1000), (1, 0x9000)] {
        for at in 0..200 {
            let (pfn, seconds) = (base + at, 3 + 6 * cpu);
            text += &format!(
                "  a-{cpu} [00{cpu}] d..1. {seconds}.000{at:03}: mm_page_free: page=1 pfn={pfn:#x} order=0\n"
            );
        }
    }
    text
}

fn rows(arguments: &[&str]) -> Vec<Value> {
    let run = zonal(arguments);
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn idle_words_are_passed_over_and_figures_repeat() {
    let path = file("caches.txt", recording());
    let arguments = ["caches", path.to_str().unwrap(), "--json"];
    let measured = rows(&arguments);
    assert_eq!(measured, rows(&arguments));
    let [without, with] = measured.as_slice() else { panic!("{measured:?}") };
    let figure = |row: &Value, name: &str| row[name].as_f64().unwrap();
    for row in [without, with] {
        assert_eq!(row["calls"], 800);
        // A refill brings a group at least, and no word holds more.
        assert!(figure(row, "trips") < 1000.0 / 16.0, "{row}");
        assert!(figure(row, "most") <= 2.0 * 6.0 * 32.0, "{row}");
    }
    assert!(figure(with, "held") < figure(without, "held") * 0.8, "{with} {without}");
}

#[test]
fn an_entry_must_say_where_and_when_it_was() {
    let text = "mm_page_alloc: page=1 pfn=0x10 order=0 migratetype=0 gfp_flags=GFP_KERNEL\n";
    let path = file("unplaced.txt", text);
    refused(&zonal(&["caches", path.to_str().unwrap()]), "CPU", "time");
}
