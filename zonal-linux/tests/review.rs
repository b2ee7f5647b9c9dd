//! Descriptions looked through: every mistake and oddity in its line, and nothing refused that an allocator takes.

use std::fmt::Write;

use fastrand::Rng;
use zonal_linux::{CpuSource, Machine, PoolError, Remark, Review, Simulation};

/// A node that is enough.
const NODE: &str = "[[node]]\nmemory = '4 MiB'\ncpus = 1\n";

#[track_caller]
fn mistakes(text: &str) -> Vec<Remark> {
    match Review::of(text).unwrap_or_else(|error| panic!("{error}")) {
        Review::Refused(mistakes) => mistakes,
        Review::Sound { .. } => panic!("not refused: {text}"),
    }
}

#[track_caller]
fn oddities(text: &str) -> Vec<Remark> {
    match Review::of(text).unwrap_or_else(|error| panic!("{error}")) {
        Review::Refused(mistakes) => panic!("{mistakes:?}"),
        Review::Sound { oddities, .. } => oddities,
    }
}

/// These lines, with these words, and no other.
#[track_caller]
fn are(found: &[Remark], expected: &[(usize, &str)]) {
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (remark, (line, words)) in found.iter().zip(expected) {
        assert!(remark.line == *line && remark.text.contains(words), "{line}: {words:?} is not {remark:?}");
    }
}

#[test]
fn what_is_no_description_has_a_line() {
    are(&mistakes("base = 0\nnode = [\n"), &[(2, "unclosed array")]);
    are(&mistakes("\n\n[[node]]\nmemroy = '2 MiB'\n"), &[(4, "unknown field `memroy`")]);
    are(&mistakes("base = 0\n"), &[(1, "missing field `node`")]);
    are(&mistakes("[[node]]\nmemory = '2 MoB'\n"), &[(2, "2 MoB")]);
}

#[test]
fn all_values_that_make_no_sense_are_found() {
    let text = "base = 1\ndistances = [[10], [20]]\ndma_end = 5\nreserved = [\n  { start = 0 },\n  { start = 1, size = 1 },\n]\n\
                [[node]]\ncount = 0\n[[node]]\nmemory = '2 MiB'\nmovable = '4 MiB'\n[[node]]\nranges = [\n  { start = 0, size = 4096 },\n\
                  { start = 0, size = 1, end = 2 },\n]\n[[mark]]\nnode = 0\nzone = 'DMA'\nfree = 7\n";
    let expected = [
        (1, "base = 1 B"),
        (2, "distances = 2 rows"),
        (3, "dma_end = 5 B"),
        (5, "reserved[0].start"),
        (6, "reserved[1].start"),
        (9, "node[0].count = 0"),
        (12, "node[1].movable = 4.0 MiB"),
        (16, "node[2].ranges[1].end"),
        (21, "mark[0].free = 7 B"),
    ];
    are(&mistakes(text), &expected);
}

#[test]
fn what_the_allocator_refuses_has_a_line() {
    let with = |text: &str| mistakes(&format!("{NODE}{text}"));
    are(&mistakes(&NODE.replace("cpus = 1", "")), &[(1, "0 CPUs")]);
    are(&mistakes("\n[[node]]\ncpus = 1\n"), &[(2, "no usable frame")]);
    are(
        &mistakes(&format!("reserved = [{{ start = 0, end = '1 GiB' }}]\n{NODE}")),
        &[(2, "no usable frame")],
    );
    are(&mistakes(&format!("dma_end = '8 GiB'\n{NODE}")), &[(1, "above DMA32's end")]);
    are(&mistakes(&format!("dma32_end = '8 MiB'\n{NODE}")), &[(1, "above DMA32's end")]);
    are(&with("[watermarks]\nwatermark_scale_factor = 0\n"), &[(5, "scale factor 0")]);
    are(&with("[watermarks]\nmin_free_kbytes = 9223372036854775807\n"), &[(5, "9223372036854775807 KiB")]);
    let high = "[[node]]\nranges = [{ start = '4095 TiB', size = '2 TiB' }]\n";
    are(&with(high), &[(5, "above 52 address bits")]);
    are(&with("[[node]]\nranges = [\n{ start = 4096, end = 4096 }]\n"), &[(6, "0x1..0x1 holds no frame")]);
    let far = "[[node]]\nranges = [\n{ start = '1 TiB', size = '2 MiB' },\n{ start = '900 TiB', size = '2 MiB' }]\n";
    are(&with(far), &[(4, "over 510 TiB")]);
}

#[test]
fn each_wrong_distance_is_found() {
    let text = format!("distances = [\n  [10, 9, 20],\n  [20, 11, 20],\n  [20, 10, 10]]\n{NODE}{NODE}{NODE}");
    let expected = [
        (2, "distance 9 from node 0 to node 1"),
        (3, "distance 11 from node 1 to node 1"),
        (4, "distance 10 from node 2 to node 1"),
    ];
    are(&mistakes(&text), &expected);
}

