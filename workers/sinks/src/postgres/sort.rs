//! Finds the records of a segment that the table refuses, and publishes the others: by halves, each behind a savepoint, which costs
//! two tries for each halving of a batch with a bad record in it.
//!
//! Where most records are refused these are many. So the work goes on over several transactions, each short: what is found stays
//! known, and whoever claims the pair meanwhile waits for one of them and not for all.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use longshore_core::{Failure, Offset, Reason};

use super::connect::{Lease, within};
use super::publish::{Job, Outcome, Record, Sealed, say};
use super::schema;
use super::write::Put;

/// How long one transaction goes on beginning parts.
const TURN: Duration = Duration::from_secs(15);
/// How many parts it begins. Each leaves a subtransaction behind, which everybody's snapshots look through.
const TURN_PARTS: usize = 500;
/// How often it is said that the work gets on.
const TELL: Duration = Duration::from_secs(1);

/// The state of the search.
pub(super) struct Sorting<'a, 'b> {
    job: &'a Job<'b>,
    sealed: &'a mut Sealed,
    /// Taken by an earlier transaction of this search, so most likely by the next one as well.
    good: Vec<Record>,
    /// Not known yet; the last one is tried next.
    parts: Vec<Vec<Record>>,
    refused: BTreeSet<Offset>,
    refused_rows: u64,
    told: Instant,
}

impl<'a, 'b> Sorting<'a, 'b> {
    /// Before the first transaction. All records together were tried already; `named` are known to be refused.
    pub(super) fn begin(job: &'a Job<'b>, sealed: &'a mut Sealed, named: BTreeSet<Offset>) -> Self {
        let all = sealed.records.clone();
        let (refused, refused_rows) = (BTreeSet::new(), 0);
        let (good, parts) = (Vec::new(), Vec::new());
        let mut sorting = Self { job, sealed, good, parts, refused, refused_rows, told: Instant::now() };
        let rest = sorting.refuse(all, &named);
        sorting.parts = if named.is_empty() { halves(rest).into() } else { vec![rest] };
        sorting
    }

    /// Until the segment is published, or lost to another.
    pub(super) async fn run(mut self, lease: &mut Lease) -> Result<Outcome, Failure> {
        self.look_again(lease).await?;
        loop {
            if !within("publish", self.job.begin(lease)).await? {
                return within("publish", self.job.roll_back(lease, Outcome::Lost)).await;
            }
            self.turn(lease).await?;
            within("publish", self.job.check_stage(lease)).await?;
            if self.parts.is_empty() {
                let mut trailer = self.job.trailer.clone();
                trailer.refuse(&Vec::from_iter(self.refused), self.refused_rows);
                within("publish", self.job.commit(lease, &trailer)).await?;
                return Ok(Outcome::Committed(Box::new(trailer)));
            }
            within("publish", self.job.roll_back(lease, ())).await?;
        }
    }

    /// No row is to blame when the table is another one than was looked at.
    async fn look_again(&self, lease: &mut Lease) -> Result<(), Failure> {
        within("publish", self.job.check_stage(lease)).await?;
        let seen = within("publish", schema::look(lease.client(), &self.job.shared.options)).await?;
        if seen.kinds == self.job.looked.kinds {
            return Ok(());
        }
        let words =
            "columns have other types than at the start, which rows are written by: start the workers anew";
        Err(Failure::halt(
            Reason::SinkUnfit,
            format_args!("table {}: {words}", self.job.shared.options.table),
        ))
    }

    /// Tries parts within one transaction until all is known or its time is over.
    async fn turn(&mut self, lease: &mut Lease) -> Result<(), Failure> {
        let began = Instant::now();
        let earlier = std::mem::take(&mut self.good);
        if !earlier.is_empty() {
            self.parts.push(earlier);
        }
        for tried in 0..TURN_PARTS {
            let Some(part) = self.parts.pop() else { break };
            if !part.is_empty() {
                self.part(lease, part).await?;
            }
            self.tell();
            // What was known to be good is no step forward, however long it takes.
            if tried > 0 && began.elapsed() > TURN {
                break;
            }
        }
        Ok(())
    }

    async fn part(&mut self, lease: &mut Lease, part: Vec<Record>) -> Result<(), Failure> {
        match within("publish", self.put(lease, &part)).await? {
            Put::Taken => self.good.extend(part),
            Put::Refused(_) if part.len() > 1 => self.parts.extend(halves(part)),
            Put::Refused(why) => {
                let one = BTreeSet::from([part[0].offset]);
                self.sealed.note(&one, &why);
                self.refuse(part, &one);
            }
            Put::Named(named, why) => {
                self.sealed.note(&named, &why);
                let rest = self.refuse(part, &named);
                self.parts.push(rest);
            }
        }
        Ok(())
    }

    /// Some of the records behind a savepoint, which is as if nothing had been when they are not all taken.
    async fn put(&self, lease: &mut Lease, part: &[Record]) -> Result<Put, Failure> {
        say(lease, self.job.looked.write.begin_part()).await?;
        let put = self.job.insert(lease, self.sealed, part).await?;
        let taken = matches!(put, Put::Taken);
        say(lease, if taken { "RELEASE part" } else { "ROLLBACK TO part; RELEASE part" }).await?;
        Ok(put)
    }

    /// Notes that records are refused, and gives the rest of a part.
    fn refuse(&mut self, part: Vec<Record>, named: &BTreeSet<Offset>) -> Vec<Record> {
        let (gone, rest): (Vec<Record>, Vec<Record>) =
            part.into_iter().partition(|record| named.contains(&record.offset));
        self.refused.extend(gone.iter().map(|record| record.offset));
        self.refused_rows += gone.iter().map(|record| record.rows).sum::<u64>();
        rest
    }

    fn tell(&mut self) {
        if let Some(progress) = self.job.progress.filter(|_| self.told.elapsed() >= TELL) {
            progress();
            self.told = Instant::now();
        }
    }
}

/// Two halves, the later one first, since the last of a list is tried next: of two records that exclude each other the earlier
/// one is taken.
fn halves<T>(mut part: Vec<T>) -> [Vec<T>; 2] {
    let later = part.split_off(part.len() / 2);
    [later, part]
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
}
