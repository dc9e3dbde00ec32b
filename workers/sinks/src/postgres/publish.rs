//! One segment, one transaction: the claim is checked and the number taken, the rows go in, and the commit makes all of it
//! visible at once.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use longshore_core::ledger::Trailer;
use longshore_core::sink::Published;
use longshore_core::{Block, Failure, Offset, Reason, RunSet};

use super::connect::{Lease, within};
use super::ledger::{Claim, Ledger};
use super::sqlstate::{Verdict, failure, judge};
use super::write::{Put, Write};

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

impl Sealed {
    /// The lines of some of the records, in their order; without a copy when they lie together.
    fn lines(&self, records: &[Record]) -> Bytes {
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

    fn note(&mut self, refused: BTreeSet<Offset>, why: &Failure) {
        self.failures.extend(refused.into_iter().map(|offset| (offset, why.clone())));
    }
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
    /// Some row is refused; which ones is to be found. What is known of it so far.
    Refused(Refusals),
}

/// The records that are refused, and their rows.
#[derive(Default)]
struct Refusals {
    offsets: BTreeSet<Offset>,
    rows: u64,
}

impl Refusals {
    /// Takes records out of a part and gives the rest.
    fn take(&mut self, part: &[Record], named: &BTreeSet<Offset>) -> Vec<Record> {
        let (gone, rest): (Vec<Record>, Vec<Record>) =
            part.iter().partition(|record| named.contains(&record.offset));
        self.offsets.extend(gone.iter().map(|record| record.offset));
        self.rows += gone.iter().map(|record| record.rows).sum::<u64>();
        rest
    }
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
        let mut outcome = within("publish", self.whole(lease, sealed)).await?;
        if let Outcome::Refused(known) = outcome {
            outcome = self.sorted(lease, sealed, known).await?;
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
    async fn whole(&self, lease: &mut Lease, sealed: &mut Sealed) -> Result<Outcome, Failure> {
        if !self.begin(lease, self.trailer).await? {
            return self.roll_back(lease, Outcome::Lost).await;
        }
        match self.insert(lease, sealed, &sealed.records).await? {
            Put::Taken => {}
            Put::Refused(_) => return self.roll_back(lease, Outcome::Refused(Refusals::default())).await,
            Put::Named(named, why) => {
                let mut known = Refusals::default();
                known.take(&sealed.records, &named);
                sealed.note(named, &why);
                return self.roll_back(lease, Outcome::Refused(known)).await;
            }
        }
        say(lease, "COMMIT").await?;
        Ok(Outcome::Committed(Box::new(self.trailer.clone())))
    }

    /// Finds the refused records by halves, each behind a savepoint: two tries for each halving of a batch with a bad record
    /// in it. Each step may take its time, but not all of them together: where most records are refused they are many.
    async fn sorted(
        &self,
        lease: &mut Lease,
        sealed: &mut Sealed,
        mut refusals: Refusals,
    ) -> Result<Outcome, Failure> {
        if !within("publish", self.begin(lease, self.trailer)).await? {
            return self.roll_back(lease, Outcome::Lost).await;
        }
        let named = refusals.offsets.clone();
        let rest: Vec<Record> =
            sealed.records.iter().filter(|record| !named.contains(&record.offset)).copied().collect();
        // All of them together were tried already, unless some are left out now.
        let mut parts = if named.is_empty() { halves(rest).into() } else { vec![rest] };
        while let Some(part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            match within("publish", self.part(lease, sealed, &part)).await? {
                Put::Taken => {}
                Put::Refused(_) if part.len() > 1 => parts.extend(halves(part)),
                Put::Refused(why) => {
                    let one = BTreeSet::from([part[0].offset]);
                    refusals.take(&part, &one);
                    sealed.note(one, &why);
                }
                Put::Named(named, why) => {
                    let rest = refusals.take(&part, &named);
                    sealed.note(named, &why);
                    parts.push(rest);
                }
            }
        }
        let mut trailer = self.trailer.clone();
        trailer.refuse(&Vec::from_iter(refusals.offsets), refusals.rows);
        within("publish", self.commit(lease, &trailer)).await?;
        Ok(Outcome::Committed(Box::new(trailer)))
    }

    /// Some of the records behind a savepoint, which is as if nothing had been when they are not all taken.
    async fn part(&self, lease: &mut Lease, sealed: &Sealed, part: &[Record]) -> Result<Put, Failure> {
        say(lease, self.write.begin_part()).await?;
        let put = self.insert(lease, sealed, part).await?;
        let taken = matches!(put, Put::Taken);
        say(lease, if taken { "RELEASE part" } else { "ROLLBACK TO part; RELEASE part" }).await?;
        Ok(put)
    }

    async fn commit(&self, lease: &Lease, trailer: &Trailer) -> Result<(), Failure> {
        let amended = self.ledger.amend(lease.client(), self.claim, trailer).await;
        amended.map_err(|error| failure("publish", &error))?;
        say(lease, "COMMIT").await
    }

    /// Begins the transaction; false when the number is not ours to take. Constraints that wait for the commit could not be
    /// told from one another there.
    async fn begin(&self, lease: &mut Lease, trailer: &Trailer) -> Result<bool, Failure> {
        let fail = |error| failure("publish", &error);
        self.write.prepare(lease).await.map_err(fail)?;
        say(lease, "BEGIN; SET CONSTRAINTS ALL IMMEDIATE").await?;
        self.ledger.stake(lease, self.claim, trailer).await.map_err(fail)
    }

    async fn roll_back(&self, lease: &mut Lease, outcome: Outcome) -> Result<Outcome, Failure> {
        say(lease, "ROLLBACK").await?;
        Ok(outcome)
    }

    /// Writes some of the records.
    async fn insert(&self, lease: &mut Lease, sealed: &Sealed, records: &[Record]) -> Result<Put, Failure> {
        if records.is_empty() {
            return Ok(Put::Taken);
        }
        let rows = records.iter().map(|record| record.rows).sum();
        match self.write.put(lease, self.claim, sealed.lines(records), rows).await {
            Ok(put) => Ok(put),
            Err(error) if matches!(judge(&error), Verdict::Row(_)) => {
                Ok(Put::Refused(failure("insert", &error)))
            }
            Err(error) => Err(failure("publish", &error)),
        }
    }
}

/// A statement of the transaction.
async fn say(lease: &Lease, text: &str) -> Result<(), Failure> {
    lease.client().batch_execute(text).await.map_err(|error| failure("publish", &error))
}

/// Two halves, the later one first, since the last of a list is tried next: of two records that exclude each other the earlier
/// one is taken.
fn halves<T>(mut part: Vec<T>) -> [Vec<T>; 2] {
    let later = part.split_off(part.len() / 2);
    [later, part]
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
        let mut seen = Vec::new();
        let mut parts = Vec::from(halves((0..7).collect::<Vec<_>>()));
        while let Some(part) = parts.pop() {
            if part.len() == 1 { seen.extend(part) } else { parts.extend(halves(part)) }
        }
        assert_eq!(seen, [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(halves(vec![3]), [vec![3], vec![]]);
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