#[test]
fn each_overlap_is_found_with_both_ranges() {
    let text = "[[node]]\nmemory = '8 MiB'\ncpus = 1\n[[node]]\nranges = [\n{ start = '64 MiB', size = '2 MiB' },\n\
                { start = '4 MiB', size = '2 MiB' },\n{ start = '6 MiB', size = '32 MiB' },\n{ start = '37 MiB', size = '1 MiB' }]\n";
    let expected = [
        (7, "node[1].ranges[1]: two memory ranges hold pfn 0x400, also node[0].memory in line 2"),
        (8, "node[1].ranges[2]: two memory ranges hold pfn 0x600, also node[0].memory in line 2"),
        (9, "node[1].ranges[3]: two memory ranges hold pfn 0x2500, also node[1].ranges[2] in line 8"),
    ];
    are(&mistakes(text), &expected);
}

#[test]
fn what_cannot_be_plugged_in_is_found() {
    let hot = |node: u16, start: &str, size: &str| {
        format!("[[hotplug]]\nnode = {node}\nstart = '{start}'\nsize = '{size}'\n")
    };
    let text = [
        NODE,
        &hot(0, "130 MiB", "126 MiB"),
        &hot(1, "1 GiB", "128 MiB"),
        &hot(0, "2 GiB", "0 MiB"),
        &hot(0, "4095 TiB", "2 TiB"),
        &hot(0, "0 MiB", "128 MiB"),
        &hot(0, "3 GiB", "256 MiB"),
        &hot(0, "3200 MiB", "128 MiB"),
    ];
    let expected = [
        (2, "node[0].memory: two memory ranges hold pfn 0x0, also hotplug[4] in line 20"),
        (4, "hotplug[0]: hot-pluggable memory begins or ends at 0x8200"),
        (8, "hotplug[1]: node 1"),
        (12, "hotplug[2]: the memory range 0x80000..0x80000 holds no frame"),
        (16, "hotplug[3]"),
        (20, "hotplug[4]: a hot-pluggable section lies on both sides of 0x1000"),
        (28, "hotplug[6]: two memory ranges hold pfn 0xc8000, also hotplug[5] in line 24"),
    ];
    are(&mistakes(&text.concat()), &expected);
    are(&mistakes(&format!("{NODE}[[hotplug]]\nnode = 0\nstart = 7\n")), &[(6, "hotplug[0].start = 7 B")]);
    are(&mistakes(&format!("{NODE}[[hotplug]]\nnode = 0\nstart = 0\n")), &[(6, "an end or a size")]);
}

#[test]
fn a_node_that_waits_for_memory_is_not_odd() {
    let hot = "[[hotplug]]\nnode = 1\nstart = '4 GiB'\nsize = '128 MiB'\n";
    let alone = |cpus: &str| format!("{NODE}[[node]]\n{cpus}");
    for cpus in ["", "cpus = 1\n"] {
        are(&oddities(&[&alone(cpus), hot].concat()), &[]);
        assert_eq!(oddities(&alone(cpus)).len(), 1);
    }
}

#[test]
fn each_mark_without_a_zone_is_found() {
    let mark = |node: usize, zone: &str| format!("[[mark]]\nnode = {node}\nzone = '{zone}'\nfree = 4096\n");
    let text = [NODE, &mark(0, "Normal"), &mark(0, "DMA"), &mark(3, "DMA")].concat();
    are(
        &mistakes(&text),
        &[(4, "mark[0]: node 0 has no zone Normal"), (12, "mark[2]: node 3 has no zone DMA")],
    );
}

#[test]
fn nothing_is_odd_about_an_ordinary_machine() {
    for text in ["tuned", "two-nodes", "pluggable"] {
        let path = format!("{}/machines/{text}.toml", env!("CARGO_MANIFEST_DIR"));
        are(&oddities(&std::fs::read_to_string(path).unwrap()), &[]);
    }
}

#[test]
fn nodes_that_lack_something_are_odd() {
    let text = format!("{NODE}[[node]]\nmemory = '2 MiB'\n[[node]]\ncpus = 2\n[[node]]\ncount = 3\n");
    let expected = [
        (4, "node 1 has memory and no CPUs"),
        (6, "node 2 has CPUs and no memory: what they ask for comes from node 1 first"),
        (8, "nodes 3 to 5 have neither"),
    ];
    are(&oddities(&text), &expected);
}

#[test]
fn memory_that_is_not_divided_is_odd() {
    let text = format!("movablecore = '100%'\n{NODE}");
    are(&oddities(&text), &[(1, "no memory is set aside for movable content")]);
    let text = format!("kernelcore = '50%'\n{NODE}movable = '2 MiB'\n");
    are(&mistakes(&text), &[(5, "movable already")]);
    let text = format!("caching = 'all'\nkernelcore = '150%'\n{NODE}");
    are(&mistakes(&text), &[(2, "kernelcore = 150%: not 0% to 100%")]);
}

#[test]
fn one_way_distances_are_odd() {
    let text = format!("distances = [\n[10, 20, 30],\n[21, 10, 20],\n[31, 20, 10]]\n{NODE}{NODE}{NODE}");
    are(&oddities(&text), &[(2, "node 1 is 20 from node 0, and 21 on the way back, and 1 more of this row")]);
}

