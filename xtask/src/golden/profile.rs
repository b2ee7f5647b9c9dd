//! A callgrind profile: how many instructions of one program ran.
//!
//! Reads the text callgrind writes with `--dump-instr=yes --compress-strings=no --compress-pos=no`. Only the program's own
//! instructions count: which copy routine a shared library takes depends on the machine. Invariant: `total = sum of all
//! own costs in the file`, checked.

use anyhow::{Context, Result, ensure};

/// The instructions of the program itself that a profile shows; `program` ends the name of its object file.
///
/// # Errors
/// If a line is not understood or the costs do not add up to the total that the profile states.
pub(crate) fn instructions_of(text: &str, program: &str) -> Result<u64> {
    let (mut total, mut own) = (0, 0);
    let (mut stated, mut in_program, mut after_call) = (None, false, false);
    for line in text.lines() {
        if let Some(object) = line.strip_prefix("ob=") {
            in_program = object.ends_with(program);
        } else if line.starts_with("calls=") {
            after_call = true;
        } else if let Some(total) = line.strip_prefix("totals: ") {
            stated = Some(total.trim().parse::<u64>().with_context(|| format!("total {total:?}"))?);
        } else if line.starts_with("0x") && !std::mem::take(&mut after_call) {
            let count = cost(line).with_context(|| format!("cost line {line:?}"))?;
            total += count;
            own += if in_program { count } else { 0 };
        }
    }
    let stated = stated.context("the profile states no total: was the program stopped?")?;
    ensure!(total == stated, "the profile's costs add up to {total}, not to its {stated}");
    Ok(own)
}

/// The count of `0xADDRESS LINE COUNT`.
fn cost(line: &str) -> Option<u64> {
    line.split_whitespace().nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# callgrind format\nversion: 1\npositions: instr line\nevents: Ir\n\nob=/lib/libc.so\nfn=a\n\
                        0x10 1 5\n\nob=/t/fast_paths\nfl=x.rs\nfn=b\n0x20 7 3\n0x24 7 3\ncob=/lib/libc.so\ncfn=a\n\
                        calls=3 0x10 1\n0x24 7 99\n0x20 8 1\n\ntotals: 12\n";

    #[test]
    fn own_costs_are_summed_and_calls_and_libraries_left_out() {
        assert_eq!(instructions_of(TEXT, "/fast_paths").unwrap(), 7);
    }

    #[test]
    fn a_cut_or_wrong_profile_is_an_error() {
        assert!(instructions_of("0x1 1 1\n", "x").unwrap_err().to_string().contains("states no total"));
        assert!(
            instructions_of("0x1 1 1\ntotals: 2\n", "x").unwrap_err().to_string().contains("add up to 1")
        );
        assert!(instructions_of("0x1 +2\ntotals: 2\n", "x").is_err());
    }
}
