//! The smaller tables of a description: ranges, marks, watermarks, what may be plugged in; each reads itself.
//!
//! Sizes and addresses are bytes. Every refusal names the key and the value; nothing here overflows.

use bytesize::ByteSize;
use serde::Deserialize;
use zonal::{FRAME_SIZE, FrameRange, HotRange, MAX_FRAMES, Mark, NodeId, Pfn, Tuning, ZoneKind};

use super::MachineError;
use super::names::ZoneName;

/// A range of addresses, by its end or its size.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Range {
    start: ByteSize,
    end: Option<ByteSize>,
    size: Option<ByteSize>,
    #[serde(default)]
    pub(super) movable: bool,
}

/// A `[[hotplug]]`: a range that may be plugged in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HotEntry {
    node: u16,
    start: ByteSize,
    end: Option<ByteSize>,
    size: Option<ByteSize>,
}

/// A `[[mark]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MarkEntry {
    node: u16,
    #[serde(with = "ZoneName")]
    zone: ZoneKind,
    free: ByteSize,
}

/// `[watermarks]`: what it does not say is as Linux has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WatermarksTable {
    min_free_kbytes: Option<u64>,
    watermark_scale_factor: Option<u16>,
    watermark_boost_factor: Option<u32>,
    lowmem_reserve_ratio: Option<[u32; 4]>,
    defrag_mode: Option<bool>,
}

impl Range {
    pub(super) fn frames(&self, key: &str) -> Result<FrameRange, MachineError> {
        let start = frames(&format!("{key}.start"), self.start)?;
        let end = match (self.end, self.size) {
            (Some(end), None) => frames(&format!("{key}.end"), end)?,
            (None, Some(size)) => start + frames(&format!("{key}.size"), size)?,
            (Some(end), Some(_)) => {
                return Err(MachineError::value(
                    format!("{key}.end"),
                    end,
                    "a range has either an end or a size",
                ));
            }
            (None, None) => {
                return Err(MachineError::value(
                    format!("{key}.start"),
                    self.start,
                    "an end or a size is missing",
                ));
            }
        };
        Ok(FrameRange::new(Pfn::new(start), Pfn::new(end)))
    }
}

impl HotEntry {
    pub(super) fn read(&self, index: usize) -> Result<HotRange, MachineError> {
        let Self { node, start, end, size } = *self;
        let range = Range { start, end, size, movable: false }.frames(&format!("hotplug[{index}]"))?;
        Ok(HotRange { range, node: NodeId(node) })
    }
}

impl MarkEntry {
    pub(super) fn read(&self, index: usize) -> Result<Mark, MachineError> {
        let frames = frames(&format!("mark[{index}].free"), self.free)?;
        Ok(Mark { node: NodeId(self.node), zone: self.zone, frames })
    }
}

impl WatermarksTable {
    pub(super) fn read(&self) -> Tuning {
        let usual = Tuning::default();
        Tuning {
            min_free_kbytes: self.min_free_kbytes,
            watermark_scale_factor: self.watermark_scale_factor.unwrap_or(usual.watermark_scale_factor),
            watermark_boost_factor: self.watermark_boost_factor.unwrap_or(usual.watermark_boost_factor),
            lowmem_reserve_ratio: self.lowmem_reserve_ratio.unwrap_or(usual.lowmem_reserve_ratio),
            defrag_mode: self.defrag_mode.unwrap_or(usual.defrag_mode),
        }
    }
}

/// The number of frames a size or address stands for.
pub(super) fn frames(key: &str, bytes: ByteSize) -> Result<u64, MachineError> {
    let refused = |reason| Err(MachineError::value(key, bytes, reason));
    let frames = bytes.as_u64() / FRAME_SIZE;
    match bytes.as_u64() % FRAME_SIZE {
        _ if frames > MAX_FRAMES => refused("more than 52 address bits reach"),
        0 => Ok(frames),
        _ => refused("not a multiple of the frame size, 4096 bytes"),
    }
}
