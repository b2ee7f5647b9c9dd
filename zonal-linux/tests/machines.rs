//! Machines from TOML, from this machine, and by number: what is accepted is exact, what is refused is named.

use zonal::{
    Caching, Checking, ConfigError, FrameRange, HotRange, Mark, MemoryRange, Naming, NodeId, Pfn, Tuning,
    ZoneKind,
};
use zonal_linux::{Machine, MachineError};

const MIB: u64 = 256;

fn read(text: &str) -> Machine {
    Machine::from_toml(text).unwrap_or_else(|error| panic!("{error}"))
}

/// The message for a machine that is refused.
fn refusal(text: &str) -> String {
    Machine::from_toml(text).expect_err("refused").to_string()
}

#[track_caller]
fn refuses(text: &str, words: &[&str]) {
    let message = refusal(text);
    for word in words {
        assert!(message.contains(word), "{word:?} is not in {message:?}");
    }
}

#[test]
fn nodes_by_size_follow_each_other() {
    let machine = read(include_str!("../machines/two-nodes.toml"));
    let expected = [
        MemoryRange::new(0, 4352 * MIB, 0),
        MemoryRange::new(4352 * MIB, 4608 * MIB, 0).movable(),
        MemoryRange::new(4608 * MIB, 5376 * MIB, 1),
        MemoryRange::new(5376 * MIB, 5632 * MIB, 1).movable(),
    ];
    assert_eq!(machine.memory(), expected);
    assert_eq!(machine.cpus(), [0, 0, 1, 1].map(NodeId));
    assert_eq!(machine.config().topology.distances, [10, 20, 20, 10]);
    assert_eq!(machine.config().marks, [Mark { node: NodeId(0), zone: ZoneKind::Dma, frames: 1024 }]);
    assert_eq!(machine.bytes(), 5632 << 20);
}

#[test]
fn a_count_repeats_a_node() {
    let machine = read(include_str!("../machines/sixty-four-nodes.toml"));
    assert_eq!((machine.nodes(), machine.cpus().len(), machine.bytes()), (64, 1024, 16 << 40));
    assert_eq!(machine.memory().first(), Some(&MemoryRange::new(4096 * MIB, 266_240 * MIB, 0)));
    assert_eq!(machine.cpus().last(), Some(&NodeId(63)));
}

#[test]
fn explicit_ranges_and_policy() {
    let machine = read(include_str!("../machines/holes.toml"));
    let config = machine.config();
    assert_eq!(machine.memory().first(), Some(&MemoryRange::new(0, 160, 0)));
    assert_eq!(machine.memory().get(2), Some(&MemoryRange::new(256 * MIB, 512 * MIB - 1, 0)));
    assert_eq!(machine.memory().last(), Some(&MemoryRange::new(1152 * MIB, 1216 * MIB, 1).movable()));
    assert_eq!(machine.cpus(), [0, 1, 0, 1].map(NodeId));
    assert_eq!((config.caching, config.checking), (Caching::All, Checking::On));
    assert_eq!(config.naming, Naming::On);
    assert_eq!((config.dma_end, config.dma32_end), (Pfn::new(16 * MIB), Pfn::new(1024 * MIB)));
    assert_eq!(config.topology.reserved, [FrameRange::new(Pfn::new(0), Pfn::new(256))]);
}

