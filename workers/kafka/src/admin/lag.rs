//! How far a group is behind.

use longshore_core::{Failure, Offset, metadata::Metadata};
use serde::Serialize;

use super::{Admin, Committed, PartitionOffsets};

/// How far a group is behind in one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LagRow {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The first offset that is still there.
    pub start: i64,
    /// What the group has committed; none before its first commit.
    pub committed: Option<i64>,
    /// The offset behind the last record.
    pub end: i64,
    /// Offsets not yet settled: from the commit, or from the start without one, to the end, less those that the
    /// commit's metadata says are settled already. Gaps and transaction markers in between count, since the broker
    /// does not tell where they are.
    pub lag: u64,
}

/// A partition whose leader did not tell how far it goes.
#[derive(Clone, Debug)]
pub struct Unseen {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// What the group has committed; none before its first commit.
    pub committed: Option<i64>,
    /// Why, with a reason `broker.*`.
    pub failure: Failure,
}

impl Admin {
    /// How far the group is behind in each partition of these topics.
    ///
    /// # Errors
    /// [`longshore_core::Reason::BrokerTopicMissing`] and the other reasons `broker.*`; the first failure, where leaders do not answer.
    pub fn lag(&self, group: &str, topics: &[String]) -> Result<Vec<LagRow>, Failure> {
        self.lag_each(group, topics)?.into_iter().map(|row| row.map_err(|unseen| unseen.failure)).collect()
    }

    /// The same for whoever wants to know about all others, too, when the leader of a partition does not answer.
    ///
    /// # Errors
    /// Reasons `broker.*`: a topic is not there, or its commits or all of its leaders could not be asked.
    pub fn lag_each(&self, group: &str, topics: &[String]) -> Result<Vec<Result<LagRow, Unseen>>, Failure> {
        let mut rows = Vec::new();
        for topic in topics {
            // Commits first: an end asked later is never before a commit asked earlier.
            let commits = self.commits(group, topic)?;
            for (partition, place) in (0..).zip(self.offsets_each(topic)?) {
                let commit = commits.iter().find(|commit| commit.partition == partition);
                rows.push(place.map(|place| row(topic, place, commit)).map_err(|failure| Unseen {
                    topic: topic.clone(),
                    partition,
                    committed: commit.and_then(|commit| commit.offset),
                    failure,
                }));
            }
        }
        Ok(rows)
    }
}

fn row(topic: &str, place: PartitionOffsets, commit: Option<&Committed>) -> LagRow {
    let committed = commit.and_then(|commit| commit.offset);
    let from = committed.unwrap_or(place.start).max(place.start);
    let open = u64::try_from(place.end - from).unwrap_or(0);
    let settled = match (committed, commit) {
        (Some(base), Some(commit)) => settled(&commit.metadata, base, from, place.end),
        _ => 0,
    };
    LagRow {
        topic: topic.to_owned(),
        partition: place.partition,
        start: place.start,
        committed,
        end: place.end,
        lag: open.saturating_sub(settled),
    }
}

/// How many offsets in `[from, end)` the commit's metadata calls settled. Metadata that is not ours or does not fit
/// says nothing.
fn settled(text: &str, base: i64, from: i64, end: i64) -> u64 {
    match Metadata::decode(text, Offset(base), Offset(end)) {
        Ok(metadata) => metadata.settled.clipped(Offset(from), Offset(end)).len(),
        Err(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use longshore_core::RunSet;

    use super::*;

    const PLACE: PartitionOffsets = PartitionOffsets { partition: 0, start: 10, end: 100 };

    fn commit(offset: Option<i64>, metadata: &str) -> Committed {
        Committed { partition: 0, offset, metadata: metadata.to_owned() }
    }

    fn lag(commit: &Committed) -> u64 {
        row("t", PLACE, Some(commit)).lag
    }

    #[test]
    fn without_a_commit_lag_counts_from_the_start() {
        assert_eq!(lag(&commit(None, "")), 90);
        assert_eq!(row("t", PLACE, None).lag, 90);
    }

    #[test]
    fn what_retention_took_is_no_lag() {
        assert_eq!(lag(&commit(Some(3), "")), 90);
    }

    #[test]
    fn settled_runs_beyond_the_commit_are_no_lag() {
        let metadata = Metadata { settled: RunSet::of(Offset(60), Offset(80)), ..Metadata::default() };
        let text = metadata.encode(Offset(50)).text;
        assert_eq!(lag(&commit(Some(50), &text)), 30);
        // Bound to its offset: at another one it says nothing.
        assert_eq!(lag(&commit(Some(40), &text)), 60);
        assert_eq!(lag(&commit(Some(50), "written by another tool")), 50);
    }
}
