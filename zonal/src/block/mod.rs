//! Blocks: 512 frames, an entry that counts them and a bitmap that names them.

pub(crate) mod bitmap;
pub(crate) mod entry;
pub(crate) mod row;
mod snapshot;
