//! Memory as it stands: a cell a block coloured by kind, Linux's buddyinfo, and each zone's figures.
//!
//! A scene is a copy taken at one moment; drawing it touches no allocator. Invariant: every block of a zone is in
//! exactly one cell.

use std::io::{self, Write};

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use zonal::{BLOCK_FRAMES, BlockInfo, BlockState, Kind, PageAllocator, Platform, ZoneInfo};

/// Cells in a line: a line of single blocks is 128 MiB.
const WIDTH: usize = 64;
/// Lines drawn of a zone; in larger zones a cell is several blocks.
const LINES: usize = 16;
/// Orders that Linux prints.
const ORDERS: usize = 11;
/// From free to full, by quarters.
const FILLS: [char; 5] = ['·', '░', '▒', '▓', '█'];
/// A run of whole blocks.
const WHOLE: char = '■';

/// All zones at one moment.
pub(crate) struct Scene {
    zones: Vec<ZoneScene>,
}

struct ZoneScene {
    info: ZoneInfo,
    blocks: Vec<BlockInfo>,
    runs: [u64; 19],
}

/// Several blocks seen as one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Cell {
    fill: char,
    kind: Option<Kind>,
}

impl Scene {
    /// Copies what there is to see. Exact at quiescence.
    pub(crate) fn of<P: Platform>(allocator: &PageAllocator<'_, P>) -> Self {
        let zone = |info: ZoneInfo| ZoneScene {
            blocks: allocator.blocks(info.id).collect(),
            runs: allocator.free_runs(info.id),
            info,
        };
        Self { zones: allocator.zones().map(zone).collect() }
    }

    /// Blocks all of whose 512 frames are free.
    pub(crate) fn free_blocks(&self) -> u64 {
        let blocks = self.zones.iter().flat_map(|zone| &zone.blocks);
        blocks
            .filter(|block| u64::from(block.free) == BLOCK_FRAMES && block.state == BlockState::Rows)
            .count() as u64
    }

    /// Draws the blocks of all zones, and a legend. Without colours each line has another below it that tells the kinds.
    pub(crate) fn draw(&self, out: &mut dyn Write, colours: Colours) -> io::Result<()> {
        for zone in &self.zones {
            let each = zone.blocks.len().div_ceil(WIDTH * LINES).max(1);
            let (node, name) = (zone.info.node.0, zone.info.kind.name());
            writeln!(out, "Node {node}, zone {name}: {} blocks, a cell is {each}", zone.blocks.len())?;
            let cells: Vec<Cell> = zone.blocks.chunks(each).map(Cell::of).collect();
            for line in cells.chunks(WIDTH) {
                write!(out, "  ")?;
                line.iter().try_for_each(|cell| cell.draw(out))?;
                writeln!(out)?;
                if colours == Colours::None && line.iter().any(|cell| cell.kind.is_some()) {
                    writeln!(out, "  {}", line.iter().map(Cell::letter).collect::<String>().trim_end())?;
                }
            }
        }
        legend(out, colours)
    }

    /// Free runs in the text of Linux's `/proc/buddyinfo`.
    pub(crate) fn buddyinfo(&self, out: &mut dyn Write) -> io::Result<()> {
        for ZoneScene { info, runs, .. } in &self.zones {
            write!(out, "Node {}, zone {:>8} ", info.node.0, info.kind.name())?;
            runs[..ORDERS].iter().try_for_each(|count| write!(out, "{count:>6} "))?;
            writeln!(out)?;
        }
        Ok(())
    }

    /// A line of figures a zone.
    pub(crate) fn figures(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "{:>4} {:>8} {:>10} {:>10} {:>10} {:>8} {:>9} {:>8} {:>6}",
            "node", "zone", "managed", "free", "allocated", "cached", "in flight", "isolated", "mark"
        )?;
        for ZoneScene { info, .. } in &self.zones {
            let elsewhere = info.free + info.cached + info.in_flight + info.isolated;
            writeln!(
                out,
                "{:>4} {:>8} {:>10} {:>10} {:>10} {:>8} {:>9} {:>8} {:>6}",
                info.node.0,
                info.kind.name(),
                info.managed,
                info.free,
                info.managed.saturating_sub(elsewhere),
                info.cached,
                info.in_flight,
                info.isolated,
                info.marks.min
            )?;
        }
        Ok(())
    }
}

