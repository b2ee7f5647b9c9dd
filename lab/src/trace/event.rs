//! What one line of a recording says.

use zonal::{Gfp, MAX_FRAMES, Order, Pfn};

/// A line, understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Line {
    /// Comments, stack frames, blank lines: nothing to count.
    Nothing,
    /// An ftrace header.
    Header(Entries),
    /// Events that the tracer dropped here.
    Lost(Loss),
    /// An entry of the recording.
    Event(Event),
}

/// The two numbers of an ftrace header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entries {
    /// Entries that follow.
    pub(crate) in_buffer: u64,
    /// Entries there were; more than `in_buffer` if some were overwritten.
    pub(crate) written: u64,
}

/// How many events were dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Loss {
    /// So many.
    Counted(u64),
    /// So many of one event in the whole recording, as `perf record` adds at the end: it has told of them before, as
    /// they were noticed, but for the last ones.
    Recounted(u64),
    /// The tracer did not say: at least one.
    Unknown,
}

/// An entry of the recording.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    /// `mm_page_alloc` that succeeded there.
    Alloc(Run, Gfp),
    /// `mm_page_alloc` that failed there.
    Failure,
    /// `mm_page_free`.
    Free(Run),
    /// Any other event of the kmem system: it describes what alloc and free did inside.
    OtherKmem,
    /// An event of another system.
    Foreign,
}

/// Frames `first..first + order.frames()` of the recorded machine. Not necessarily aligned: a recording may lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Run {
    /// First frame.
    pub(crate) first: Pfn,
    /// Its length.
    pub(crate) order: Order,
}

impl Run {
    /// The run from frame `pfn`, unless it ends outside the physical space.
    pub(super) fn new(pfn: u64, order: Order) -> Option<Self> {
        (pfn <= MAX_FRAMES - order.frames()).then(|| Self { first: Pfn::new(pfn), order })
    }

    /// First frame behind the run.
    pub(crate) fn end(self) -> Pfn {
        self.first.add(self.order.frames())
    }
}
