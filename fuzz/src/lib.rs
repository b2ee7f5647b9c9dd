//! What is fuzzed: one function a target, from bytes to a panic if a promise is broken.
//!
//! The functions know nothing of libFuzzer, so that `tests/corpus.rs` replays the corpus with any toolchain. The model
//! and its operations are those of the core's own tests, the readers of recordings those of the program `zonal`, which
//! is no library: both are compiled in here from where they are.

mod machines;
mod memory_maps;
mod operations;
mod traces;

#[path = "../../zonal/tests/support/op.rs"]
mod op;
#[path = "../../lab/src/progress.rs"]
#[allow(dead_code, reason = "replays show progress too")]
mod progress;
#[path = "../../zonal/tests/support/mod.rs"]
mod support;
#[path = "../../lab/src/trace/mod.rs"]
#[allow(dead_code, unused_imports, reason = "bundled recordings are read too, and runs looked at")]
mod trace;
#[path = "../../zonal/tests/support/world.rs"]
mod world;

pub use machines::machines;
pub use memory_maps::memory_maps;
pub use operations::operations;
pub use traces::traces;
