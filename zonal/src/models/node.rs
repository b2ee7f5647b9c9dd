//! A daemon's word: what is asked is done by the daemon that has begun, by the next, or told.

use crate::frame::Order;
use crate::models::explore::{exhaustively, race};
use crate::node::{Job, Work};
use crate::sync::{AtomicU64, Ordering};
use crate::topology::ZoneKind;

const FRAME: Work = Work { order: Order::ZERO, highest: ZoneKind::Normal };
const BLOCK: Work = Work { order: Order::BLOCK, highest: ZoneKind::Movable };

/// A daemon's word, and the frames that its zone is short of.
struct Desk {
    job: Job,
    missing: AtomicU64,
}

impl Desk {
    /// One that has been asked before, for nothing that is left.
    fn asked() -> Self {
        let desk = Self { job: Job::new(), missing: AtomicU64::new(0) };
        assert!(desk.job.ask(FRAME), "the daemon is not at work: it must be told");
        desk
    }

    /// A round of the daemon, if it has work: brings what it sees missing. Whether more has come meanwhile.
    fn serve(&self) -> bool {
        if self.job.begin().is_none() {
            return false;
        }
        if self.missing.load(Ordering::SeqCst) > 0 {
            self.missing.store(0, Ordering::SeqCst);
        }
        self.job.end()
    }
}

/// Who makes the zone short and finds it asked already may rely on it: the daemon that takes the work sees the zone short.
#[test]
fn loom_node_what_is_asked_is_seen_or_left() {
    exhaustively(|| {
        let (desk, _, more) = race(
            Desk::asked(),
            |desk| {
                desk.missing.fetch_add(1, Ordering::SeqCst);
                let _ = desk.job.ask(FRAME);
            },
            Desk::serve,
        );
        let left = desk.missing.load(Ordering::SeqCst);
        assert!(left == 0 || desk.job.is_asked(), "frames are missing and nobody has been asked");
        assert!(!more || desk.job.is_asked());
    });
}

/// Whoever asks while the daemon is at work is not told to wake it: the daemon itself learns of it.
#[test]
fn loom_node_one_of_the_two_tells() {
    exhaustively(|| {
        let (desk, told, more) = race(Desk::asked(), |desk| desk.job.ask(BLOCK), Desk::serve);
        assert!(!desk.job.is_asked() || told || more, "work waits that nobody is told of");
        let work = desk.job.begin();
        assert!(work.is_none_or(|work| work == BLOCK), "what was asked before is done");
    });
}

/// Two ask: the daemon does what serves both.
#[test]
fn loom_node_work_adds_up() {
    exhaustively(|| {
        let job = Job::new();
        let (job, one, other) = race(job, |job| job.ask(FRAME), |job| job.ask(BLOCK));
        assert!(one && other);
        assert_eq!(job.begin(), Some(BLOCK));
        assert_eq!(job.begin(), None, "it is at work");
        assert!(!job.end());
    });
}
