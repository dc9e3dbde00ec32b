//! Where the inputs end by now: how far a pair is behind that takes no records, or has not read far, nobody knows without asking.

use std::time::{Duration, Instant};

use longshore_core::source::SourceEvent;
use longshore_core::{Lane, Offset, TopicName};

use super::pairs::Pair;
use super::poll::Poll;

/// How often the ends are asked for: two requests to each broker.
const INTERVAL: Duration = Duration::from_secs(5);

/// The end of a partition as a broker told it.
pub(super) type End = (TopicName, i32, Offset);

/// When the ends were asked for.
#[derive(Debug, Default)]
pub(super) struct Ends {
    asked: Option<Instant>,
    waiting: bool,
}

impl Ends {
    /// Whether to ask now; one question at a time, since a broker that does not answer takes long.
    pub(super) fn wants_look(&mut self, now: Instant) -> bool {
        let due = self.asked.is_none_or(|asked| now.duration_since(asked) >= INTERVAL);
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
    /// The input partitions whose ends are wanted now.
    pub(super) fn wanted_ends(&mut self, now: Instant) -> Vec<(TopicName, i32)> {
        if !self.ends.wants_look(now) {
            return Vec::new();
        }
        let told = |pair: &&mut Pair| pair.told && pair.lane == Lane::Input;
        let wanted: Vec<_> = self.pairs.iter_mut().filter(told).map(|pair| pair.place()).collect();
        if wanted.is_empty() {
            self.ends.looked();
        }
        wanted
    }

    /// Tells the pairs that are still here.
    pub(super) fn ends_seen(&mut self, ends: Vec<End>) {
        self.ends.looked();
        for (topic, partition, end) in ends {
            let found = self.pairs.find(topic.as_str(), partition).filter(|pair| pair.told);
            if let Some((pair, epoch)) = found.map(|pair| (pair.id.clone(), pair.epoch)) {
                self.say(SourceEvent::LogEnd { pair, epoch, end });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_question_at_a_time_and_not_too_often() {
        let (mut ends, now) = (Ends::default(), Instant::now());
        assert!(ends.wants_look(now));
        assert!(!ends.wants_look(now + INTERVAL), "the answer has not come");
        ends.looked();
        assert!(!ends.wants_look(now), "too soon");
        assert!(ends.wants_look(now + INTERVAL));
    }
}
