//! Where stepping looks: ranges of this program's own machine code.
//!
//! Never holds an address that cannot be read. Invariant: every range lies in a mapping of the program's file that is
//! readable and executable, and such mappings stay as long as the program runs.

use std::fmt;
use std::fs;
use std::io;
use std::ops::Range;

use iced_x86::{
    Decoder, DecoderOptions, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register,
};

/// The longest instruction there is.
const LONGEST: u64 = 15;

/// Where an instruction is, in this process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(u64);

impl Address {
    pub(super) const fn new(address: u64) -> Self {
        Self(address)
    }

    /// As a number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// Machine code of this program.
#[derive(Clone, Debug)]
pub struct Window {
    /// Ascending, disjoint.
    ranges: Vec<Range<u64>>,
    /// Where the first byte of the program's file is mapped, were it mapped as a whole.
    base: u64,
}

impl Window {
    /// All of the program's own code: what is linked in, without the shared libraries.
    ///
    /// # Errors
    /// If the process's mappings cannot be read, or none is of the program.
    pub fn of_program() -> io::Result<Self> {
        let program = fs::read_link("/proc/self/exe")?;
        let maps = fs::read_to_string("/proc/self/maps")?;
        let name = program.display().to_string();
        let own: Vec<Mapping> =
            maps.lines().filter(|line| line.ends_with(&name)).filter_map(Mapping::parse).collect();
        let base = own.iter().find(|mapping| mapping.offset == 0).map(|mapping| mapping.range.start);
        let code = own.into_iter().filter(|mapping| mapping.is_code);
        let ranges: Vec<_> = code.map(|mapping| mapping.range).collect();
        match base {
            Some(base) if !ranges.is_empty() => Ok(Self { ranges, base }),
            _ => Err(io::Error::new(io::ErrorKind::NotFound, format!("no code of {name} is mapped"))),
        }
    }

    /// The part of the window that lies in this range.
    pub fn narrowed(&self, to: Range<u64>) -> Self {
        let cut = |range: &Range<u64>| range.start.max(to.start)..range.end.min(to.end);
        let ranges = self.ranges.iter().map(cut).filter(|range| !range.is_empty()).collect();
        Self { ranges, base: self.base }
    }

    /// Whether the instruction is in the window.
    pub fn contains(&self, address: Address) -> bool {
        self.rest_from(address).is_some()
    }

    /// Where the program's file begins in memory: what is added to the addresses of a position-independent program.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// The window's machine code; what lies between its ranges is left out.
    pub fn all_code(&self) -> Vec<u8> {
        self.ranges.iter().flat_map(|range| self.code(Address(range.start), u64::MAX)).copied().collect()
    }

    /// The machine code of an address and what follows, at most `most` bytes; nothing outside the window.
    fn code(&self, address: Address, most: u64) -> &[u8] {
        let Some(rest) = self.rest_from(address) else { return &[] };
        let bytes = (rest.end - rest.start).min(most) as usize;
        // SAFETY: (1) the range is in the window, which is readable code of the program, mapped as long as it runs (see
        // the module); (2) nobody writes code; (3) bytes are aligned anywhere.
        #[allow(unsafe_code, reason = "code is read as bytes")]
        unsafe {
            std::slice::from_raw_parts(rest.start as *const u8, bytes)
        }
    }

    /// Whether the instruction is a locked read-modify-write: one with a `lock` prefix, or an exchange with memory, which
    /// locks without one.
    pub fn is_locked(&self, address: Address) -> bool {
        let instruction = self.decoded(address);
        let is_exchange = instruction.mnemonic() == Mnemonic::Xchg
            && (0..instruction.op_count()).any(|at| instruction.op_kind(at) == OpKind::Memory);
        instruction.has_lock_prefix() || is_exchange
    }

    /// Whether the instruction reads memory that is not the stack's (what it finds by the stack pointer).
    pub fn reads(&self, address: Address) -> bool {
        let instruction = self.decoded(address);
        let mut factory = InstructionInfoFactory::new();
        let used = factory.info(&instruction).used_memory();
        used.iter().any(|memory| {
            let is_read =
                !matches!(memory.access(), OpAccess::Write | OpAccess::NoMemAccess | OpAccess::None);
            is_read && memory.base() != Register::RSP
        })
    }

    fn decoded(&self, address: Address) -> Instruction {
        Decoder::with_ip(64, self.code(address, LONGEST), address.get(), DecoderOptions::NONE).decode()
    }

    /// From the address to the end of its range.
    fn rest_from(&self, address: Address) -> Option<Range<u64>> {
        let after = self.ranges.partition_point(|range| range.start <= address.0);
        let range = self.ranges.get(after.checked_sub(1)?)?;
        (address.0 < range.end).then_some(address.0..range.end)
    }
}

/// A line of `/proc/self/maps`.
struct Mapping {
    range: Range<u64>,
    /// Readable and executable.
    is_code: bool,
    offset: u64,
}

impl Mapping {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let rights = words.next()?;
        let number = |word: &str| u64::from_str_radix(word, 16).ok();
        Some(Self {
            range: number(start)?..number(end)?,
            is_code: rights.starts_with('r') && rights.contains('x'),
            offset: number(words.next()?)?,
        })
    }
}
