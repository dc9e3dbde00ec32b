//! Whether the first record behind a seek is the one that stands there.
//!
//! A client that begins too far behind leaves a gap that looks like one of compaction or of transaction markers, and what lies
//! in it would be settled unread (I1). Librdkafka has done so: an answer to a logical offset that a seek had overtaken moved
//! its position after the seek. So what begins above the offset that was asked for is asked for a second time; only a gap that
//! is found twice is one of the log. In a log without gaps that costs nothing.

use longshore_core::Offset;

use super::pairs::{Pair, State};

/// What is known of the beginning behind the last seek.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Beginning {
    /// Nothing has come since the seek.
    open: bool,
    /// Where an earlier seek to the same place found the first thing behind a gap.
    seen: Option<Offset>,
}

/// What to do with what came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Take it.
    Take,
    /// Take it: the log has no records before it.
    TakeBehindGap,
    /// Take it: the earlier reading had begun too far behind.
    TakeMended(Offset),
    /// Ask again.
    AskAgain,
}

impl Beginning {
    /// A seek was done.
    pub(super) fn sought(&mut self) {
        self.open = true;
    }

    fn judge(&mut self, wanted: Offset, found: Offset) -> Verdict {
        if !std::mem::take(&mut self.open) {
            return Verdict::Take;
        }
        match self.seen.take() {
            None if found == wanted => Verdict::Take,
            Some(seen) if found == wanted => Verdict::TakeMended(seen),
            Some(seen) if found == seen => Verdict::TakeBehindGap,
            None | Some(_) => {
                self.seen = Some(found);
                Verdict::AskAgain
            }
        }
    }
}

impl Pair {
    /// Whether what came at `found`, at or above [`Pair::next`], may be taken. If not, the pair is sought again.
    pub(super) fn begins_at(&mut self, found: Offset) -> bool {
        let wanted = self.next;
        match self.beginning.judge(wanted, found) {
            Verdict::Take => {}
            Verdict::TakeBehindGap => {
                tracing::info!(pair = %self.id, from = wanted.0, to = found.0, "the log has no records here");
            }
            Verdict::TakeMended(seen) => {
                tracing::warn!(pair = %self.id, at = wanted.0, client_began = seen.0, "records that the client had passed over were read after all");
            }
            Verdict::AskAgain => {
                self.state = State::Starting(wanted);
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after_seeks(wanted: i64, found: &[i64]) -> Vec<Verdict> {
        let mut beginning = Beginning::default();
        let judge = |found: &i64| {
            beginning.sought();
            beginning.judge(Offset(wanted), Offset(*found))
        };
        found.iter().map(judge).collect()
    }

    #[test]
    fn a_gap_counts_when_it_is_found_twice() {
        assert_eq!(after_seeks(5, &[5]), [Verdict::Take]);
        assert_eq!(after_seeks(5, &[9, 9]), [Verdict::AskAgain, Verdict::TakeBehindGap]);
        assert_eq!(after_seeks(5, &[862, 5]), [Verdict::AskAgain, Verdict::TakeMended(Offset(862))]);
        assert_eq!(
            after_seeks(5, &[862, 7, 7]),
            [Verdict::AskAgain, Verdict::AskAgain, Verdict::TakeBehindGap]
        );
    }

    #[test]
    fn later_gaps_are_the_logs_own() {
        let mut beginning = Beginning::default();
        beginning.sought();
        assert_eq!(beginning.judge(Offset(0), Offset(0)), Verdict::Take);
        assert_eq!(beginning.judge(Offset(1), Offset(100)), Verdict::Take);
    }
}
