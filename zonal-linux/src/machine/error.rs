//! What is wrong with a machine, by key or file, with the value.

use std::path::{Path, PathBuf};

/// Why there is no machine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MachineError {
    /// The description is no TOML, lacks a key, or a key has a value of the wrong sort. The message shows the line.
    #[error(transparent)]
    Toml(#[from] toml::de::Error),
    /// A key has a value that makes no sense.
    #[error("{key} = {value}: {reason}")]
    Value {
        /// The key, with its place where there are several.
        key: String,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A file that describes this machine could not be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file that describes this machine holds something unexpected.
    #[error("{}: {text:?} is not {expected}", path.display())]
    Sysfs {
        /// The file.
        path: PathBuf,
        /// What it holds.
        text: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// Its memory cannot be divided.
    #[error(transparent)]
    Movable(#[from] zonal::MovableError),
    /// The allocator refuses the machine.
    #[error("{0}")]
    Config(zonal::ConfigError),
}

impl From<zonal::ConfigError> for MachineError {
    fn from(error: zonal::ConfigError) -> Self {
        Self::Config(error)
    }
}

impl MachineError {
    pub(super) fn value(key: impl Into<String>, value: impl ToString, reason: &'static str) -> Self {
        Self::Value { key: key.into(), value: value.to_string(), reason }
    }

    pub(super) fn sysfs(path: &Path, text: &str, expected: &'static str) -> Self {
        Self::Sysfs { path: path.to_owned(), text: text.trim().to_owned(), expected }
    }
}
