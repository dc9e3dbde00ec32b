//! Files with a ledger: each record once, whatever dies.
//!
//! A pair's rows go to a locked file in `staging`. Publishing makes that file durable and gives it the next number's
//! name with `link(2)`, which fails when the name exists: of two writers exactly one gets the number. A reader may glob
//! the folder at any moment and sees whole files that do not overlap. What a file holds is told by its trailer, a last
//! zstd skippable frame; a plain file's trailer lies beside it as a ledger entry, written first, and the data gets its
//! name right after.
//!
//! All input and output runs on tokio's blocking pool, compression with it.

mod checkpoint;
mod entry;
mod examine;
mod layout;
mod options;
mod publish;
mod recover;
mod segment;
mod spool;
mod trailer;
mod writer;

use std::sync::Arc;

use longshore_core::sink::{SegmentWriter, Sink, WriterContext};
use longshore_core::{BoxFuture, Encode, Failure, Generation};

use self::layout::Layout;
use self::writer::FilesWriter;
use crate::blocking::blocking;
use crate::compress::Pool;
use crate::jsonl::JsonLines;

pub(crate) use self::layout::check_topic;
pub use self::options::{FilesOptions, Format, OptionsError, Roll};
#[cfg(feature = "objects")]
pub(crate) use self::spool::sync_folder;

/// What all writers of a sink share.
#[derive(Debug)]
struct Shared {
    name: String,
    pipeline: String,
    generation: Generation,
    options: FilesOptions,
    pool: Arc<Pool>,
}

/// A `files` sink of one pipeline.
#[derive(Debug)]
pub struct FilesSink {
    shared: Arc<Shared>,
}

impl FilesSink {
    /// A sink under its name in the pipeline file.
    ///
    /// # Errors
    /// The first of [`FilesOptions::mistakes`].
    pub fn new(
        name: &str,
        pipeline: &str,
        generation: Generation,
        options: FilesOptions,
    ) -> Result<Self, OptionsError> {
        if let Some(mistake) = options.mistakes().first() {
            return Err(*mistake);
        }
        let pool = Pool::new(options.level);
        let (name, pipeline) = (name.to_owned(), pipeline.to_owned());
        Ok(Self { shared: Arc::new(Shared { name, pipeline, generation, options, pool }) })
    }
}

impl Sink for FilesSink {
    fn name(&self) -> &str {
        &self.shared.name
    }

    fn has_ledger(&self) -> bool {
        true
    }

    fn encoder(&self) -> Arc<dyn Encode> {
        Arc::new(JsonLines)
    }

    /// The folders: whether files can be made there, last, and get a second name.
    fn examine(&self, context: WriterContext) -> BoxFuture<'_, Result<(), Failure>> {
        let options = &self.shared.options;
        let layout = Layout::new(&options.path, self.shared.generation, &context.pair, options.format);
        Box::pin(async move {
            let place = |failure: Failure| failure.at(&self.shared.name);
            check_topic(&context.pair).map_err(place)?;
            blocking(move || examine::examine(&layout, context.writer)).await.map_err(place)
        })
    }

    fn open(&self, context: WriterContext) -> Box<dyn SegmentWriter> {
        Box::new(FilesWriter::new(Arc::clone(&self.shared), context))
    }
}
