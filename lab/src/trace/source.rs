//! The text of a recording, whatever it is packed in. What a file is, its first bytes say, never its name.
//!
//! The text is streamed: nothing here holds more than one buffer a layer. Invariant: the end of the text is reported
//! only when every archive around it ended with its own end mark.

use std::fs::File;
use std::io::{BufRead, BufReader, Chain, Cursor, ErrorKind, Read};
use std::path::Path;

use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};

use super::fault::Reason;

/// Bytes buffered a layer.
const BUFFER: usize = 256 << 10;
/// Archives inside each other that are opened.
const LAYERS: usize = 4;
/// Memory one decoder may use; `xz -9` needs 65 MiB.
const DECODER_MEMORY: u64 = 2 << 30;
/// The longest magic below.
const MAGIC: usize = 10;

/// Formats known by their first bytes.
const UNSUPPORTED: [(&[u8], &str); 7] = [
    (b"PERFILE2", "perf.data"),
    (b"2ELIFREP", "perf.data of the other byte order"),
    (b"\x1f\x8b", "a gzip archive (.gz)"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive (.zst)"),
    (b"BZh", "a bzip2 archive (.bz2)"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x17\x08\x44tracing", "trace-cmd's binary trace.dat"),
];
const XZ: &[u8] = b"\xfd7zXZ\x00";

/// The text of `path`, unpacked as it is read.
pub(crate) fn open(path: &Path) -> Result<Box<dyn BufRead>, Reason> {
    let file = File::open(path).map_err(Reason::Unreadable)?;
    unpack(Box::new(BufReader::with_capacity(BUFFER, file)))
}

/// The text of bytes in memory.
pub(crate) fn open_bytes(bytes: &'static [u8]) -> Result<Box<dyn BufRead>, Reason> {
    unpack(Box::new(bytes))
}

fn unpack(mut layer: Box<dyn BufRead>) -> Result<Box<dyn BufRead>, Reason> {
    for _ in 0..LAYERS {
        let (magic, whole) = peek(layer).map_err(read_fault)?;
        if let Some((_, format)) = UNSUPPORTED.iter().find(|(start, _)| magic.starts_with(start)) {
            return Err(Reason::Unsupported(format));
        }
        if !magic.starts_with(XZ) {
            return Ok(Box::new(whole));
        }
        let stream = Stream::new_stream_decoder(DECODER_MEMORY, CONCATENATED)
            .map_err(|error| Reason::CorruptArchive(error.into()))?;
        layer = Box::new(BufReader::with_capacity(BUFFER, XzDecoder::new_stream(whole, stream)));
    }
    Err(Reason::NestedArchives(LAYERS))
}

/// The first bytes of a reader, and a reader of all of it.
type Peeked<R> = (Vec<u8>, Chain<Cursor<Vec<u8>>, R>);

fn peek<R: BufRead>(mut reader: R) -> std::io::Result<Peeked<R>> {
    let mut magic = Vec::with_capacity(MAGIC);
    reader.by_ref().take(MAGIC as u64).read_to_end(&mut magic)?;
    Ok((magic.clone(), Cursor::new(magic).chain(reader)))
}

/// What an error while reading means.
pub(crate) fn read_fault(error: std::io::Error) -> Reason {
    match error.kind() {
        ErrorKind::UnexpectedEof => Reason::CutArchive,
        ErrorKind::InvalidData | ErrorKind::InvalidInput => Reason::CorruptArchive(error),
        _ => Reason::Unreadable(error),
    }
}
