//! A promise that was broken, with the values; and which of the eight it was.

use zonal::{AllocError, Finding, FreeError, Gfp, HotplugError, NodeId, Order, Pfn, ZoneId};
use zonal_testkit::contract::ZoneNow;

use super::call::Call;
use super::owners::Run;
use super::request::Class;
use super::wish::Wish;

/// What must not be. Made in signal handlers too: plain data.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum Violation {
    #[error("frame {pfn} was handed out twice: to run {:#x}, then to {:#x}", holder, run.word())]
    Twice { pfn: Pfn, holder: u64, run: Run },
    #[error("frame {pfn} of run {:#x} bears the stamp {found:#x} when it is freed", run.word())]
    Changed { pfn: Pfn, found: u64, run: Run },
    #[error("the run of order {order} at {pfn} was handed out: outside of the machine, or not aligned")]
    Nowhere { pfn: Pfn, order: Order },
    #[error("the free of a held run of order {order} at {pfn} was refused: {error}")]
    FreeRefused { pfn: Pfn, order: Order, error: FreeError },
    #[error("a free of order {order} at {pfn}, where no such run is allocated, was accepted")]
    FreeAccepted { pfn: Pfn, order: Order },
    #[error("{class} request refused with {spare} frames to spare whatever the others hold: {error}")]
    Refused { class: Class, spare: u64, error: AllocError },
    #[error(
        "{class} request of order {order} refused at a standstill while the run at {free} was free: {error}"
    )]
    RefusedStill { class: Class, order: Order, free: Pfn, error: AllocError },
    #[error("zone {} was taken down to {free} free frames, atomic requests leave {floor}", zone.0)]
    BelowMark { zone: ZoneId, free: u64, floor: u64 },
    #[error("{wish} was served by zone {} below its floor: {}", zone.0, figures(now))]
    BelowFloor { wish: Wish, zone: ZoneId, now: ZoneNow },
    #[error("{wish}: several at once took zone {} more than {excess} frames below its floor: {}", zone.0, figures(now))]
    TooDeep { wish: Wish, zone: ZoneId, now: ZoneNow, excess: u64 },
    #[error("{wish} was refused while zone {} must serve it: {}: {error}", zone.0, figures(now))]
    RefusedAdmitted { wish: Wish, zone: ZoneId, now: ZoneNow, error: AllocError },
    #[error("{wish} failed too soon: {untried}")]
    GaveUp { wish: Wish, untried: &'static str },
    #[error(
        "somebody was to be killed for {gfp} of order {order} after reclaim was in vain {in_vain} times, with {cached} frames in caches"
    )]
    KilledSoon { gfp: Gfp, order: Order, in_vain: u32, cached: u64 },
    #[error("somebody was to be killed for {gfp} of order {order} while an allowed node was nearly empty")]
    KilledNeedlessly { gfp: Gfp, order: Order },
    #[error("the list of node {} names {zones} zones, {of} are there, or another order, in the midst of a rebuild", node.0)]
    NotWhole { node: NodeId, zones: usize, of: usize },
    #[error(
        "{wish}: {steps} walks, rounds of reclaim, pauses and kills beside {others} steps of others; {bound} are allowed"
    )]
    Climbed { wish: Wish, steps: u64, others: u64, bound: u64 },
    #[error("all zones of node {} stay below their high marks with {cached} frames in its cache: its kswapd sleeps", node.0)]
    Asleep { node: NodeId, cached: u64 },
    #[error("{wish} was refused within its set while each node had {spare} frames to spare: {error}")]
    RefusedInSet { wish: Wish, spare: u64, error: AllocError },
    #[error("somebody was to be killed for {wish} while each node had {spare} frames to spare")]
    KilledInSet { wish: Wish, spare: u64 },
    #[error("{wish} got {pfn} of node {}, where its set was at no moment of the call", node.0)]
    OutsideSet { wish: Wish, pfn: Pfn, node: NodeId },
    #[error("run of order {order} at {pfn} was handed out, of a section that is offline")]
    Unplugged { pfn: Pfn, order: Order },
    #[error("frame {pfn} is out of use and held in run {holder:#x}")]
    OutAndHeld { pfn: Pfn, holder: u64 },
    #[error("frame {pfn} is poisoned and nobody holds it, but it is not out, or cannot be healed")]
    PoisonKept { pfn: Pfn },
    #[error("{what} the section at {pfn}: {error}")]
    Plug { what: &'static str, pfn: Pfn, error: HotplugError },
    #[error("{what} the section at {pfn} took place although somebody objected")]
    VetoIgnored { what: &'static str, pfn: Pfn },
    #[error("the frame at {pfn}, of a section that had been removed, was written to")]
    RowsWritten { pfn: Pfn },
    #[error("{frames} frames are cached in zone {} while its caches are closed", zone.0)]
    CachedClosed { zone: ZoneId, frames: u64 },
    #[error("{allocated} frames are not free, {held} are held: {} lost", allocated - held)]
    Lost { allocated: u64, held: u64 },
    #[error("{held} frames are held, the allocator takes {} of them for free", held - allocated)]
    FreeAndHeld { allocated: u64, held: u64 },
    #[error("{managed} frames are managed, the machine has {existing}")]
    Managed { managed: u64, existing: u64 },
    #[error("audit: {0}")]
    Audit(Finding),
    #[error(
        "a request for a single frame took {steps} instructions while others completed {others} calls; {bound} are allowed"
    )]
    Steps { steps: u64, others: u64, bound: u64 },
    #[error("CPU {cpu}, whose owner stands still, caches {frames} frames after a drain")]
    NotDrained { cpu: usize, frames: u64 },
    #[error(
        "a drain of one CPU took {steps} instructions while others completed {others} calls; {bound} are allowed"
    )]
    DrainSteps { steps: u64, others: u64, bound: u64 },
    #[error("thread {thread} has been in {call} for {seconds} s, with nobody else at work")]
    Hung { thread: usize, call: Call, seconds: u64 },
    #[error("thread {thread} panicked in {call}")]
    Panicked { thread: usize, call: Call },
}

