//! Lanes that are behind the end of their log and get nothing, though librdkafka is told to fetch (I6).
//!
//! Some errors librdkafka (2.12) tells once, and goes on asking in silence, as when the right to read a topic is taken away; others never, as when a leader does
//! not tell the epoch of an offset. What shows is the end of the log: leaders tell it to whoever may describe the topic, and it is where
//! readers of committed records get to, so an open transaction does not count. Past markers and what compaction took librdkafka's position
//! moves by itself, but for a batch at the end of which compaction has left nothing; that one shows by the answers to fetches, which tell the end as well.

use std::time::{Duration, Instant};

use longshore_core::{Failure, Offset, Reason};

use super::pairs::{Pair, State};
use super::poll::Poll;
use super::standing::others;

/// What is known of a lane that may be behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Behind {
    /// The end of the log, as its leader told it last.
    end: Option<Offset>,
    /// Since when it is behind that end, and where it has stood since.
    since: Option<(Instant, Offset)>,
    /// What librdkafka said of a fetch, and where the lane stood.
    refusal: Option<(Offset, String)>,
}

impl Pair {
    /// Its leader told where the log ends.
    pub(super) fn ends_at(&mut self, end: Offset) {
        self.behind.end = Some(end);
    }

    /// Librdkafka said that a fetch was refused. It says so once.
    pub(super) fn fetch_refused(&mut self, words: String) {
        self.behind.refusal = Some((self.next, words));
    }

    /// Whether it has been behind for so long, and nothing came, though it is fetched. `fetched_end` is the end by the last answer to a fetch, less than
    /// any offset when that was an error. Gives the end, and what is known of the cause.
    fn lacks_records(
        &mut self,
        fetched_end: impl FnOnce(&Self) -> Offset,
        patience: Duration,
        now: Instant,
    ) -> Option<(Offset, Option<String>)> {
        let is_fetched = self.state == State::Flowing && self.credit.flowing && self.held.is_clear();
        let end = self.behind.end.filter(|end| is_fetched && *end > self.next);
        let known = self.behind.since.filter(|(_, at)| end.is_some() && *at == self.next);
        let end = end?;
        let (since, _) = *self.behind.since.insert(known.unwrap_or((now, self.next)));
        if now.duration_since(since) < patience {
            return None;
        }
        let refusal = self.behind.refusal.as_ref().filter(|(at, _)| *at == self.next);
        let words = refusal.map(|(_, words)| words.clone());
        (words.is_some() || fetched_end(self) < end).then_some((end, words))
    }
}

impl Poll<'_> {
    /// A lane that gets nothing of what is there, and how many more.
    pub(super) fn without_records(&mut self, now: Instant) -> Option<Failure> {
        let patience = self.health.place.patience();
        let client = self.queue.client();
        let lacking = |lane: &mut Pair| {
            let fetched = |lane: &Pair| Offset(client.fetched_end(lane.topic.as_str(), lane.id.partition.0));
            let (end, words) = lane.lacks_records(fetched, patience, now)?;
            Some((lane.place(), lane.next, end, words))
        };
        let mut lanes = self.pairs.iter_mut().filter_map(lacking);
        let ((topic, partition), next, end, words) = lanes.next()?;
        let others = others(lanes.count());
        let words =
            words.unwrap_or_else(|| "the client does not say why (kafka.client.debug: fetch)".to_owned());
        let detail = format!(
            "nothing comes of {topic}/{partition}{others} for {} s and more, though it goes on from {} to {}: {words}",
            patience.as_secs(),
            next.0,
            end.0
        );
        Some(Failure::target(Reason::BrokerFetches, detail))
    }
}

#[cfg(test)]
mod tests {
    use longshore_core::{Epoch, Lane, PairId, TopicName};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn lane() -> Pair {
        let mut lane = Pair::new(PairId::new("in", 0), Lane::Input, TopicName::new("in"), Epoch(1));
        lane.state = State::Flowing;
        lane.credit.flowing = true;
        lane
    }

    /// Scenario: a lane is behind while it is paused, then fetched, and something comes now and then. Guarantee: it lacks records once nothing came for
    /// the whole patience while it was fetched.
    #[test]
    fn a_lane_lacks_records_when_none_come_for_long() {
        let (begin, mut lane) = (Instant::now(), lane());
        let at = |seconds| begin + Duration::from_secs(seconds);
        let lacks = |lane: &mut Pair, seconds| lane.lacks_records(|_| Offset(-1), PATIENCE, at(seconds));
        assert_eq!(lacks(&mut lane, 0), None);
        assert_eq!(lacks(&mut lane, 99), None, "no end is known");
        lane.ends_at(Offset(5));
        lane.credit.flowing = false;
        assert_eq!(lacks(&mut lane, 100), None);
        assert_eq!(lacks(&mut lane, 200), None, "it is paused");
        lane.credit.flowing = true;
        assert_eq!(lacks(&mut lane, 201), None);
        assert_eq!(lacks(&mut lane, 260), None);
        lane.next = Offset(4);
        assert_eq!(lacks(&mut lane, 261), None, "something came");
        assert_eq!(lacks(&mut lane, 320), None);
        assert_eq!(lacks(&mut lane, 321), Some((Offset(5), None)));
        lane.next = Offset(5);
        assert_eq!(lacks(&mut lane, 400), None, "it is at the end");
        lane.ends_at(Offset(6));
        assert_eq!(lacks(&mut lane, 401), None, "it was at the end until now");
        assert_eq!(lacks(&mut lane, 461), Some((Offset(6), None)));
    }

    /// Scenario: fetches get to the end and bring nothing, since compaction took it; then they are refused, which is said once. Guarantee: the former is no
    /// lack, the latter is one until something comes.
    #[test]
    fn what_fetches_do_not_bring_is_not_there() {
        let (begin, mut lane) = (Instant::now(), lane());
        lane.ends_at(Offset(5));
        let lacks = |lane: &mut Pair, now| lane.lacks_records(|_| Offset(5), PATIENCE, now);
        assert_eq!(lacks(&mut lane, begin), None);
        assert_eq!(lacks(&mut lane, begin + PATIENCE), None);
        lane.fetch_refused("denied".to_owned());
        assert_eq!(lacks(&mut lane, begin + PATIENCE), Some((Offset(5), Some("denied".to_owned()))));
        lane.next = Offset(1);
        assert_eq!(lacks(&mut lane, begin + PATIENCE), None);
        assert_eq!(lacks(&mut lane, begin + PATIENCE * 2), None, "it was said of another offset");
    }
}
