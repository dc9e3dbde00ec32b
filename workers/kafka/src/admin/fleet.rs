//! A fleet at one moment, as whoever sizes it wants it.

use longshore_core::metadata::Metadata;
use longshore_core::scale::PartitionLook;
use longshore_core::{Failure, Offset, PairId, Reason};

use super::{Admin, Committed, PartitionOffsets};
use crate::ffi::GroupState;

/// A group, and how far it is behind.
#[derive(Clone, Debug)]
pub struct FleetLook {
    /// Its members.
    pub members: u32,
    /// Whether it is dealing its partitions out.
    pub rebalancing: bool,
    /// All partitions of its inputs.
    pub partitions: Vec<PartitionLook>,
}

impl Admin {
    /// Looks at a group: its inputs, each with its retry topic if there is one. Six requests for one input, whatever the number of partitions.
    ///
    /// # Errors
    /// [`Reason::BrokerTopicMissing`] and the other reasons `broker.*`; the embedded broker cannot tell. [`Reason::LedgerForeign`] where a
    /// commit lies beyond the end of its log: how far that partition is behind is not known, and not nothing.
    pub fn fleet(&self, group: &str, topics: &[(String, Option<String>)]) -> Result<FleetLook, Failure> {
        let mut partitions = Vec::new();
        for (input, retry) in topics {
            // Commits first: an end asked later is never before a commit asked earlier.
            let commits = self.commits(group, input)?;
            let places = self.offsets(input)?.into_iter();
            let mut looks =
                places.map(|place| look(input, place, &commits)).collect::<Result<Vec<_>, _>>()?;
            if let Some(retry) = retry {
                let commits = self.commits(group, retry)?;
                for place in self.offsets(retry)? {
                    let copies = look(retry, place, &commits)?.backlog;
                    if let Some(pair) = looks.iter_mut().find(|look| look.pair.partition.0 == place.partition)
                    {
                        pair.waiting += copies;
                    }
                }
            }
            partitions.append(&mut looks);
        }
        // Last, when brokers have just answered: descriptions that are asked for while none does would pile up in the client.
        let found = self.group(group)?;
        let members = found.members.len() as u32;
        Ok(FleetLook { members, rebalancing: found.state == GroupState::Rebalancing, partitions })
    }
}

fn look(topic: &str, place: PartitionOffsets, commits: &[Committed]) -> Result<PartitionLook, Failure> {
    let commit = commits.iter().find(|commit| commit.partition == place.partition);
    let committed = commit.and_then(|commit| commit.offset);
    let from = committed.unwrap_or(place.start).max(place.start);
    let open = u64::try_from(place.end - from).map_err(|_| {
        let (partition, end) = (place.partition, place.end);
        let detail = format_args!(
            "{topic}/{partition}: committed offset {from} lies beyond the end of the log, {end}"
        );
        Failure::halt(Reason::LedgerForeign, detail)
    })?;
    // Metadata that is not ours or does not fit says nothing.
    let metadata = committed
        .zip(commit)
        .and_then(|(base, commit)| Metadata::decode(&commit.metadata, Offset(base), Offset(place.end)).ok());
    let metadata = metadata.unwrap_or_default();
    let settled = metadata.settled.clipped(Offset(from), Offset(place.end)).len();
    let behind = open.saturating_sub(settled);
    let waiting = metadata.waiting.min(behind);
    Ok(PartitionLook {
        pair: PairId::new(topic, place.partition),
        end: place.end,
        backlog: behind - waiting,
        waiting,
        held: metadata.held,
    })
}

#[cfg(test)]
mod tests {
    use longshore_core::RunSet;

    use super::*;

    /// Guarantee: what is settled, or waits in an open segment, is no backlog; what metadata of others says is not believed.
    #[test]
    fn settled_and_waiting_records_are_no_backlog() {
        let place = PartitionOffsets { partition: 0, start: 10, end: 100 };
        let metadata = Metadata {
            settled: RunSet::of(Offset(60), Offset(80)),
            waiting: 7,
            held: true,
            ..Metadata::default()
        };
        let text = metadata.encode(Offset(50)).text;
        let at = |offset, metadata: &str| {
            let commit = Committed { partition: 0, offset, metadata: metadata.to_owned() };
            let seen = look("in", place, &[commit]).unwrap();
            (seen.backlog, seen.waiting, seen.held)
        };
        assert_eq!(at(Some(50), &text), (23, 7, true));
        assert_eq!(at(Some(40), &text), (60, 0, false));
        assert_eq!(at(None, ""), (90, 0, false));
        assert_eq!(at(Some(3), "of another tool"), (90, 0, false));
    }

    /// Scenario: a log lost its end behind what was committed. Guarantee: that is no empty backlog, which would send the fleet home.
    #[test]
    fn a_commit_beyond_the_end_is_no_number() {
        let place = PartitionOffsets { partition: 0, start: 10, end: 100 };
        let at = |offset| look("in", place, &[Committed { partition: 0, offset, metadata: String::new() }]);
        assert_eq!(at(Some(100)).unwrap().backlog, 0);
        assert_eq!(at(Some(101)).unwrap_err().reason, Reason::LedgerForeign);
    }
}
