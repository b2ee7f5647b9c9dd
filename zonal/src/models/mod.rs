//! Models of the shipping modules for checkers of concurrency: loom explores small races exhaustively (within a
//! bound of preemptions, where a model says so), shuttle whole scenarios at random.
//!
//! `--cfg zonal_loom` or `--cfg zonal_shuttle` puts the checker's atomics behind [`crate::sync`] and shrinks the
//! geometry to 2 rows a block and 2 blocks a section. Every frame of a [`stage`] has a cell that only its owner
//! touches: a frame in two hands, or data that an owner wrote and the next one does not see, fails the model.
//! loom takes SeqCst accesses for acquire and release only, and does not explore load buffering.
//! It remembers one access of a word, the last: a load right before a compare-exchange of the same thread hides from it that
//! loads of others race with the exchange, if those others ran first. So who only reads is the second thread of a race.

#[cfg(zonal_loom)]
mod count;
#[cfg(zonal_loom)]
mod credit;
#[cfg(zonal_loom)]
mod deferred;
#[cfg(zonal_loom)]
mod desk;
#[cfg(zonal_loom)]
mod entry;
#[cfg(zonal_loom)]
mod explore;
#[cfg(zonal_loom)]
mod grace;
#[cfg(zonal_loom)]
mod hint;
#[cfg(zonal_loom)]
mod hold;
#[cfg(zonal_loom)]
mod node;
#[cfg(zonal_loom)]
mod policy;
#[cfg(zonal_loom)]
mod row;
#[cfg(zonal_loom)]
mod rows;
#[cfg(zonal_loom)]
mod scene;
#[cfg(zonal_loom)]
mod slot;
mod stage;
#[cfg(zonal_loom)]
mod tab;
#[cfg(zonal_loom)]
mod zone;
#[cfg(zonal_loom)]
mod zonelist;

#[cfg(zonal_shuttle)]
mod liveness;
#[cfg(zonal_shuttle)]
mod moves;
#[cfg(zonal_shuttle)]
mod plugs;
#[cfg(zonal_shuttle)]
mod race;
#[cfg(zonal_shuttle)]
mod rebuilds;
#[cfg(zonal_shuttle)]
mod storm;
