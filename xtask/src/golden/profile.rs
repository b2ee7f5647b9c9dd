//! A callgrind profile: how often each instruction of one program ran.
//!
//! Reads the text callgrind writes with `--dump-instr=yes --compress-strings=no --compress-pos=no`. Addresses are
//! those of the file, so they match a disassembly. Invariant: `total = sum of all own costs in the file`, checked.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

/// Executions of a program's instructions.
#[derive(Debug, Default)]
pub(crate) struct Profile {
    /// Instructions executed in the whole process, libraries included.
    pub(crate) total: u64,
    /// Executions of each instruction of the program itself, by its address.
    pub(crate) executions: BTreeMap<u64, u64>,
}

impl Profile {
    /// Reads the profile; `program` ends the name of the object file whose addresses are wanted.
    ///
    /// # Errors
    /// If a line is not understood or the costs do not add up to the total that the profile states.
    pub(crate) fn parse(text: &str, program: &str) -> Result<Self> {
        let mut profile = Self::default();
        let (mut stated, mut own, mut after_call) = (None, false, false);
        for line in text.lines() {
            if let Some(object) = line.strip_prefix("ob=") {
                own = object.ends_with(program);
            } else if line.starts_with("calls=") {
                after_call = true;
            } else if let Some(total) = line.strip_prefix("totals: ") {
                stated = Some(total.trim().parse::<u64>().with_context(|| format!("total {total:?}"))?);
            } else if line.starts_with("0x") && !std::mem::take(&mut after_call) {
                let (address, count) = cost(line).with_context(|| format!("cost line {line:?}"))?;
                profile.total += count;
                if own {
                    *profile.executions.entry(address).or_default() += count;
                }
            }
        }
        let stated = stated.context("the profile states no total: was the program stopped?")?;
        ensure!(
            profile.total == stated,
            "the profile's costs add up to {}, not to its {stated}",
            profile.total
        );
        Ok(profile)
    }
}

/// `0xADDRESS LINE COUNT`.
fn cost(line: &str) -> Option<(u64, u64)> {
    let mut words = line.split_whitespace();
    let address = u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()?;
    let _line_of_source = words.next()?;
    Some((address, words.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# callgrind format\nversion: 1\npositions: instr line\nevents: Ir\n\nob=/lib/libc.so\nfn=a\n\
                        0x10 1 5\n\nob=/t/fast_paths\nfl=x.rs\nfn=b\n0x20 7 3\n0x24 7 3\ncob=/lib/libc.so\ncfn=a\n\
                        calls=3 0x10 1\n0x24 7 99\n0x20 8 1\n\ntotals: 12\n";

    #[test]
    fn own_costs_are_summed_by_address_and_calls_left_out() {
        let profile = Profile::parse(TEXT, "/fast_paths").unwrap();
        assert_eq!(profile.total, 12);
        assert_eq!(profile.executions, BTreeMap::from([(0x20, 4), (0x24, 3)]));
    }

    #[test]
    fn a_cut_or_wrong_profile_is_an_error() {
        assert!(Profile::parse("0x1 1 1\n", "x").unwrap_err().to_string().contains("states no total"));
        assert!(Profile::parse("0x1 1 1\ntotals: 2\n", "x").unwrap_err().to_string().contains("add up to 1"));
        assert!(Profile::parse("0x1 +2\ntotals: 2\n", "x").is_err());
    }
}
