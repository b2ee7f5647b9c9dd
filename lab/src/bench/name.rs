//! The names of benches and engines, and which engine does which bench.

use clap::ValueEnum;
use zonal::{BLOCK_FRAMES, SECTION_FRAMES};

/// What is timed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum BenchName {
    /// One load and one locked compare-exchange of a word nobody else uses.
    Cas,
    /// Two of them, the second hanging on the first: a bit of a word found, cleared and set again.
    CasPair,
    /// The same, each in a call of its own that finds the word by the number of its CPU.
    CpuPair,
    /// The same by plain loads and stores: what a pair of any allocator costs that finds a word of its own CPU by an index.
    PlainPair,
    /// One allocation and its free, in a loop.
    Pair,
    /// The same, asked for by who may not wait (GFP_ATOMIC).
    Atomic,
    /// The same without a share of the reserves (GFP_NOWAIT).
    Nowait,
    /// The same of a frame that is filled with zeroes in between.
    Zeroed,
    /// A warm page filled with zeroes, for comparison.
    ZeroPage,
    /// One allocation and its free in a zone that is only just above its low mark.
    KernelLow,
    /// 65,536 frames allocated one by one.
    HoldAlloc,
    /// 65,536 frames freed one by one, in the order they were allocated.
    HoldFree,
    /// 65,536 frames freed one by one, in random order.
    HoldFreeRandom,
    /// 65,536 frames allocated and freed in groups, everything else free.
    Bulk,
    /// The same with half of the memory taken at random.
    BulkFrag,
    /// Random runs of a 16 GiB zone freed, another allocated for each; half of the zone taken.
    Churn50,
    /// The same with nine tenths taken.
    Churn90,
    /// 100,000 frames allocated, then freed, in a zone of 1 TiB of which one frame in a hundred is free.
    Full,
    /// The same in a zone of 16 GiB, for comparison; as many frames as are there for it.
    FullSmall,
    /// A run refused by a zone of 256 GiB of which nothing is free.
    Fail,
    /// The same in a zone of 16 GiB, for comparison.
    FailSmall,
    /// A block refused by a zone of 256 GiB of which one frame in each block is taken.
    FailFrag,
    /// The same in a zone of 16 GiB, for comparison.
    FailFragSmall,
    /// A frame refused to who may not wait by two nodes of 128 GiB with marks, of which nothing is free.
    FailAtomic,
    /// A section of 128 MiB goes offline of which nothing is in use.
    OfflineFree,
    /// The part of it that makes all words forget the section's groups, of which they have none.
    OfflineDrain,
    /// The same section comes online.
    Online,
    /// A drain of all CPUs' words, which hold 2,000 frames and more.
    Drain,
    /// A drain of each CPU's words, which hold none.
    DrainEmpty,
    /// The zonelists of 64 nodes rebuilt.
    Rebuild,
    /// The longest of a thread's requests that go along those lists, beside a thread that does something else.
    Reader,
    /// The same beside one that rebuilds the lists without pause.
    ReaderRebuilds,
    /// An allocator set up for 16 TiB in 64 nodes.
    Boot,
    /// A fresh mapping filled that is as large as its metadata.
    BootMemset,
}

