//! Bad input and bad arguments: exit 2, and where and why; never a panic.

use crate::support::{file, gz, refused, replay, xz, zonal, zst};

const ALLOC: &str =
    "x 1 [0] 5.0: kmem:mm_page_alloc: page=0x8 pfn=0x8 order=0 migratetype=0 gfp_flags=GFP_KERNEL\n";

#[test]
fn fewer_entries_than_promised() {
    let text = format!("# tracer: nop\n# entries-in-buffer/entries-written: 3/90  #P:2\n#\n{ALLOC}{ALLOC}");
    let reason = "truncated: the header in line 2 promises 3 entries, 2 are there";
    refused(&replay("truncated", text), "truncated:5:", reason);
}

#[test]
fn orders_that_no_allocator_serves() {
    for (name, event, reason) in [
        ("alloc", "mm_page_alloc: page=0x1 pfn=0x8 order=19 migratetype=0 gfp_flags=GFP_KERNEL", "order=19"),
        ("nil", "mm_page_alloc: page=(nil) pfn=0x0 order=4294967295 migratetype=0", "order=4294967295"),
        ("free", "mm_page_free: page=0x1 pfn=0x8 order=-1", "order=-1"),
        ("batched", "mm_page_free_batched: page=0x1 pfn=0x8 order=19", "order=19"),
        ("locked", "mm_page_alloc_zone_locked: page=0x1 pfn=0x8 order=64 migratetype=1", "order=64"),
        ("drain", "mm_page_pcpu_drain: page=0x1 pfn=0x8 order=99 migratetype=1", "order=99"),
        (
            "extfrag-a",
            "mm_page_alloc_extfrag: page=0x1 pfn=0x8 alloc_order=19 fallback_order=9",
            "alloc_order=19",
        ),
        (
            "extfrag-f",
            "mm_page_alloc_extfrag: page=0x1 pfn=0x8 alloc_order=0 fallback_order=20",
            "fallback_order=20",
        ),
    ] {
        let text = format!("{ALLOC}\nx 1 [0] 5.0: kmem:{event}\n{ALLOC}");
        let name = format!("order-{name}");
        refused(&replay(&name, text), &format!("{name}:3:"), &format!("{reason} is outside 0..=18"));
    }
}

#[test]
fn malformed_events() {
    for (name, event, reason) in [
        ("no-pfn", "mm_page_alloc: page=0x1 order=0 migratetype=0", "mm_page_alloc has no pfn"),
        ("no-order", "mm_page_free: page=0x1 pfn=0x8", "mm_page_free has no order"),
        ("garbage", "mm_page_free: page=0x1 pfn=0x8q order=0", "pfn=0x8q is not a number"),
        ("high", "mm_page_free: page=0x1 pfn=0xffffffffffffffff order=0", "above 52 address bits"),
    ] {
        let text = format!("{ALLOC}x-1 [0] ..... 5.0: {event}\n");
        refused(&replay(name, text), &format!("{name}:2:"), reason);
    }
    let header = "# entries-in-buffer/entries-written: many\n";
    refused(&replay("header", format!("{header}{ALLOC}")), "header:1:", "no two numbers");
}

#[test]
fn nothing_to_replay() {
    let reason = "no kmem event in the recording";
    refused(&replay("empty", ""), "empty:1:", reason);
    refused(&replay("comments", "# tracer: nop\n#\n"), "comments:2:", reason);
    refused(&replay("prose", "Four score and seven years ago\n"), "prose:1:", reason);
    refused(&replay("foreign", "k-1 [0] ..... 5.0: sched_switch: a=1\n"), "foreign:1:", reason);
    refused(&replay("empty.xz", xz("")), "empty.xz:1:", reason);
    refused(&replay("binary", vec![0xff; 100_000]), "binary:1:", "longer than 65536 bytes");
}

