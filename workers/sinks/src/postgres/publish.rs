//! One segment, one transaction: the claim is checked and the number taken, the rows go in, and the commit makes all of it
//! visible at once.

use std::collections::BTreeMap;

use bytes::Bytes;
use longshore_core::ledger::Trailer;
use longshore_core::sink::Published;
use longshore_core::{Block, Failure, Offset, Reason, RunSet};

use super::connect::Lease;
use super::ledger::{Claim, Ledger};
use super::sqlstate::{Verdict, failure, judge};
use super::write::Write;

/// The rows of one segment, as `COPY` reads them.
#[derive(Debug, Default)]
pub(super) struct Rows {
    bytes: Vec<u8>,
    records: Vec<Record>,
}

/// The rows of one record; a record is taken or refused as a whole.
#[derive(Clone, Copy, Debug)]
struct Record {
    offset: Offset,
    start: usize,
    end: usize,
    rows: u64,
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
    records: Vec<Record>,
    /// Why records were refused by any try so far: a try whose commit nobody heard of is answered for later.
    failures: BTreeMap<Offset, Failure>,
}

impl From<Rows> for Sealed {
    fn from(rows: Rows) -> Self {
        Self { bytes: Bytes::from(rows.bytes), records: rows.records, failures: BTreeMap::new() }
    }
}

/// What a transaction came to.
enum Outcome {
    Committed(Box<Trailer>),
    /// The number is taken or the pair is claimed by another: the ledger knows by whom.
    Lost,
    /// Some row is refused; which ones is to be found.
    Refused,
}

/// The work on one segment.
pub(super) struct Job<'a> {
    pub(super) ledger: &'a Ledger,
    pub(super) claim: Claim,
    pub(super) write: &'a Write,
    pub(super) trailer: &'a Trailer,
}