impl BenchName {
    /// The name as it is given and printed.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Cas => "cas",
            Self::CasPair => "cas-pair",
            Self::CpuPair => "cpu-pair",
            Self::PlainPair => "plain-pair",
            Self::Pair => "pair",
            Self::Atomic => "atomic",
            Self::Nowait => "nowait",
            Self::Zeroed => "zeroed",
            Self::ZeroPage => "zero-page",
            Self::KernelLow => "kernel-low",
            Self::HoldAlloc => "hold-alloc",
            Self::HoldFree => "hold-free",
            Self::HoldFreeRandom => "hold-free-random",
            Self::Bulk => "bulk",
            Self::BulkFrag => "bulk-frag",
            Self::Churn50 => "churn50",
            Self::Churn90 => "churn90",
            Self::Full => "full",
            Self::FullSmall => "full-small",
            Self::Fail => "fail",
            Self::FailSmall => "fail-small",
            Self::FailFrag => "fail-frag",
            Self::FailFragSmall => "fail-frag-small",
            Self::FailAtomic => "fail-atomic",
            Self::OfflineFree => "offline-free",
            Self::OfflineDrain => "offline-drain",
            Self::Online => "online",
            Self::Drain => "drain",
            Self::DrainEmpty => "drain-empty",
            Self::Rebuild => "rebuild",
            Self::Reader => "reader",
            Self::ReaderRebuilds => "reader-rebuilds",
            Self::Boot => "boot",
            Self::BootMemset => "boot-memset",
        }
    }

    /// What one `ns` is for.
    pub(super) const fn unit(self) -> &'static str {
        match self {
            Self::Cas => "load + locked compare-exchange",
            Self::CasPair | Self::CpuPair | Self::PlainPair => "bit cleared + set",
            Self::Pair | Self::Atomic | Self::Nowait | Self::Zeroed | Self::KernelLow => "alloc + free",
            Self::ZeroPage => "page filled",
            Self::HoldAlloc => "alloc",
            Self::HoldFree | Self::HoldFreeRandom => "free",
            Self::Bulk | Self::BulkFrag => "alloc + free of a frame",
            Self::Churn50 | Self::Churn90 => "free + alloc",
            Self::Full | Self::FullSmall => "alloc + free",
            Self::Fail | Self::FailSmall | Self::FailFrag | Self::FailFragSmall | Self::FailAtomic => {
                "refusal"
            }
            Self::OfflineFree | Self::OfflineDrain | Self::Online => "section",
            Self::Drain => "frame drained",
            Self::DrainEmpty => "line of words",
            Self::Rebuild => "rebuild",
            Self::Reader | Self::ReaderRebuilds => "longest alloc",
            Self::Boot => "boot",
            Self::BootMemset => "memset",
        }
    }

    /// The orders of the bare run.
    pub(super) const fn orders(self) -> &'static [u8] {
        match self {
            Self::Pair => &[0, 3, 9],
            Self::Churn50 | Self::Churn90 | Self::Fail | Self::FailSmall => &[0, 9],
            Self::FailFrag | Self::FailFragSmall => &[9],
            _ => &[0],
        }
    }

    /// Whether runs of this order can be asked for.
    pub(super) const fn has_order(self, order: u8) -> bool {
        match self {
            Self::Pair | Self::HoldAlloc | Self::HoldFree | Self::HoldFreeRandom => true,
            Self::Churn50 | Self::Churn90 | Self::Fail | Self::FailSmall => true,
            Self::FailFrag | Self::FailFragSmall => order >= 9,
            _ => order == 0,
        }
    }

    /// Whether it is the processor that is timed, on no machine of ours.
    pub(super) const fn is_limit(self) -> bool {
        let of_words = matches!(self, Self::Cas | Self::CasPair | Self::CpuPair | Self::PlainPair);
        of_words || matches!(self, Self::ZeroPage | Self::BootMemset)
    }

    /// Whether it is about what a request says of itself, or about marks, memory that comes and goes, or emptying
    /// words: the others know nothing of these.
    pub(super) const fn is_our_own(self) -> bool {
        let of_requests =
            matches!(self, Self::Atomic | Self::Nowait | Self::Zeroed | Self::KernelLow | Self::FailAtomic);
        of_requests || self.blocks().is_some() || self.is_drain()
    }

    /// Whether it is about emptying slot words.
    pub(super) const fn is_drain(self) -> bool {
        matches!(self, Self::Drain | Self::DrainEmpty)
    }

    /// Blocks that one operation is about, where it is about blocks.
    pub(super) const fn blocks(self) -> Option<u64> {
        match self {
            Self::OfflineFree | Self::OfflineDrain | Self::Online => Some(SECTION_FRAMES / BLOCK_FRAMES),
            _ => None,
        }
    }

    /// Whether it is about zonelists, which the others do not have.
    pub(super) const fn is_about_lists(self) -> bool {
        matches!(self, Self::Rebuild | Self::Reader | Self::ReaderRebuilds)
    }

    /// The threads of the bare run.
    pub(super) const fn threads(self) -> &'static [u16] {
        match self {
            Self::Boot | Self::BootMemset | Self::Rebuild | Self::Drain | Self::DrainEmpty => &[1],
            Self::OfflineFree | Self::OfflineDrain | Self::Online => &[1],
            Self::Reader | Self::ReaderRebuilds => &[2],
            _ => &[1, 2],
        }
    }

    /// The CPUs of the machines of the bare run.
    pub(super) const fn cpus(self) -> &'static [u16] {
        match self {
            Self::Pair | Self::FailAtomic => &[2, 128],
            Self::Drain | Self::DrainEmpty => &[4],
            _ => &[2],
        }
    }
}