#[test]
fn zones_that_give_nothing_are_odd() {
    let mark = |free: &str| format!("[[mark]]\nnode = 0\nzone = 'DMA'\nfree = '{free}'\n");
    let text = [NODE, &mark("8 MiB"), &mark("4 MiB")].concat();
    let expected = [(4, "mark[0] does not count: mark[1]"), (8, "1024 frames, and 1024 are kept free (min)")];
    are(&oddities(&text), &expected);
    are(&oddities(&format!("{NODE}{}", mark("4092 KiB"))), &[]);
    let text = format!("{NODE}[watermarks]\nmin_free_kbytes = 3000\n");
    are(&oddities(&text), &[(4, "high mark is 1124: kswapd")]);
}

#[test]
fn ranges_that_reserve_nothing_are_odd() {
    let text =
        format!("reserved = [\n{{ start = '1 GiB', size = 4096 }},\n{{ start = 4096, end = 4096 }}]\n{NODE}");
    are(&oddities(&text), &[(2, "where no memory is"), (3, "holds no frame")]);
}

#[test]
fn parts_of_blocks_are_odd_unless_the_zone_goes_on() {
    let node = |ranges: &str| format!("[[node]]\ncpus = 1\nranges = [\n{ranges}]\n");
    let whole = node("{ start = 0, end = '1 MiB' },\n{ start = '1 MiB', end = '4 MiB' },\n");
    are(&oddities(&whole), &[]);
    let ragged = node("{ start = 4096, end = '3 MiB' },\n");
    let expected =
        [(4, "begins inside the 2 MiB block at 0x0: 511"), (4, "ends inside the 2 MiB block at 0x200: 256")];
    are(&oddities(&ragged), &expected);
    are(&oddities(&node("{ start = '1 MiB', end = '1028 KiB' },\n")), &[(4, "block at 0x0: 1 frames")]);
    let two =
        [node("{ start = 0, end = '1 MiB' },\n"), node("{ start = '1 MiB', end = '4 MiB' },\n")].concat();
    are(
        &oddities(&two),
        &[(4, "ends inside the 2 MiB block at 0x0: 256 of its frames share"), (9, "begins inside")],
    );
}

/// A description of small parts that may or may not fit together.
fn thrown(rng: &mut Rng) -> String {
    let nodes = rng.usize(1..4);
    let mut text = String::new();
    let mut line = |line: String| writeln!(text, "{line}").expect("a text takes every line");
    if rng.bool() {
        let mut distance = |from, to| if rng.u8(..30) == 0 || from == to { 10 } else { 20 };
        let rows: Vec<Vec<u8>> =
            (0..nodes).map(|from| (0..nodes).map(|to| distance(from, to)).collect()).collect();
        line(format!("distances = {rows:?}"));
    }
    if rng.u8(..4) == 0 {
        line(format!("dma_end = {}", rng.u64(..3) << 32));
    }
    let mut range = || {
        let (start, size) = (rng.u64(..64) << 19, rng.u64(..16) << 18);
        format!("{{ start = {start}, size = {size}, movable = {} }}", rng.bool())
    };
    line(format!("reserved = [{}]", range()));
    let ranges: Vec<[String; 2]> = (0..nodes).map(|_| [range(), range()]).collect();
    for [one, other] in ranges {
        line(format!("[[node]]\ncpus = {}\nranges = [{one}, {other}]", rng.u8(..3)));
    }
    if rng.u8(..3) == 0 {
        let (start, size) = (rng.u64(..3) << 26, rng.u64(..3) << 26);
        line(format!("[[hotplug]]\nnode = {}\nstart = {start}\nsize = {size}", rng.usize(..nodes + 1)));
    }
    if rng.u8(..3) == 0 {
        let zone = ["DMA", "DMA32", "Movable"][rng.usize(..3)];
        line(format!("[[mark]]\nnode = {}\nzone = '{zone}'\nfree = '1 MiB'", rng.usize(..nodes + 1)));
    }
    text
}

#[test]
fn what_is_refused_is_what_the_allocator_refuses() {
    let mut refused = 0;
    for seed in 0..2000 {
        let text = thrown(&mut Rng::with_seed(seed));
        let built = Machine::from_toml(&text).map_err(|error| error.to_string()).and_then(|machine| {
            match Simulation::build(&machine, CpuSource::Played) {
                Err(PoolError::Config(error)) => Err(error.to_string()),
                other => Ok(other.unwrap_or_else(|error| panic!("{error}"))),
            }
        });
        match Review::of(&text).unwrap_or_else(|error| panic!("{error}")) {
            Review::Sound { .. } => assert_eq!(built.err(), None, "{text}"),
            Review::Refused(mistakes) => {
                assert!(built.is_err() && !mistakes.is_empty(), "{mistakes:?}\n{text}");
                assert!(mistakes.iter().all(|mistake| (1..=text.lines().count()).contains(&mistake.line)));
                refused += 1;
            }
        }
    }
    assert!((200..1800).contains(&refused), "{refused} of 2000 are refused: too few or too many to tell");
}
