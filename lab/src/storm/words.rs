//! Whose slot words a storm rages on: everybody's, changed by locked instructions, or their CPUs' own.

use clap::ValueEnum;
use zonal_linux::WordKind;

/// Whose they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Words {
    /// Everybody's.
    Locked,
    /// Their CPU's; threads run on CPUs that the machine has then, as many of the storm's as there are.
    Owned,
}

impl From<Words> for WordKind {
    fn from(words: Words) -> Self {
        match words {
            Words::Locked => Self::Locked,
            Words::Owned => Self::Owned,
        }
    }
}

/// The words on which a storm makes sense.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sense {
    /// On both kinds.
    Both,
    /// On this kind only, and why.
    Only(WordKind, &'static str),
}

impl Sense {
    /// The kind that is stormed if `words` are asked for.
    ///
    /// # Errors
    /// Why it makes no sense.
    pub(super) fn of(self, words: Option<Words>) -> Result<WordKind, &'static str> {
        match (self, words.map(WordKind::from)) {
            (Self::Both, words) => Ok(words.unwrap_or_default()),
            (Self::Only(kind, why), Some(words)) if words != kind => Err(why),
            (Self::Only(kind, _), _) => Ok(kind),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert_eq!(Sense::Both.of(None), Ok(WordKind::Locked));
        assert_eq!(Sense::Both.of(Some(Words::Owned)), Ok(WordKind::Owned));
        let only = Sense::Only(WordKind::Owned, "why");
        assert_eq!((only.of(None), only.of(Some(Words::Owned))), (Ok(WordKind::Owned), Ok(WordKind::Owned)));
        assert_eq!(only.of(Some(Words::Locked)), Err("why"));
    }
}
