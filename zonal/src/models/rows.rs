//! Rows that lie in their section: who found them may look at them until a quiesce says that nobody does.

use core::mem::MaybeUninit;
use core::ptr::NonNull;
use std::boxed::Box;

use crate::block::bitmap::Bitmap;
use crate::models::explore::{exhaustively, race};
use crate::section::rows::{RowsWord, SectionRows};
use crate::sync::{AtomicU64, Ordering, fence};

/// A section's word, and whether somebody is looking for a block.
struct Scene {
    word: RowsWord<'static>,
    empty: &'static SectionRows,
    reader: AtomicU64,
}

impl Scene {
    /// A section that has been added. All rows are leaked.
    fn added() -> Self {
        let empty: &'static SectionRows = Box::leak(Box::new(core::array::from_fn(|_| Bitmap::new(|_| 0))));
        let word = RowsWord::unnamed();
        let own: &'static mut MaybeUninit<SectionRows> = Box::leak(Box::new_uninit());
        // SAFETY: the memory was made for rows, is leaked, and nobody else knows it.
        unsafe { word.prepare(NonNull::from(own).cast()) };
        word.show();
        Self { word, empty, reader: AtomicU64::new(0) }
    }

    /// Whether nobody looks, as an embedder may know it.
    fn quiesce(&self) -> bool {
        fence(Ordering::SeqCst);
        self.reader.load(Ordering::Acquire) == 0
    }
}

/// A block is looked for while its section is removed: what was its rows is never looked at once it is somebody else's.
#[test]
fn loom_rows_are_not_looked_at_once_their_frame_is_somebody_elses() {
    exhaustively(|| {
        race(
            Scene::added(),
            |scene| {
                scene.reader.store(1, Ordering::Relaxed);
                fence(Ordering::SeqCst);
                let seen = scene.word.get()[0].row(0).load();
                assert_eq!(seen, 0, "the frame has another owner, who wrote to it");
                scene.reader.store(0, Ordering::Release);
            },
            |scene| {
                let own = scene.word.get();
                // SAFETY: the empty rows are leaked.
                unsafe { scene.word.name(scene.empty) };
                if scene.quiesce() {
                    own[0].row(0).fill(); // the next owner
                } else {
                    scene.word.show();
                }
            },
        );
    });
}
