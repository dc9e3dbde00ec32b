//! A pair's ledger: claimed under a rising epoch, recovered, checkpointed, and asked what became of a number.

use longshore_core::format::{POSTGRES_CHECKPOINT, TRAILER};
use longshore_core::ledger::{LedgerView, Trailer};
use longshore_core::sink::WriterContext;
use longshore_core::{Failure, Generation, Reason, Sequence, WriterId};
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use super::connect::Lease;
use super::options::Table;
use super::schema::{CHECKPOINTS, LEDGER, PAIRS};
use super::sqlstate::failure;

/// A checkpoint is written each time so many segments were published (design section 4, rule 8).
pub(super) const EVERY_SEGMENTS: u64 = 64;
/// So many rows before the newest checkpoint stay, for people who look.
const KEPT_ROWS: i64 = 1_024;

/// A pair that this writer has claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// The pair's number in our table.
    pub(super) pair: i64,
    pub(super) epoch: i64,
}

/// What is stored under a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) writer: WriterId,
    pub(super) trailer: Trailer,
}

/// The statements on the ledger of one sink.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    pub(super) pipeline: String,
    pub(super) generation: Generation,
    sink: String,
    pairs: String,
    ledger: String,
    checkpoints: String,
    stake: String,
    begin: String,
}

impl Ledger {
    pub(super) fn new(pipeline: &str, generation: Generation, sink: &str, table: &Table) -> Self {
        let [pairs, ledger, checkpoints] = [PAIRS, LEDGER, CHECKPOINTS].map(|name| table.beside(name));
        let (pipeline, sink) = (pipeline.to_owned(), sink.to_owned());
        let stake = format!(
            "WITH own AS (SELECT id FROM {pairs} WHERE id = $1 AND epoch = $2 FOR SHARE) \
             INSERT INTO {ledger} (pair, sequence, writer, epoch, trailer) \
             SELECT id, $3, $4, $2, $5::text::jsonb FROM own ON CONFLICT DO NOTHING"
        );
        let begin = format!("UPDATE {pairs} SET begins = $2, topic_id = $3 WHERE id = $1");
        Self { pipeline, generation, sink, pairs, ledger, checkpoints, stake, begin }
    }

    /// Takes the pair over: no transaction of an earlier epoch commits after this. One that is being committed now is
    /// waited for, and what it wrote is found by [`Self::recover`].
    pub(super) async fn claim(&self, client: &Client, context: &WriterContext) -> Result<Claim, Failure> {
        let text = format!(
            "INSERT INTO {pairs} AS known (pipeline, generation, sink, topic, partition, epoch, writer) \
             VALUES ($1, $2, $3, $4, $5, 1, $6) \
             ON CONFLICT (pipeline, generation, sink, topic, partition) \
             DO UPDATE SET epoch = known.epoch + 1, writer = excluded.writer, claimed = now() \
             RETURNING id, epoch",
            pairs = self.pairs
        );
        let generation = self.generation.0 as i32;
        let (topic, partition) = (context.pair.topic.as_str(), context.pair.partition.0);
        let writer = context.writer.to_string();
        let row = client
            .query_one(text.as_str(), &[&self.pipeline, &generation, &self.sink, &topic, &partition, &writer])
            .await
            .map_err(|error| failure("claim the pair", &error))?;
        Ok(Claim { pair: row.get(0), epoch: row.get(1) })
    }

    /// Everything that was published for the pair.
    pub(super) async fn recover(&self, client: &Client, claim: Claim) -> Result<LedgerView, Failure> {
        let fail = |error| failure("read the ledger", &error);
        let text = format!("SELECT view FROM {} WHERE pair = $1", self.checkpoints);
        let mut view = match client.query_opt(text.as_str(), &[&claim.pair]).await.map_err(fail)? {
            Some(row) => read_checkpoint(row.get(0))?,
            None => LedgerView::default(),
        };
        let text = format!(
            "SELECT sequence, trailer::text FROM {} WHERE pair = $1 AND sequence >= $2 ORDER BY sequence",
            self.ledger
        );
        let from = view.next_sequence.0 as i64;
        for row in client.query(text.as_str(), &[&claim.pair, &from]).await.map_err(fail)? {
            let trailer = read(row.get(1))?;
            let place = row.get::<_, i64>(0);
            if trailer.sequence != view.next_sequence || place != trailer.sequence.0 as i64 {
                let next = view.next_sequence;
                return Err(broken("ledger", format_args!("number {place} follows where {next} should")));
            }
            view.fold(&trailer);
        }
        Ok(view)
    }

