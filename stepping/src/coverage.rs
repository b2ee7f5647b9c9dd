//! Which functions of the allocator were interrupted, and at how many of their instructions.
//!
//! Functions and names are the program's own symbols; instructions are decoded from its code. Counted are functions of the
//! crate `zonal` and those of [`crate::entry`], into which the compiler inlines it. Functions that it calls and shares with the
//! rest of the program (iterators of `core`) are interrupted too, but not counted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use iced_x86::{Decoder, DecoderOptions};
use object::{Object, ObjectSymbol, SymbolKind};
use serde::Serialize;
use zonal_testkit::stepper::{Address, Window};

use crate::Error;

/// A function and how much of it was interrupted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Function {
    /// Its name, without the hash.
    pub name: String,
    /// Distinct instructions at which it was interrupted.
    pub interrupted: u64,
    /// Its instructions.
    pub instructions: u64,
}

/// Every address at which something was interrupted.
#[derive(Debug, Default)]
pub(crate) struct Coverage(BTreeSet<u64>);

impl Coverage {
    pub(crate) fn add(&mut self, addresses: &[Address]) {
        self.0.extend(addresses.iter().map(|address| address.get()));
    }

    /// The functions of the allocator that were interrupted, by name.
    pub(crate) fn functions(&self, window: &Window) -> Result<Vec<Function>, Error> {
        let file = fs::read("/proc/self/exe")?;
        let program = object::File::parse(&*file)?;
        let bias = match program.kind() {
            object::ObjectKind::Dynamic => window.base(),
            _ => 0,
        };
        let mut functions = BTreeMap::new();
        for symbol in
            program.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0)
        {
            let start = bias + symbol.address();
            let interrupted = self.0.range(start..start + symbol.size()).count() as u64;
            let name = format!("{:#}", rustc_demangle::demangle(symbol.name()?));
            if interrupted > 0 && is_counted(&name) {
                let instructions = instructions(&window.narrowed(start..start + symbol.size()));
                functions.insert(start, Function { name, interrupted, instructions });
            }
        }
        let mut functions: Vec<_> = functions.into_values().collect();
        functions.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(functions)
    }
}

fn is_counted(name: &str) -> bool {
    let path = name.trim_start_matches(['<', '&']);
    path.starts_with("zonal::") || path.starts_with("stepping::entry::")
}

/// The number of instructions of a window that is one function.
fn instructions(function: &Window) -> u64 {
    let code = function.all_code();
    Decoder::with_ip(64, &code, 0, DecoderOptions::NONE).iter().count() as u64
}
