//! Where the inputs end by now: how far a pair is behind that takes no records, or has not read far, nobody knows without asking.

use std::time::{Duration, Instant};

use longshore_core::source::SourceEvent;
use longshore_core::{Lane, Offset, TopicName};

use super::poll::Poll;

/// How often the ends are asked for: a request to each broker.
pub(super) const INTERVAL: Duration = Duration::from_secs(5);

/// The end of a partition as its leader told it, or words for why it is not known.
pub(super) type End = (TopicName, i32, Result<Offset, String>);

impl Poll<'_> {
    /// The partitions whose ends are wanted now: of inputs for the lag, of both lanes to see that there is a leader.
    pub(super) fn wanted_ends(&mut self, now: Instant) -> Vec<(TopicName, i32)> {
        if !self.ends.is_due(now) {
            return Vec::new();
        }
        let wanted: Vec<_> =
            self.pairs.iter_mut().filter(|pair| pair.told).map(|pair| pair.place()).collect();
        if wanted.is_empty() {
            self.ends.answered();
        }
        wanted
    }

    /// Tells the pairs that are still here. That an end is not known says something of the partition's leader.
    pub(super) fn ends_seen(&mut self, ends: Vec<End>) {
        self.ends.answered();
        let now = Instant::now();
        for (topic, partition, end) in ends {
            let Some(lane) = self.pairs.find(topic.as_str(), partition).filter(|pair| pair.told) else {
                continue;
            };
            let (pair, epoch) = (lane.id.clone(), lane.epoch);
            match end {
                Ok(end) => {
                    lane.leader_answered();
                    lane.ends_at(end);
                    if lane.lane == Lane::Input {
                        self.say(SourceEvent::LogEnd { pair, epoch, end });
                    }
                }
                Err(words) => lane.leader_failed(words, now),
            }
        }
    }
}
