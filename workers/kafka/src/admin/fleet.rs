//! A fleet at one moment, as whoever sizes it or looks at it wants it.

use std::net::IpAddr;

use longshore_core::metadata::Metadata;
use longshore_core::scale::PartitionLook;
use longshore_core::{Failure, Offset, PairId, Reason};

use super::{Admin, Committed, PartitionOffsets};
use crate::ffi::{GroupState, MemberFound};

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

/// A group with its members and partitions one by one, for people.
#[derive(Clone, Debug)]
pub struct FleetView {
    /// How the group is: `Missing`, `Empty`, `Rebalancing` or `Stable`.
    pub state: &'static str,
    /// Its members.
    pub members: Vec<Member>,
    /// All partitions of its inputs.
    pub partitions: Vec<PartitionView>,
}

/// A member of a group as the broker lists it. Whoever may join the group chooses these words: they are to be believed and shown with care.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// What it calls itself.
    pub client_id: String,
    /// Its address as the broker sees it; none when the listing gives no address.
    pub host: Option<IpAddr>,
    /// The partitions that the group gave it.
    pub partitions: Vec<PairId>,
}

/// An input partition of a group, by what is in Kafka.
#[derive(Clone, Debug)]
pub struct PartitionView {
    /// Which one.
    pub pair: PairId,
    /// What the group has committed; none before its first commit.
    pub committed: Option<i64>,
    /// The offset behind its last record.
    pub end: i64,
    /// As [`PartitionLook::backlog`]; the failure where a commit lies beyond the end of the log.
    pub backlog: Result<u64, Failure>,
    /// Copies in the retry topic that are not settled.
    pub copies: u64,
    /// Offsets in open segments.
    pub unpublished: u64,
    /// As [`PartitionLook::held`].
    pub held: bool,
}

impl Admin {
    /// Looks at a group: its inputs, each with its retry topic if there is one. Six requests for one input, whatever the number of partitions.
    ///
    /// # Errors
    /// [`Reason::BrokerTopicMissing`] and the other reasons `broker.*`; the embedded broker cannot tell. [`Reason::LedgerForeign`] where a
    /// commit lies beyond the end of its log: how far that partition is behind is not known, and not nothing.
    pub fn fleet(&self, group: &str, topics: &[(String, Option<String>)]) -> Result<FleetLook, Failure> {
        let partitions = self.partition_views(group, topics)?;
        let partitions = partitions.into_iter().map(PartitionLook::try_from).collect::<Result<_, _>>()?;
        // Last, when brokers have just answered: descriptions that are asked for while none does would pile up in the client.
        let found = self.group(group)?;
        let members = found.members.len() as u32;
        Ok(FleetLook { members, rebalancing: found.state == GroupState::Rebalancing, partitions })
    }

    /// The same with all that is known of each member and partition.
    ///
    /// # Errors
    /// [`Reason::BrokerTopicMissing`] and the other reasons `broker.*`; the embedded broker cannot tell.
    pub fn fleet_view(&self, group: &str, topics: &[(String, Option<String>)]) -> Result<FleetView, Failure> {
        let partitions = self.partition_views(group, topics)?;
        let found = self.group(group)?;
        let members = found.members.into_iter().map(Member::from).collect();
        let state = match found.state {
            GroupState::Missing => "Missing",
            GroupState::Empty => "Empty",
            GroupState::Rebalancing => "Rebalancing",
            GroupState::Stable => "Stable",
        };
        Ok(FleetView { state, members, partitions })
    }

