//! The first words of the metadata: what it was built for, and whether that was completed.

use core::mem::{offset_of, size_of};

use crate::block::bitmap::Bitmap;
use crate::block::entry::Entry;
use crate::cache::CpuCache;
use crate::config::Config;
#[cfg(not(any(zonal_loom, zonal_shuttle)))]
use crate::recovery::RecoveryError;
use crate::section::Section;
use crate::sync::{AtomicU64, Ordering};
use crate::topology::Placement;
use crate::zone::Zone;

/// Its last byte numbers the layouts: what is laid out otherwise than before is not read as it was.
const MAGIC: u64 = u64::from_le_bytes(*b"zonal\0\0\x05");
/// Addresses that differ by a multiple of this lay the same arrays out alike.
const ALIGNMENT: usize = 4096;

/// The header, one cache line.
#[repr(C, align(64))]
pub(in crate::build) struct Header {
    /// [`MAGIC`] once everything behind the header is built.
    magic: AtomicU64,
    fingerprint: u64,
    /// The metadata's address modulo [`ALIGNMENT`].
    skew: u64,
}

impl Header {
    /// A header of metadata that is not complete.
    pub(in crate::build) fn incomplete(config: &Config<'_>, address: usize) -> Self {
        let skew = (address % ALIGNMENT) as u64;
        Self { magic: AtomicU64::new(0), fingerprint: fingerprint(config), skew }
    }

    /// Says that everything is built.
    pub(in crate::build) fn complete(&self) {
        // Release: everything built; partner: `check` in another process, or in this one after the owner is dead.
        self.magic.store(MAGIC, Ordering::Release);
    }

    #[cfg(not(any(zonal_loom, zonal_shuttle)))]
    /// Refuses metadata that was not completed for this configuration at such an address.
    pub(in crate::build) fn check(&self, config: &Config<'_>, address: usize) -> Result<(), RecoveryError> {
        if self.magic.load(Ordering::Acquire) != MAGIC {
            return Err(RecoveryError::NotBuilt);
        }
        let (found, expected) = (self.fingerprint, fingerprint(config));
        if found != expected {
            return Err(RecoveryError::OtherConfig { found, expected });
        }
        let (from, to) = (self.skew as usize, address % ALIGNMENT);
        if from == to { Ok(()) } else { Err(RecoveryError::Moved { from, to }) }
    }
}

/// What decides where everything lies and what the surviving words mean: FNV-1a over it.
fn fingerprint(config: &Config<'_>) -> u64 {
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    let topology = &config.topology;
    for size in [size_of::<Bitmap>(), size_of::<Entry>(), size_of::<CpuCache>(), size_of::<Zone<'_>>()] {
        hash.add(size as u64);
    }
    hash.add(size_of::<Section<'_>>() as u64);
    CpuCache::PLACES.into_iter().for_each(|place| hash.add(place as u64));
    hash.add(offset_of!(Zone<'_>, count) as u64);
    hash.add(topology.nodes as u64);
    hash.add(topology.memory.len() as u64);
    for range in topology.memory {
        hash.add(range.range.start.get());
        hash.add(range.range.end.get());
        hash.add(u64::from(range.node.0) << 1 | u64::from(range.placement == Placement::Movable));
    }
    hash.add(topology.reserved.len() as u64);
    for range in topology.reserved {
        hash.add(range.start.get());
        hash.add(range.end.get());
    }
    hash.add(config.hotplug.len() as u64);
    for hot in config.hotplug {
        hash.add(hot.range.start.get());
        hash.add(hot.range.end.get());
        hash.add(u64::from(hot.node.0));
    }
    topology.cpus.iter().for_each(|cpu| hash.add(u64::from(cpu.0)));
    hash.add(
        u64::from(config.own_rows.is_some()) << 4
            | (config.naming as u64) << 3
            | (config.caching as u64) << 1
            | config.checking as u64,
    );
    hash.add(config.poisoned_frames as u64);
    hash.add(config.dma_end.get());
    hash.add(config.dma32_end.get());
    hash.0
}

struct Fnv(u64);

impl Fnv {
    fn add(&mut self, word: u64) {
        for byte in word.to_le_bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(all(test, not(any(zonal_loom, zonal_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn each_layout_of_caches_has_its_number() {
        let number = MAGIC.to_le_bytes()[7];
        assert_eq!(
            (number, CpuCache::PLACES),
            (5, [16, 384, 400, 432]),
            "laid out otherwise: the next number"
        );
    }
}
