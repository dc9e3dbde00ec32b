//! Whether topics are still the ones they were: one that was deleted and made again under its name has other records at the
//! same offsets (trap 19).
//!
//! Librdkafka takes the new topic for the old one and goes on at the old offset (see the FIXME in its
//! `rd_kafka_topic_metadata_update`), with neither error nor event. A pair whose topic has another id is taken from the
//! runtime and begins anew: its ledger and commits are then judged by the new id.
//!
//! Two things tell of it. Librdkafka writes a line of its debug log before it takes the new id, and it fetches by id (Kafka
//! 3.1 and later), so that line is there before the new topic's first record: what a poll gave is looked at only after the
//! lines written until then. Brokers without fetches by id get the other one, a look at the ids every two seconds; until
//! it, records of the new topic may be taken for the old one's there. A commit that is on its way when a topic is made again
//! is stored for the new one in either case; the sink's ledger, which knows the id, then refuses it.

use std::time::Duration;

use longshore_core::source::SourceEvent;
use longshore_core::{Epoch, Lane, PairId};

use super::pairs::{Pair, State};
use super::poll::Poll;

/// How often the ids are looked at; so long a new topic may be taken for the old one where fetches are not by id.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// The part of librdkafka's debug log that tells of new ids; a few lines for each look at the metadata.
pub(crate) const DEBUG: &str = "topic";

/// Name and new id of the topic that a line of librdkafka's log tells of. The first id of a topic is no new one.
pub(super) fn renewed_topic<'a>(facility: &str, line: &'a str) -> Option<(&'a str, &'a str)> {
    if facility != "METADATA" {
        return None;
    }
    // "[thrd:main]: Topic NAME changed id from ID to ID"
    let (_, told) = line.split_once("Topic ")?;
    let (topic, ids) = told.split_once(" changed id from ")?;
    let (old, new) = ids.split_once(" to ")?;
    let known = |id: &str| !id.is_empty() && id.bytes().any(|byte| byte != b'A');
    (known(old) && known(new)).then_some((topic, new))
}

impl Poll<'_> {
    /// Begins pairs anew whose topics were made again, before anything is handed over that may be of the new ones.
    pub(super) fn compare_renewed(&mut self) {
        let renewed = self.inbox.take_renewed();
        self.compare(&renewed);
        for (topic, _) in &renewed {
            // An answer of the scout that is on its way may still be about the old topic.
            let looked_for =
                |pair: &&mut Pair| pair.topic.as_str() == topic && matches!(pair.state, State::Looking(_));
            let found = self.pairs.iter_mut().filter(looked_for);
            let stale: Vec<_> = found.map(|pair| (pair.id.clone(), pair.epoch, pair.lane)).collect();
            for (pair, epoch, lane) in stale {
                self.renew(&pair, epoch, lane == Lane::Retry);
            }
        }
    }

    /// Begins pairs anew whose topic is another one by now.
    pub(super) fn compare(&mut self, seen: &[(String, String)]) {
        for (topic, id) in seen.iter().filter(|(_, id)| !id.is_empty()) {
            let stale: Vec<_> = self
                .pairs
                .iter_mut()
                .filter(|pair| pair.told && pair.topic.as_str() == topic)
                .filter(|pair| !pair.topic_id.is_empty() && pair.topic_id != *id)
                .map(|pair| (pair.id.clone(), pair.epoch, pair.lane))
                .collect();
            if stale.is_empty() {
                continue;
            }
            tracing::warn!(topic, "the topic was deleted and made again; its partitions begin anew");
            for (pair, epoch, lane) in stale {
                self.take_away(pair, epoch, lane == Lane::Retry);
            }
        }
    }

    /// What a retry lane was to read next is gone from the log: the pair begins anew, and what was lost is told then.
    pub(super) fn retry_begins_anew(&mut self, topic: &str, partition: i32) {
        if let Some(lane) = self.pairs.find(topic, partition) {
            let (pair, epoch) = (lane.id.clone(), lane.epoch);
            self.take_away(pair, epoch, false);
        }
    }

    /// Takes a pair from the runtime, which aborts what it has, and begins it anew. When the retry topic was made again, what
    /// is committed for it may be of the old one and is not looked at.
    fn take_away(&mut self, pair: PairId, epoch: Epoch, retry_made_again: bool) {
        let next = self.renew(&pair, epoch, retry_made_again);
        self.pairs.both(&pair, next, |lane| lane.told = false);
        self.say(SourceEvent::Lost { pair, epoch });
    }

    fn renew(&mut self, pair: &PairId, epoch: Epoch, retry_made_again: bool) -> Epoch {
        self.send_gathered();
        let (next, flowed) = self.pairs.renew(pair, epoch);
        self.pause(&flowed);
        self.pairs.both(pair, next, |lane| {
            lane.made_again |= retry_made_again && lane.lane == Lane::Retry;
        });
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_of_a_topic_made_again() {
        let line =
            "[thrd:main]: Topic logs.raw changed id from YVcd-x9mQ0mSLsP_xyB0pA to kX0h3Ue9S3aPjtd7LrV9Aw";
        assert_eq!(renewed_topic("METADATA", line), Some(("logs.raw", "kX0h3Ue9S3aPjtd7LrV9Aw")));
        let first =
            "[thrd:main]: Topic logs.raw changed id from AAAAAAAAAAAAAAAAAAAAAA to kX0h3Ue9S3aPjtd7LrV9Aw";
        assert_eq!(renewed_topic("METADATA", first), None);
        assert_eq!(renewed_topic("FETCH", line), None);
        assert_eq!(renewed_topic("METADATA", "[thrd:main]: Error in metadata reply for topic x"), None);
    }
}
