//! Grace periods: a reader looks at what another context takes out of sight and frees when the period is over.
//!
//! The one that frees is the first thread of each race, whose looks come last (see the note on loom in `models/mod.rs`).

use std::boxed::Box;
use std::sync::Arc;

use crate::grace::{Grace, Reader, Seat};
use crate::models::explore::{Content, bounded, on_cpu, race};
use crate::sync::{AtomicU64, Ordering};

/// Something that can be seen, then not, then is freed.
struct Scene {
    grace: Grace<'static>,
    /// 1 while it can be seen.
    visible: AtomicU64,
    content: Content,
}

impl Scene {
    /// At a place of its own.
    fn new() -> Box<Self> {
        Box::new(Self { grace: Grace::new(), visible: AtomicU64::new(1), content: Content::new() })
    }

    /// A reader on a new seat, which is leaked: a few bytes.
    fn newcomer(&self) -> Reader<'_> {
        self.grace.add(Box::leak(Box::new(Seat::new())))
    }

    /// Looks at it if it can be seen.
    fn look(&self, reader: &Reader<'_>) {
        reader.read(|| {
            if self.visible.load(Ordering::Acquire) == 1 {
                self.content.touch();
            }
        });
    }

    /// Takes it out of sight; frees it if nobody looks at it.
    fn replace(&self) {
        self.visible.store(0, Ordering::Relaxed);
        self.free_after(self.grace.start());
    }

    /// Frees it if the period is over.
    fn free_after(&self, period: u64) {
        if self.grace.is_over(period) {
            self.content.touch();
        }
    }
}

/// A reader comes, leaves, and comes again while somebody waits for it: its word may never be seen empty.
#[test]
fn loom_grace_a_reader_that_leaves_and_comes_back_has_left() {
    bounded(3, || {
        race(
            Scene::new(),
            |scene| scene.replace(),
            |scene| {
                let reader = scene.newcomer();
                scene.look(&reader);
                scene.look(&reader);
            },
        );
    });
}

/// A reader that nobody knew when the period began sees that there is nothing to look at, or is seen.
#[test]
fn loom_grace_a_reader_that_is_new_is_seen_or_sees() {
    bounded(3, || {
        let scene = Scene::new();
        drop(scene.newcomer());
        race(scene, |scene| scene.replace(), |scene| scene.look(&scene.newcomer()));
    });
}

/// One context reads and leaves its seat, another one takes it and reads.
#[test]
fn loom_grace_who_takes_anothers_seat_speaks_for_both() {
    bounded(2, || {
        trio(
            Scene::new(),
            |scene| scene.replace(),
            |scene| scene.look(&scene.newcomer()),
            |scene| scene.grace.reader().into_iter().for_each(|next| scene.look(&next)),
        );
    });
}

/// A section within another, as a handler's: it ends with the one around it.
#[test]
fn loom_grace_a_section_within_another_does_not_end_it() {
    bounded(3, || {
        race(
            Scene::new(),
            |scene| scene.replace(),
            |scene| {
                let reader = scene.newcomer();
                reader.read(|| {
                    let seen = scene.visible.load(Ordering::Acquire);
                    reader.read(|| ());
                    if seen == 1 {
                        scene.content.touch();
                    }
                });
            },
        );
    });
}

/// One context names the period, another one frees; a third one reads.
#[test]
fn loom_grace_who_frees_need_not_be_who_began() {
    bounded(2, || {
        trio(
            (Scene::new(), AtomicU64::new(0)),
            |(scene, period)| match period.load(Ordering::Acquire) {
                0 => (),
                named => scene.free_after(named),
            },
            |(scene, _)| scene.look(&scene.newcomer()),
            |(scene, period)| {
                scene.visible.store(0, Ordering::Relaxed);
                period.store(scene.grace.start(), Ordering::Release);
            },
        );
    });
}

/// Runs `one` on this thread, each of the others on its own.
fn trio<S: Send + Sync + 'static>(shared: S, one: fn(&S), second: fn(&S), third: fn(&S)) {
    let shared = Arc::new(shared);
    let others = [second, third].map(|act| {
        let theirs = Arc::clone(&shared);
        on_cpu(1, move || act(&theirs))
    });
    one(&shared);
    others.into_iter().for_each(|other| other.join().expect("it ran"));
}
