//! What a replay found, as the one JSON object and in words.

use std::io::{self, Write};

use serde::Serialize;

use super::setting::Origin;
use crate::plan::Counts;

/// The figures of a replay. The names are a contract; see `zonal replay --help`.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct Report {
    /// kmem events parsed.
    pub(crate) events: u64,
    /// Allocations served there.
    pub(crate) allocs: u64,
    /// Free events there.
    pub(crate) frees: u64,
    /// Events that do not act.
    pub(crate) other_events: u64,
    /// Allocations refused there.
    pub(crate) recorded_failures: u64,
    /// Frees of frames not allocated in the recording.
    pub(crate) frees_of_unknown: u64,
    /// Allocations whose free the recording misses.
    pub(crate) missed_frees: u64,
    /// Events the tracer lost.
    pub(crate) events_lost: u64,
    /// Served there, refused here.
    pub(crate) failed: u64,
    /// Frames our allocator lost.
    pub(crate) lost: u64,
    /// Frees our allocator refused.
    pub(crate) double: u64,
    /// Most frames allocated at once there.
    pub(crate) peak_frames: u64,
    /// Wholly free blocks after the last event, caches drained, leftovers not yet freed.
    pub(crate) free_order9_at_end: u64,
    /// Mean time inside an alloc or free call.
    pub(crate) ns_per_op: f64,
    /// What the stamps and the allocator's own recount disagree with.
    pub(crate) audit: Vec<String>,
}

impl Report {
    /// What the recording says; everything about our side is still 0.
    pub(crate) fn of(counts: Counts) -> Self {
        Self {
            events: counts.events,
            allocs: counts.allocs,
            frees: counts.frees,
            other_events: counts.other_events,
            recorded_failures: counts.recorded_failures,
            frees_of_unknown: counts.frees_of_unknown,
            missed_frees: counts.missed_frees,
            events_lost: counts.events_lost,
            failed: 0,
            lost: 0,
            double: 0,
            peak_frames: counts.peak_frames,
            free_order9_at_end: 0,
            ns_per_op: 0.0,
            audit: Vec::new(),
        }
    }

    /// The promises broken, with their values; none if all hold. A refusal breaks one only on a machine that was made
    /// to hold the recording.
    pub(crate) fn broken(&self, origin: Origin) -> Vec<String> {
        let Self { failed, lost, double, .. } = *self;
        let findings = self.audit.len();
        let refused = if origin == Origin::Fitting { failed } else { 0 };
        [
            (lost, "frames lost"),
            (double, "frees refused that nothing in the recording explains"),
            (refused, "requests refused on a machine that holds twice the recording's peak"),
            (findings as u64, "disagreements in the audit"),
        ]
        .into_iter()
        .filter(|&(count, _)| count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect()
    }

    /// The report in words.
    pub(crate) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "recording: {} events: {} allocations (peak {} frames), {} frees, {} others",
            self.events, self.allocs, self.peak_frames, self.frees, self.other_events
        )?;
        writeln!(
            out,
            "           {} failed there, {} frees of unknown frames, {} frees missed, {} events lost by the tracer",
            self.recorded_failures, self.frees_of_unknown, self.missed_frees, self.events_lost
        )?;
        writeln!(
            out,
            "here:      {} refused, {} lost, {} double; {} wholly free blocks after the last event",
            self.failed, self.lost, self.double, self.free_order9_at_end
        )?;
        writeln!(
            out,
            "           {:.1} ns per operation (mean over all alloc and free calls)",
            self.ns_per_op
        )
    }

    /// The line that begins `audit:`, and the disagreements below it.
    pub(crate) fn write_audit(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.audit.is_empty() {
            return writeln!(
                out,
                "audit: clean: every frame was where its owner left it, and all are free again"
            );
        }
        writeln!(out, "audit: {} disagreements", self.audit.len())?;
        self.audit.iter().try_for_each(|finding| writeln!(out, "  {finding}"))
    }
}
