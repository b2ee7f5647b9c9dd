//! Planted faults, one for each promise and more: code that is wrong on purpose, to show that a check can fail.
//!
//! They exist only under `--cfg zonal_mutants`, which no release sets, where `ZONAL_MUTANT=<name>` in the environment
//! chooses at most one, and under the feature `faults`, where the program that links the core plants one by name.
//! Without both [`planted`] is the constant `false` and every fault folds away.
//! `cargo xtask mutants` runs them; `zonal/mutants.toml` says which check must catch which. `zonal storm` plants them too.

use crate::sync::Ordering;

macro_rules! mutants {
    ($($name:ident: $what:literal,)*) => {
        /// The faults. The variant's name is the value of `ZONAL_MUTANT`.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(crate) enum Mutant {
            $(#[doc = $what] $name,)*
        }

        #[cfg(any(zonal_mutants, feature = "faults"))]
        impl Mutant {
            /// In the order of the variants.
            const NAMES: &[&str] = &[$(stringify!($name),)*];
        }
    };
}

mutants! {
    ClaimRelaxed: "A claim on a block entry does not acquire the bits that a free released.",
    RaiseRelaxed: "A raise of a block entry does not release the bits set before it.",
    GuessBelieved: "A free that a hit expects in a slot word is refused without a look at the word.",
    TakeRelaxed: "A slot take does not acquire what the frame's last owner wrote.",
    PutRelaxed: "A slot put does not release what the frame's last owner wrote.",
    RowTakeRelaxed: "A row take does not acquire what the frame's last owner wrote.",
    BitsAfterCount: "A free raises the entry's count before it sets the bits.",
    BitsBeforeCount: "A refill takes bits without a claim on the entry.",
    HintLost: "A free does not set the block's hint.",
    HintNoReread: "Clearing a hint does not look at the block again.",
    SweepNoReread: "Clearing several hints at once does not look at their blocks again.",
    ParentNotLoaded: "Setting a hint stops at the first level that is already set.",
    InFlightForgotten: "A request about to fail ignores frames in flight.",
    CachedForgotten: "A request about to fail does not look into slot words.",
    CreditForgotten: "A request about to fail does not collect other CPUs' credits.",
    CreditUnhinted: "The first free into a credit does not set its CPU's hint.",
    TabForgotten: "A request about to fail does not settle other CPUs' tabs.",
    TabReopened: "A tab is turned over to another block although frames are on it.",
    TabUnhinted: "A free on a tab does not look again whether the CPU's credit is hinted.",
    TabUncounted: "The hint of a credit is given up although frames are on the CPU's tab.",
    MoveUnhinted: "A CPU announces a move by its own word although nothing leads there any more.",
    ArrivalUnsaid: "A thread that has left the CPU does not say that what it had on the move there has arrived.",
    SpendRelaxed: "Who spends a credit may see what others took without what its owner had added for it.",
    OwnCreditUnhinted: "An owner's free into a credit does not look again whether its hint is set.",
    MarkNotReread: "A free into a credit does not look at the mark again.",
    StaleHintNoted: "A credit is noted as hinted although the hint was given up since.",
    HintClearKeepsGroups: "Clearing a CPU's hint leaves its words their groups.",
    RefreshByRows: "Giving a claim back hints single frames only if a row shows one.",
    MarkIgnored: "A claim on the zone's count does not respect the mark.",
    SplitCountFirst: "A split publishes the entry before it has written the rows.",
    LostRunKept: "A multi-frame request that loses its run keeps its claim.",
    ActiveCacheAges: "A pass of the upkeep takes a cache in use for one that has been idle for long.",
    ExpiryForgotten: "What a CPU caches of other nodes' zones stays there however long it is idle.",
    DrainAwaitsArrivals: "A drain of a CPU's words waits until nothing is on the move.",
    DrainSkipsBusy: "A drain of a CPU's words leaves them alone while something is on the move.",
    DrainPlain: "A drain reads a slot word and stores an empty one a moment later.",
    InstallIgnoresClose: "A refill installs over a closed slot word.",
    InstalledWhileIsolated: "An install does not look whether the block has been isolated since.",
    BatchBelowFloor: "A batch leaves the high mark, whatever its request must leave.",
    BatchUnannounced: "Frames of a batch are not on the move meanwhile.",
    BatchWhileIsolated: "A refill by a batch does not look whether the block has been isolated since.",
    KeptForgotten: "A drain leaves the block that a CPU keeps where it is.",
    KeptWhileIsolated: "Who keeps a block does not look whether it has been isolated since.",
    FillUnhinted: "Who fills a word that was EMPTY does not set its CPU's hint.",
    BarrierLeftOut: "Who is to change another CPU's own words does not have it pass a barrier.",
    WordsKeptOwn: "CPUs keep words of their own while their zone nears its marks.",
    LooksUnbarred: "Who isolates or poisons looks for a block's frames in owned words before their CPU has passed a barrier.",
    WordsUnheld: "Who changes another CPU's own words does not hold them.",
    RefusalUntold: "A drain does not say that it left words of a CPU out whose barrier was refused.",
    RefusedRunUntold: "Who is refused a run for frames in words of other CPUs' own does not say so.",
    RefusedGoesOn: "Whose barrier is refused goes on as if it had been passed.",
    GiveUpForgotten: "Whose barrier is refused is counted among the holders for ever.",
    ReleaseForOthers: "Who lets go of words does so for all others that hold them.",
    KeepLetsGo: "Who is to go on holding words lets go of them.",
    ReopenBlind: "A reopening empties a word whatever it is by then.",
    MovedGoesOn: "An owner that was moved in a sequence goes on by a locked instruction.",
    JoinsUnready: "Who finds the words held joins, whether or not the barrier is over.",
    IsolateNoDebit: "Isolation does not debit the zone's count.",
    TentativeLeft: "An abandoned run leaves its last entry tentative.",
    DoubleFreeAccepted: "Checked mode does not compare the tag.",
    StretchAcrossZones: "Blocks that are built alike are so beyond the end of their zone.",
    OverlapAccepted: "Overlapping memory ranges are not refused.",
    RetryForever: "A walk that fails waits until nothing is in flight.",
    ZonelistStops: "A walk of a zonelist ends at the first zone that cannot serve.",
    EvictionDropsFrame: "Eviction lands one frame fewer than it took out.",
    PanicOnForeign: "A free of a foreign frame panics.",
    RecoveryTrustsCount: "Recovery keeps the counts it finds.",
    RecoveryForgetsWords: "Recovery does not land what slot words hold.",
    VetoKeepsIsolated: "What could not go offline stays isolated.",
    UnplugVacating: "A block goes offline while a compaction is at work in it.",
    ClaimIgnoresZone: "Claims, and what ends isolation, do not look whose the block is now.",
    WordsRememberOffline: "Slot words keep the groups of a range that is going offline.",
    EmptiedOnce: "Nobody looks at the slot words again when nothing of a range that is going offline is used any more.",
    EmptyZoneBalanced: "kswapd looks after zones without memory too.",
    UnplugUsed: "A block goes offline although frames of it are in use.",
    CompactionNotRetried: "Compaction in vain is not tried harder before somebody is killed.",
    WakeLost: "A request that finds the zones short does not wake kswapd.",
    AtomicAtMin: "A request of the atomic class leaves the whole min mark.",
    ShareTooDeep: "The share of the mark that a class leaves is taken twice.",
    ProtectionForgotten: "What a zone holds back from requests for higher ones is not left.",
    KillsSoon: "Reclaim is called vain after its first round without frames.",
    ReserveKept: "The blocks kept for atomic requests are not given up when reclaim is in vain.",
    WarnsUnasked: "A failure is told although the request said not to.",
    ReportsUnlimited: "Reports come as often as there is something to report.",
    ReserveKeptAtFirst: "The first reclaim that brings frames to others does not release what atomic requests keep.",
    ReservedUnseen: "A search of reserved blocks believes their hints while one is being cleared.",
    FastToMin: "The fast walk takes zones down to the min mark.",
    SlowToLow: "The slow walk stops at the low mark.",
    WakesUnasked: "A request without KSWAPD_RECLAIM wakes kswapd.",
    AtomicWaits: "A request without DIRECT_RECLAIM reclaims.",
    MemallocReclaims: "A request that frees memory reclaims itself.",
    PriorityStuck: "Reclaim does not look harder after a round in vain.",
    OnceMore: "NORETRY goes on after one round.",
    HardBeatsOnce: "RETRY_MAYFAIL beats NORETRY.",
    CostlyRetries: "A request above order 3 goes on after one round.",
    NofailFails: "A request with NOFAIL fails when nobody is killed.",
    NofailKillsOn: "A request with NOFAIL does not go below the marks once somebody was killed for it.",
    DirtyIgnored: "A request whose frames will be dirtied has those of nodes that should have no more of that.",
    NearUnasked: "A request that may wait goes on to other nodes before a near one has given frames back.",
    ImpossibleAwaited: "A request with NOFAIL waits for a run that is longer than any that Linux has.",
    NodeLeft: "A request with THISNODE walks the whole zonelist.",
    InjectionIgnored: "The steps of the ladder do not ask whether to fail.",
    MixedAtOnce: "The fast walk mixes kinds before it looks at the zone below.",
    BusyNodeFirst: "The fast walk does not pass over nodes whose kswapd is at work.",
    RefillsBelowHigh: "A refill takes a whole group though its zone is not above the high mark.",
    WordsKeptShort: "What words hold stays there when their zone is found at its low mark.",
    FreesKeptShort: "What is freed in a short zone is kept in words.",
    WordsKeptByKswapd: "What words hold stays there while kswapd is at work.",
    BoostKeepsBack: "Single frames of who has part of the min mark are kept back by the boost.",
    MarksStay: "Marks are not made anew when zones change.",
    BoostUntold: "A request that wakes nobody takes the note that kswapd is to be woken for the boost.",
    BoostForgotten: "A pass of kswapd takes away the boost that was raised during it.",
    KillUnlooked: "Nobody looks at the zones again before a kill.",
    ToldInTurn: "That memory has run out is told while it is still the killer's turn.",
    KillsInVain: "Somebody is killed for a request that it cannot help.",
    ReclaimableIgnored: "Another round of reclaim is decided by what is free alone.",
    ProgressForgotten: "Rounds that brought frames count as rounds in vain.",
    TurnIsFailure: "A request that finds another one killing gives up.",
    HopelessWoken: "A kswapd that has tried in vain for long is woken still.",
    HopelessForEver: "A kswapd stays hopeless when frees have brought its zone above the high mark.",
    SleepsUnbalanced: "kswapd sleeps although its node is not at the high mark and there is hope.",
    WorkUntold: "Nobody is told of what was asked of a daemon while it was at work.",
    PanicForgetsWork: "What was asked of a daemon whose platform panics is forgotten.",
    VictimWhole: "A task that is being killed leaves the whole mark.",
    HardIsOnce: "RETRY_MAYFAIL gives up after one round.",
    KillForgotten: "Nobody is killed when memory has run out.",
    UnlimitedReserve: "A zone keeps any number of blocks for atomic requests.",
    ReserveUncounted: "Frames kept for atomic requests do not count as free for them.",
    ReservedFreedOutside: "What is freed in a block kept for atomic requests counts as the zone's.",
    LastBlockKept: "The last block kept for atomic requests is not given up for a request that cannot fail.",
    ReservedNotIsolated: "A block kept for atomic requests cannot be isolated.",
    BalanceToLow: "kswapd stops at the low mark.",
    KeptUnseen: "A block is kept for atomic requests though its count is not what was moved to the reserve.",
    KeptClaimLost: "An atomic request whose kept block is given up does not give back its claim.",
    EndUnheard: "A daemon that ends does not see that it has been asked for more.",
    AskedEarly: "Who asks a daemon may read its word before what made the zone short is seen.",
    BulkUrgent: "The later frames of a bulk call come out of the blocks kept for atomic requests.",
    CountedPlainly: "Checked mode counts events by a load and a store.",
    JoinKeepsRows: "Joined frames of a block become whole without their bits.",
    TargetLost: "A move that was refused does not give back the frame it would have gone to.",
    RefusedIsMoved: "Compaction takes a frame whose move was refused for its own.",
    FundsKept: "Compaction that ends does not give back what it claimed and did not use.",
    PoisonFlagLate: "The block is flagged after it was looked for the poisoned frame.",
    PoisonedLanded: "A free does not leave poisoned frames out.",
    PoisonNotLookedFor: "A free does not look again for poisoned frames once its own are there.",
    OwnerKept: "A freed run keeps whom it belonged to.",
    RebuildInPlace: "A rebuild clears and writes the lists that readers follow.",
    PlacesRelaxed: "What a rebuild writes into a list does not release the publication before it.",
    RequestBehindLost: "A rebuild counts as done for those who asked in the midst of it.",
    LogInside: "The log of a rebuild is emitted while it is still the writer's turn.",
    GenerationIgnored: "A request fails, gives up or has somebody killed although the lists have changed under it.",
    BumpForgotten: "Frames that come within reach without a rebuild do not change the generation.",
    BumpRelaxed: "A bump does not release what came within reach before it.",
    AllZonesSkipped: "The last walk goes over the zones that a list names, not over all.",
    ListTrusted: "A request believes its list, however long it reads it: it neither looks at other zones nor whether the lists have changed.",
    WriterAwaited: "A request that goes up the ladder waits for a rebuild to end.",
    MaskInPlace: "A set of nodes is written where readers read it.",
    GenerationKept: "A set of nodes is published without a new generation.",
    MovesMixed: "What was read of sets of nodes while they moved is believed.",
    CpusetMoveUnseen: "A request fails, gives up or has somebody killed although its cpuset has been moved under it.",
    WallIgnored: "A request that looks beyond its cpuset passes hard walls.",
    RowsUnquiet: "Sections that hold their own rows are removed although somebody may look at those.",
    RowsLeftInSight: "Rows of sections that are being removed stay in sight.",
    RowsHandedOut: "The frame that holds a section's rows is handed out.",
    HardwallSoft: "A request with HARDWALL looks beyond its cpuset.",
    AtomicWalled: "A request of the atomic class stays within its cpuset.",
    ReserveWalled: "A request with the reserves of a victim stays within its cpuset.",
    DisjointCounts: "A policy's nodes count where the cpuset has none of them.",
    InsaneAwaited: "A request that no zone is allowed to reclaims and has somebody killed.",
    LowZonesBound: "A policy that binds applies to requests for lower zones than most memory is in.",
    PreferredReclaims: "The first pass over preferred nodes reclaims.",
    RelativeAsSaid: "A policy takes places among the cpuset's nodes for nodes.",
    RebindForgotten: "A policy keeps its nodes when those of the cpuset change.",
    BulkRoams: "A bulk call goes where its context does not let it.",
    ContigRoams: "A run is made where the context of who asks does not let it be had.",
    TurnStuck: "An interleaving policy does not count its turns.",
    NolockAccepts: "A nolock request takes any flags.",
    NolockToLow: "A nolock request leaves the low mark.",
    NolockUrgent: "A nolock request has the reserves of the atomic class and what is kept for it.",
    NolockWakes: "A nolock request wakes kswapd.",
    NolockTells: "The failure of a nolock request is told.",
    NolockRoams: "A nolock request does not keep to its cpuset.",
    NolockByPolicy: "A nolock request goes where its context's policy says.",
    NolockGivesUp: "A nolock request fails where this CPU's words and its first zone's blocks do not serve it.",
    NolockParks: "A nolock free keeps the frames from others until somebody comes to free them.",
    SleepUnchecked: "Checked mode does not look where requests that may sleep are made.",
    WakeUnchecked: "Checked mode does not look where requests that may wake kswapd are made.",
    RolledBackRowsKept: "A lost multi-row run does not put back the rows it took.",
    DeferredEarly: "A queue of deferred frees does not look whether a grace period is over.",
    DeferredStampedEarly: "It names the grace period before it takes what was queued.",
    DeferredSlotTrusted: "It takes a slot that was claimed for written.",
    DeferredClaimRelaxed: "A claim of a slot does not release what was done to the object.",
    DeferredPushBlind: "An object that is queued by its head replaces what others queued meanwhile.",
    DeferredTakenTwice: "A collector reads a list and then takes it, in two steps.",
    DeferredFrameKept: "A bookkeeping frame that is done with is not given back.",
    DeferredUnbounded: "It takes as many bookkeeping frames as there are.",
    DeferredDropped: "It forgets an object for which there is no frame.",
    DeferredAwaitsReaders: "A collector waits until a grace period is over.",
    DeferredShrinksOnce: "Its shrinker does not collect what it has just stamped.",
    DeferredObjectsUncounted: "Its shrinker counts its own frames and not those of the objects.",
    DeferredGapAwaited: "Objects behind a slot that was claimed and never written stay on the sheet.",
    GraceBackRelaxed: "A reader that comes back does not release what it read before.",
    GraceLeftUnseen: "Who asks whether a grace period is over does not acquire what readers read.",
    GraceUnfenced: "Who names a grace period has no fence between what it did and its look at the readers.",
    GraceSeatRelaxed: "A reader that gives up its seat does not release what it read.",
    DefragIgnored: "Kinds are kept apart as if defrag_mode were off.",
    DefragMixesSoon: "Under defrag_mode a request that may wait mixes kinds before it reclaims.",
    DefragKept: "Under defrag_mode a request that may wait keeps kinds apart until somebody is killed.",
    DefragReclaimsOn: "Under defrag_mode a request keeps kinds apart as long as reclaim brings frames of any kind.",
    DefragRefuses: "Under defrag_mode a request fails rather than mix kinds.",
    DefragSteals: "Under defrag_mode frames in words serve whatever kind.",
    DefragBreaksBlocks: "Under defrag_mode a short run for another kind is made in the midst of a block of movable frames.",
    DefragInFrames: "Under defrag_mode kswapd is content with frames, and kcompactd with one run.",
    DefragUnbounded: "Under defrag_mode kswapd goes on for whole blocks as long as it is brought frames.",
    DefragOneRun: "Under defrag_mode kcompactd makes one block.",
}