#[test]
fn cut_and_corrupt_archives() {
    let text = ALLOC.repeat(5000);
    for (kind, whole) in [("xz", xz(&text)), ("gz", gz(&text)), ("zst", zst(&text))] {
        for cut in [whole.len() - 1, whole.len() / 2, 40, 12] {
            let name = format!("cut-{kind}");
            refused(&replay(&name, &whole[..cut]), &format!("{name}:"), "the archive is cut");
        }
        let mut corrupt = whole;
        let end = corrupt.len() - 2;
        corrupt[end] ^= 0x55;
        let name = format!("corrupt-{kind}");
        refused(&replay(&name, corrupt), &format!("{name}:"), "the archive is corrupt");
    }
}

#[test]
fn formats_that_are_not_read_are_named() {
    for (name, magic, format) in [
        ("perf-data-swapped", b"2ELIFREP\0\0\0\0\0\0\0\x68".as_slice(), "perf.data of the other byte order"),
        ("bz2", b"BZh9", ".bz2"),
        ("trace-dat", b"\x17\x08\x44tracing6\0", "trace.dat"),
    ] {
        refused(&replay(name, magic), name, format);
    }
    refused(&replay("swapped-in-xz", xz("2ELIFREP....")), "swapped-in-xz:1:", "perf.data");
}

#[test]
fn bad_arguments() {
    let readable = crate::support::file("readable", ALLOC);
    let readable = readable.to_str().unwrap();
    let toml = crate::support::file("bad.toml", "[[node]]\nmemory = \"3 bananas\"\n");
    for (arguments, reason) in [
        (vec!["replay"], "<FILE>"),
        (vec!["replay", "/nonexistent/file"], "/nonexistent/file"),
        (vec!["replay", "/"], "cannot be read"),
        (vec!["replay", readable, "--threads", "0"], "--threads"),
        (vec!["replay", readable, "--threads", "many"], "many"),
        (vec!["replay", readable, "--machine", "/nonexistent.toml"], "/nonexistent.toml"),
        (vec!["replay", readable, "--machine", toml.to_str().unwrap()], "bananas"),
        (vec!["reply"], "reply"),
    ] {
        refused(&zonal(&arguments), "", reason);
    }
}

/// 96 MiB of line feeds in 1 KB: refused before they are all unpacked.
#[test]
fn archives_that_unpack_without_end() {
    let bomb = gz(gz(vec![b'\n'; 96 << 20]));
    assert!(bomb.len() < 4 << 10, "{} bytes", bomb.len());
    refused(&replay("bomb", bomb), "bomb:", "it unpacks to more than");
}

/// Who cannot fail waits until somebody frees: here nobody else would.
#[test]
fn a_request_that_cannot_fail_is_counted_on_a_machine_that_is_too_small() {
    let line = |at: u64| {
        format!(
            " x-1 [000] .... 1.{at}: mm_page_alloc: page=0000000012345678 pfn={at:#x} order=0 migratetype=0 \
             gfp_flags=GFP_NOFS|__GFP_NOFAIL\n"
        )
    };
    let recording = file("cannot-fail.txt", (1..=3).map(line).collect::<String>());
    let machine = file("one-frame.toml", "[[node]]\nmemory = 4096\ncpus = 1\n");
    let (recording, machine) = (recording.to_str().unwrap(), machine.to_str().unwrap());
    let run = zonal(&["replay", recording, "--machine", machine, "--json"]);
    assert_eq!((run.status, &run.object()["failed"]), (Some(0), &2.into()), "{}", run.stderr);
}

/// What cannot be remembered of a recording is said before memory runs out.
#[test]
fn a_recording_whose_stamps_no_memory_holds_is_refused() {
    let line = |at: u64| {
        format!(
            " x-1 [000] .... 1.0: mm_page_alloc: page=0000000012345678 pfn={:#x} order=18 migratetype=0 gfp_flags=0\n",
            at << 18
        )
    };
    let recording = (0..60_000).map(line).collect::<String>();
    refused(&replay("giants.txt", recording), "stamps of", "over half of this machine's memory");
}
