//! One ownership of one pair: the open segment, the sealed one, and the ledger as far as this writer knows it.

use std::sync::Arc;

use longshore_core::ledger::{LedgerView, Trailer};
use longshore_core::sink::{Published, SegmentWriter, WriterContext};
use longshore_core::{Block, BoxFuture, Failure, Reason};

use super::Shared;
use super::checkpoint;
use super::layout::{Layout, check_topic};
use super::publish::Job;
use super::recover::recover;
use super::segment::{Segment, Tools};
use crate::blocking::{Turn, Turns, blocking};
use crate::pair_ledger::{EVERY_SEGMENTS, Owner};

/// Writes the segments of one pair for one ownership.
pub(super) struct FilesWriter {
    shared: Arc<Shared>,
    context: WriterContext,
    layout: Layout,
    turns: Turns,
    /// None until the ledger was read.
    view: Option<LedgerView>,
    open: Segment,
    sealed: Option<Segment>,
}

impl FilesWriter {
    pub(super) fn new(shared: Arc<Shared>, context: WriterContext) -> Self {
        let options = &shared.options;
        let layout = Layout::new(&options.path, shared.generation, &context.pair, options.format);
        Self {
            shared,
            context,
            layout,
            turns: Turns::default(),
            view: None,
            open: Segment::default(),
            sealed: None,
        }
    }

    fn owner(&self) -> Owner {
        Owner::new(&self.shared.pipeline, self.shared.generation, &self.context)
    }

    async fn publish_sealed(&mut self, trailer: &Trailer, turn: &Turn) -> Result<Published, Failure> {
        let Some(sealed) = &mut self.sealed else { return self.look_up(trailer).await };
        let tools =
            Tools { layout: &self.layout, writer: self.context.writer, pool: &self.shared.pool, turn };
        let spool = sealed.flush(&tools).await?;
        let (layout, trailer) = (self.layout.clone(), trailer.clone());
        let job = Job { layout, trailer, stored: sealed.stored(), hash: sealed.hash() };
        turn.run(&spool, move |spool| job.run(spool)).await
    }

    /// Nothing is sealed: an earlier publish has come through and its answer was not heard.
    async fn look_up(&self, trailer: &Trailer) -> Result<Published, Failure> {
        let (layout, trailer) = (self.layout.clone(), trailer.clone());
        let job = Job { layout, trailer, stored: 0, hash: blake3::Hasher::new().finalize() };
        let found = blocking(move || job.look()).await?;
        found.ok_or_else(|| Failure::halt(Reason::Internal, "publish: no segment is sealed"))
    }

    async fn write_checkpoint(&self) {
        let Some(view) = self.view.clone() else { return };
        let (layout, writer) = (self.layout.clone(), self.context.writer);
        let identity = self.owner().identity;
        let written = blocking(move || checkpoint::write(&layout, identity, view, writer)).await;
        if let Err(failure) = written {
            // The segment is published all the same, and the next recovery reads some trailers more.
            tracing::warn!(pair = %self.context.pair, %failure, "checkpoint not written");
        }
    }

    fn place(&self, failure: Failure) -> Failure {
        failure.at(&self.shared.name)
    }
}

impl SegmentWriter for FilesWriter {
    fn recover(&mut self) -> BoxFuture<'_, Result<LedgerView, Failure>> {
        Box::pin(async move {
            self.open = Segment::default();
            self.sealed = None;
            check_topic(&self.context.pair).map_err(|failure| self.place(failure))?;
            let owner = self.owner();
            let layout = self.layout.clone();
            let view =
                blocking(move || recover(&layout, &owner)).await.map_err(|failure| self.place(failure))?;
            self.view = Some(view.clone());
            Ok(view)
        })
    }

    fn append<'a>(&'a mut self, block: &'a Block) -> BoxFuture<'a, Result<u64, Failure>> {
        Box::pin(async move {
            let turn = self.turns.next();
            let tools = Tools {
                layout: &self.layout,
                writer: self.context.writer,
                pool: &self.shared.pool,
                turn: &turn,
            };
            let appended = self.open.append(block, &tools).await;
            appended.map_err(|failure| self.place(failure))?;
            Ok(self.open.size())
        })
    }

    fn seal(&mut self) -> Result<(), Failure> {
        if self.sealed.is_some() {
            return Err(
                self.place(Failure::halt(Reason::Internal, "seal: the segment before is not published"))
            );
        }
        self.sealed = Some(std::mem::take(&mut self.open));
        Ok(())
    }

    fn publish<'a>(&'a mut self, trailer: &'a Trailer) -> BoxFuture<'a, Result<Published, Failure>> {
        Box::pin(async move {
            let next = self.owner().check_next(trailer, self.view.as_ref());
            next.map_err(|failure| self.place(failure))?;
            let turn = self.turns.next();
            let published =
                self.publish_sealed(trailer, &turn).await.map_err(|failure| self.place(failure))?;
            match &published {
                // A name taken by another leaves the segment as it is: the pair begins anew and drops it with us.
                Published::TakenByOther(_) => {}
                Published::Done(_) | Published::TakenByUs => {
                    self.sealed = None;
                    let view = self.view.get_or_insert_default();
                    if trailer.sequence == view.next_sequence {
                        view.fold(trailer);
                        if view.next_sequence.0.is_multiple_of(EVERY_SEGMENTS) {
                            self.write_checkpoint().await;
                        }
                    }
                }
            }
            Ok(published)
        })
    }
}
