//! Versions of what outlives the worker that wrote it: commits, ledgers, the journal, copies and letters.
//!
//! Each of these forms says its version, and whoever meets a higher one than it knows refuses the whole, with one message that says what to
//! do: half of what a newer worker meant is worse than nothing. A form that says no version is of the first. What may change without a
//! new version, and what a fleet of two versions does, stands in `docs/versions.md`.

use std::fmt;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::{Failure, Reason};

/// This build, as its messages call it.
const BUILD: &str = env!("CARGO_PKG_VERSION");

/// A form, and the highest version of it that this code reads, which is the one that it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// What is of this form, for messages.
    pub name: &'static str,
    /// The version.
    pub version: u32,
}

/// The metadata of commits ([`crate::metadata`]).
pub const COMMIT_METADATA: Format = Format { name: "commit metadata", version: 1 };
/// What a segment says of itself, in whatever ledger ([`crate::ledger::Trailer`]).
pub const TRAILER: Format = Format { name: "ledger trailer", version: crate::ledger::TRAILER_VERSION };
/// The entry of a plain file beside its data.
pub const FILES_ENTRY: Format = Format { name: "ledger entry of files", version: 1 };
/// The entry of a segment in an object store, or in a folder of objects. In version 1 names began at the root.
pub const OBJECTS_ENTRY: Format = Format { name: "ledger entry of objects", version: 2 };
/// The noted form of a generation of objects.
pub const OBJECTS_SHAPE: Format = Format { name: "shape of objects", version: 1 };
/// The folded ledger of files and objects. In version 1 held offsets and letters stood apart.
pub const CHECKPOINT: Format = Format { name: "ledger checkpoint", version: 2 };
/// The folded ledger in Postgres.
pub const POSTGRES_CHECKPOINT: Format = Format { name: "ledger checkpoint in Postgres", version: 1 };
/// Records of the journal ([`crate::journal`]).
pub const JOURNAL: Format = Format { name: "journal record", version: crate::journal::VERSION };
/// The headers of copies and letters ([`crate::headers`]).
pub const HEADERS: Format = Format { name: "header contract", version: 1 };

impl Format {
    /// All of them.
    pub const ALL: [Self; 9] = [
        COMMIT_METADATA,
        TRAILER,
        FILES_ENTRY,
        OBJECTS_ENTRY,
        OBJECTS_SHAPE,
        CHECKPOINT,
        POSTGRES_CHECKPOINT,
        JOURNAL,
        HEADERS,
    ];

    /// Whether this code reads what says that it is of a version.
    ///
    /// # Errors
    /// [`FormatError::Newer`], or of version 0, which never was, [`FormatError::Unreadable`].
    pub fn check(self, found: u32) -> Result<(), FormatError> {
        match found {
            0 => Err(FormatError::Unreadable(format!("{} of version 0, which never was", self.name))),
            _ if found > self.version => Err(FormatError::Newer(self.newer(found))),
            _ => Ok(()),
        }
    }

    /// Reads JSON of this form, whose version is asked first: a newer one may have fields that are not known here.
    ///
    /// # Errors
    /// [`FormatError`]
    pub fn read<T: DeserializeOwned>(self, json: &[u8]) -> Result<T, FormatError> {
        self.check(Self::said(json)?)?;
        serde_json::from_slice(json).map_err(FormatError::unreadable)
    }

    /// The version that JSON says it is of.
    ///
    /// # Errors
    /// [`FormatError::Unreadable`]
    pub fn said(json: &[u8]) -> Result<u32, FormatError> {
        let said: Said = serde_json::from_slice(json).map_err(FormatError::unreadable)?;
        Ok(said.version)
    }

    /// That something is of a version that is not read here.
    pub fn newer(self, found: u32) -> Newer {
        Newer { name: self.name, found, known: self.version }
    }
}

/// What every form in JSON has.
#[derive(Deserialize)]
struct Said {
    #[serde(default = "first")]
    version: u32,
}

fn first() -> u32 {
    1
}

/// Something was written by a newer version of Longshore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newer {
    /// What it is.
    pub name: &'static str,
    /// Its version; the known one when it says something that this version has no words for.
    pub found: u32,
    /// The version that is known here.
    pub known: u32,
}

impl fmt::Display for Newer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, found, known } = self;
        if found > known {
            write!(f, "{name} of version {found}, of which longshore {BUILD} reads up to {known}")?;
        } else {
            write!(f, "{name} of version {found} with additions that longshore {BUILD} does not know")?;
        }
        f.write_str(
            ": a newer longshore wrote it; run that version or a later one here. docs/versions.md says how to go back",
        )
    }
}

impl std::error::Error for Newer {}

impl Newer {
    /// What it is for a pair or a command: always [`crate::Class::Halt`].
    pub fn into_failure(self) -> Failure {
        Failure::halt(Reason::FormatNewer, self)
    }
}

/// Why something of a known form cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// A newer version wrote it.
    #[error(transparent)]
    Newer(#[from] Newer),
    /// It is damaged.
    #[error("{0}")]
    Unreadable(String),
}

impl FormatError {
    fn unreadable(error: serde_json::Error) -> Self {
        Self::Unreadable(error.to_string())
    }

    /// What it is for whoever found it at `place`: a halt, of a damaged one with the reason that is given.
    pub fn into_failure(self, place: impl fmt::Display, damaged: Reason) -> Failure {
        let reason = match self {
            Self::Newer(_) => Reason::FormatNewer,
            Self::Unreadable(_) => damaged,
        };
        Failure::halt(reason, format_args!("{place}: {self}"))
    }
}

#[cfg(test)]
mod tests;
