//! Bytes as a machine and a list of operations, done to an allocator and to the naive model side by side.
//!
//! Never asks for what a caller may not: every machine is a good one, every wrong free is made where frees are checked.
//! The list ends where the bytes do.

use arbitrary::{Result, Unstructured};
use zonal::Caching;
use zonal_testkit::{BLOCK, Machine, Mark, Memory, Model};

use crate::op::{Near, Op, Place, Purpose, Scope, Want, Wrong};
use crate::support::{FakeCpu, Setup};
use crate::world::World;

/// Longest list of operations.
const OPERATIONS: usize = 200;
/// Where the lowest range may begin; the last is two blocks below a boundary of sections.
const BASES: [u64; 4] = [0, 1, 3 * BLOCK, 62 * BLOCK];
/// Frames from the first to the last, above which no further range begins: the model looks at each, again and again.
const SPAN: u64 = 4 * BLOCK;

/// Runs the list; panics at the first answer that the model or the audit objects to.
pub fn operations(bytes: &[u8]) {
    let mut bytes = Unstructured::new(bytes);
    let Ok((machine, setup)) = setup(&mut bytes) else { return };
    if Model::new(&machine).total().managed == 0 {
        return;
    }
    let cpu = FakeCpu::default();
    let mut memory = setup.lend().unwrap_or_else(|error| panic!("{error}: {machine:?}"));
    let mut world = World::new(&machine, setup, &cpu, &mut memory);
    for _ in 0..OPERATIONS {
        let Ok(op) = op(&mut bytes) else { break };
        world.step(op);
    }
    world.wind_up();
}

fn setup(bytes: &mut Unstructured<'_>) -> Result<(Machine, Setup)> {
    let caching = *bytes.choose(&[Caching::Local, Caching::All, Caching::Off])?;
    let checked = bytes.arbitrary()?;
    let machine = machine(bytes)?;
    let setup = Setup::of(&machine).caching(caching);
    let setup = if checked { setup.checked() } else { setup };
    Ok((machine, setup))
}

fn machine(bytes: &mut Unstructured<'_>) -> Result<Machine> {
    let nodes = bytes.int_in_range(1..=3u16)?;
    let mut machine = Machine::equal_nodes(nodes, 1, 0, 0);
    for (at, distance) in machine.distances.iter_mut().enumerate() {
        if at % (usize::from(nodes) + 1) != 0 {
            *distance = bytes.int_in_range(11..=41)?;
        }
    }
    machine.memory.clear();
    let base = *bytes.choose(&BASES)?;
    let mut end = base;
    for _ in 0..bytes.int_in_range(1..=4u8)? {
        let unit = if bytes.arbitrary()? { BLOCK } else { 1 };
        let start = end.next_multiple_of(unit) + gap(bytes)? * unit;
        if start > base + SPAN {
            break;
        }
        end = start + bytes.int_in_range(1..=3 * BLOCK)?.next_multiple_of(unit);
        let memory = Memory::of(bytes.int_in_range(0..=nodes - 1)?, start..end);
        machine.memory.push(if bytes.ratio(1, 4)? { memory.movable() } else { memory });
    }
    for _ in 0..bytes.int_in_range(0..=3u8)? {
        let start = base + bytes.int_in_range(0..=SPAN)?;
        machine.reserved.push(start..start + bytes.int_in_range(0..=700)?);
    }
    let cpus = bytes.int_in_range(1..=4u8)?;
    machine.cpus = (0..cpus).map(|_| bytes.int_in_range(0..=nodes - 1)).collect::<Result<_>>()?;
    if bytes.arbitrary()? {
        machine.dma_end = base.next_multiple_of(BLOCK) + bytes.int_in_range(0..=3)? * BLOCK;
        machine.dma32_end = machine.dma_end + bytes.int_in_range(0..=3)? * BLOCK;
    }
    machine.marks = marks(bytes, &machine)?;
    Ok(machine)
}

fn gap(bytes: &mut Unstructured<'_>) -> Result<u64> {
    Ok(bytes.int_in_range(0..=255u64)?.saturating_sub(250))
}

/// Marks of zones that hold memory.
fn marks(bytes: &mut Unstructured<'_>, machine: &Machine) -> Result<Vec<Mark>> {
    let mut marks = Vec::new();
    for zone in Model::new(machine).zones() {
        if bytes.ratio(1, 4)? {
            marks.push(Mark { node: zone.node, class: zone.class, frames: bytes.int_in_range(0..=600)? });
        }
    }
    Ok(marks)
}

