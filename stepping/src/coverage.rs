//! Which functions of the allocator were interrupted, and at how many of their instructions.
//!
//! Functions and names are the program's own symbols; instructions are decoded from its code. Counted are functions of the
//! crate `zonal` and those of [`crate::entry`], into which the compiler inlines it. Functions that it calls and shares with the
//! rest of the program (iterators of `core`) are interrupted too, but not counted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use iced_x86::{Decoder, DecoderOptions, Instruction};
use object::{Object, ObjectSymbol, SymbolKind};
use serde::Serialize;
use zonal_testkit::stepper::Window;

use crate::Error;
use crate::uncovered::{Body, Uncovered};

/// A function and how much of it was interrupted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Function {
    /// Its name, without the hash.
    pub name: String,
    /// Distinct instructions at which it was interrupted.
    pub interrupted: u64,
    /// Its instructions.
    pub instructions: u64,
    /// Why the others were not.
    pub uncovered: Uncovered,
}

/// Every address at which something was interrupted.
#[derive(Debug, Default)]
pub(crate) struct Coverage(BTreeSet<u64>);

impl Coverage {
    pub(crate) fn add(&mut self, addresses: &[u64]) {
        self.0.extend(addresses);
    }

    /// The functions of the allocator that were interrupted, by name.
    pub(crate) fn functions(&self, window: &Window) -> Result<Vec<Function>, Error> {
        let file = fs::read("/proc/self/exe")?;
        let program = object::File::parse(&*file)?;
        let bias = match program.kind() {
            object::ObjectKind::Dynamic => window.base(),
            _ => 0,
        };
        let named: Vec<(u64, u64, String)> = program
            .symbols()
            .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0)
            .map(|symbol| {
                let name = format!("{:#}", rustc_demangle::demangle(symbol.name()?));
                Ok((bias + symbol.address(), symbol.size(), name))
            })
            .collect::<Result<_, object::Error>>()?;
        let panics: BTreeSet<u64> =
            named.iter().filter(|(_, _, name)| is_panic(name)).map(|&(start, ..)| start).collect();
        let mut functions = BTreeMap::new();
        for (start, size, name) in named {
            let interrupted = self.0.range(start..start + size).count() as u64;
            if interrupted > 0 && is_counted(&name) {
                let code = decoded(&window.narrowed(start..start + size), start);
                let uncovered = Body::new(&code, &self.0).classes(|address| panics.contains(&address));
                let instructions = code.len() as u64;
                functions.insert(start, Function { name, interrupted, instructions, uncovered });
            }
        }
        let mut functions: Vec<_> = functions.into_values().collect();
        functions.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(functions)
    }
}

/// Whether a function never returns because something is wrong.
fn is_panic(name: &str) -> bool {
    [
        "core::panicking::",
        "core::option::unwrap_failed",
        "core::option::expect_failed",
        "core::result::unwrap_failed",
    ]
    .iter()
    .chain(&[
        "core::slice::index::slice_",
        "core::slice::copy_from_slice_impl",
        "core::cell::panic_",
        "core::str::slice_error",
    ])
    .any(|prefix| name.starts_with(prefix))
}

fn is_counted(name: &str) -> bool {
    let path = name.trim_start_matches(['<', '&']);
    path.starts_with("zonal::") || path.starts_with("stepping::entry::")
}

/// The instructions of a window that is one function.
fn decoded(function: &Window, start: u64) -> Vec<Instruction> {
    let code = function.all_code();
    Decoder::with_ip(64, &code, start, DecoderOptions::NONE).iter().collect()
}