impl Violation {
    /// The promise: P1 bounded steps; P2 no premature failure of who may wait, nor frames that a set does not allow; P3 nor of who may not; P4 caches closed
    /// and emptied; P5 nothing lost or handed out twice; P6 whole lists; P8 no panic.
    pub(super) fn promise(&self) -> &'static str {
        match self {
            Self::Steps { .. } | Self::DrainSteps { .. } | Self::Climbed { .. } | Self::Hung { .. } => "P1",
            Self::KilledSoon { .. } | Self::Asleep { .. } | Self::KilledInSet { .. } => "P2",
            Self::OutsideSet { .. } | Self::KilledNeedlessly { .. } => "P2",
            Self::Refused { class, .. } | Self::RefusedStill { class, .. } if class.may_block() => "P2",
            Self::RefusedAdmitted { wish, .. }
            | Self::RefusedInSet { wish, .. }
            | Self::GaveUp { wish, .. }
                if wish.waits() =>
            {
                "P2"
            }
            // A block without its hint is not found by who needs it.
            Self::Audit(
                Finding::HintLost { .. } | Finding::CreditHintLost { .. } | Finding::CpuHintLost { .. },
            ) => "P2",
            Self::Refused { .. }
            | Self::RefusedStill { .. }
            | Self::RefusedAdmitted { .. }
            | Self::RefusedInSet { .. }
            | Self::GaveUp { .. }
            | Self::BelowMark { .. }
            | Self::BelowFloor { .. }
            | Self::TooDeep { .. } => "P3",
            Self::CachedClosed { .. } | Self::NotDrained { .. } => "P4",
            Self::NotWhole { .. } => "P6",
            Self::Panicked { .. } => "P8",
            Self::Twice { .. }
            | Self::Changed { .. }
            | Self::Nowhere { .. }
            | Self::FreeRefused { .. }
            | Self::FreeAccepted { .. }
            | Self::Lost { .. }
            | Self::FreeAndHeld { .. }
            | Self::Managed { .. }
            | Self::Unplugged { .. }
            | Self::Plug { .. }
            | Self::OutAndHeld { .. }
            | Self::PoisonKept { .. }
            | Self::VetoIgnored { .. }
            | Self::RowsWritten { .. }
            | Self::Audit(_) => "P5",
        }
    }
}

/// What decides whether a zone admits a request.
fn figures(now: &ZoneNow) -> String {
    let ZoneNow { free, highatomic, marks: [min, low, high], boost, reserve, longest, .. } = now;
    format!(
        "{free} free, {highatomic} of them kept, longest run {longest:?}, min {min}, low {low}, high {high}, boost {boost}, held back {reserve:?}"
    )
}
