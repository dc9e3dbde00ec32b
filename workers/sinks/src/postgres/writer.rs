//! One ownership of one pair: rows gather in memory, and a publish is one transaction.

use std::sync::Arc;
use std::time::Duration;

use longshore_core::ledger::{LedgerView, Trailer};
use longshore_core::sink::{Published, SegmentWriter, WriterContext};
use longshore_core::{Block, BoxFuture, Failure, Reason};

use super::connect::{Lease, within, within_time};
use super::held::{self, Held};
use super::ledger::{Claim, EVERY_SEGMENTS};
use super::publish::{Job, Rows, Sealed};
use super::schema;
use super::straight::{Pace, Way};
use super::write::Write;
use super::{Looked, Shared};

/// Writes the segments of one pair for one ownership.
pub(super) struct PostgresWriter {
    shared: Arc<Shared>,
    context: WriterContext,
    /// The claim and the ledger as far as this writer knows it; none until it was recovered.
    owned: Option<(Claim, LedgerView)>,
    open: Rows,
    sealed: Option<Sealed>,
    /// Which segments go straight into a table whose rows have keys.
    pace: Pace,
    progress: Option<Box<dyn Fn() + Send + Sync>>,
}

/// How long a checkpoint may take. The segment's own answer waits for it.
const CHECKPOINT: Duration = Duration::from_secs(10);
/// A claim that has waited so long ends the sessions that it waits for if they wait for their clients. Above the time after
/// which the server ends those that stand still between two statements.
const STANDS_STILL: Duration = Duration::from_secs(12);

/// So long a claim that is given up may take to end.
const CANCELLED: Duration = Duration::from_secs(5);

/// A failure of a claim that says what it waited for.
fn behind(failure: Failure, at_work: Option<String>) -> Failure {
    let Some(who) = at_work else { return failure };
    let words = format!("{}; it waited for {who}", failure.detail());
    Failure::new(failure.class, failure.reason, words)
}

impl PostgresWriter {
    pub(super) fn new(shared: Arc<Shared>, context: WriterContext) -> Self {
        let (open, pace) = (Rows::default(), Pace::default());
        Self { shared, context, owned: None, open, sealed: None, pace, progress: None }
    }

    fn place(&self, failure: Failure) -> Failure {
        failure.at(&self.shared.name)
    }

    fn defect(&self, detail: &str) -> Failure {
        self.place(Failure::halt(Reason::Internal, detail))
    }

    async fn recover_ledger(&self) -> Result<(Claim, LedgerView), Failure> {
        let shared = &self.shared;
        let lease = shared.pool.lend().await?;
        let client = lease.client();
        // Once for a worker is enough: what changes later is told by the statement that meets it.
        if shared.looked.get().is_none() {
            let seen = schema::look(client, &shared.options).await?;
            schema::make(client, &shared.options.table).await?;
            let write = Write::new(&shared.options, &seen.equals);
            let _ = shared.looked.set(Looked { kinds: seen.kinds, write });
        }
        let claim = self.claim(&lease).await?;
        let view = shared.ledger.recover(client, claim).await?;
        lease.give_back();
        Ok((claim, view))
    }

    /// Claims the pair, behind the transaction in which an owner before may have it. Where that one stands still between two
    /// statements the server ends it; while it waits for the rows of a `COPY` no timeout of the server's reaches it.
    async fn claim(&self, lease: &Lease) -> Result<Claim, Failure> {
        let (pool, mut at_work) = (&self.shared.pool, None);
        let mut claiming = std::pin::pin!(self.shared.ledger.claim(lease.client(), &self.context));
        loop {
            if let Ok(claimed) = tokio::time::timeout(STANDS_STILL, &mut claiming).await {
                return claimed.map_err(|failure| behind(failure, at_work));
            }
            match held::end_waiting(pool, lease).await {
                Ok(Held::Ended) => at_work = None,
                Ok(Held::AtWork(who)) => {
                    tracing::warn!(pair = %self.context.pair, who, "the pair is held by a session at work, which is waited for");
                    at_work = Some(who);
                }
                Ok(Held::OutOfReach(words)) => {
                    // Nobody must take the pair for an owner that has given up.
                    held::cancel(pool, lease).await?;
                    let last = tokio::time::timeout(CANCELLED, &mut claiming).await;
                    let lost =
                        || Failure::target(Reason::SinkUnavailable, format!("claim the pair: {words}"));
                    return last.ok().and_then(Result::ok).ok_or_else(lost);
                }
                Err(failure) => {
                    tracing::warn!(pair = %self.context.pair, %failure, "the pair is held, and nobody can be asked by whom");
                }
            }
        }
    }