#[test]
fn memory_is_divided_as_linux_would() {
    let text =
        "base = '4 GiB'\nmovablecore = '50%'\nnode = [{ memory = '4 GiB', cpus = 1 }, { memory = '1 GiB' }]";
    let divided = read(text);
    let expected = [
        MemoryRange::new(4096 * MIB, 5632 * MIB, 0),
        MemoryRange::new(5632 * MIB, 8192 * MIB, 0).movable(),
        MemoryRange::new(8192 * MIB, 9216 * MIB, 1),
    ];
    assert_eq!(divided.memory(), expected);
    let sized = read(&text.replace("movablecore = '50%'", "kernelcore = '2560 MiB'"));
    assert_eq!(sized.memory(), expected);

    let node = "[[node]]\nmemory = '64 MiB'\nmovable = '2 MiB'\ncpus = 1";
    refuses(&format!("kernelcore = '50%'\n{node}"), &["node[0].movable = ", "movable already"]);
    refuses(&format!("kernelcore = '101%'\n{node}"), &["kernelcore = 101%", "100%"]);
    refuses(&format!("movablecore = 'x%'\n{node}"), &["movablecore = x%", "100%"]);
    refuses(&format!("movablecore = 5000\n{node}"), &["movablecore = ", "4096"]);
    refuses(&format!("movablecore = 'much'\n{node}"), &["line 1", "25%"]);
}

#[test]
fn what_may_be_plugged_in_is_described_or_laid_out_behind() {
    let machine = read(include_str!("../machines/pluggable.toml"));
    let gib = 1024 * MIB;
    let described = [HotRange::new(5 * gib, 5 * gib + 512 * MIB, 0), HotRange::new(6 * gib, 7 * gib, 1)];
    assert_eq!((machine.hotplug(), machine.config().hotplug), (&described[..], &described[..]));
    assert_eq!(machine.bytes(), 512 << 20, "what is not there is no memory");
    let behind = machine.with_hotplug(NodeId(1), 128 << 20).unwrap();
    assert_eq!(behind.hotplug().last(), Some(&HotRange::new(7 * gib, 7 * gib + 128 * MIB, 1)));
    let uniform = Machine::uniform(1, 6 << 20, 1).unwrap().with_hotplug(NodeId(0), 256 << 20).unwrap();
    assert_eq!(uniform.hotplug(), [HotRange::new(4 * gib + 128 * MIB, 4 * gib + 384 * MIB, 0)]);
    let plugged = |node, bytes| uniform.clone().with_hotplug(NodeId(node), bytes).map(drop);
    for bytes in [0, 64 << 20] {
        let error = plugged(0, bytes).expect_err("refused");
        assert!(matches!(&error, MachineError::Value { key, .. } if key == "hotplug"), "{error}");
    }
    let nowhere = ConfigError::NoSuchNode { node: NodeId(1) };
    assert!(matches!(plugged(1, 128 << 20), Err(MachineError::Config(error)) if error == nowhere));
}

#[test]
fn listed_and_counted_cpus_share_the_numbers() {
    let machine = read("node = [{ memory = '2 MiB', cpus = 2 }, { cpus = [3, 1] }, { cpus = 1 }]");
    assert_eq!(machine.cpus(), [0, 1, 0, 1, 2].map(NodeId));
    assert_eq!(machine.config().topology.distances, [10, 20, 20, 20, 10, 20, 20, 20, 10]);
}

#[test]
fn watermarks_are_linux_s_but_for_what_the_table_says() {
    let machine = read(include_str!("../machines/tuned.toml"));
    let (kbytes, factor) = (Some(65_536), 200);
    let tuning = Tuning { min_free_kbytes: kbytes, watermark_scale_factor: factor, ..Tuning::default() };
    assert_eq!(machine.config().tuning, Some(tuning));
    assert_eq!(machine.config().marks, [Mark { node: NodeId(0), zone: ZoneKind::Dma, frames: 256 }]);
    let node = "node = [{ memory = '2 MiB', cpus = 1 }]\n";
    assert_eq!(read(&format!("{node}[watermarks]")).config().tuning, Some(Tuning::default()));
    assert_eq!(read(node).config().tuning, None);
    let knobs = "watermark_boost_factor = 0\nlowmem_reserve_ratio = [1, 2, 3, 4]\ndefrag_mode = true";
    let lowmem_reserve_ratio = [1, 2, 3, 4];
    let tuning =
        Tuning { watermark_boost_factor: 0, lowmem_reserve_ratio, defrag_mode: true, ..Tuning::default() };
    assert_eq!(read(&format!("{node}[watermarks]\n{knobs}")).config().tuning, Some(tuning));
    assert_eq!(read(node).with_tuning(tuning).unwrap().config().tuning, Some(tuning));
    let bad = Tuning { watermark_scale_factor: 0, ..tuning };
    assert_eq!(
        read(node).with_tuning(bad).unwrap_err().to_string(),
        "watermark scale factor 0: 1 to 3000 ten-thousandths are possible"
    );
}

