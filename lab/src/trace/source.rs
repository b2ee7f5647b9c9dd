//! What a recording is packed in. What a file is, its first bytes say, never its name.
//!
//! A text is streamed: nothing here holds more than one buffer a layer. perf.data keeps the description of its fields
//! behind its data and is read with seeks; if it is packed, or comes from a pipe, it is unpacked into a temporary file
//! without a name. Invariant: the end of a text is reported, and perf.data handed on, only when every archive around it
//! ended with its own end mark.

use std::fs::File;
use std::io::{BufRead, BufReader, Chain, Cursor, ErrorKind, Read, Write};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};

use super::fault::Reason;
use crate::progress::Watched;

/// Bytes buffered a layer.
const BUFFER: usize = 256 << 10;
/// Archives inside each other that are opened.
const LAYERS: usize = 4;
/// Bytes that any archive may unpack to, and how many more for each byte of the file. (Recordings pack 10 to 100 times
/// denser, the same line again and again some thousand times.)
const UNPACKED: u64 = 64 << 20;
const UNPACKED_PER_BYTE: u64 = 4096;
/// Memory one xz decoder may use; `xz -9` needs 65 MiB.
const DECODER_MEMORY: u64 = 2 << 30;
/// The widest window of a zst archive, as a power of two; `zstd --ultra --long=31` needs it.
const ZST_WINDOW_LOG: u32 = 31;
/// The longest magic below.
const MAGIC: usize = 10;

/// Formats known by their first bytes.
const UNSUPPORTED: [(&[u8], &str); 4] = [
    (b"2ELIFREP", "perf.data of the other byte order"),
    (b"BZh", "a bzip2 archive (.bz2)"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x17\x08\x44tracing", "trace-cmd's binary trace.dat"),
];
const PERF_DATA: &[u8] = b"PERFILE2";
const GZ: &[u8] = b"\x1f\x8b";
const XZ: &[u8] = b"\xfd7zXZ\x00";
const ZST: &[u8] = b"\x28\xb5\x2f\xfd";
/// A frame of zst that says nothing, behind its first byte `0x50..=0x5f`.
const ZST_SKIPPABLE: &[u8] = b"\x2a\x4d\x18";

/// A recording, unpacked.
pub(super) enum Source {
    /// Perhaps text.
    Text(Box<dyn BufRead>),
    /// A file that `perf record` wrote.
    PerfData(File),
}

/// What is in `path`.
pub(super) fn open(path: &Path) -> Result<Source, Reason> {
    let file = File::open(path).map_err(Reason::Unreadable)?;
    let metadata = file.metadata().map_err(Reason::Unreadable)?;
    let length = metadata.is_file().then_some(metadata.len());
    let same = file.try_clone().map_err(Reason::Unreadable)?;
    let reader = BufReader::with_capacity(BUFFER, Watched::new(file, length));
    let most =
        length.map_or(u64::MAX, |bytes| UNPACKED.saturating_add(bytes.saturating_mul(UNPACKED_PER_BYTE)));
    unpack(Box::new(reader), length.map(|_| same), most)
}

/// What is in bytes in memory.
pub(super) fn open_bytes(bytes: &'static [u8]) -> Result<Source, Reason> {
    unpack(Box::new(bytes), None, u64::MAX)
}

/// Opens archives until there is none, each for at most `most` bytes. `seekable` is the file that the outermost layer reads,
/// if it can be read twice.
fn unpack(mut layer: Box<dyn BufRead>, mut seekable: Option<File>, most: u64) -> Result<Source, Reason> {
    for _ in 0..LAYERS {
        let (magic, whole) = peek(layer).map_err(read_fault)?;
        if let Some((_, format)) = UNSUPPORTED.iter().find(|(start, _)| magic.starts_with(start)) {
            return Err(Reason::Unsupported(format));
        }
        if magic.starts_with(PERF_DATA) {
            return Ok(Source::PerfData(seekable.map_or_else(|| spool(whole), Ok)?));
        }
        layer = match Archive::of(&magic) {
            None => return Ok(Source::Text(Box::new(whole))),
            Some(archive) => {
                let bounded = Bounded { unpacked: archive.decoder(whole)?, left: most, most };
                Box::new(BufReader::with_capacity(BUFFER, bounded))
            }
        };
        seekable = None;
    }
    Err(Reason::NestedArchives(LAYERS))
}

/// A decoder that may unpack so many bytes.
struct Bounded {
    unpacked: Box<dyn Read>,
    left: u64,
    most: u64,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let bytes = self.unpacked.read(buffer)?;
        match self.left.checked_sub(bytes as u64) {
            Some(left) => self.left = left,
            None => return Err(std::io::Error::new(ErrorKind::FileTooLarge, TooFar(self.most))),
        }
        Ok(bytes)
    }
}

