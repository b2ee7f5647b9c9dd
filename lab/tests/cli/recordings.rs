//! Each rule of the replay on a recording made for it, with the exact figures.

use crate::support::{file, gz, replay, xz, zonal, zst};
use serde_json::{Value, json};

/// The figures that depend on the recording alone, after a run that kept every promise.
fn counted(name: &str, text: &str) -> Value {
    let run = replay(name, text);
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    figures(&run.object())
}

pub(crate) fn figures(object: &Value) -> Value {
    for clean in ["failed", "lost", "double"] {
        assert_eq!(object[clean], 0, "{clean} in {object}");
    }
    assert_eq!(object["audit"], json!([]));
    let names = [
        "events",
        "allocs",
        "frees",
        "other_events",
        "recorded_failures",
        "frees_of_unknown",
        "missed_frees",
        "events_lost",
        "peak_frames",
    ];
    names.iter().map(|&name| object[name].clone()).collect()
}

fn alloc(pfn: u64, order: u8) -> String {
    format!(
        "            perf 14652 [001]  4657.592015:         kmem:mm_page_alloc: page={pfn:#x} pfn={pfn:#x} \
         order={order} migratetype=0 gfp_flags=GFP_KERNEL|__GFP_ZERO\n"
    )
}

fn free(pfn: u64, order: u8) -> String {
    format!(
        "       perf-exec 14653 [001]  4657.592936:          kmem:mm_page_free: page={pfn:#x} pfn={pfn:#x} order={order}\n"
    )
}

