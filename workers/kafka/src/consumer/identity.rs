//! Whether topics are still the ones they were: one that was deleted and made again under its name has other records at the
//! same offsets (trap 19).
//!
//! Librdkafka takes the new topic for the old one and goes on at the old offset (see the FIXME in its
//! `rd_kafka_topic_metadata_update`), with neither error nor event. So the ids are looked at again and again, and a pair
//! whose topic has another one is taken from the runtime and begins anew: its ledger and commits are then judged by the
//! new id.

use std::time::{Duration, Instant};

use longshore_core::source::SourceEvent;

use super::poll::Poll;

/// How often the ids are looked at; so long a new topic may be taken for the old one.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// When the ids were looked at.
#[derive(Debug, Default)]
pub(super) struct Identity {
    asked: Option<Instant>,
    waiting: bool,
}

impl Identity {
    /// Whether to look now; one look at a time, since a broker that does not answer takes long.
    pub(super) fn wants_look(&mut self, now: Instant) -> bool {
        let due = self.asked.is_none_or(|asked| now.duration_since(asked) >= LOOK_INTERVAL);
        if !due || self.waiting {
            return false;
        }
        self.asked = Some(now);
        self.waiting = true;
        true
    }

    /// The answer came.
    pub(super) fn looked(&mut self) {
        self.waiting = false;
    }
}

impl Poll<'_> {
    /// Begins pairs anew whose topic is another one by now.
    pub(super) fn compare(&mut self, seen: &[(String, String)]) {
        for (topic, id) in seen.iter().filter(|(_, id)| !id.is_empty()) {
            let stale: Vec<_> = self
                .pairs
                .iter_mut()
                .filter(|pair| pair.told && pair.id.topic.as_str() == topic)
                .filter(|pair| !pair.topic_id.is_empty() && pair.topic_id != *id)
                .map(|pair| (pair.id.clone(), pair.epoch))
                .collect();
            if stale.is_empty() {
                continue;
            }
            tracing::warn!(topic, "the topic was deleted and made again; its partitions begin anew");
            let names: Vec<_> =
                stale.iter().map(|(pair, _)| (pair.topic.as_str(), pair.partition.0)).collect();
            self.pause(&names);
            for (pair, epoch) in stale.iter().cloned() {
                let next = self.pairs.next_epoch();
                if let Some(owned) = self.pairs.owned(&pair, epoch) {
                    owned.renew(next);
                    owned.told = false;
                    self.say(SourceEvent::Lost { pair, epoch });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_look_at_a_time_and_not_too_often() {
        let mut identity = Identity::default();
        let now = Instant::now();
        assert!(identity.wants_look(now));
        assert!(!identity.wants_look(now + LOOK_INTERVAL), "the answer has not come");
        identity.looked();
        assert!(!identity.wants_look(now), "too soon");
        assert!(identity.wants_look(now + LOOK_INTERVAL));
    }
}
