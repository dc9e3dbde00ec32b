//! An object store with a ledger: Parquet files or JSON lines, each record once, whatever dies.
//!
//! A pair's rows gather in files of this machine that have no names. Publishing a segment is three steps: its objects go up under
//! names that no reader looks at; an entry in the ledger takes the segment's number, by a PUT that fails when the name exists, so of two
//! writers exactly one gets it; and the objects are copied to their own names within the store. So a reader may glob the folder at
//! any moment and sees whole files that do not overlap, and one number stands for all objects of a segment, however many
//! partition folders it has (`docs/adr/0015-one-entry-for-all-objects.md`).
//!
//! Encoding runs on threads of the sink's own, two at the most: so many row groups are in memory at once, and what the allocator keeps for a thread
//! it keeps for no more of them (I5).

mod clouds;
mod columns;
mod entry;
mod errors;
mod folder;
pub mod inspect;
mod layout;
mod look;
mod older;
mod options;
mod parquet;
mod publish;
mod reader;
mod recover;
mod segment;
mod shape;
mod store;
#[cfg(test)]
mod tests;
mod time;
mod upload;
mod writer;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex};

use longshore_core::sink::{SegmentWriter, Sink, WriterContext};
use longshore_core::{BoxFuture, Encode, Failure, Generation};

use self::folder::Rows;
use self::segment::Form;
use self::store::Store;
use self::writer::ObjectsWriter;

pub use self::columns::{Column, Columns, Source, Type};
pub use self::folder::{PartitionField, PartitionKind};
pub use self::options::{Bucket, Cloud, CloudKind, Format, ObjectsOptions, Place};
pub use self::reader::{PairLedger, read_ledgers};

/// What all writers of a sink share.
struct Shared {
    name: String,
    pipeline: String,
    generation: Generation,
    options: ObjectsOptions,
    form: Form,
    store: Store,
    /// Topics whose objects are known to be of this sink's shape.
    shaped: Mutex<BTreeSet<String>>,
}

/// An `objects` sink of one pipeline.
pub struct ObjectsSink {
    shared: Arc<Shared>,
}

impl fmt::Debug for ObjectsSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectsSink").field("name", &self.shared.name).finish_non_exhaustive()
    }
}

impl ObjectsSink {
    /// A sink under its name in the pipeline file. Connects to nothing yet.
    ///
    /// # Errors
    /// What is wrong with the place.
    pub fn new(
        name: &str,
        pipeline: &str,
        generation: Generation,
        options: ObjectsOptions,
    ) -> Result<Self, String> {
        let store = Store::new(&options.place)?;
        Ok(Self::over(name, pipeline, generation, options, store))
    }

    fn over(
        name: &str,
        pipeline: &str,
        generation: Generation,
        options: ObjectsOptions,
        store: Store,
    ) -> Self {
        let form = Form::new(&options);
        let (name, pipeline) = (name.to_owned(), pipeline.to_owned());
        let shaped = Mutex::default();
        Self { shared: Arc::new(Shared { name, pipeline, generation, options, form, store, shaped }) }
    }
}

impl Sink for ObjectsSink {
    fn name(&self) -> &str {
        &self.shared.name
    }

    fn has_ledger(&self) -> bool {
        true
    }

    fn encoder(&self) -> Arc<dyn Encode> {
        Arc::new(Rows::new(&self.shared.options))
    }

    /// The store, our rights in it, its refusal of a second object of one name, and the shape of the objects that are there; an object
    /// that no reader looks at is created and removed.
    fn examine(&self, context: WriterContext) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            let place = |failure: Failure| failure.at(&self.shared.name);
            ObjectsWriter::new(Arc::clone(&self.shared), context).examine().await.map_err(place)
        })
    }

    fn open(&self, context: WriterContext) -> Box<dyn SegmentWriter> {
        Box::new(ObjectsWriter::new(Arc::clone(&self.shared), context))
    }
}
