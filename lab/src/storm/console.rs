//! Storm `console`: what the allocator tells goes to a console with a lock, which some hold while they ask for frames and have the
//! zonelists rebuilt, while others have them rebuilt without it.
//!
//! Whose lock it is already writes on without taking it again. Invariant: nobody waits for the console who is waited for by
//! whoever has it.

use std::cell::Cell;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use zonal::NodeId;
use zonal_linux::WordKind;

use super::engine::Run;
use super::request::Class;
use super::scene::{Actor, FAR, Part, Scene, Script};
use super::words::Sense;
use super::{Finding, Storm};

/// The console: characters written so far.
static CONSOLE: Mutex<u64> = Mutex::new(0);

thread_local! {
    static IS_MINE: Cell<bool> = const { Cell::new(false) };
}

/// A console that is locked.
pub(super) struct Console;

impl Storm for Console {
    fn name(&self) -> &'static str {
        "console"
    }

    fn about(&self) -> &'static str {
        "the log of rebuilds takes a lock that others hold while they ask for frames and rebuild"
    }

    fn faults(&self) -> &'static [&'static str] {
        &["LogInside"]
    }

    fn words(&self) -> Sense {
        Sense::Only(WordKind::Locked, "its zones are too small to leave words to their CPUs")
    }

    fn rage(&'static self, run: Run) -> Result<Finding> {
        let scene = Scene::build(self, PARTS.len())?;
        (0..=FAR.0).for_each(|node| scene.make_short(NodeId(node)));
        scene.rage(self.name(), run, PARTS)
    }
}

const PARTS: &[Part] = &[rebuild, hold, hold, ask];

impl Script for Console {
    fn report(&self, text: &dyn fmt::Display) {
        let characters = text.to_string().len() as u64;
        if !IS_MINE.get() {
            *CONSOLE.lock().unwrap_or_else(PoisonError::into_inner) += characters;
        }
    }
}

/// Holds the console while it asks, waiting or not, and now and then has the lists rebuilt.
fn hold(actor: &mut Actor) {
    let mine = CONSOLE.lock().unwrap_or_else(PoisonError::into_inner);
    IS_MINE.set(true);
    for _ in 0..4 {
        ask(actor);
    }
    if actor.dice.u8(..4) == 0 {
        rebuild(actor);
    }
    IS_MINE.set(false);
    drop(mine);
}

fn rebuild(actor: &mut Actor) {
    actor.rebuild();
    actor.scene.note_round();
}

fn ask(actor: &mut Actor) {
    let class = if actor.dice.bool() { Class::Atomic } else { Class::Kernel };
    actor.must_have(class, |request| request);
}
