//! What can be wrong with a sink folder.

use std::fmt;
use std::path::{Path, PathBuf};

use longshore_core::Origin;

/// Something wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub path: PathBuf,
    /// The line in the unpacked file, from 1; none when the file as a whole is meant.
    pub line: Option<u64>,
    /// The row's identity, as far as it could be read.
    pub origin: Option<Origin>,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A name that the sink does not make.
    #[error("not a file of this sink")]
    Stray,
    /// The file before it is not there.
    #[error("number {0} before it is missing")]
    SequenceMissing(u64),
    /// A ledger entry whose data is not there (a publish that a recovery will finish).
    #[error("the ledger entry has no data beside it")]
    DataMissing,
    /// No trailer, or a damaged one.
    #[error("no trailer can be read: {0}")]
    TrailerUnreadable(String),
    /// A trailer that belongs to another file.
    #[error("the trailer is another file's: it says {0}")]
    TrailerForeign(String),
    /// The file holds more or fewer rows than its trailer says.
    #[error("the trailer says {claimed} rows, the file holds {found}")]
    RowCount {
        /// What the trailer says.
        claimed: u64,
        /// What is there.
        found: u64,
    },
    /// The file's bytes are not those of its ledger entry.
    #[error("the content is not what its ledger entry says")]
    ContentChanged,
    /// From here on the file cannot be unpacked or read.
    #[error("unreadable from here on: {0}")]
    Unreadable(String),
    /// A row that is not a whole JSON object with an origin.
    #[error("not a row of this sink: {0}")]
    RowBroken(String),
    /// A row of another partition or topic.
    #[error("the row belongs to another partition")]
    RowForeign,
    /// A row that the trailer does not claim.
    #[error("the row is not in what the trailer claims")]
    RowUnclaimed,
    /// A row that stands in this file already, at that line.
    #[error("the row stands already in line {0}")]
    RowTwice(u64),
    /// A row whose offset an earlier file claims.
    #[error("the row's offset is claimed by an earlier file")]
    RowHeldEarlier,
}

impl Finding {
    /// A finding about a file as a whole.
    pub fn of_file(path: &Path, problem: Problem) -> Self {
        Self { path: path.to_owned(), line: None, origin: None, problem }
    }

    /// A finding about one row.
    pub fn of_row(path: &Path, line: u64, origin: Option<&Origin>, problem: Problem) -> Self {
        Self { path: path.to_owned(), line: Some(line), origin: origin.cloned(), problem }
    }
}

impl fmt::Display for Finding {
    /// `path:line origin: what is wrong`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(origin) = &self.origin {
            write!(f, " {origin}")?;
        }
        write!(f, ": {}", self.problem)
    }
}
