//! The operations that op lists are made of, as plain numbers that mean something on any machine.
//!
//! A number that picks something (a run, a block, a zone, a CPU) is taken modulo what there is, so every list can run on
//! every machine and shrinks well. Who draws them is elsewhere: `draw.rs` with proptest, the fuzz targets from bytes.

/// Which zones and kind a request is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    Kernel,
    Reclaimable,
    /// Movable content, any zone.
    User,
    Dma,
    Dma32,
}

/// Which nodes a request is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Near {
    /// The CPU's node, then the others.
    Here,
    /// The CPU's node alone.
    HereOnly,
    /// This node, then the others.
    Node(u16),
}

/// Where the run must lie.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    Anywhere,
    /// Below a frame this many 1/256 up the machine.
    Below(u8),
    /// Aligned to this order.
    Aligned(u8),
}

/// A request but for its size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Want {
    pub(crate) purpose: Purpose,
    pub(crate) near: Near,
    pub(crate) place: Place,
}

/// Whose caches are drained.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scope {
    Cpu(usize),
    Zone(usize),
    Range(u64, u64),
    All,
}

/// A run that is freed though nobody holds it like that.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wrong {
    /// This frame, whatever is there.
    Frame(u64),
    /// So many frames from the start of a run that is held.
    Beside(usize, u64),
    /// The run that was freed last.
    Again,
}

/// An operation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Alloc {
        order: u8,
        want: Want,
    },
    Exact {
        frames: u64,
        want: Want,
    },
    At {
        order: u8,
        place: u64,
        want: Want,
    },
    Bulk {
        frames: u64,
        groups: usize,
        want: Want,
    },
    Zeroed {
        order: u8,
        want: Want,
    },
    /// Order 0 until refused.
    Exhaust {
        want: Want,
    },
    Free {
        pick: usize,
    },
    /// Single frames, as groups.
    FreeBulk {
        picks: usize,
    },
    Split {
        pick: usize,
        to: u8,
    },
    /// Part of a run without a split before it (where that is allowed).
    FreePart {
        pick: usize,
        order: u8,
        part: u64,
    },
    FreeAll,
    /// The run picked with its other half, if that is held too.
    Merge {
        pick: usize,
    },
    /// A wrong free (where frees are checked).
    Misuse {
        wrong: Wrong,
        order: u8,
    },
    MoveTo {
        cpu: usize,
    },
    Drain(Scope),
    Close {
        zone: usize,
    },
    Reopen {
        zone: usize,
    },
    Isolate {
        block: usize,
        blocks: u64,
    },
    Unisolate {
        block: usize,
        blocks: u64,
    },
    Poison {
        place: u64,
    },
    /// One that is poisoned.
    Heal {
        pick: usize,
    },
}