/// More than this was unpacked.
#[derive(Debug, thiserror::Error)]
#[error("unpacks to more than {0} bytes")]
struct TooFar(u64);

/// Archives that are opened. Several of one kind, one after the other, are one, as for the programs that make them.
enum Archive {
    Gz,
    Xz,
    Zst,
}

impl Archive {
    fn of(magic: &[u8]) -> Option<Self> {
        let skippable = |magic: &[u8]| matches!(magic.split_first(), Some((0x50..=0x5f, rest)) if rest.starts_with(ZST_SKIPPABLE));
        match magic {
            _ if magic.starts_with(GZ) => Some(Self::Gz),
            _ if magic.starts_with(XZ) => Some(Self::Xz),
            _ if magic.starts_with(ZST) || skippable(magic) => Some(Self::Zst),
            _ => None,
        }
    }

    fn decoder(self, packed: impl BufRead + 'static) -> Result<Box<dyn Read>, Reason> {
        Ok(match self {
            Self::Gz => Box::new(MultiGzDecoder::new(packed)),
            Self::Xz => {
                let stream = Stream::new_stream_decoder(DECODER_MEMORY, CONCATENATED)
                    .map_err(|error| Reason::CorruptArchive(error.into()))?;
                Box::new(XzDecoder::new_stream(packed, stream))
            }
            Self::Zst => {
                let mut decoder =
                    zstd::stream::read::Decoder::with_buffer(packed).map_err(Reason::CorruptArchive)?;
                decoder.window_log_max(ZST_WINDOW_LOG).map_err(Reason::CorruptArchive)?;
                Box::new(decoder)
            }
        })
    }
}

/// The first bytes of a reader, and a reader of all of it.
type Peeked<R> = (Vec<u8>, Chain<Cursor<Vec<u8>>, R>);

fn peek<R: BufRead>(mut reader: R) -> std::io::Result<Peeked<R>> {
    let mut magic = Vec::with_capacity(MAGIC);
    reader.by_ref().take(MAGIC as u64).read_to_end(&mut magic)?;
    Ok((magic.clone(), Cursor::new(magic).chain(reader)))
}

/// Copies perf.data to where it can be read with seeks.
fn spool(mut packed: impl BufRead) -> Result<File, Reason> {
    let mut file = tempfile::tempfile().map_err(Reason::NoRoom)?;
    loop {
        let bytes = packed.fill_buf().map_err(read_fault)?;
        let length = bytes.len();
        if length == 0 {
            return Ok(file);
        }
        file.write_all(bytes).map_err(Reason::NoRoom)?;
        packed.consume(length);
    }
}

/// What an error while reading means. Decoders make their errors themselves, a file's come from the system.
pub(super) fn read_fault(error: std::io::Error) -> Reason {
    if let Some(&TooFar(most)) = error.get_ref().and_then(|cause| cause.downcast_ref()) {
        return Reason::UnpacksTooFar(most);
    }
    match error.kind() {
        ErrorKind::UnexpectedEof => Reason::CutArchive,
        _ if error.raw_os_error().is_some() => Reason::Unreadable(error),
        _ => Reason::CorruptArchive(error),
    }
}
