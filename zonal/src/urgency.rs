//! How far and how long a request goes for its frames: what the ladder reads, decoded from the flags.
//!
//! Source: linux-facts 2.1, 2.5 and 2.9. Never says which mark a walk leaves; that follows from it and from who asks.
//!
//! | flags | meaning |
//! |---|---|
//! | DIRECT_RECLAIM | [`Urgency::waits`], the only bit that allows it |
//! | KSWAPD_RECLAIM | [`Urgency::wakes`] |
//! | HIGH, MEMALLOC, NOMEMALLOC | [`Reserves`]; NOMEMALLOC beats MEMALLOC and leaves HIGH its half |
//! | NORETRY, RETRY_MAYFAIL | [`Effort`]; NORETRY beats RETRY_MAYFAIL |
//! | NOFAIL | [`Urgency::never_fails`], if it waits |
//! | NOWARN | not [`Urgency::warns`] |

use crate::gfp::Gfp;

/// How far below the min mark a request may go when its zones have nothing above.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reserves {
    /// It leaves the whole mark, whoever asks (Linux: NOMEMALLOC).
    None,
    /// It leaves half of the mark, whoever asks (HIGH with NOMEMALLOC).
    Half,
    /// As far as who asks may: a task that frees memory or is being killed for its memory goes below.
    Ordinary,
    /// It leaves half of the mark, three eighths if it does not wait; who asks may go further. One that does not wait may
    /// have its longer runs from blocks kept for such requests (HIGH).
    High,
    /// It leaves nothing: only for requests that give back more soon (MEMALLOC).
    All,
}

/// How often a request that waits tries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effort {
    /// One light pass of reclaim and compaction.
    Once,
    /// Up to order 3 as long as anything helps, the killing of a task included; above that one pass.
    Usual,
    /// As long as anything helps, at any order, but nobody is killed for it.
    Hard,
}

/// What a request may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Urgency {
    /// It may reclaim, compact, and wait for others.
    pub waits: bool,
    /// It may wake the daemons.
    pub wakes: bool,
    /// How far below the min mark it may go.
    pub reserves: Reserves,
    /// How often it tries, if it waits.
    pub effort: Effort,
    /// It tries until it has its frames. (One that may not wait cannot.)
    pub never_fails: bool,
    /// Its failure is reported.
    pub warns: bool,
}

impl Urgency {
    /// What a request with these flags may do.
    pub const fn of(gfp: Gfp) -> Self {
        let waits = gfp.contains(Gfp::DIRECT_RECLAIM);
        Self {
            waits,
            wakes: gfp.contains(Gfp::KSWAPD_RECLAIM),
            reserves: Reserves::of(gfp),
            effort: Effort::of(gfp),
            never_fails: waits && gfp.contains(Gfp::NOFAIL),
            warns: !gfp.contains(Gfp::NOWARN),
        }
    }
}

impl Reserves {
    /// All flags that decide it.
    const FLAGS: Gfp = Gfp::HIGH.union(Gfp::MEMALLOC).union(Gfp::NOMEMALLOC);

    const fn of(gfp: Gfp) -> Self {
        match (gfp.contains(Gfp::NOMEMALLOC), gfp.contains(Gfp::HIGH)) {
            (true, false) => Self::None,
            (true, true) => Self::Half,
            (false, _) if gfp.contains(Gfp::MEMALLOC) => Self::All,
            (false, true) => Self::High,
            (false, false) => Self::Ordinary,
        }
    }

    /// The flags with those that say this in place of what they said of reserves.
    pub(crate) const fn put_in(self, gfp: Gfp) -> Gfp {
        gfp.difference(Self::FLAGS).union(match self {
            Self::None => Gfp::NOMEMALLOC,
            Self::Half => Gfp::HIGH.union(Gfp::NOMEMALLOC),
            Self::Ordinary => Gfp::empty(),
            Self::High => Gfp::HIGH,
            Self::All => Gfp::MEMALLOC,
        })
    }
}

impl Effort {
    const fn of(gfp: Gfp) -> Self {
        if gfp.contains(Gfp::NORETRY) {
            Self::Once
        } else if gfp.contains(Gfp::RETRY_MAYFAIL) {
            Self::Hard
        } else {
            Self::Usual
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNEL: Urgency = Urgency {
        waits: true,
        wakes: true,
        reserves: Reserves::Ordinary,
        effort: Effort::Usual,
        never_fails: false,
        warns: true,
    };

    #[test]
    fn what_linux_s_composites_may_do() {
        let still = Urgency { waits: false, ..KERNEL };
        let huge = Urgency { wakes: false, reserves: Reserves::None, warns: false, ..KERNEL };
        let masks = [
            (Gfp::empty(), Urgency { wakes: false, ..still }),
            (Gfp::ATOMIC, Urgency { reserves: Reserves::High, ..still }),
            (Gfp::NOWAIT, Urgency { warns: false, ..still }),
            (Gfp::KERNEL, KERNEL),
            (Gfp::NOIO, KERNEL),
            (Gfp::NOFS, KERNEL),
            (Gfp::HIGHUSER_MOVABLE, KERNEL),
            (Gfp::TRANSHUGE, huge),
            (Gfp::TRANSHUGE_LIGHT, Urgency { waits: false, ..huge }),
        ];
        for (gfp, urgency) in masks {
            assert_eq!(Urgency::of(gfp), urgency, "{gfp}");
        }
    }

    #[test]
    fn which_flag_beats_which() {
        let effort = |flags| Urgency::of(Gfp::KERNEL | flags).effort;
        assert_eq!(effort(Gfp::NORETRY | Gfp::RETRY_MAYFAIL), Effort::Once);
        assert_eq!(effort(Gfp::RETRY_MAYFAIL), Effort::Hard);
        assert!(Urgency::of(Gfp::KERNEL | Gfp::NOFAIL | Gfp::NORETRY).never_fails);
        assert!(!Urgency::of(Gfp::ATOMIC | Gfp::NOFAIL).never_fails, "it may not wait");
        let reserves = |flags| Urgency::of(Gfp::KERNEL | flags).reserves;
        assert_eq!(reserves(Gfp::MEMALLOC | Gfp::NOMEMALLOC), Reserves::None);
        assert_eq!(reserves(Gfp::MEMALLOC | Gfp::HIGH), Reserves::All);
        assert_eq!(reserves(Gfp::MEMALLOC | Gfp::HIGH | Gfp::NOMEMALLOC), Reserves::Half);
    }

    #[test]
    fn reserves_are_what_was_put_in() {
        let all = [Reserves::None, Reserves::Half, Reserves::Ordinary, Reserves::High, Reserves::All];
        for before in all {
            for reserves in all {
                let gfp = reserves.put_in(before.put_in(Gfp::USER));
                assert_eq!(Reserves::of(gfp), reserves);
                assert_eq!(gfp.difference(Reserves::FLAGS), Gfp::USER);
            }
        }
    }
}
