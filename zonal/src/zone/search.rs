//! Finding a block: own partly used blocks, then a free one, then other kinds', then, if need be, every entry.
//!
//! A search never claims; it offers blocks to a closure that does, and goes on when the closure lost a race.
//! Bounds: a constant number of offers a tree, plus one clear for each hint that another operation left stale, plus the
//! 64 hints of a word looked at twice, plus one scan of the entries where the hints cannot be trusted or the order is between 1 and 8.

use crate::block::entry::Snapshot;
use crate::frame::{BLOCK_FRAMES, BlockIndex, Order, ZoneId};
use crate::hint::{HintTree, Stamp};
use crate::topology::Kind;
use crate::zone::{Block, Mixing, Want, Zone};

/// Which runs a hint speaks of; the smallest that holds the order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(usize)]
pub(crate) enum Class {
    /// A frame.
    Frame = 0,
    /// An aligned run of 8.
    Eight = 1,
    /// A row, 64.
    Row = 2,
}

impl Class {
    pub(crate) const ALL: [Self; 3] = [Self::Frame, Self::Eight, Self::Row];

    const fn of(order: Order) -> Self {
        match order.get() {
            0 => Self::Frame,
            1..=3 => Self::Eight,
            _ => Self::Row,
        }
    }

    pub(crate) const fn order(self) -> Order {
        match self {
            Self::Frame => Order::ZERO,
            Self::Eight => Order::from_raw(3),
            Self::Row => Order::ROW,
        }
    }
}

/// What the closure made of an offered block.
pub(crate) enum Offer<T> {
    /// Taken.
    Taken(T),
    /// Not this one: a race was lost, or it has no such run.
    Next,
    /// No block will do (the zone is at the floor).
    Stop,
}

impl<T> Offer<T> {
    /// Does something else if the block was taken.
    fn inspect_taken(self, then: impl FnOnce()) -> Self {
        if matches!(self, Self::Taken(_)) {
            then();
        }
        self
    }
}

/// How a search ended without a taken block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Missed {
    /// The closure stopped it.
    Stopped,
    /// Nothing usable was found.
    NotFound,
}

/// Offers a tree makes before the search goes on elsewhere.
const OFFERS: usize = 16;

type Outcome<T> = Option<Result<T, Missed>>;

impl<'m> Zone<'m> {
    /// A block of the kind that is hinted in the same word as `start`, at or behind it, if it has frames to give. For frames it
    /// looks at two, as the first is mostly the one that served last. Hints of those it passes by, which have nothing left,
    /// stay until the word is left: then all of them are cleared at once.
    #[inline(always)]
    pub(crate) fn near(&self, kind: Kind, order: Order, start: usize) -> Option<(Block<'m>, Snapshot)> {
        let tree = self.tree(kind, Class::of(order));
        let with_frames = |at: usize| {
            let entry = self.entries.get(at)?.load();
            (self.is_own_partly_used(entry, kind) && entry.count() > 0).then_some((at, entry))
        };
        let first = tree.peek(start)?;
        let found = match with_frames(first) {
            None if order == Order::ZERO => tree.peek_behind(first).and_then(with_frames),
            found => found,
        };
        if found.is_none() && order == Order::ZERO {
            tree.sweep(start, |at| with_frames(at).is_some());
        }
        let (at, entry) = found?;
        Some((self.block(BlockIndex(at as u32))?, entry))
    }

    /// Whether a look shows that the blocks have no such run above the floor. It says so only of too few frames, or for order 9 of
    /// no free block.
    #[inline]
    pub(crate) fn is_short_of(&self, order: Order, floor: u64) -> bool {
        order == Order::BLOCK && self.free_tree().is_clear() || !self.count.spares(order.frames(), floor)
    }

    /// Whether a look shows that no frame is cached, none in a credit, nor was `since`, and none kept for atomic requests.
    #[inline]
    pub(crate) fn has_all_in_blocks(&self, since: Stamp) -> bool {
        self.credit_hints.is_clear_since(since) && self.cpu_hints.is_clear() && self.highatomic.free() == 0
    }

