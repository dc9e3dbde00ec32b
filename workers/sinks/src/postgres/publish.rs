//! One segment, one transaction: the claim is checked and the number taken, the rows go in, and the commit makes all of it
//! visible at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use longshore_core::ledger::Trailer;
use longshore_core::sink::Published;
use longshore_core::{Block, Class, Failure, Offset, Reason, RunSet, Scope};

use tokio_postgres::error::SqlState;

use super::connect::{Lease, within};
use super::ledger::Claim;
use super::sort::Sorting;
use super::sqlstate::{failure, refusal};
use super::straight::Way;
use super::write::Put;
use super::{Looked, Shared};

/// The rows of one segment, as `COPY` reads them.
#[derive(Debug, Default)]
pub(super) struct Rows {
    bytes: Vec<u8>,
    records: Vec<Record>,
}

/// The rows of one record; a record is taken or refused as a whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) offset: Offset,
    start: usize,
    end: usize,
    pub(super) rows: u64,
}

impl Rows {
    pub(super) fn append(&mut self, block: &Block) {
        for row in &block.rows {
            let Some(range) = &row.value else { continue };
            let start = self.bytes.len();
            self.bytes.extend_from_slice(&block.bytes[range.start as usize..range.end as usize]);
            let end = self.bytes.len();
            match self.records.last_mut() {
                Some(last) if last.offset == row.offset => (last.end, last.rows) = (end, last.rows + 1),
                _ => self.records.push(Record { offset: row.offset, start, end, rows: 1 }),
            }
        }
    }

    pub(super) fn size(&self) -> u64 {
        self.bytes.len() as u64
    }
}

/// A sealed segment, shared with its transactions without a copy.
#[derive(Debug)]
pub(super) struct Sealed {
    bytes: Bytes,
    pub(super) records: Vec<Record>,
    /// Why records were refused by any try so far: a try whose commit nobody heard of is answered for later.
    failures: BTreeMap<Offset, Failure>,
    /// Whether a try followed at once.
    hurried: bool,
    /// How its rows go into a table with a key.
    pub(super) way: Way,
}

impl Sealed {
    pub(super) fn new(rows: Rows, way: Way) -> Self {
        let Rows { bytes, records } = rows;
        Self { bytes: bytes.into(), records, failures: BTreeMap::new(), hurried: false, way }
    }

    /// What asks for a try at once gets it once for a segment; if that is not the end of it, the usual pauses follow.
    pub(super) fn paced(&mut self, mut failure: Failure) -> Failure {
        if let Class::Retry { after: after @ Some(_), .. } = &mut failure.class
            && std::mem::replace(&mut self.hurried, true)
        {
            *after = None;
        }
        failure
    }

    /// The lines of some of the records, in their order; without a copy when they lie together.
    pub(super) fn lines(&self, records: &[Record]) -> Bytes {
        let (Some(first), Some(last)) = (records.first(), records.last()) else { return Bytes::new() };
        let length: usize = records.iter().map(|record| record.end - record.start).sum();
        if last.end - first.start == length {
            return self.bytes.slice(first.start..last.end);
        }
        let mut lines = Vec::with_capacity(length);
        for record in records {
            lines.extend_from_slice(&self.bytes[record.start..record.end]);
        }
        lines.into()
    }

    pub(super) fn note(&mut self, refused: &BTreeSet<Offset>, why: &Failure) {
        self.failures.extend(refused.iter().map(|offset| (*offset, why.clone())));
    }
}

/// What a transaction came to.
pub(super) enum Outcome {
    Committed(Box<Trailer>),
    /// The number is taken or the pair is claimed by another: the ledger knows by whom.
    Lost,
    /// Some row is refused; which ones is to be found. Those that are known already.
    Refused(BTreeSet<Offset>),
}

/// The work on one segment.
pub(super) struct Job<'a> {
    pub(super) shared: &'a Shared,
    pub(super) looked: &'a Looked,
    pub(super) claim: Claim,
    pub(super) trailer: &'a Trailer,
    /// What to call while it takes long.
    pub(super) progress: Option<&'a (dyn Fn() + Send + Sync)>,
}