    fn partition_views(
        &self,
        group: &str,
        topics: &[(String, Option<String>)],
    ) -> Result<Vec<PartitionView>, Failure> {
        let mut partitions = Vec::new();
        for (input, retry) in topics {
            // Commits first: an end asked later is never before a commit asked earlier.
            let commits = self.commits(group, input)?;
            let places = self.offsets(input)?.into_iter();
            let mut views: Vec<_> = places.map(|place| view(input, place, &commits)).collect();
            if let Some(retry) = retry {
                let commits = self.commits(group, retry)?;
                for place in self.offsets(retry)? {
                    let copies = view(retry, place, &commits);
                    if let Some(pair) = views.iter_mut().find(|view| view.pair.partition.0 == place.partition)
                    {
                        match copies.backlog {
                            Ok(copies) => pair.copies = copies,
                            Err(failure) => pair.backlog = Err(failure),
                        }
                    }
                }
            }
            partitions.append(&mut views);
        }
        Ok(partitions)
    }
}

impl From<MemberFound> for Member {
    fn from(found: MemberFound) -> Self {
        let partitions = found.partitions.into_iter();
        Self {
            client_id: found.client_id,
            host: found.host.trim_start_matches('/').parse().ok(),
            partitions: partitions.map(|(topic, partition)| PairId::new(&topic, partition)).collect(),
        }
    }
}

impl TryFrom<PartitionView> for PartitionLook {
    type Error = Failure;

    fn try_from(view: PartitionView) -> Result<Self, Failure> {
        Ok(Self {
            pair: view.pair,
            end: view.end,
            backlog: view.backlog?,
            waiting: view.unpublished + view.copies,
            held: view.held,
        })
    }
}

fn view(topic: &str, place: PartitionOffsets, commits: &[Committed]) -> PartitionView {
    let commit = commits.iter().find(|commit| commit.partition == place.partition);
    let committed = commit.and_then(|commit| commit.offset);
    let from = committed.unwrap_or(place.start).max(place.start);
    let open = u64::try_from(place.end - from).map_err(|_| {
        let (partition, end) = (place.partition, place.end);
        let detail = format_args!(
            "{topic}/{partition}: committed offset {from} lies beyond the end of the log, {end}"
        );
        Failure::halt(Reason::LedgerForeign, detail)
    });
    // Metadata that is not ours or does not fit says nothing.
    let metadata = committed
        .zip(commit)
        .and_then(|(base, commit)| Metadata::decode(&commit.metadata, Offset(base), Offset(place.end)).ok());
    let metadata = metadata.unwrap_or_default();
    let settled = metadata.settled.clipped(Offset(from), Offset(place.end)).len();
    let behind = open.map(|open| open.saturating_sub(settled));
    let unpublished = metadata.waiting.min(*behind.as_ref().unwrap_or(&0));
    PartitionView {
        pair: PairId::new(topic, place.partition),
        committed,
        end: place.end,
        backlog: behind.map(|behind| behind - unpublished),
        copies: 0,
        unpublished,
        held: metadata.held,
    }
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
            let seen = PartitionLook::try_from(view("in", place, &[commit])).unwrap();
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
        let at = |offset| {
            let commit = Committed { partition: 0, offset, metadata: String::new() };
            PartitionLook::try_from(view("in", place, &[commit]))
        };
        assert_eq!(at(Some(100)).unwrap().backlog, 0);
        assert_eq!(at(Some(101)).unwrap_err().reason, Reason::LedgerForeign);
    }

    /// Guarantee: a member's address is one, however the broker writes it, and never a name that somebody would have to look up.
    #[test]
    fn a_members_host_is_an_address_or_nothing() {
        let at = |host: &str| {
            let (client_id, partitions) = (String::new(), vec![("in".to_owned(), 2)]);
            Member::from(MemberFound { client_id, host: host.to_owned(), partitions })
        };
        assert_eq!(at("/10.0.0.3").host, "10.0.0.3".parse().ok());
        assert_eq!(at("10.0.0.3").host, "10.0.0.3".parse().ok());
        assert_eq!(at("/0:0:0:0:0:0:0:1").host, "::1".parse().ok());
        for foreign in ["", "/", "metadata.google.internal", "/10.0.0.3:80", "10.0.0.3/x", "user@10.0.0.3"] {
            assert_eq!(at(foreign).host, None, "{foreign}");
        }
        assert_eq!(at("").partitions, [PairId::new("in", 2)]);
    }
}