fn op(bytes: &mut Unstructured<'_>) -> Result<Op> {
    Ok(match bytes.int_in_range(0..=34u8)? {
        0..=8 => Op::Alloc { order: order(bytes)?, want: want(bytes)? },
        9 => Op::Exact { frames: bytes.int_in_range(1..=1400)?, want: want(bytes)? },
        10 => Op::At { order: order(bytes)?, place: number(bytes)?, want: want(bytes)? },
        11 | 12 => {
            let frames = bytes.int_in_range(1..=200)?;
            Op::Bulk { frames, groups: bytes.int_in_range(0..=20)?, want: want(bytes)? }
        }
        13 => Op::Zeroed { order: order(bytes)?, want: want(bytes)? },
        14 if bytes.ratio(1, 4)? => Op::Exhaust { want: want(bytes)? },
        14..=19 => Op::Free { pick: pick(bytes)? },
        20 => Op::FreeBulk { picks: bytes.int_in_range(1..=100)? },
        21 => Op::Split { pick: pick(bytes)?, to: bytes.int_in_range(0..=10)? },
        22 => Op::FreePart { pick: pick(bytes)?, order: bytes.int_in_range(0..=9)?, part: number(bytes)? },
        23 => Op::FreeAll,
        24 => Op::Merge { pick: pick(bytes)? },
        25 => Op::Misuse { wrong: wrong(bytes)?, order: order(bytes)? },
        26 | 27 => Op::MoveTo { cpu: bytes.int_in_range(0..=5)? },
        28 => Op::Drain(scope(bytes)?),
        29 => {
            let zone = bytes.int_in_range(0..=7usize)?;
            if bytes.ratio(1, 3)? { Op::Close { zone } } else { Op::Reopen { zone } }
        }
        30 => Op::Isolate { block: pick(bytes)?, blocks: bytes.int_in_range(1..=3)? },
        31 => Op::Unisolate { block: pick(bytes)?, blocks: bytes.int_in_range(1..=3)? },
        32 | 33 => Op::Poison { place: number(bytes)? },
        _ => Op::Heal { pick: pick(bytes)? },
    })
}

/// Half of them single frames.
fn order(bytes: &mut Unstructured<'_>) -> Result<u8> {
    Ok(bytes.int_in_range(0..=37u8)?.saturating_sub(19))
}

fn pick(bytes: &mut Unstructured<'_>) -> Result<usize> {
    Ok(usize::from(bytes.arbitrary::<u16>()?))
}

fn number(bytes: &mut Unstructured<'_>) -> Result<u64> {
    Ok(u64::from(bytes.arbitrary::<u16>()?))
}

fn want(bytes: &mut Unstructured<'_>) -> Result<Want> {
    use Purpose::{Dma, Dma32, Kernel, Reclaimable, User};
    let purpose = *bytes.choose(&[Kernel, User, Reclaimable, Kernel, User, Dma, Dma32])?;
    let near = match bytes.int_in_range(0..=7u16)? {
        0..=3 => Near::Here,
        4 => Near::HereOnly,
        node => Near::Node(node - 5),
    };
    let place = match bytes.int_in_range(0..=9u8)? {
        0..=7 => Place::Anywhere,
        8 => Place::Below(bytes.arbitrary()?),
        _ => Place::Aligned(bytes.int_in_range(0..=12)?),
    };
    Ok(Want { purpose, near, place })
}

fn wrong(bytes: &mut Unstructured<'_>) -> Result<Wrong> {
    Ok(match bytes.int_in_range(0..=3u8)? {
        0 => Wrong::Frame(number(bytes)?),
        1 => Wrong::Frame(bytes.arbitrary()?),
        2 => Wrong::Beside(pick(bytes)?, number(bytes)?),
        _ => Wrong::Again,
    })
}

fn scope(bytes: &mut Unstructured<'_>) -> Result<Scope> {
    Ok(match bytes.int_in_range(0..=3u8)? {
        0 => Scope::Cpu(bytes.int_in_range(0..=5)?),
        1 => Scope::Zone(bytes.int_in_range(0..=7)?),
        2 => Scope::Range(number(bytes)?, number(bytes)?),
        _ => Scope::All,
    })
}
