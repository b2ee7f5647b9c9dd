//! What is looked at when all threads stand still: then every figure is exact, and so is what a request must get.
//!
//! The frames that nobody holds are known from the owners' table alone. A request for a run that lies among them, in a zone
//! that can spare it, must be served, wherever the allocator keeps those frames: in blocks, in any CPU's words, in credits.
//! Invariant it checks: `frames not free to the allocator = frames held`, and a clean audit.

use zonal::{Order, Pfn};

use super::hand::Hand;
use super::request::Class;
use super::violation::Violation;

/// Findings listed.
const FINDINGS: usize = 100;
/// The largest order asked for.
const LARGEST: u8 = 10;

/// Looks at a storm at a standstill, with a hand that holds nothing before and after.
pub(super) struct Judge<'h> {
    hand: &'h mut Hand,
    /// What the audit found.
    pub(super) audit: Vec<String>,
}

impl<'h> Judge<'h> {
    pub(super) fn of(hand: &'h mut Hand) -> Self {
        Self { hand, audit: Vec::new() }
    }

    /// Recounts, and takes everything there is: first in runs of a random order, then frame by frame.
    pub(super) fn look(&mut self) {
        self.recount();
        let order = Order::new(self.hand.dice.u8(1..=LARGEST)).unwrap_or(Order::ZERO);
        for order in [order, Order::ZERO] {
            if self.hand.is_broken() {
                return;
            }
            self.exhaust(order);
        }
        self.marks();
        self.hand.give_all();
    }

    /// Empties the shelf and all words, when the threads have given back everything: nothing may be missing.
    pub(super) fn close(&mut self) {
        let left: Vec<_> = self.hand.stage.clear_shelf().collect();
        left.into_iter().for_each(|run| self.hand.give(run));
        self.hand.drain_all();
        self.recount();
    }

    fn recount(&mut self) {
        let mut found = Vec::new();
        let summary = self.hand.stage.allocator().audit(&mut |finding| found.push(finding));
        for finding in found {
            if self.audit.len() < FINDINGS {
                self.audit.push(finding.to_string());
            }
            self.hand.tally.broke(Violation::Audit(finding));
        }
        let (allocated, held) = (summary.allocated, self.hand.stage.held());
        if allocated > held {
            self.hand.tally.broke(Violation::Lost { allocated, held });
        } else if allocated < held {
            self.hand.tally.broke(Violation::FreeAndHeld { allocated, held });
        }
        let (managed, existing) = (summary.managed, self.hand.stage.frames);
        if managed != existing {
            self.hand.tally.broke(Violation::Managed { managed, existing });
        }
    }

    /// Takes runs of an order until one is refused, which must be because there is none.
    fn exhaust(&mut self, order: Order) {
        let class = Class::ALL[self.hand.dice.usize(..Class::ALL.len())];
        self.hand.migrate();
        loop {
            // Between any two requests a daemon may have run; this one does, so that no request has to do its work: after a
            // refusal, too, since a run may lack frames of which nobody could know before.
            let own = self.hand.stage.cpus.own();
            if own {
                self.hand.keep_up();
            }
            let mut asked = self.hand.request(class, order);
            if own && asked.is_err() && !class.may_block() {
                self.hand.keep_up();
                asked = self.hand.request(class, order);
            }
            match asked {
                Ok(run) => self.hand.hold(run),
                Err(error) => {
                    if let Some(free) = self.usable(order) {
                        self.hand.tally.broke(Violation::RefusedStill { class, order, free, error });
                    }
                    return;
                }
            }
            if self.hand.is_broken() {
                return;
            }
        }
    }

    /// A run of the order that nobody holds, in a zone that can spare it.
    fn usable(&self, order: Order) -> Option<Pfn> {
        let stage = &self.hand.stage;
        let rich = |mark, span| stage.owners.free(span) >= mark + order.frames();
        let zones = stage.zones.iter().filter(|zone| rich(zone.mark, zone.span));
        zones.into_iter().find_map(|zone| stage.owners.free_run(zone.span, order))
    }

    fn marks(&mut self) {
        for zone in self.hand.stage.zones.clone() {
            let free = self.hand.stage.owners.free(zone.span);
            if free < zone.floor {
                self.hand.tally.broke(Violation::BelowMark { zone: zone.id, free, floor: zone.floor });
            }
        }
    }
}
