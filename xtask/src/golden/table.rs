//! The golden table: what an operation costs, one line each, and the rules a new measurement is held to.
//!
//! Two rules: near what was committed, and within the contract whatever was committed.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};

/// How far an instruction count may move from the committed one.
const TOLERANCE: f64 = 0.02;
/// Locked operations repeat to the last digit; this is what rounding to three decimals leaves.
const LOCKED_TOLERANCE: f64 = 0.002;

/// What one operation costs.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Cost {
    /// Not known where there is no profiler.
    pub(crate) instructions: Option<f64>,
    pub(crate) locked: f64,
}

/// What the contract says about an operation: at most so many instructions, exactly so many locked operations.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Bound {
    pub(crate) instructions: f64,
    pub(crate) locked: f64,
}

/// A measured or committed operation.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Row {
    pub(crate) operation: String,
    pub(crate) cost: Cost,
}

/// Reads a committed table; lines that begin with `#` are comments.
///
/// # Errors
/// If a line is not an operation and two numbers.
pub(crate) fn parse(text: &str) -> Result<Vec<Row>> {
    text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()).map(row).collect()
}

fn row(line: &str) -> Result<Row> {
    let words: Vec<&str> = line.split_whitespace().collect();
    ensure!(words.len() == 3, "golden line {line:?} is not an operation and two numbers");
    let number = |word: &str| word.parse().with_context(|| format!("{word:?} in golden line {line:?}"));
    let cost = Cost { instructions: Some(number(words[1])?), locked: number(words[2])? };
    Ok(Row { operation: words[0].to_owned(), cost })
}

/// The table as it is committed.
pub(crate) fn write(header: &[&str], rows: &[Row]) -> String {
    let mut text = String::new();
    for line in header {
        let _ = writeln!(text, "# {line}");
    }
    let _ = writeln!(text, "#\n# {:<14} {:>12} {:>8}", "operation", "instructions", "locked");
    for Row { operation, cost } in rows {
        let instructions = cost.instructions.map_or("-".into(), |counted| format!("{counted:.1}"));
        let _ = writeln!(text, "{operation:<16} {instructions:>12} {:>8.3}", cost.locked);
    }
    text
}

/// What is wrong with a measurement, given what was committed and what the contract bounds.
pub(crate) fn judge(measured: &Row, committed: &[Row], bound: Option<Bound>) -> Vec<String> {
    let Row { operation, cost } = measured;
    let mut findings = Vec::new();
    match committed.iter().find(|row| row.operation == *operation) {
        None => findings.push(format!("{operation}: not in the golden table; bless it")),
        Some(row) => {
            let both = cost.instructions.zip(row.cost.instructions);
            if let Some((now, was)) = both.filter(|(now, was)| (now / was - 1.0).abs() > TOLERANCE) {
                let percent = (now / was - 1.0) * 100.0;
                findings
                    .push(format!("{operation}: {now:.1} instructions, golden {was:.1} ({percent:+.1} %)"));
            }
            if (cost.locked - row.cost.locked).abs() > LOCKED_TOLERANCE {
                findings
                    .push(format!("{operation}: {:.3} locked, golden {:.3}", cost.locked, row.cost.locked));
            }
        }
    }
    findings.extend(bound.into_iter().flat_map(|bound| broken(measured, bound)));
    findings
}

/// How a measurement breaks the contract.
pub(crate) fn broken(measured: &Row, bound: Bound) -> Vec<String> {
    let Row { operation, cost } = measured;
    let mut findings = Vec::new();
    let most = bound.instructions;
    findings.extend(
        cost.instructions
            .filter(|&counted| counted > most)
            .map(|counted| format!("{operation}: {counted:.1} instructions, the contract allows {most}")),
    );
    if cost.locked != bound.locked {
        findings.push(format!(
            "{operation}: {:.4} locked operations, the contract is exactly {}",
            cost.locked, bound.locked
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row_of(instructions: f64, locked: f64) -> Row {
        Row { operation: "pair-0".into(), cost: Cost { instructions: Some(instructions), locked } }
    }

    const BOUND: Bound = Bound { instructions: 120.0, locked: 2.0 };

    #[test]
    fn what_is_written_is_read_back() {
        let rows = vec![row_of(96.5, 2.0), Row { operation: "hold-free".into(), ..row_of(40.0, 1.063) }];
        assert_eq!(parse(&write(&["cost", "dated"], &rows)).unwrap(), rows);
    }

    #[test]
    fn a_table_that_is_none_is_refused_with_its_line() {
        assert!(parse("pair-0 96.5").unwrap_err().to_string().contains("pair-0 96.5"));
        assert!(format!("{:#}", parse("pair-0 many 2").unwrap_err()).contains("\"many\""));
    }

    #[test]
    fn small_moves_pass_and_large_ones_do_not() {
        let committed = [row_of(100.0, 2.0)];
        assert!(judge(&row_of(101.9, 2.0), &committed, Some(BOUND)).is_empty());
        assert_eq!(judge(&row_of(103.0, 2.0), &committed, Some(BOUND)).len(), 1);
        assert_eq!(judge(&row_of(97.0, 2.0), &committed, Some(BOUND)).len(), 1);
        assert_eq!(judge(&row_of(100.0, 2.5), &committed, None).len(), 1);
        assert_eq!(judge(&row_of(100.0, 2.0), &[], None).len(), 1);
    }

    #[test]
    fn without_a_profiler_the_locked_operations_are_still_judged() {
        let mut row = row_of(100.0, 3.0);
        row.cost.instructions = None;
        assert_eq!(judge(&row, &[row_of(100.0, 2.0)], Some(BOUND)).len(), 2);
    }

    #[test]
    fn the_contract_holds_whatever_was_blessed() {
        assert_eq!(judge(&row_of(121.0, 3.0), &[row_of(121.0, 3.0)], Some(BOUND)).len(), 2);
        assert_eq!(broken(&row_of(100.0, 2.0001), BOUND).len(), 1);
    }
}
