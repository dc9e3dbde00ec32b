//! The short way of a segment in mode `upsert`: by `COPY` straight into the table, which holds where no key has a row yet.
//!
//! Through the temporary table each row is written twice and looked for before; where keys are new, as the ids of events are, both is in vain. So
//! the short way is tried first. A key that has a row, or stands in the segment twice, is told by the unique index at the first such
//! line, and the segment goes the long way, where offsets decide. What was copied until then leaves dead rows behind, so after each failure
//! twice as many segments pass before it is tried again: a table whose rows change hardly ever sees it.

use std::pin::pin;

use bytes::Bytes;
use futures::SinkExt;
use longshore_core::Failure;

use super::connect::Lease;
use super::ledger::Claim;
use super::publish::{Job, Outcome, Sealed, say};
use super::sqlstate::{failure, is_of_rows_or_table};
use super::write::PIECE_BYTES;

/// So many segments at most go the long way before the short one is tried again.
const LONGEST_WAIT: u32 = 256;

/// How a segment's rows go into the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// By the temporary table, or into a table without a key.
    Long,
    /// Straight into a table with a key, as far as was tried.
    Short,
    /// By the temporary table, since that was tried and did not hold.
    TurnedBack,
}

/// Which segments of a pair try the short way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pace {
    /// Segments until it is tried again.
    wait: u32,
    /// How many they are after the next failure, less one.
    next: u32,
}

impl Pace {
    /// That of the next segment.
    pub(super) fn way(self) -> Way {
        if self.wait == 0 { Way::Short } else { Way::Long }
    }

    /// After a segment with rows.
    pub(super) fn told(&mut self, way: Way) {
        match way {
            Way::Long => self.wait = self.wait.saturating_sub(1),
            Way::Short => *self = Self::default(),
            Way::TurnedBack => {
                self.wait = self.next + 1;
                self.next = (2 * self.next + 1).min(LONGEST_WAIT - 1);
            }
        }
    }
}

impl Job<'_> {
    /// The segment in one transaction without the temporary table; none when it has to go by way of that, with nothing left of the try.
    pub(super) async fn straight(
        &self,
        lease: &mut Lease,
        sealed: &Sealed,
    ) -> Result<Option<Outcome>, Failure> {
        if !self.stake(lease).await? {
            return self.roll_back(lease, Some(Outcome::Lost)).await;
        }
        let rows = sealed.records.iter().map(|record| record.rows).sum();
        match self.looked.write.put_straight(lease, self.claim, sealed.lines(&sealed.records), rows).await {
            Ok(true) => {
                say(lease, "COMMIT").await?;
                Ok(Some(Outcome::Committed(Box::new(self.trailer.clone()))))
            }
            Ok(false) => self.roll_back(lease, None).await,
            Err(error) if is_of_rows_or_table(&error) => self.roll_back(lease, None).await,
            Err(error) => Err(failure("publish", &error)),
        }
    }
}

/// Copies lines of a merge, with the pair in place of what only a merge needs. Gives how many rows that made; none when the lines are
/// not as the encoder writes them.
pub(super) async fn copy_marked(
    lease: &mut Lease,
    copy: &str,
    claim: Claim,
    lines: &[u8],
) -> Result<Option<u64>, tokio_postgres::Error> {
    let statement = lease.statement(copy).await?;
    let mut copy = pin!(lease.client().copy_in(&statement).await?);
    let pair = claim.pair.to_string();
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        if !mark(line, pair.as_bytes(), &mut piece) {
            return Ok(None);
        }
        if piece.len() >= PIECE_BYTES {
            copy.feed(Bytes::from(std::mem::replace(&mut piece, Vec::with_capacity(PIECE_BYTES)))).await?;
        }
    }
    copy.feed(Bytes::from(piece)).await?;
    copy.finish().await.map(Some)
}

/// Writes a line of a merge as one of the table: behind the columns of the record its pair, its offset, and when it was deleted if it was.
/// `now` is read as the time of the transaction.
fn mark(line: &[u8], pair: &[u8], out: &mut Vec<u8>) -> bool {
    let mut parts = line.rsplitn(4, |byte| *byte == b'\t');
    let (deletes, _index, offset, columns) = (parts.next(), parts.next(), parts.next(), parts.next());
    let (Some(deletes), Some(offset), Some(columns)) = (deletes, offset, columns) else { return false };
    let deleted: &[u8] = match deletes {
        b"t\n" => b"now\n",
        b"f\n" => b"\\N\n",
        _ => return false,
    };
    for (place, part) in [columns, pair, offset, deleted].into_iter().enumerate() {
        if place > 0 {
            out.push(b'\t');
        }
        out.extend_from_slice(part);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_merge_become_lines_of_the_table() {
        let mut out = Vec::new();
        for line in ["7\ta\\tb\t12\t0\tf\n", "8\t\\N\t13\t4\tt\n"] {
            assert!(mark(line.as_bytes(), b"99", &mut out));
        }
        assert_eq!(String::from_utf8(out).unwrap(), "7\ta\\tb\t99\t12\t\\N\n8\t\\N\t99\t13\tnow\n");
        for line in ["", "\n", "1\t0\tf\n", "7\ta\t12\t0\tf", "7\ta\t12\t0\tx\n"] {
            assert!(!mark(line.as_bytes(), b"99", &mut Vec::new()), "{line:?}");
        }
    }

    /// Guarantee: where keys are never new the short way is tried ever more seldom, and where they are it is always gone.
    #[test]
    fn what_fails_is_tried_ever_more_seldom() {
        let mut pace = Pace::default();
        let mut tries = Vec::new();
        for segment in 0..2_000 {
            let tried = pace.way() == Way::Short;
            tries.extend(tried.then_some(segment));
            pace.told(if tried { Way::TurnedBack } else { Way::Long });
        }
        let apart: Vec<i32> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(apart[..9], [2, 3, 5, 9, 17, 33, 65, 129, 257]);
        assert!(apart[9..].iter().all(|apart| *apart == 257));
        while pace.way() == Way::Long {
            pace.told(Way::Long);
        }
        pace.told(Way::Short);
        assert_eq!(pace, Pace::default());
    }
}
