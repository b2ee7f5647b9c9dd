//! Planted faults, one for each promise and more: code that is wrong on purpose, to show that a check can fail.
//!
//! They exist only under `--cfg zonal_mutants`, which no release sets; then `ZONAL_MUTANT=<name>` in the environment
//! chooses at most one. Without the cfg [`planted`] is the constant `false` and every fault folds away.
//! `cargo xtask mutants` runs them; `zonal/mutants.toml` says which check must catch which.

use crate::sync::Ordering;

macro_rules! mutants {
    ($($name:ident: $what:literal,)*) => {
        /// The faults. The variant's name is the value of `ZONAL_MUTANT`.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(crate) enum Mutant {
            $(#[doc = $what] $name,)*
        }

        #[cfg(zonal_mutants)]
        impl Mutant {
            const ALL: &[(&str, Self)] = &[$((stringify!($name), Self::$name),)*];
        }
    };
}

mutants! {
    ClaimRelaxed: "A claim on a block entry does not acquire the bits that a free released.",
    RaiseRelaxed: "A raise of a block entry does not release the bits set before it.",
    TakeRelaxed: "A slot take does not acquire what the frame's last owner wrote.",
    PutRelaxed: "A slot put does not release what the frame's last owner wrote.",
    RowTakeRelaxed: "A row take does not acquire what the frame's last owner wrote.",
    BitsAfterCount: "A free raises the entry's count before it sets the bits.",
    BitsBeforeCount: "A refill takes bits without a claim on the entry.",
    HintLost: "A free does not set the block's hint.",
    HintNoReread: "Clearing a hint does not look at the block again.",
    ParentNotLoaded: "Setting a hint stops at the first level that is already set.",
    InFlightForgotten: "A request about to fail ignores frames in flight.",
    CachedForgotten: "A request about to fail does not look into slot words.",
    CreditForgotten: "A request about to fail does not collect other CPUs' credits.",
    CreditUnhinted: "The first free into a credit does not set its CPU's hint.",
    MarkNotReread: "A free into a credit does not look at the mark again.",
    StaleHintNoted: "A credit is noted as hinted although the hint was given up since.",
    HintClearKeepsGroups: "Clearing a CPU's hint leaves its words their groups.",
    RefreshByRows: "Giving a claim back hints single frames only if a row shows one.",
    MarkIgnored: "A claim on the zone's count does not respect the mark.",
    SplitCountFirst: "A split publishes the entry before it has written the rows.",
    LostRunKept: "A multi-frame request that loses its run keeps its claim.",
    DrainPlain: "A drain reads a slot word and then stores an empty one.",
    InstallIgnoresClose: "A refill installs over a closed slot word.",
    IsolateNoDebit: "Isolation does not debit the zone's count.",
    TentativeLeft: "An abandoned run leaves its last entry tentative.",
    DoubleFreeAccepted: "Checked mode does not compare the tag.",
    OverlapAccepted: "Overlapping memory ranges are not refused.",
    RetryForever: "A walk that fails waits until nothing is in flight.",
    ZonelistStops: "A walk of a zonelist ends at the first zone that cannot serve.",
    EvictionDropsFrame: "Eviction lands one frame fewer than it took out.",
    PanicOnForeign: "A free of a foreign frame panics.",
    RecoveryTrustsCount: "Recovery keeps the counts it finds.",
    RecoveryForgetsWords: "Recovery does not land what slot words hold.",
    RolledBackRowsKept: "A lost multi-row run does not put back the rows it took.",
}

/// Whether this fault is planted in this run.
#[cfg(not(zonal_mutants))]
#[inline(always)]
pub(crate) const fn planted(_: Mutant) -> bool {
    false
}

/// Whether this fault is planted in this run.
#[cfg(zonal_mutants)]
pub(crate) fn planted(mutant: Mutant) -> bool {
    use core::sync::atomic::AtomicUsize;
    /// 0: not read yet; 1: none; n + 2: the n-th of `Mutant::ALL`.
    static CHOSEN: AtomicUsize = AtomicUsize::new(0);
    let mut chosen = CHOSEN.load(Ordering::Relaxed); // Relaxed: every thread computes the same value.
    if chosen == 0 {
        chosen = match std::env::var("ZONAL_MUTANT") {
            Ok(name) if !name.is_empty() => match Mutant::ALL.iter().position(|(known, _)| *known == name) {
                Some(n) => n + 2,
                None => panic!("ZONAL_MUTANT={name} is no mutant"),
            },
            _ => 1,
        };
        CHOSEN.store(chosen, Ordering::Relaxed);
    }
    chosen >= 2 && Mutant::ALL.get(chosen - 2).is_some_and(|(_, m)| *m == mutant)
}

/// `ordering`, or Relaxed where the fault that drops it is planted.
#[inline(always)]
pub(crate) fn ordering_unless(mutant: Mutant, ordering: Ordering) -> Ordering {
    if planted(mutant) { Ordering::Relaxed } else { ordering }
}
