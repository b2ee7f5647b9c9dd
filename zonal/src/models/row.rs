//! A row, alone: bits are handed out once, with what their last owner wrote.

use crate::block::bitmap::Bitmap;
use crate::block::row::Row;
use crate::frame::Order;
use crate::models::explore::{Content, exhaustively, race};

/// The lowest free bit.
fn lowest(free: u64) -> u64 {
    free & free.wrapping_neg()
}

#[test]
fn loom_row_bits_are_taken_once() {
    exhaustively(|| {
        let (row, one, run) = race(
            Row::new(0b111),
            |row| row.take_from(lowest),
            |row| if row.take_exact(0b110) { 0b110 } else { 0 },
        );
        assert_eq!((one, run), (0b001, 0b110));
        assert_eq!(row.load(), 0);
    });
}

#[test]
fn loom_row_an_overlapping_run_is_taken_by_one() {
    exhaustively(|| {
        let (row, one, run) = race(Row::new(0b11), |row| row.take_from(lowest), |row| row.take_exact(0b11));
        assert!(one == 0b01 && !run || one == 0 && run);
        assert_eq!(row.load(), if run { 0 } else { 0b10 });
    });
}

#[test]
fn loom_row_a_take_sees_what_the_last_owner_wrote() {
    exhaustively(|| {
        let (_, _, taken) = race(
            (Row::new(0b10), Content::new()),
            |(row, content)| {
                content.touch();
                row.put(0b01);
            },
            |(row, content)| {
                let taken = row.take_from(lowest);
                if taken == 0b01 {
                    content.touch();
                }
                taken
            },
        );
        assert!(taken == 0b01 || taken == 0b10);
    });
}

/// A put behind another's take does not break the first put's message.
#[test]
fn loom_row_a_take_sees_past_other_steps() {
    exhaustively(|| {
        let (row, ..) = race(
            (Row::new(0), Content::new(), Content::new()),
            |(row, first, _)| {
                first.touch();
                row.put(0b01);
            },
            |(row, first, second)| {
                second.touch();
                row.put(0b10);
                if row.take_exact(0b11) {
                    first.touch();
                    second.touch();
                }
            },
        );
        assert!(row.0.load() == 0 || row.0.load() == 0b11);
    });
}

#[test]
fn loom_row_a_double_free_shows_in_the_row_before() {
    exhaustively(|| {
        let put = |row: &Row| row.put(1) & 1 == 1;
        let (_, a, b) = race(Row::new(0), put, put);
        assert!(a != b, "the second put sees the first");
    });
}

/// A run of two rows against a frame of the second: who loses leaves nothing taken.
#[test]
fn loom_row_a_lost_run_puts_its_rows_back() {
    exhaustively(|| {
        let (bitmap, run, frame) = race(
            Bitmap::new(|_| u64::MAX),
            |bitmap| bitmap.take_rows(0, Order::from_raw(7)),
            |bitmap| bitmap.row(1).take_exact(1),
        );
        assert!(run != frame, "one of them gets the frame");
        assert_eq!(bitmap.popcount(), if run { 0 } else { 127 });
    });
}
