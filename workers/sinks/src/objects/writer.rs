//! One ownership of one pair: the open segment, the sealed one, and the ledger as far as this writer knows it.

use std::sync::{Arc, PoisonError};

use longshore_core::ledger::{LedgerView, Trailer};
use longshore_core::sink::{Published, SegmentWriter, WriterContext};
use longshore_core::{Block, BoxFuture, Failure, Reason};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::Shared;
use super::layout::Layout;
use super::publish::{Job, Progress, Sealed, nothing_sealed};
use super::recover::{recover, write_checkpoint};
use super::segment::{Form, Segment};
use super::shape::Shape;
use crate::blocking::blocking;
use crate::compress::Scratch;
use crate::files::check_topic;
use crate::io::classify;
use crate::pair_ledger::{EVERY_SEGMENTS, Owner};

/// Writes the segments of one pair for one ownership.
pub(super) struct ObjectsWriter {
    shared: Arc<Shared>,
    context: WriterContext,
    layout: Layout,
    /// None until the ledger was read.
    view: Option<LedgerView>,
    open: Arc<Mutex<Segment>>,
    sealed: Option<Sealed>,
    progress: Option<Box<dyn Fn() + Send + Sync>>,
}

impl ObjectsWriter {
    pub(super) fn new(shared: Arc<Shared>, context: WriterContext) -> Self {
        let layout =
            Layout::new(shared.store.root(), shared.generation, &context.pair, shared.options.format);
        let open = fresh(&shared);
        Self { shared, context, layout, view: None, open, sealed: None, progress: None }
    }

    fn owner(&self) -> Owner {
        Owner::new(&self.shared.pipeline, self.shared.generation, &self.context)
    }

    fn place(&self, failure: Failure) -> Failure {
        failure.at(&self.shared.name)
    }

    /// What has to be true before the ledger is read.
    async fn prove(&self) -> Result<(), Failure> {
        check_topic(&self.context.pair)?;
        let staging = self.shared.options.staging.clone();
        let made =
            move || std::fs::create_dir_all(&staging).map_err(|error| classify("make", &staging, &error));
        blocking(made).await?;
        self.shared.store.prove(&self.layout.probe(self.context.writer)).await
    }

    /// Whether a writer could work, as far as that is known without the ledger.
    pub(super) async fn examine(&self) -> Result<(), Failure> {
        self.prove().await?;
        Shape::new(&self.shared.options).check(&self.shared.store, &self.layout).await
    }

    async fn recover_ledger(&mut self) -> Result<LedgerView, Failure> {
        self.open = fresh(&self.shared);
        self.sealed = None;
        self.prove().await?;
        let store = &self.shared.store;
        // First whose ledger it is: a stranger is told that, and not about columns.
        let view = recover(store, &self.layout, &self.owner(), self.context.writer).await?;
        if !self.is_shape_noted() {
            Shape::new(&self.shared.options).check(store, &self.layout).await?;
        }
        Ok(view)
    }

    fn is_shape_noted(&self) -> bool {
        let noted = self.shared.shaped.lock().unwrap_or_else(PoisonError::into_inner);
        noted.contains(self.context.pair.topic.as_str())
    }

    /// Before the first object of a topic. Once for a worker: a shape only ever gets columns more.
    async fn note_shape(&self) -> Result<(), Failure> {
        if !self.is_shape_noted() {
            Shape::new(&self.shared.options).agree(&self.shared.store, &self.layout).await?;
            let topic = self.context.pair.topic.as_str().to_owned();
            self.shared.shaped.lock().unwrap_or_else(PoisonError::into_inner).insert(topic);
        }
        Ok(())
    }

    /// Takes the rows at once or not at all, so that a call that is dropped may be made again: what there is to wait for comes before.
    /// What they make necessary is done meanwhile, and the next call waits for it.
    async fn append_rows(&self, block: &Block) -> Result<u64, Failure> {
        let mut open = Arc::clone(&self.open).lock_owned().await;
        if open.is_behind() {
            // Tried before and failed, or it would be done.
            open = work(self.shared.form.clone(), open).await?;
        }
        open.take(block)?;
        let size = open.size();
        if open.is_behind() {
            tokio::spawn(work(self.shared.form.clone(), open));
        }
        Ok(size)
    }

    async fn publish_sealed(&mut self, trailer: &Trailer) -> Result<Published, Failure> {
        self.owner().check_next(trailer, self.view.as_ref())?;
        if trailer.rows > 0 {
            self.note_shape().await?;
        }
        let (store, layout, form) = (&self.shared.store, &self.layout, &self.shared.form);
        let progress = Progress::new(self.progress.as_deref());
        let job = Job { store, layout, form, trailer, progress };
        let published = match &mut self.sealed {
            Some(sealed) => job.run(sealed).await?,
            // An earlier publish has come through and its answer was not heard.
            None => job.look().await?.ok_or_else(nothing_sealed)?,
        };
        match &published {
            // A number taken by another leaves the segment as it is: the pair begins anew and drops it with us.
            Published::TakenByOther(_) => {}
            Published::Done(_) | Published::TakenByUs => {
                self.sealed = None;
                self.fold(trailer).await;
            }
        }
        Ok(published)
    }

    async fn fold(&mut self, trailer: &Trailer) {
        let view = self.view.get_or_insert_default();
        if trailer.sequence != view.next_sequence {
            return;
        }
        view.fold(trailer);
        if view.next_sequence.0.is_multiple_of(EVERY_SEGMENTS) {
            let view = view.clone();
            let written = write_checkpoint(&self.shared.store, &self.layout, &self.owner(), view).await;
            if let Err(failure) = written {
                // The segment is published all the same, and the next recovery reads some entries more.
                tracing::warn!(pair = %self.context.pair, %failure, "checkpoint not written");
            }
        }
    }
}

/// Lets the segment work where rows are encoded.
async fn work(form: Form, mut open: OwnedMutexGuard<Segment>) -> Result<OwnedMutexGuard<Segment>, Failure> {
    let work = move |scratch: &mut Scratch| {
        open.work(scratch)?;
        Ok(open)
    };
    form.encode(work).await
}

fn fresh(shared: &Shared) -> Arc<Mutex<Segment>> {
    Arc::new(Mutex::new(Segment::new(shared.form.clone())))
}

impl SegmentWriter for ObjectsWriter {
    fn tell_progress(&mut self, tell: Box<dyn Fn() + Send + Sync>) {
        self.progress = Some(tell);
    }

    fn recover(&mut self) -> BoxFuture<'_, Result<LedgerView, Failure>> {
        Box::pin(async move {
            let view = self.recover_ledger().await.map_err(|failure| self.place(failure))?;
            self.view = Some(view.clone());
            Ok(view)
        })
    }

    fn append<'a>(&'a mut self, block: &'a Block) -> BoxFuture<'a, Result<u64, Failure>> {
        Box::pin(async move { self.append_rows(block).await.map_err(|failure| self.place(failure)) })
    }

    fn seal(&mut self) -> Result<(), Failure> {
        if self.sealed.is_some() {
            let detail = "seal: the segment before is not published";
            return Err(self.place(Failure::halt(Reason::Internal, detail)));
        }
        let open = std::mem::replace(&mut self.open, fresh(&self.shared));
        self.sealed = Some(Sealed::new(open));
        Ok(())
    }

    fn publish<'a>(&'a mut self, trailer: &'a Trailer) -> BoxFuture<'a, Result<Published, Failure>> {
        Box::pin(async move {
            let published = self.publish_sealed(trailer).await;
            published.map_err(|failure| self.place(failure))
        })
    }
}
