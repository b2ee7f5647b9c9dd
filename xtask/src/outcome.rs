//! What a check found: how many things passed, failed and were skipped, and a sentence for each that did not pass.
//!
//! Never decides what a failure is. Invariant: every failed or skipped thing has a finding that says why.

use std::fmt;

/// The result of a check.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    passed: usize,
    failed: usize,
    skipped: usize,
    findings: Vec<String>,
}

impl Outcome {
    /// `count` things were checked and hold.
    pub(crate) fn passed(count: usize) -> Self {
        Self { passed: count, ..Self::default() }
    }

    /// One thing does not hold, for this reason.
    pub(crate) fn failed(why: impl Into<String>) -> Self {
        Self { failed: 1, findings: vec![why.into()], ..Self::default() }
    }

    /// One thing could not be checked here, for this reason.
    pub(crate) fn skipped(why: impl Into<String>) -> Self {
        Self { skipped: 1, findings: vec![format!("skipped: {}", why.into())], ..Self::default() }
    }

    /// One thing: it holds if nothing was found against it.
    pub(crate) fn of_findings(findings: Vec<String>) -> Self {
        let clean = findings.is_empty();
        Self { passed: usize::from(clean), failed: usize::from(!clean), skipped: 0, findings }
    }

    /// The totals a test runner printed, with why it failed.
    pub(crate) fn of_tests(passed: usize, failed: usize, skipped: usize, findings: Vec<String>) -> Self {
        Self { passed, failed, skipped, findings }
    }

    /// Both outcomes as one.
    #[must_use]
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.findings.extend(other.findings);
        self
    }

    /// Whether nothing failed.
    pub(crate) fn holds(&self) -> bool {
        self.failed == 0
    }

    /// Whether nothing was checked at all.
    pub(crate) fn is_skipped(&self) -> bool {
        self.failed == 0 && self.passed == 0
    }

    /// Writes every finding to stderr, one a line.
    pub(crate) fn report_findings(&self) {
        for finding in &self.findings {
            eprintln!("{finding}");
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_add_up_and_one_failure_is_enough() {
        let both = Outcome::passed(3).and(Outcome::skipped("no valgrind"));
        assert!(both.holds());
        assert_eq!(both.to_string(), "3 passed, 0 failed, 1 skipped");
        let all = both.and(Outcome::failed("row 7"));
        assert!(!all.holds());
        assert_eq!(all.to_string(), "3 passed, 1 failed, 1 skipped");
    }

    #[test]
    fn only_a_skip_counts_as_skipped() {
        assert!(Outcome::skipped("x").is_skipped());
        assert!(!Outcome::of_findings(Vec::new()).is_skipped());
        assert!(!Outcome::of_findings(vec!["bad".into()]).holds());
    }
}