#[test]
fn knobs_that_make_no_sense_are_refused() {
    let refuses = |knob: &str, words| {
        refuses(&format!("node = [{{ memory = '2 MiB', cpus = 1 }}]\n[watermarks]\n{knob}"), words);
    };
    refuses("watermark_scale_factor = 3001", &["scale factor 3001", "3000"]);
    refuses("watermark_scale_factor = 70000", &["line 3", "70000"]);
    refuses("min_free_kbytes = -1", &["line 3", "-1"]);
    refuses("min_free_kbytes = 9223372036854775807", &["9223372036854775807 KiB"]);
    refuses("lowmem_reserve_ratio = [256, 32]", &["line 3", "lowmem_reserve_ratio"]);
    refuses("defrag_mode = 1", &["line 3", "bool"]);
    refuses("watermark_boost = 1", &["line 3", "watermark_boost", "`watermark_boost_factor`"]);
}

#[test]
fn values_of_the_wrong_sort_are_shown_in_their_line() {
    refuses("[[node]]\nmemory = '256 MoB'\ncpus = 1", &["line 2", "memory", "256 MoB"]);
    refuses("[[node]]\nmemory = -4096\ncpus = 1", &["line 2", "memory", "-4096"]);
    refuses("caching = 'some'\n[[node]]", &["some", "`local`"]);
    refuses("[[node]]\nmemroy = '2 MiB'", &["memroy", "`memory`"]);
    refuses("[[node]]\nmemory = '2 MiB'\ncpus = 'two'", &["cpus = 'two'", "a number of CPUs"]);
    refuses("distances = [[10, 300], [300, 10]]\n[[node]]\ncpus = 1", &["300", "u8"]);
    refuses("[[mark]]\nnode = 0\nzone = 'High'\nfree = 0", &["High", "`Movable`"]);
    refuses("cpus = 2", &["cpus"]);
    refuses("not toml", &["line 1"]);
}

#[test]
fn values_that_make_no_sense_are_named_with_their_key() {
    refuses("node = [{ cpus = 1 }, { memory = 5000 }]", &["node[1].memory = ", "4096"]);
    refuses("node = [{ memory = '2 MiB', movable = '4 MiB', cpus = 1 }]", &["node[0].movable = 4.0 MiB"]);
    refuses("node = [{ memory = '3 MiB', movable = '2 MiB', cpus = 1 }]", &["node[0].movable", "inside"]);
    refuses("node = [{ movable = '2 MiB', cpus = 1 }]", &["node[0].movable", "not given"]);
    refuses("node = [{ count = 1025, memory = '2 MiB' }]", &["node[0].count = 1025"]);
    refuses("node = [{ count = 0, memory = '2 MiB' }]", &["node[0].count = 0"]);
    refuses(
        "node = [{ memory = '2 MiB', ranges = [{ start = 0, size = 4096 }] }]",
        &["node[0].memory", "either"],
    );
    refuses(
        "node = [{ count = 2, ranges = [{ start = 0, size = 4096 }] }]",
        &["node[0].count = 2", "overlap"],
    );
    refuses("node = [{ ranges = [{ start = 0 }] }]", &["node[0].ranges[0].start", "missing"]);
    refuses("node = [{ ranges = [{ start = 0, size = 1, end = 1 }] }]", &["node[0].ranges[0].end", "either"]);
    refuses("node = [{ ranges = [{ start = 1, size = 4096 }] }]", &["node[0].ranges[0].start = 1 B"]);
    refuses("node = [{ memory = '2 MiB', cpus = [0, 2] }]", &["node[0].cpus = 2", "gaps"]);
    refuses(
        "node = [{ memory = '2 MiB', cpus = [0] }, { cpus = [0, 1] }]",
        &["node[1].cpus = 0", "two nodes"],
    );
    refuses("distances = [[10]]\nnode = [{ memory = '2 MiB', cpus = 1 }, {}]", &["distances = 1 rows"]);
    refuses(
        "distances = [[10, 20], [10]]\nnode = [{ memory = '2 MiB', cpus = 1 }, {}]",
        &["distances[1] = 1 distances"],
    );
}

