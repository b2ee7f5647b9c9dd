//! Marks that follow from a tuning: what is built is what the formulas say of the zones as they were built.

use std::mem::MaybeUninit;

use zonal::{
    Config, ConfigError, Mark, MemoryRange, NodeId, OneCpu, PageAllocator, Topology, Tuning, Watermarks,
    ZoneKind, metadata_size,
};

/// 96 MiB in two nodes with every kind of zone; the first MiB is missing.
const MEMORY: [MemoryRange; 4] = [
    MemoryRange::new(0x100, 0x2000, 0),
    MemoryRange::new(0x2000, 0x3000, 0).movable(),
    MemoryRange::new(0x3000, 0x5800, 1),
    MemoryRange::new(0x5800, 0x6000, 1).movable(),
];

fn config(tuning: Tuning, marks: &[Mark]) -> Config<'_> {
    let topology = Topology {
        memory: &MEMORY,
        reserved: &[],
        nodes: 2,
        distances: &[10, 20, 20, 10],
        cpus: &[NodeId(0), NodeId(1)],
    };
    let (dma_end, dma32_end) = (zonal::Pfn::new(0x1000), zonal::Pfn::new(0x4000));
    Config { tuning: Some(tuning), marks, dma_end, dma32_end, ..Config::new(topology) }
}

/// The min mark of each zone: node, kind, frames.
fn built(config: &Config<'_>) -> Result<Vec<(NodeId, ZoneKind, u64)>, ConfigError> {
    let mut metadata = vec![MaybeUninit::uninit(); metadata_size(config)?];
    let allocator = PageAllocator::new(config, OneCpu, &mut metadata)?;
    Ok(allocator.zones().map(|zone| (zone.node, zone.kind, zone.marks.min)).collect())
}

#[test]
fn zones_begin_with_the_marks_of_the_tuning() -> Result<(), ConfigError> {
    let nodes = [[0xf00, 0x1000, 0, 0x1000], [0, 0x1000, 0x1800, 0x800]];
    for min_free_kbytes in [None, Some(4096)] {
        let tuning = Tuning { min_free_kbytes, ..Tuning::default() };
        let watermarks = Watermarks::new(tuning, nodes);
        let zones = nodes.iter().zip(0..).flat_map(|(node, id)| {
            let populated = ZoneKind::ALL.into_iter().zip(*node).filter(|&(_, managed)| managed > 0);
            populated.map(move |(kind, managed)| (NodeId(id), kind, watermarks.marks(kind, managed).min))
        });
        let expected: Vec<_> = zones.collect();
        assert_eq!(expected.len(), 6);
        assert_eq!(built(&config(tuning, &[]))?, expected);
        let mark = Mark { node: NodeId(1), zone: ZoneKind::Normal, frames: 77 };
        let given = expected.into_iter().map(|zone| match zone {
            (NodeId(1), ZoneKind::Normal, _) => (NodeId(1), ZoneKind::Normal, 77),
            other => other,
        });
        assert_eq!(built(&config(tuning, &[mark]))?, given.collect::<Vec<_>>());
    }
    Ok(())
}

#[test]
fn no_allocator_is_tuned_to_what_makes_no_sense() {
    let tuning = Tuning { watermark_scale_factor: 3001, ..Tuning::default() };
    assert_eq!(built(&config(tuning, &[])), Err(ConfigError::WatermarkScale { factor: 3001 }));
    let tuning = Tuning { min_free_kbytes: Some(1 << 43), ..Tuning::default() };
    assert_eq!(built(&config(tuning, &[])), Err(ConfigError::MinFree { kbytes: 1 << 43 }));
}