#[test]
fn the_object_has_exactly_these_fields() {
    let run = replay("fields", alloc(0x100, 0));
    let (object, fields) = (
        run.object(),
        [
            "events",
            "allocs",
            "frees",
            "other_events",
            "recorded_failures",
            "frees_of_unknown",
            "missed_frees",
            "events_lost",
            "failed",
            "lost",
            "double",
            "peak_frames",
            "free_order9_at_end",
            "ns_per_op",
            "audit",
        ],
    );
    let fields: Vec<String> = fields.iter().map(|field| format!("\"{field}\":")).collect();
    let places: Vec<Option<usize>> = fields.iter().map(|field| run.stdout.find(field)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{}", run.stdout);
    assert_eq!(object.as_object().unwrap().len(), fields.len());
    assert!(object["ns_per_op"].as_f64().unwrap() > 0.0);
}

#[test]
fn perf_script() {
    let batched = "x 1 [000]  5.0:  kmem:mm_page_free_batched: page=0x100 pfn=0x100 order=0\n";
    let text =
        [&alloc(0x100, 0), &alloc(0x200, 3), &free(0x100, 0), batched, &alloc(0x300, 0), &free(0x200, 3)];
    assert_eq!(counted("perf", &text.map(String::from).concat()), json!([6, 3, 2, 1, 0, 0, 0, 0, 9]));
}

#[test]
fn ftrace_with_events_of_other_systems() {
    let text = "# tracer: nop\n#\n# entries-in-buffer/entries-written: 8/8   #P:2\n#\n\
        \x20   init-1       [001] .....     6.98: mm_page_alloc: page=0000000050681f44 pfn=0x7ff1a order=1 migratetype=1 gfp_flags=GFP_HIGHUSER_MOVABLE|__GFP_COMP\n\
        \x20  a b c-2       [001] d..3.     7.17: mm_page_alloc_zone_locked: page=0000000093fd948e pfn=0x7ff68 order=0 migratetype=1 percpu_refill=1\n\
        \x20  gcc-12-204    [001] d..4.     7.33: mm_page_alloc_extfrag: page=0000000022dd3144 pfn=0x54400 alloc_order=0 fallback_order=10 pageblock_order=9 alloc_migratetype=0 fallback_migratetype=1 fragmenting=0 change_ownership=1\n\
        kworker/1:1-59   [001] d..2.     7.80: mm_page_pcpu_drain: page=0000000011250e97 pfn=0x1014f4 order=0 migratetype=0\n\
        kcompactd1-44    [001] .....     7.81: mm_compaction_begin: zone_start=0xf000 migrate_pfn=0xf000 free_pfn=0x18e00 zone_end=0x18fe0, mode=sync\n\
        kswapd0-43       [001] .....     7.82: mm_vmscan_kswapd_wake: nid=0 order=0\n\
        \x20   cat-201      [000] ...1.     7.83: mm_page_free: page=00000000db98fc36 pfn=0x7ff1a order=1\n\
        \x20   cat-201      [000] ...1.     7.84: mm_page_free_batched: page=00000000db98fc36 pfn=0x7ff1a order=0\n";
    assert_eq!(counted("ftrace", text), json!([6, 1, 1, 6, 0, 0, 0, 0, 2]));
}

#[test]
fn trace_cmd_report_and_decimal_frames() {
    let text = "version = 6\nCPU 0 is empty\ncpus=2\n\
        \x20  ls-9 [001]  6.98: mm_page_alloc:        page=0xffffea0001 pfn=523034 order=0 migratetype=1 gfp_flags=GFP_HIGHUSER_MOVABLE|GFP_ZERO\n\
        \x20  ls-9 [001]  6.99: mm_page_free:         page=0xffffea0001 pfn=0x7fb1a order=0\n\
        CPU:0 [17 EVENTS DROPPED]\n";
    assert_eq!(counted("trace-cmd", text), json!([2, 1, 1, 0, 0, 0, 0, 17, 1]));
}

#[test]
fn failures_of_the_recorded_kernel() {
    let text = "x 1 [0] 5.0: kmem:mm_page_alloc: page=(nil) pfn=0x0 order=9 migratetype=1 gfp_flags=GFP_TRANSHUGE\n\
        x-1 [0] 5.1: mm_page_alloc: page=0000000000000000 pfn=0x0 order=4 migratetype=0 gfp_flags=GFP_ATOMIC\n\
        x-1 [0] 5.2: mm_page_alloc: page=00000000deadbeef pfn=0x0 order=0 migratetype=0 gfp_flags=GFP_NOWAIT\n";
    assert_eq!(counted("failures", &(text.to_owned() + &alloc(1, 0))), json!([4, 1, 0, 0, 3, 0, 0, 0, 1]));
}

#[test]
fn frees_of_the_unknown() {
    let text = [free(0x100, 0), alloc(0x100, 0), free(0x100, 0), free(0x100, 0), free(0x100, 9)].concat();
    assert_eq!(counted("unknown", &text), json!([5, 1, 4, 0, 0, 3, 0, 0, 1]));
}

#[test]
fn an_allocation_over_held_frames_is_a_missed_free() {
    // The order-3 run is met twice but missed once; the two single frames are met by one allocation.
    let text = [alloc(8, 3), alloc(9, 0), alloc(10, 0), alloc(8, 3), free(8, 3)].concat();
    assert_eq!(counted("missed", &text), json!([5, 4, 1, 0, 0, 0, 3, 0, 8]));
}

#[test]
fn parts_of_larger_blocks_are_freed_alone() {
    let singles: String = (0..8).map(|frame| free(0x200 + frame, 0)).collect();
    let text = [
        alloc(0x200, 3),
        singles,
        alloc(0x1000, 10),
        free(0x1200, 9),
        free(0x1008, 3),
        free(0x1000, 0),
        // The free part was handed out again; what is left of the block is not touched by that.
        alloc(0x1200, 9),
        free(0x1001, 0),
    ]
    .concat();
    assert_eq!(counted("parts", &text), json!([15, 3, 12, 0, 0, 0, 0, 0, 1024]));
}

#[test]
fn a_huge_run_and_its_order() {
    let text =
        [alloc(0, 0), alloc(0x40000, 18), free(0x40000, 18), alloc(0x40000, 17), free(0x5ffff, 0)].concat();
    let text = text.replace("page=0x0 pfn=0x0", "page=0x9 pfn=0x9");
    assert_eq!(counted("huge", &text), json!([5, 3, 2, 0, 0, 0, 0, 0, 262_145]));
}

#[test]
fn an_overrun_is_complete_input() {
    let text = format!(
        "# tracer: nop\n# entries-in-buffer/entries-written: 2/95   #P:2\n{}{}",
        alloc(1, 0),
        free(1, 0)
    );
    assert_eq!(counted("overrun", &text), json!([2, 1, 1, 0, 0, 0, 0, 93, 1]));
}

#[test]
fn lost_lines_are_complete_input() {
    let text = [
        "CPU:1 [LOST 123 EVENTS]\n",
        &alloc(1, 0),
        "            perf 14652 [001]  4657.60: PERF_RECORD_LOST lost 7\n",
        "CPU:0 [LOST 20 EVENTS]\n",
        &free(1, 0),
    ];
    assert_eq!(counted("lost", &text.concat()), json!([2, 1, 1, 0, 0, 0, 0, 150, 1]));
}

#[test]
fn several_files_are_one_recording() {
    let first = file("part-1", alloc(8, 1) + &alloc(16, 0));
    let second = file("part-2", free(8, 1));
    let run = zonal(&["replay", first.to_str().unwrap(), second.to_str().unwrap(), "--json"]);
    assert_eq!(figures(&run.object()), json!([3, 2, 1, 0, 0, 0, 0, 0, 3]));
}

#[test]
fn formats_are_told_by_content() {
    let text = alloc(8, 1);
    let expected = json!([1, 1, 0, 0, 0, 0, 0, 0, 2]);
    assert_eq!(figures(&replay("plain.xz", &text).object()), expected);
    assert_eq!(figures(&replay("nested.txt", gz(zst(xz(&text)))).object()), expected);
    for (kind, packed) in [("xz", xz(&text)), ("gz", gz(&text)), ("zst", zst(&text))] {
        assert_eq!(figures(&replay(&format!("packed-{kind}.txt"), &packed).object()), expected);
        // Two archives one after the other are one, as for the programs themselves.
        let both = [packed.clone(), packed].concat();
        let object = replay(&format!("both-{kind}"), both).object();
        assert_eq!(figures(&object), json!([2, 2, 0, 0, 0, 0, 1, 0, 2]));
    }
    // A frame of zst that says nothing, as parallel compressors put first.
    let skippable = [b"\x50\x2a\x4d\x18\x02\0\0\0ok".as_slice(), &zst(&text)].concat();
    assert_eq!(figures(&replay("skippable", skippable).object()), expected);
}

#[test]
fn reading_a_long_file_shows_how_far_it_is() {
    let comments = "# nothing\n".repeat(500_000);
    let long = replay("long.txt", comments + &alloc(1, 0));
    let lines: Vec<&str> = long.stderr.lines().filter(|line| line.ends_with(" bytes read")).collect();
    assert_eq!(lines.len(), 4, "{}", long.stderr);
    assert!(!replay("short.txt", alloc(1, 0)).stderr.contains("bytes read"));
}

#[test]
fn threads_change_no_figure() {
    let text: String = (0..3000u64)
        .map(|i| {
            let (pfn, order) = (i * 7919 % 9000 * 8, (i % 4) as u8);
            if i % 3 == 2 { free(pfn.saturating_sub(16), order) } else { alloc(pfn + 8, order) }
        })
        .collect();
    let path = file("threads", &text);
    let path = path.to_str().unwrap();
    let alone = figures(&zonal(&["replay", path, "--json"]).object());
    for threads in ["2", "5", "64"] {
        assert_eq!(figures(&zonal(&["replay", path, "--threads", threads, "--json"]).object()), alone);
    }
}

#[test]
fn a_given_machine_may_be_too_small() {
    let machine = file("small.toml", "base = \"4 GiB\"\n[[node]]\nmemory = \"2 MiB\"\ncpus = 1\n");
    let text: String = (0..600).map(|frame| alloc(0x1000 + frame, 0)).collect();
    let path = file("large", text + &free(0x1000, 0) + &free(0x1257, 0));
    let run = zonal(&["replay", path.to_str().unwrap(), "--machine", machine.to_str().unwrap(), "--json"]);
    let object = run.object();
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    assert_eq!((&object["failed"], &object["lost"], &object["double"]), (&json!(88), &json!(0), &json!(0)));
    assert_eq!((&object["audit"], &object["free_order9_at_end"]), (&json!([]), &json!(0)));
    assert!(run.stderr.contains("refused: request for order 0 (recorded 0x1200)"), "{}", run.stderr);
}

#[test]
fn a_machine_larger_than_this_one_is_simulated() {
    let machine = file("large.toml", "base = \"4 GiB\"\n[[node]]\nmemory = \"1 TiB\"\ncpus = 2\ncount = 4\n");
    let path = file("few", alloc(0x1000, 3) + &free(0x1002, 1));
    let run = zonal(&["replay", path.to_str().unwrap(), "--machine", machine.to_str().unwrap(), "--json"]);
    assert_eq!(figures(&run.object()), json!([2, 1, 1, 0, 0, 0, 0, 0, 8]));
    assert_eq!(run.object()["free_order9_at_end"], 4 * (1 << 19) - 1);
}