impl Job<'_> {
    /// Publishes the segment. After an error nobody knows whether it was committed; the next call finds out.
    pub(super) async fn run(
        &self,
        lease: &mut Lease,
        sealed: &mut Sealed,
    ) -> Result<(Published, Option<Trailer>), Failure> {
        let mut outcome = within("publish", self.whole(lease, sealed)).await?;
        if let Outcome::Refused(named) = outcome {
            outcome = Sorting::begin(self, sealed, named).run(lease).await?;
        }
        match outcome {
            Outcome::Committed(trailer) => Ok(self.done(*trailer, sealed)),
            Outcome::Lost | Outcome::Refused(_) => within("publish", self.ask(lease, Some(sealed))).await,
        }
    }

    /// What became of the number: our own earlier try, or another's.
    pub(super) async fn ask(
        &self,
        lease: &mut Lease,
        sealed: Option<&Sealed>,
    ) -> Result<(Published, Option<Trailer>), Failure> {
        let client = lease.client();
        if let Some(stored) = self.shared.ledger.find(client, self.claim, self.trailer.sequence).await? {
            if stored.writer != self.trailer.writer {
                return Ok((Published::TakenByOther(stored.writer), None));
            }
            let empty = Sealed::new(Rows::default(), Way::Long);
            return Ok(self.done(stored.trailer, sealed.unwrap_or(&empty)));
        }
        let (epoch, writer) = self.shared.ledger.owner(client, self.claim).await?;
        if epoch != self.claim.epoch {
            return Ok((Published::TakenByOther(writer), None));
        }
        Err(Failure::target(Reason::SinkUnavailable, "publish: the number is free again"))
    }

    /// What the stored trailer says of the rows that we asked for.
    fn done(&self, stored: Trailer, sealed: &Sealed) -> (Published, Option<Trailer>) {
        let refused = refused_by(self.trailer, &stored);
        let why = |offset: Offset| {
            let unheard =
                || Failure::reject(Reason::SinkRejected, "refused by a try whose answer was not heard");
            (offset, sealed.failures.get(&offset).cloned().unwrap_or_else(unheard))
        };
        let spans = refused.iter().flat_map(|(first, end)| (first.0..end.0).map(Offset));
        (Published::Done(spans.map(why).collect()), Some(stored))
    }

    /// All rows at once: what nearly always works.
    async fn whole(&self, lease: &mut Lease, sealed: &mut Sealed) -> Result<Outcome, Failure> {
        if sealed.way == Way::Short {
            sealed.way = Way::TurnedBack;
            if let Some(outcome) = self.straight(lease, sealed).await? {
                sealed.way = Way::Short;
                return Ok(outcome);
            }
        }
        if !self.begin(lease).await? {
            return self.roll_back(lease, Outcome::Lost).await;
        }
        match self.insert(lease, sealed, &sealed.records).await? {
            Put::Taken => {}
            Put::Refused(_) => return self.roll_back(lease, Outcome::Refused(BTreeSet::new())).await,
            Put::Named(named, why) => {
                sealed.note(&named, &why);
                return self.roll_back(lease, Outcome::Refused(named)).await;
            }
        }
        self.check_stage(lease).await?;
        say(lease, "COMMIT").await?;
        Ok(Outcome::Committed(Box::new(self.trailer.clone())))
    }

    /// Before a row is blamed or committed: whether it went by way of columns that the table had once. The next try has a connection that
    /// knows the columns of now.
    pub(super) async fn check_stage(&self, lease: &mut Lease) -> Result<(), Failure> {
        let stale = self.looked.write.is_stale(lease).await;
        if stale.map_err(|error| failure("publish", &error))? { Err(changed()) } else { Ok(()) }
    }

    /// Commits with a trailer that says what was refused.
    pub(super) async fn commit(&self, lease: &Lease, trailer: &Trailer) -> Result<(), Failure> {
        let amended = self.shared.ledger.amend(lease.client(), self.claim, trailer).await;
        amended.map_err(|error| failure("publish", &error))?;
        say(lease, "COMMIT").await
    }

    /// Begins the transaction; false when the number is not ours to take.
    pub(super) async fn begin(&self, lease: &mut Lease) -> Result<bool, Failure> {
        let prepared = self.looked.write.prepare(lease).await;
        prepared.map_err(|error| failure("publish", &error))?;
        self.stake(lease).await
    }

    /// The same where no temporary table is needed.
    pub(super) async fn stake(&self, lease: &mut Lease) -> Result<bool, Failure> {
        lease.begin().await?;
        let staked = self.shared.ledger.stake(lease, self.claim, self.trailer).await;
        staked.map_err(|error| failure("publish", &error))
    }

    pub(super) async fn roll_back<T>(&self, lease: &Lease, outcome: T) -> Result<T, Failure> {
        say(lease, "ROLLBACK").await?;
        Ok(outcome)
    }

    /// Writes some of the records.
    pub(super) async fn insert(
        &self,
        lease: &mut Lease,
        sealed: &Sealed,
        records: &[Record],
    ) -> Result<Put, Failure> {
        if records.is_empty() {
            return Ok(Put::Taken);
        }
        let rows = records.iter().map(|record| record.rows).sum();
        match self.looked.write.put(lease, self.claim, sealed.lines(records), rows).await {
            Ok(put) => Ok(put),
            Err(error) => {
                if let Some(why) = refusal(&error) {
                    return Ok(Put::Refused(why));
                }
                // A column's type of before cannot even be turned into that of now; or a trigger's own statement is wrong.
                if error.code() == Some(&SqlState::DATATYPE_MISMATCH) {
                    say(lease, "ROLLBACK").await?;
                    self.check_stage(lease).await?;
                }
                Err(failure("publish", &error))
            }
        }
    }
}

/// The columns are not those that this connection knows.
fn changed() -> Failure {
    let class = Class::Retry { scope: Scope::Target, after: Some(Duration::ZERO) };
    let words = "publish: the table's columns were changed, once more by their new types";
    Failure::new(class, Reason::SinkUnavailable, words)
}

/// A statement of the transaction.
pub(super) async fn say(lease: &Lease, text: &str) -> Result<(), Failure> {
    lease.client().batch_execute(text).await.map_err(|error| failure("publish", &error))
}

/// The records that the stored trailer does not hold though the one we asked for does.
fn refused_by(asked: &Trailer, stored: &Trailer) -> RunSet {
    let mut refused = stored.except.clone();
    refused.subtract(&asked.except);
    let mut gone = asked.also.clone();
    gone.subtract(&stored.also);
    refused.union(&gone);
    refused
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantee: children of one record are one record, which is taken or refused as a whole.
    #[test]
    fn children_of_a_record_go_together() {
        let row = |offset: i64, start: u32| longshore_core::Row {
            offset: Offset(offset),
            key: None,
            value: Some(start..start + 2),
            headers: Vec::new(),
        };
        let block = Block {
            bytes: b"a\nb\nc\n".to_vec(),
            rows: vec![row(1, 0), row(1, 2), row(2, 4)],
            ..Block::default()
        };
        let mut rows = Rows::default();
        rows.append(&block);
        let ends: Vec<_> =
            rows.records.iter().map(|record| (record.offset.0, record.end, record.rows)).collect();
        assert_eq!((ends, rows.size()), (vec![(1, 4, 2), (2, 6, 1)], 6));
    }
}
