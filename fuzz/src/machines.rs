//! Bytes as a machine file: refused with a sentence, or a machine that the allocator builds or refuses by cause.

use zonal::{ConfigError, FRAME_SIZE, OneCpu, PageAllocator};
use zonal_linux::Machine;

use crate::support::{audited, lent};

/// Metadata of the largest machine that is built.
const METADATA: usize = 4 << 20;

/// Reads the file, and builds what it describes if that is small.
pub fn machines(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let machine = match Machine::from_toml(text) {
        Ok(machine) => machine,
        Err(error) => {
            assert!(!error.to_string().trim().is_empty(), "a refusal without a reason: {error:?}");
            return;
        }
    };
    let config = machine.config();
    let size = zonal::metadata_size(&config);
    let size = size.unwrap_or_else(|error| panic!("a machine that exists cannot be sized: {error}"));
    if size > METADATA {
        return;
    }
    match PageAllocator::new(&config, OneCpu, &mut lent(size)) {
        Ok(allocator) => {
            let managed = audited(&allocator).managed;
            assert!(managed <= machine.bytes() / FRAME_SIZE, "{managed} frames in {} bytes", machine.bytes());
        }
        Err(ConfigError::Overlap { .. } | ConfigError::NoMemory | ConfigError::MarkWithoutZone { .. }) => {}
        Err(error) => panic!("found only when the allocator is built: {error}"),
    }
}