/// What an engine hands out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum EngineKind {
    /// Frames of a machine, aligned to their order, by number.
    Frame,
    /// Memory of this process, aligned to a page; there is always more.
    Malloc,
    /// Nothing.
    Limit,
}

/// Who does the work.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum EngineName {
    /// The page allocator, with locked slot words.
    Zonal,
    /// The same with words that their CPUs own.
    ZonalOwner,
    /// The crate frame-alloc: a buddy of bitmaps, by compare-exchange.
    FrameAlloc,
    /// The same under its cache of each CPU and the depot they share.
    FrameAllocDepot,
    /// The crate buddy_system_allocator: trees under a spin lock.
    BuddySpin,
    /// The C library's malloc.
    #[cfg(target_env = "gnu")]
    Glibc,
    /// mimalloc.
    #[cfg(feature = "c-peers")]
    Mimalloc,
    /// jemalloc.
    #[cfg(feature = "c-peers")]
    Jemalloc,
    /// The processor alone: what no allocator of this kind can beat.
    Limit,
}

impl EngineName {
    /// The name as it is given and printed.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Zonal => "zonal",
            Self::ZonalOwner => "zonal-owner",
            Self::FrameAlloc => "frame-alloc",
            Self::FrameAllocDepot => "frame-alloc-depot",
            Self::BuddySpin => "buddy-spin",
            #[cfg(target_env = "gnu")]
            Self::Glibc => "glibc",
            #[cfg(feature = "c-peers")]
            Self::Mimalloc => "mimalloc",
            #[cfg(feature = "c-peers")]
            Self::Jemalloc => "jemalloc",
            Self::Limit => "limit",
        }
    }

    /// What it hands out.
    pub(super) const fn kind(self) -> EngineKind {
        match self {
            Self::Zonal | Self::ZonalOwner | Self::FrameAlloc | Self::FrameAllocDepot | Self::BuddySpin => {
                EngineKind::Frame
            }
            #[cfg(target_env = "gnu")]
            Self::Glibc => EngineKind::Malloc,
            #[cfg(feature = "c-peers")]
            Self::Mimalloc | Self::Jemalloc => EngineKind::Malloc,
            Self::Limit => EngineKind::Limit,
        }
    }

    /// Whether the engine can do the bench. A malloc has no zone that could be full.
    pub(super) const fn does(self, bench: BenchName) -> bool {
        use BenchName::{Churn50, Churn90, Full, FullSmall, HoldAlloc, HoldFree, HoldFreeRandom, Pair};
        match self.kind() {
            // Where words come in.
            _ if matches!(self, Self::ZonalOwner) => {
                matches!(bench, Pair | HoldAlloc | HoldFree | HoldFreeRandom)
                    || matches!(bench, Churn50 | Churn90 | Full | FullSmall)
            }
            EngineKind::Limit => bench.is_limit(),
            EngineKind::Malloc => matches!(bench, Pair | HoldAlloc | HoldFree | HoldFreeRandom),
            EngineKind::Frame if bench.is_our_own() || bench.is_about_lists() => matches!(self, Self::Zonal),
            EngineKind::Frame => !bench.is_limit(),
        }
    }

    /// The largest order the engine is set up for.
    pub(super) const fn max_order(self) -> u8 {
        match self {
            Self::FrameAlloc | Self::FrameAllocDepot | Self::BuddySpin => super::peers::ORDERS as u8 - 1,
            _ => 18,
        }
    }
}

impl EngineKind {
    /// The kind as it is printed.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Frame => "frame",
            Self::Malloc => "malloc",
            Self::Limit => "limit",
        }
    }
}