#[test]
fn absurd_numbers_are_refused_not_overflowed() {
    refuses("node = [{ memory = '4096 TiB', cpus = 1 }, { memory = '4 KiB' }]", &["node[1].memory", "52"]);
    refuses("node = [{ memory = '99999999999 PiB', cpus = 1 }]", &["node[0].memory", "52"]);
    refuses("node = [{ memory = 9223372036854775807, cpus = 1 }]", &["node[0].memory", "52"]);
    refuses("base = '4096 TiB'\nnode = [{ memory = '4 KiB', cpus = 1 }]", &["node[0].memory", "52"]);
    refuses(
        "node = [{ ranges = [{ start = '4096 TiB', size = '4096 TiB' }], cpus = 1 }]",
        &["52 address bits"],
    );
    refuses(
        "node = [{ memory = '2 MiB', cpus = 9223372036854775807 }, { cpus = 9223372036854775807 }]",
        &["CPUs"],
    );
    refuses("node = [{ count = 9223372036854775807 }]", &["node[0].count"]);
    refuses("node = [{ memory = '2 MiB', cpus = [9223372036854775807] }]", &["node[0].cpus"]);
    refuses("node = [{ memory = '2 MiB' }]", &["0 CPUs"]);
    refuses("node = []", &["0 CPUs"]);
    refuses("node = [{ cpus = 1 }]", &["no usable frame"]);
    refuses("node = [{ ranges = [{ start = 8192, end = 4096 }], cpus = 1 }]", &["0x2..0x1"]);
    refuses("distances = [[10, 9], [9, 10]]\nnode = [{ memory = '2 MiB', cpus = 1 }, {}]", &["distance 9"]);
}

#[test]
fn uniform_machines() {
    let machine = Machine::uniform(3, 4 << 20, 7).unwrap();
    assert_eq!(machine.memory().len(), 3);
    assert_eq!(machine.cpus(), [0, 0, 0, 1, 1, 2, 2].map(NodeId));
    assert_eq!(machine.clone().with_cpus(128).unwrap().cpus().len(), 128);
    assert!(matches!(
        Machine::uniform(0, 4 << 20, 1),
        Err(MachineError::Config(ConfigError::Nodes { nodes: 0 }))
    ));
    assert!(matches!(
        Machine::uniform(1, 4 << 20, 0),
        Err(MachineError::Config(ConfigError::Cpus { cpus: 0 }))
    ));
    assert!(matches!(machine.with_cpus(5000), Err(MachineError::Config(ConfigError::Cpus { cpus: 5000 }))));
    for bytes in [0, 4096, u64::MAX, !0x1f_ffff] {
        let error = Machine::uniform(1024, bytes, 1).unwrap_err().to_string();
        assert!(error.contains(&bytes.to_string()), "{error}");
    }
}

#[test]
fn this_machine_has_this_thread_s_cpu_and_memory() {
    let machine = Machine::this().unwrap();
    // SAFETY: no preconditions.
    let cpu = usize::try_from(unsafe { libc::sched_getcpu() }).unwrap();
    assert!(cpu < machine.cpus().len());
    assert!(machine.bytes() >= 64 << 20, "{} bytes", machine.bytes());
}