impl Cell {
    /// The fill of all blocks together, and the kind that holds most frames of them.
    fn of(blocks: &[BlockInfo]) -> Self {
        let used = |block: &BlockInfo| match block.state {
            BlockState::Rows => u64::from(block.managed.saturating_sub(block.free)),
            BlockState::Whole | BlockState::Tentative => u64::from(block.managed),
        };
        let managed: u64 = blocks.iter().map(|block| u64::from(block.managed)).sum();
        let total: u64 = blocks.iter().map(used).sum();
        let of_kind = |kind: &Kind| blocks.iter().filter(|block| block.kind == *kind).map(used).sum::<u64>();
        let kind = Kind::ALL.into_iter().max_by_key(of_kind).filter(|_| total > 0);
        if blocks.iter().all(|block| block.state == BlockState::Whole) {
            return Self { fill: WHOLE, kind };
        }
        let quarters = (total * 4).div_ceil(managed.max(1)).min(4);
        Self { fill: FILLS[quarters as usize], kind }
    }

    /// The kind without colours.
    fn letter(&self) -> char {
        self.kind.map_or(' ', letter_of)
    }

    fn draw(self, out: &mut dyn Write) -> io::Result<()> {
        let style = self.kind.map_or(Style::new().dimmed(), style_of);
        write!(out, "{style}{}{style:#}", self.fill)
    }
}

fn style_of(kind: Kind) -> Style {
    AnsiColor::on_default(match kind {
        Kind::Unmovable => AnsiColor::Red,
        Kind::Movable => AnsiColor::Green,
        Kind::Reclaimable => AnsiColor::Yellow,
    })
}

/// Whether who looks sees colours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Colours {
    Seen,
    None,
}

impl Colours {
    /// Those of this stream, as what is printed to it will be stripped of them or not.
    pub(crate) fn of(stream: &impl RawStream) -> Self {
        match AutoStream::choice(stream) {
            ColorChoice::Never => Self::None,
            _ => Self::Seen,
        }
    }
}

fn letter_of(kind: Kind) -> char {
    match kind {
        Kind::Unmovable => 'U',
        Kind::Movable => 'M',
        Kind::Reclaimable => 'R',
    }
}

fn legend(out: &mut dyn Write, colours: Colours) -> io::Result<()> {
    let [free, quarter, half, most, full] = FILLS;
    write!(
        out,
        "  {free} free  {quarter} to 1/4  {half} to 1/2  {most} to 3/4  {full} fuller  {WHOLE} whole;  "
    )?;
    for kind in Kind::ALL {
        let (style, sign) = (style_of(kind), if colours == Colours::None { letter_of(kind) } else { full });
        write!(out, "{style}{sign} {kind:?}{style:#}  ")?;
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use zonal::Pfn;

    fn block(free: u32, kind: Kind, state: BlockState) -> BlockInfo {
        BlockInfo { start: Pfn::new(0), kind, state, free, managed: 512, isolated: false, reserved: false }
    }

    #[test]
    fn cells_show_fill_and_kind() {
        let rows = |free, kind| block(free, kind, BlockState::Rows);
        let cell = |blocks: &[BlockInfo]| {
            let cell = Cell::of(blocks);
            (cell.fill, cell.kind)
        };
        assert_eq!(cell(&[rows(512, Kind::Movable)]), ('·', None));
        assert_eq!(cell(&[rows(511, Kind::Movable)]), ('░', Some(Kind::Movable)));
        assert_eq!(cell(&[rows(256, Kind::Unmovable)]), ('▒', Some(Kind::Unmovable)));
        assert_eq!(cell(&[rows(0, Kind::Reclaimable)]), ('█', Some(Kind::Reclaimable)));
        assert_eq!(cell(&[block(0, Kind::Movable, BlockState::Whole)]), ('■', Some(Kind::Movable)));
        let both = [rows(500, Kind::Unmovable), rows(0, Kind::Movable)];
        assert_eq!(cell(&both), ('▓', Some(Kind::Movable)));
    }

    #[test]
    fn buddyinfo_is_linux_text() {
        let info = ZoneInfo {
            id: zonal::ZoneId(0),
            node: zonal::NodeId(1),
            kind: zonal::ZoneKind::Dma32,
            span: zonal::FrameRange::new(Pfn::new(0), Pfn::new(0)),
            present: 0,
            managed: 0,
            marks: zonal::Marks::default(),
            boost: 0,
            protection: [0; 4],
            reserved_highatomic: 0,
            free_highatomic: 0,
            free: 0,
            cached: 0,
            in_flight: 0,
            isolated: 0,
            poisoned: 0,
            refused_barriers: 0,
        };
        let mut runs = [0; 19];
        runs[..11].copy_from_slice(&[226, 105, 61, 33, 11, 12, 6, 5, 2, 0, 150]);
        let scene = Scene { zones: vec![ZoneScene { info, blocks: Vec::new(), runs }] };
        let mut text = Vec::new();
        scene.buddyinfo(&mut text).unwrap();
        let linux = "Node 1, zone    DMA32    226    105     61     33     11     12      6      5      2      0    150 \n";
        assert_eq!(String::from_utf8(text).unwrap(), linux);
    }
}