    /// In a transaction: takes the number if the claim still holds, and keeps it from being claimed until the end. False
    /// when somebody else claimed the pair, or the number is taken. Waits for whoever is about to take it.
    ///
    /// The first number says where the generation begins: what lies behind is read in it, what lies before comes late if at all
    /// (by a retry, by a replay). Rows of earlier generations are judged by that.
    pub(super) async fn stake(
        &self,
        lease: &mut Lease,
        claim: Claim,
        trailer: &Trailer,
    ) -> Result<bool, tokio_postgres::Error> {
        let statement = lease.statement(&self.stake).await?;
        let (sequence, writer) = (trailer.sequence.0 as i64, trailer.writer.to_string());
        let values: [&(dyn ToSql + Sync); 5] =
            [&claim.pair, &claim.epoch, &sequence, &writer, &json(trailer)];
        let taken = lease.client().execute(&statement, &values).await? == 1;
        if taken && sequence == 0 {
            let begins = trailer.covers.0.0;
            lease.client().execute(self.begin.as_str(), &[&claim.pair, &begins, &trailer.topic_id]).await?;
        }
        Ok(taken)
    }

    /// In the same transaction: what the trailer says after rows were refused.
    pub(super) async fn amend(
        &self,
        client: &Client,
        claim: Claim,
        trailer: &Trailer,
    ) -> Result<(), tokio_postgres::Error> {
        let text =
            format!("UPDATE {} SET trailer = $3::text::jsonb WHERE pair = $1 AND sequence = $2", self.ledger);
        let sequence = trailer.sequence.0 as i64;
        client.execute(text.as_str(), &[&claim.pair, &sequence, &json(trailer)]).await.map(|_| ())
    }

    /// What is stored under the number, none when it is free.
    pub(super) async fn find(
        &self,
        client: &Client,
        claim: Claim,
        sequence: Sequence,
    ) -> Result<Option<Stored>, Failure> {
        let text = format!("SELECT trailer::text FROM {} WHERE pair = $1 AND sequence = $2", self.ledger);
        let row = client.query_opt(text.as_str(), &[&claim.pair, &(sequence.0 as i64)]).await;
        let Some(row) = row.map_err(|error| failure("read the ledger", &error))? else { return Ok(None) };
        let trailer = read(row.get(0))?;
        Ok(Some(Stored { writer: trailer.writer, trailer }))
    }

    /// Whose the pair is by the last claim.
    pub(super) async fn owner(&self, client: &Client, claim: Claim) -> Result<(i64, WriterId), Failure> {
        let text = format!("SELECT epoch, writer FROM {} WHERE id = $1", self.pairs);
        let row = client
            .query_opt(text.as_str(), &[&claim.pair])
            .await
            .map_err(|error| failure("read the claim", &error))?;
        let Some(row) = row else {
            return Err(Failure::halt(Reason::LedgerMissing, "the pair's row is gone"));
        };
        let writer = u128::from_str_radix(row.get(1), 16).map_err(|error| broken("claim", error))?;
        Ok((row.get(0), WriterId(writer)))
    }

    /// Folds the ledger up to here, and takes away the rows long before it.
    pub(super) async fn checkpoint(
        &self,
        client: &Client,
        claim: Claim,
        view: &LedgerView,
    ) -> Result<(), Failure> {
        let fail = |error| failure("write a checkpoint", &error);
        let text = serde_json::to_string(view).map_err(|error| broken("checkpoint", error))?;
        let next = view.next_sequence.0 as i64;
        let statement = format!(
            "INSERT INTO {checkpoints} AS known (pair, next, view) VALUES ($1, $2, $3) \
             ON CONFLICT (pair) DO UPDATE SET next = excluded.next, view = excluded.view WHERE known.next < excluded.next",
            checkpoints = self.checkpoints
        );
        client.execute(statement.as_str(), &[&claim.pair, &next, &text]).await.map_err(fail)?;
        let statement = format!("DELETE FROM {} WHERE pair = $1 AND sequence < $2", self.ledger);
        client.execute(statement.as_str(), &[&claim.pair, &(next - KEPT_ROWS)]).await.map_err(fail)?;
        Ok(())
    }
}

fn json(trailer: &Trailer) -> String {
    // A trailer is made of numbers, texts, lists and maps of those, so it can always be written.
    serde_json::to_string(trailer).unwrap_or_default()
}

fn read(text: &str) -> Result<Trailer, Failure> {
    TRAILER.read(text.as_bytes()).map_err(|error| error.into_failure("trailer", Reason::LedgerBroken))
}

/// A checkpoint says its version from the second one on.
fn read_checkpoint(text: &str) -> Result<LedgerView, Failure> {
    let view = POSTGRES_CHECKPOINT.read(text.as_bytes());
    view.map_err(|error| error.into_failure("checkpoint", Reason::LedgerBroken))
}

fn broken(what: &str, detail: impl std::fmt::Display) -> Failure {
    Failure::halt(Reason::LedgerBroken, format_args!("{what}: {detail}"))
}