    /// A trailer that does not continue the ledger would make a gap in it, or stand for another pair's rows.
    fn check(&self, trailer: &Trailer) -> Result<Claim, Failure> {
        let Some((claim, view)) = &self.owned else {
            return Err(self.defect("publish: the ledger was not read"));
        };
        if trailer.sequence > view.next_sequence {
            return Err(self.defect("publish: the number would leave a gap"));
        }
        let (ledger, pair) = (&self.shared.ledger, &self.context.pair);
        let ours = (ledger.pipeline.as_str(), ledger.generation, pair.topic.as_str(), pair.partition.0);
        let theirs =
            (trailer.pipeline.as_str(), trailer.generation, trailer.topic.as_str(), trailer.partition);
        if ours != theirs || trailer.writer != self.context.writer {
            return Err(self.defect("publish: the trailer is not this writer's"));
        }
        Ok(*claim)
    }

    async fn publish_sealed(&mut self, trailer: &Trailer) -> Result<Published, Failure> {
        let claim = self.check(trailer)?;
        let shared = Arc::clone(&self.shared);
        let Some(looked) = shared.looked.get() else {
            return Err(self.defect("publish: the table was not looked at"));
        };
        let progress = self.progress.as_deref();
        let job = Job { shared: &shared, looked, claim, trailer, progress };
        let mut lease = within("publish", shared.pool.lend()).await?;
        let (published, stored) = match &mut self.sealed {
            Some(sealed) => {
                let ran = job.run(&mut lease, sealed).await;
                ran.map_err(|failure| sealed.paced(failure))?
            }
            // An earlier publish has come through and its answer was not heard.
            None => within("publish", job.ask(&mut lease, None)).await?,
        };
        let Some(stored) = stored else {
            lease.give_back();
            return Ok(published);
        };
        if let Some(sealed) = self.sealed.take().filter(|sealed| !sealed.records.is_empty()) {
            self.pace.told(sealed.way);
        }
        match self.note(&lease, &stored).await {
            Ok(()) => lease.give_back(),
            // The segment is published all the same, and the next recovery reads some rows more.
            Err(failure) => tracing::warn!(pair = %self.context.pair, %failure, "checkpoint not written"),
        }
        Ok(published)
    }

    /// Folds what was published in, and writes a checkpoint now and then. After an error the connection is not to be used again.
    async fn note(&mut self, lease: &Lease, stored: &Trailer) -> Result<(), Failure> {
        let Some((claim, view)) = &mut self.owned else { return Ok(()) };
        if stored.sequence != view.next_sequence {
            return Ok(());
        }
        view.fold(stored);
        if !view.next_sequence.0.is_multiple_of(EVERY_SEGMENTS) {
            return Ok(());
        }
        let writing = self.shared.ledger.checkpoint(lease.client(), *claim, view);
        within_time(CHECKPOINT, "write a checkpoint", writing).await
    }
}

impl SegmentWriter for PostgresWriter {
    fn tell_progress(&mut self, tell: Box<dyn Fn() + Send + Sync>) {
        self.progress = Some(tell);
    }

    fn recover(&mut self) -> BoxFuture<'_, Result<LedgerView, Failure>> {
        Box::pin(async move {
            (self.owned, self.open, self.sealed) = (None, Rows::default(), None);
            let recovered = within("recover", self.recover_ledger()).await;
            let (claim, view) = recovered.map_err(|failure| self.place(failure))?;
            self.owned = Some((claim, view.clone()));
            Ok(view)
        })
    }

    fn append<'a>(&'a mut self, block: &'a Block) -> BoxFuture<'a, Result<u64, Failure>> {
        self.open.append(block);
        let size = self.open.size();
        Box::pin(std::future::ready(Ok(size)))
    }

    fn seal(&mut self) -> Result<(), Failure> {
        if self.sealed.is_some() {
            return Err(self.defect("seal: the segment before is not published"));
        }
        let merges = self.shared.looked.get().is_some_and(|looked| looked.write.merges());
        let way = if merges { self.pace.way() } else { Way::Long };
        self.sealed = Some(Sealed::new(std::mem::take(&mut self.open), way));
        Ok(())
    }

    fn publish<'a>(&'a mut self, trailer: &'a Trailer) -> BoxFuture<'a, Result<Published, Failure>> {
        Box::pin(async move { self.publish_sealed(trailer).await.map_err(|failure| self.place(failure)) })
    }
}
