//! What lies at a sink's place: the ledgers of an `objects` sink or of a `files` sink, and their data, for commands that look and for
//! compaction. Names and contents are read as the formats say, by nothing of the writer but its connection, so that a mistake made there
//! does not hide itself here.
//!
//! Pairs are read at once, so many as there is room for, and the segments of each as a stream: of a ledger nothing is in memory but the runs
//! of what it holds, and of a data folder 16 bytes for each object.

mod compact;
mod origins;
mod parquet;
mod rows;
mod segments;
mod survey;
mod verify;

use std::sync::Arc;

use longshore_core::{Failure, Reason};
use object_store::path::Path;

use super::Place;
use super::store::Store;

pub(super) use self::parquet::{ParquetObject, Unread};

pub use self::compact::{Compacted, Compaction, compact};
pub use self::rows::rows_of_parquet;
pub use self::survey::survey;
pub use self::verify::{Asked, verify};

/// So many pairs are read at once.
const PAIRS_AT_ONCE: usize = 8;

/// How a sink lays its ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// As `objects` does: an entry for each segment.
    Entries,
    /// As `files` does: a trailer in each file, or an entry beside a plain one.
    Trailers,
}

/// A sink's place, to be looked at.
#[derive(Clone)]
pub struct Source {
    store: Arc<Store>,
    place: Place,
    layout: Layout,
    pipeline: String,
    /// Only this generation; all without it.
    generation: Option<u32>,
}

impl Source {
    /// The place of a pipeline's sink. Connects to nothing yet.
    ///
    /// # Errors
    /// What is wrong with the place.
    pub fn new(
        place: &Place,
        layout: Layout,
        pipeline: &str,
        generation: Option<u32>,
    ) -> Result<Self, Failure> {
        let store = Store::new(place).map_err(|words| Failure::halt(Reason::SinkUnfit, words))?;
        let place = place.clone();
        Ok(Self { store: Arc::new(store), place, layout, pipeline: pipeline.to_owned(), generation })
    }

    /// The folders of the generations that are meant.
    async fn generations(&self) -> Result<Vec<(u32, Path)>, Failure> {
        let folders = self.store.folders(self.store.root()).await?;
        let known = folders.into_iter().filter_map(|folder| Some((generation_of(&folder)?, folder)));
        let mut known: Vec<_> = known.collect();
        known.retain(|(number, _)| self.generation.is_none_or(|wanted| wanted == *number));
        known.sort_unstable();
        Ok(known)
    }
}

/// Says that so many more segments were read.
pub type Tell = Arc<dyn Fn(u64) + Send + Sync>;

/// The number in a generation's folder, `g0001`.
fn generation_of(folder: &Path) -> Option<u32> {
    let digits = folder.filename()?.strip_prefix('g').filter(|digits| digits.len() >= 4)?;
    digits.parse().ok()
}

/// The folder beside the topics' that holds everything which is not data, also beside a compaction's.
const LEDGER_FOLDER: &str = "__ledger";
/// That of a `files` sink.
const FILES_LEDGER_FOLDER: &str = "_ledger";

impl Source {
    /// The name of the folder with the ledgers.
    fn ledger_folder(&self) -> &'static str {
        match self.layout {
            Layout::Entries => LEDGER_FOLDER,
            Layout::Trailers => FILES_LEDGER_FOLDER,
        }
    }
}