    /// Whether the hints know of a run of `order` in whatever kind of block, or of a free block.
    pub(crate) fn may_have_run(&self, order: Order) -> bool {
        let classes =
            Class::ALL.into_iter().filter(|&class| order < Order::BLOCK && class >= Class::of(order));
        !self.free_tree().is_clear()
            || classes
                .flat_map(|class| Kind::ALL.map(|kind| self.tree(kind, class)))
                .any(|tree| !tree.is_clear())
    }

    /// Frames of wholly free blocks, as the hints name them; no more are looked for when there are `enough`.
    pub(crate) fn in_free_blocks(&self, enough: u64) -> u64 {
        let (tree, is_free) = (self.free_tree(), is_free(self.id));
        let (mut frames, mut from) = (0, 0);
        while frames < enough
            && let Some(at) = tree.next(from)
        {
            let block = self.block(BlockIndex(at as u32)).filter(|&block| is_free(block));
            frames += block.map_or(0, |_| BLOCK_FRAMES);
            from = at + 1;
        }
        frames
    }

    /// Offers blocks that may hold a wanted run (below a block), best first, with the kind to retype them to.
    pub(crate) fn search<T>(
        &self,
        want: Want,
        start: usize,
        mut offer: impl FnMut(Block<'m>, Option<Kind>) -> Offer<T>,
    ) -> Result<T, Missed> {
        let (class, kind) = (Class::of(want.order), want.kind);
        let own = self.tree(kind, class);
        let found = self
            .offer_tree((own, class), start, |b| self.is_partly_used(b, kind, class), |b| offer(b, None))
            .or_else(|| self.offer_free(start, |b| offer(b, Some(kind))))
            .or_else(|| self.offer_fallbacks(class, want, start, &mut offer));
        found.unwrap_or_else(|| self.scan(want, offer))
    }

    /// Offers wholly free blocks. Where the hints are settled, finding none costs the same whatever the zone's size.
    pub(crate) fn search_free<T>(
        &self,
        want: Want,
        start: usize,
        mut offer: impl FnMut(Block<'m>) -> Offer<T>,
    ) -> Result<T, Missed> {
        let tree = self.free_tree();
        if tree.is_clear() {
            return Err(Missed::NotFound);
        }
        let stamp = tree.stamp();
        let mut lost = false;
        let found = self.offer_free(start, |b| {
            let offered = offer(b);
            lost |= matches!(offered, Offer::Next);
            offered
        });
        match found {
            Some(outcome) => outcome,
            // Our own clears moved the guard too: look again at the hints they left, then trust a still guard.
            None if !lost && self.is_settled_empty(stamp) => Err(Missed::NotFound),
            None => self.scan(want, |b, _| offer(b)),
        }
    }

    fn is_settled_empty(&self, stamp: crate::hint::Stamp) -> bool {
        let tree = self.free_tree();
        tree.settled(stamp) || {
            let stamp = tree.stamp();
            tree.search(0).is_none() && tree.settled(stamp)
        }
    }

    /// Other kinds' partly used blocks, largest runs first; half free ones are claimed whole for `kind`.
    fn offer_fallbacks<T>(
        &self,
        class: Class,
        want: Want,
        start: usize,
        offer: &mut impl FnMut(Block<'m>, Option<Kind>) -> Offer<T>,
    ) -> Outcome<T> {
        if want.mixing == Mixing::Avoided {
            return Some(Err(Missed::NotFound));
        }
        let kind = want.kind;
        let classes = Class::ALL.into_iter().rev().filter(|&c| c >= class);
        classes.flat_map(|c| kind.fallbacks().map(|k| (c, k))).find_map(|(class, other)| {
            let usable = |b: Block<'m>| self.is_partly_used(b, other, class);
            self.offer_tree((self.tree(other, class), class), start, usable, |b| {
                let half_free = b.entry.load().count() >= BLOCK_FRAMES / 2;
                offer(b, half_free.then_some(kind)).inspect_taken(|| self.boost())
            })
        })
    }

    /// Frames were taken from another kind: the marks are higher for a while, and words give nothing below them.
    #[cold]
    fn boost(&self) {
        if self.marks.add_boost(self.count.free()) {
            self.note_short();
        }
    }

    /// Offers wholly free blocks from `start` on.
    fn offer_free<T>(&self, start: usize, offer: impl FnMut(Block<'m>) -> Offer<T>) -> Outcome<T> {
        self.offer_tree((self.free_tree(), Class::Row), start, is_free(self.id), offer)
    }

    /// Offers the blocks of a tree of runs of this class from `start` on, clearing hints of blocks that are not usable: for frames
    /// by the word, as several may have been left there (see [`Zone::near`]).
    fn offer_tree<T>(
        &self,
        (tree, class): (&HintTree<'m>, Class),
        start: usize,
        usable: impl Fn(Block<'m>) -> bool,
        mut offer: impl FnMut(Block<'m>) -> Offer<T>,
    ) -> Outcome<T> {
        let mut from = start;
        let mut offers = 0;
        while offers < OFFERS {
            let index = tree.search(from)?;
            let block = self.block(BlockIndex(index as u32))?;
            if !usable(block) {
                match class {
                    Class::Frame => {
                        tree.sweep(index, |at| self.block(BlockIndex(at as u32)).is_some_and(&usable));
                    }
                    Class::Eight | Class::Row => tree.clear(index, || usable(block)),
                }
                offers += usize::from(usable(block));
                continue;
            }
            match offer(block) {
                Offer::Taken(taken) => return Some(Ok(taken)),
                Offer::Stop => return Some(Err(Missed::Stopped)),
                Offer::Next => (offers, from) = (offers + 1, index + 1),
            }
        }
        None
    }

    /// Offers every block that could serve, and repairs its hints: linear, when the hints do not say enough.
    fn scan<T>(
        &self,
        want: Want,
        mut offer: impl FnMut(Block<'m>, Option<Kind>) -> Offer<T>,
    ) -> Result<T, Missed> {
        let (order, least) = (want.order, want.frames());
        if !self.count.spares(least, want.floor) {
            // At the floor no claim can succeed: the offers would only say so one by one.
            return Err(Missed::Stopped);
        }
        for block in self.blocks() {
            let entry = block.entry.load();
            let holds = order == Order::BLOCK || block.bitmap.has_run(order);
            if !entry.is_open() || entry.count() < least || !holds {
                continue;
            }
            self.hint(block, entry, u64::MAX);
            match offer(block, None) {
                Offer::Taken(taken) => return Ok(taken),
                Offer::Stop => return Err(Missed::Stopped),
                Offer::Next => {}
            }
        }
        Err(Missed::NotFound)
    }

    /// Whether the block belongs in the tree of this kind and class. Runs are judged by their bits alone: those that
    /// claims under way will leave are hinted already, and nobody would hint them again.
    pub(crate) fn is_partly_used(&self, block: Block<'m>, kind: Kind, class: Class) -> bool {
        let entry = block.entry.load();
        self.is_own_partly_used(entry, kind)
            && match class {
                Class::Frame => entry.count() > 0,
                Class::Eight | Class::Row => block.bitmap.has_run(class.order()),
            }
    }

    /// Whether the block is the zone's and the kind's, and not wholly free.
    fn is_own_partly_used(&self, entry: Snapshot, kind: Kind) -> bool {
        let own = entry.is_open() && entry.zone() == self.id && entry.kind() == kind;
        own && entry.count() < BLOCK_FRAMES
    }
}

/// Whether a block belongs in the zone's tree of free blocks.
fn is_free(zone: ZoneId) -> impl Fn(Block<'_>) -> bool {
    move |block| {
        let entry = block.entry.load();
        entry.is_free_block() && entry.zone() == zone
    }
}
