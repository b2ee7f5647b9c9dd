//! Where the keys of a description stand: a key as errors name it (`node[1].ranges[0].start`), to its line.
//!
//! Knows TOML and nothing of machines. Invariant: every key has a line, that of its nearest parent which is there.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A text that is TOML, and where its values begin.
pub(crate) struct Document<'t> {
    text: &'t str,
    root: Option<Spanned<DeTable<'t>>>,
}

impl<'t> Document<'t> {
    /// The document of a text; one that is no TOML has its first line only.
    pub(crate) fn of(text: &'t str) -> Self {
        Self { text, root: DeTable::parse(text).ok() }
    }

    /// The line, from 1, that a byte stands in.
    pub(crate) fn line_at(&self, byte: usize) -> usize {
        let before = self.text.as_bytes().get(..byte).unwrap_or_default();
        1 + before.iter().filter(|&&byte| byte == b'\n').count()
    }

    /// Whether the outermost table has the key.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.root.as_ref().is_some_and(|root| root.get_ref().contains_key(name))
    }

    /// The line of a key.
    pub(crate) fn line(&self, key: &str) -> usize {
        let Some(root) = &self.root else { return 1 };
        let mut names = key.split(['.', '[']).map(|name| name.trim_end_matches(']'));
        let Some((name, value)) = names.next().and_then(|name| root.get_ref().get_key_value(name)) else {
            return 1;
        };
        let (mut place, mut value) = (name.span(), value);
        for name in names {
            let Some((at, inner)) = part(value, name) else { break };
            (place, value) = (at, inner);
        }
        self.line_at(place.start)
    }
}

/// A part of a value, by name or number, and where it begins.
fn part<'v, 't>(
    value: &'v Spanned<DeValue<'t>>,
    name: &str,
) -> Option<(Range<usize>, &'v Spanned<DeValue<'t>>)> {
    match value.get_ref() {
        DeValue::Table(table) => table.get_key_value(name).map(|(key, value)| (key.span(), value)),
        DeValue::Array(array) => {
            let value = array.get(name.parse::<usize>().ok()?)?;
            Some((value.span(), value))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_line_of_their_nearest_parent() {
        let text = "base = 0\ndistances = [\n  [10, 20],\n  [20,\n   10],\n]\n\n[[node]]\nmemory = 1\n\n[[node]]\n\
                    ranges = [\n  { start = 1 },\n  { start = 2,\n    end = 3 },\n]\n[watermarks]\nknob = 1\n";
        let document = Document::of(text);
        for (key, line) in [
            ("base", 1),
            ("distances", 2),
            ("distances[1]", 4),
            ("distances[1][1]", 5),
            ("node", 8),
            ("node[0].memory", 9),
            ("node[1]", 11),
            ("node[1].cpus", 11),
            ("node[1].ranges[0].start", 13),
            ("node[1].ranges[1].end", 15),
            ("node[1].ranges[1].size", 14),
            ("node[7].memory", 8),
            ("watermarks.knob", 18),
            ("absent", 1),
            ("", 1),
        ] {
            assert_eq!(document.line(key), line, "{key}");
        }
        assert_eq!(Document::of("no toml\n").line("base"), 1);
    }
}