impl Job<'_> {
    /// Publishes the segment. After an error nobody knows whether it was committed; the next call finds out.
    pub(super) async fn run(
        &self,
        lease: &mut Lease,
        sealed: &mut Sealed,
    ) -> Result<(Published, Option<Trailer>), Failure> {
        let mut outcome = self.whole(lease, sealed).await?;
        if matches!(outcome, Outcome::Refused) {
            outcome = self.sorted(lease, sealed).await?;
        }
        match outcome {
            Outcome::Committed(trailer) => Ok(self.done(*trailer, sealed)),
            Outcome::Lost | Outcome::Refused => self.ask(lease, Some(sealed)).await,
        }
    }

    /// What became of the number: our own earlier try, or another's.
    pub(super) async fn ask(
        &self,
        lease: &mut Lease,
        sealed: Option<&Sealed>,
    ) -> Result<(Published, Option<Trailer>), Failure> {
        let client = lease.client();
        if let Some(stored) = self.ledger.find(client, self.claim, self.trailer.sequence).await? {
            if stored.writer != self.trailer.writer {
                return Ok((Published::TakenByOther(stored.writer), None));
            }
            let empty = Sealed::from(Rows::default());
            return Ok(self.done(stored.trailer, sealed.unwrap_or(&empty)));
        }
        let (epoch, writer) = self.ledger.owner(client, self.claim).await?;
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
    async fn whole(&self, lease: &mut Lease, sealed: &Sealed) -> Result<Outcome, Failure> {
        let fail = |error| failure("publish", &error);
        if !self.begin(lease, self.trailer).await.map_err(fail)? {
            return self.roll_back(lease, Outcome::Lost).await;
        }
        if self.insert(lease, sealed, 0, sealed.records.len()).await?.is_some() {
            return self.roll_back(lease, Outcome::Refused).await;
        }
        lease.client().batch_execute("COMMIT").await.map_err(fail)?;
        Ok(Outcome::Committed(Box::new(self.trailer.clone())))
    }

    /// Finds the refused records by halves, each behind a savepoint: two tries for each halving of a batch with a bad record
    /// in it.
    async fn sorted(&self, lease: &mut Lease, sealed: &mut Sealed) -> Result<Outcome, Failure> {
        let fail = |error| failure("publish", &error);
        if !self.begin(lease, self.trailer).await.map_err(fail)? {
            return self.roll_back(lease, Outcome::Lost).await;
        }
        let (mut refused, mut rows) = (Vec::new(), 0);
        // The whole was tried already.
        let mut parts = halves(0, sealed.records.len());
        while let Some((first, end)) = parts.pop() {
            lease.client().batch_execute("SAVEPOINT part").await.map_err(fail)?;
            let Some(refusal) = self.insert(lease, sealed, first, end).await? else {
                lease.client().batch_execute(self.write.end_of_part()).await.map_err(fail)?;
                continue;
            };
            lease.client().batch_execute("ROLLBACK TO part; RELEASE part").await.map_err(fail)?;
            if end - first > 1 {
                parts.extend(halves(first, end));
                continue;
            }
            let record = sealed.records[first];
            sealed.failures.insert(record.offset, refusal);
            refused.push(record.offset);
            rows += record.rows;
        }
        let mut trailer = self.trailer.clone();
        trailer.refuse(&refused, rows);
        self.ledger.amend(lease.client(), self.claim, &trailer).await.map_err(fail)?;
        lease.client().batch_execute("COMMIT").await.map_err(fail)?;
        Ok(Outcome::Committed(Box::new(trailer)))
    }

    /// Begins the transaction; false when the number is not ours to take. Constraints that wait for the commit could not be
    /// told from one another there.
    async fn begin(&self, lease: &mut Lease, trailer: &Trailer) -> Result<bool, tokio_postgres::Error> {
        self.write.prepare(lease).await?;
        lease.client().batch_execute("BEGIN; SET CONSTRAINTS ALL IMMEDIATE").await?;
        self.ledger.stake(lease, self.claim, trailer).await
    }

    async fn roll_back(&self, lease: &mut Lease, outcome: Outcome) -> Result<Outcome, Failure> {
        lease.client().batch_execute("ROLLBACK").await.map_err(|error| failure("roll back", &error))?;
        Ok(outcome)
    }

    /// Writes some of the records. `Some` when one or more of them are refused: why, if it was one.
    async fn insert(
        &self,
        lease: &mut Lease,
        sealed: &Sealed,
        first: usize,
        end: usize,
    ) -> Result<Option<Failure>, Failure> {
        let Some(records) = sealed.records.get(first..end).filter(|records| !records.is_empty()) else {
            return Ok(None);
        };
        let lines = sealed.bytes.slice(records[0].start..records[records.len() - 1].end);
        let rows = records.iter().map(|record| record.rows).sum();
        match self.write.put(lease, self.claim, lines, rows).await {
            Ok(refusal) => Ok(refusal),
            Err(error) if matches!(judge(&error), Verdict::Row(_)) => Ok(Some(failure("insert", &error))),
            Err(error) => Err(failure("publish", &error)),
        }
    }
}

/// Two halves, the later one first, since the last of a list is tried next: of two records that exclude each other the earlier
/// one is taken.
fn halves(first: usize, end: usize) -> Vec<(usize, usize)> {
    let middle = first + (end - first) / 2;
    [(middle, end), (first, middle)].into_iter().filter(|(first, end)| first < end).collect()
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

    /// Guarantee: halving comes to every record once, in their order.
    #[test]
    fn halves_keep_the_order() {
        let (mut seen, mut parts) = (Vec::new(), halves(0, 7));
        while let Some((first, end)) = parts.pop() {
            if end - first == 1 { seen.push(first) } else { parts.extend(halves(first, end)) }
        }
        assert_eq!(seen, [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(halves(3, 4), [(3, 4)]);
        assert!(halves(0, 0).is_empty());
    }

    /// Guarantee: children of one record are one record, which is taken or refused as a whole.
    #[test]
    fn children_of_a_record_go_together() {
        let row = |offset: i64, start: u32| longshore_core::Row {
            offset: Offset(offset),
            key: None,
            value: Some(start..start + 2),
            headers: Vec::new(),
        };
        let block = Block { bytes: b"a\nb\nc\n".to_vec(), rows: vec![row(1, 0), row(1, 2), row(2, 4)] };
        let mut rows = Rows::default();
        rows.append(&block);
        let ends: Vec<_> =
            rows.records.iter().map(|record| (record.offset.0, record.end, record.rows)).collect();
        assert_eq!((ends, rows.size()), (vec![(1, 4, 2), (2, 6, 1)], 6));
    }
}