/// Whether this fault is planted in this run.
#[cfg(not(any(zonal_mutants, feature = "faults")))]
#[inline(always)]
pub(crate) const fn planted(_: Mutant) -> bool {
    false
}

#[cfg(feature = "faults")]
pub use chosen::plant_fault;
#[cfg(any(zonal_mutants, feature = "faults"))]
pub(crate) use chosen::planted;

#[cfg(any(zonal_mutants, feature = "faults"))]
mod chosen {
    use core::sync::atomic::{AtomicUsize, Ordering};

    use super::Mutant;

    /// [`UNKNOWN`], [`NONE`], or the fault's number and `FIRST`. Relaxed throughout: every thread computes the same value,
    /// and who plants by call does so before it starts the others.
    static CHOSEN: AtomicUsize = AtomicUsize::new(UNKNOWN);
    const UNKNOWN: usize = 0;
    const NONE: usize = 1;
    const FIRST: usize = 2;

    /// Whether this fault is planted in this run.
    pub(crate) fn planted(mutant: Mutant) -> bool {
        let mut chosen = CHOSEN.load(Ordering::Relaxed);
        if chosen == UNKNOWN {
            chosen = of_environment();
            CHOSEN.store(chosen, Ordering::Relaxed);
        }
        chosen == mutant as usize + FIRST
    }

    #[cfg(zonal_mutants)]
    fn of_environment() -> usize {
        match std::env::var("ZONAL_MUTANT") {
            Ok(name) if !name.is_empty() => {
                number_of(&name).unwrap_or_else(|| panic!("ZONAL_MUTANT={name} is no mutant"))
            }
            _ => NONE,
        }
    }

    #[cfg(not(zonal_mutants))]
    fn of_environment() -> usize {
        NONE
    }

    fn number_of(name: &str) -> Option<usize> {
        Mutant::NAMES.iter().position(|known| *known == name).map(|at| at + FIRST)
    }

    /// Plants the fault of this name in every allocator of the process, from now on; false if there is none.
    #[doc(hidden)]
    #[cfg(feature = "faults")]
    pub fn plant_fault(name: &str) -> bool {
        let number = number_of(name);
        number.into_iter().for_each(|number| CHOSEN.store(number, Ordering::Relaxed));
        number.is_some()
    }
}

/// `ordering`, or Relaxed where the fault that drops it is planted.
#[inline(always)]
pub(crate) fn ordering_unless(mutant: Mutant, ordering: Ordering) -> Ordering {
    if planted(mutant) { Ordering::Relaxed } else { ordering }
}
