//! Whether we have a place in the group: it counts us as a member, and its coordinator answers. Librdkafka asks for a coordinator for ever
//! and says nothing of one that it does not find, so a worker without a place would wait in silence (I6). A member without partitions has a
//! place. Being a member is not enough: librdkafka does not end a session in the middle of a rebalance, nor with KIP-848, and in the classic
//! protocol a member has its place only when it was told, by the answer to its SyncGroup, which partitions it has, be it none: it joins for
//! ever a group that answers each SyncGroup with an error.

use std::time::{Duration, Instant};

use longshore_core::source::SourceEvent;
use longshore_core::{Failure, Reason};

use super::looks::Looks;
use super::poll::Poll;
use crate::options::{GroupProtocol, KafkaOptions};

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often the coordinator is asked: seldom beside the heartbeats.
const ASK: Duration = Duration::from_secs(10);
/// So many session timeouts without a place are no rebalance any more: a lost member has joined again within one or two.
const SESSIONS: u32 = 6;
/// The least that counts as long: a broker lets a new group wait for three seconds (`group.initial.rebalance.delay.ms`), and a busy
/// one answers late.
const LEAST: Duration = Duration::from_secs(10);
/// The most, and what a session timeout of the default's ten seconds comes to.
const MOST: Duration = Duration::from_secs(60);

/// What is known of our place.
#[derive(Debug)]
pub(super) struct Place {
    patience: Duration,
    /// The generation in which we were told what we have; none in a protocol where that is no part of a generation.
    given: Option<i32>,
    /// Whether a generation begins with what we have in it.
    gives: bool,
    looked: Option<Instant>,
    asks: Looks,
    /// The coordinator did not answer when it was asked last.
    unanswered: bool,
    missing_since: Option<Instant>,
    /// We have been without a place for long.
    missed: bool,
}

/// What is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    /// There has been none for long.
    Missed,
    /// There is one again.
    Found,
}

impl Place {
    pub(super) fn new(options: &KafkaOptions) -> Self {
        let session = options.client.get("session.timeout.ms");
        let session = session.and_then(|value| value.to_string().parse().ok()).map(Duration::from_millis);
        let patience = session.map_or(MOST, |session| session.saturating_mul(SESSIONS).clamp(LEAST, MOST));
        Self {
            patience,
            given: None,
            gives: options.group_protocol == GroupProtocol::Classic,
            looked: None,
            asks: Looks::every(ASK),
            unanswered: false,
            missing_since: None,
            missed: false,
        }
    }

    /// Whether the coordinator is to be asked now.
    pub(super) fn wants_answer(&mut self, now: Instant) -> bool {
        self.asks.is_due(now)
    }

    /// It was asked, and answered or not.
    pub(super) fn answered(&mut self, answers: bool) {
        self.asks.answered();
        self.unanswered = !answers;
    }

    /// How long is long.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// The group has told us what we have in this generation.
    fn given(&mut self, generation: Option<i32>) {
        self.given = generation;
    }

    /// Whether we have our place in the generation that we are a member of.
    fn has(&self, generation: Option<i32>) -> bool {
        generation.is_some() && (!self.gives || generation == self.given)
    }

    /// Whether we have been without a place for long.
    pub(super) fn is_missed(&self) -> bool {
        self.missed
    }

    /// Whether it is time to look.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let due = self.looked.is_none_or(|looked| now.duration_since(looked) >= LOOK);
        if due {
            self.looked = Some(now);
        }
        due
    }

    /// Takes in what was seen.
    fn seen(&mut self, has_place: bool, now: Instant) -> Option<News> {
        if has_place && !self.unanswered {
            self.missing_since = None;
            return std::mem::take(&mut self.missed).then_some(News::Found);
        }
        let since = *self.missing_since.get_or_insert(now);
        if self.missed || now.duration_since(since) < self.patience {
            return None;
        }
        self.missed = true;
        Some(News::Missed)
    }
}

impl Poll<'_> {
    /// Looks at our place, and says when it is missed and when it is found again, whichever trouble there is beside that.
    pub(super) fn look_at_place(&mut self, now: Instant) {
        let has_place = self.health.place.has(self.client().generation());
        if let Some(news) = self.health.place.seen(has_place, now) {
            self.say(SourceEvent::Member(news == News::Found));
        }
    }

    /// The group gives us what we have in its present generation; librdkafka waits for our answer and joins no later one until then. Not while
    /// the group is being left, which may end without an answer.
    pub(super) fn given_a_place(&mut self) {
        if !self.leaving() {
            self.health.place.given(self.client().generation());
        }
    }

    /// The failure that tells of it: what to look at, and at the end, where a long one may be cut off, what else is known.
    pub(super) fn no_place(&self) -> Failure {
        let known = self.health.known().map(|known| format!(" ({})", known.detail())).unwrap_or_default();
        let detail = format!(
            "no place in consumer group {} for {} s and more: its coordinator cannot be reached, or its rebalance does not end; are all \
             partitions of __consumer_offsets online? longshore doctor says more{known}",
            self.options.group,
            self.health.place.patience.as_secs()
        );
        Failure::target(Reason::BrokerGroup, detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Scalar;

    fn place(session_ms: Option<i64>) -> Place {
        let mut options = KafkaOptions::plain("x:1");
        options.client.extend(session_ms.map(|ms| ("session.timeout.ms".to_owned(), Scalar::Number(ms))));
        Place::new(&options)
    }

    #[test]
    fn a_place_is_missed_once_and_found_once() {
        let (mut place, begin) = (place(None), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!(place.seen(false, at(0)), None);
        assert_eq!(place.seen(false, at(59)), None);
        assert_eq!(place.seen(false, at(60)), Some(News::Missed));
        assert_eq!((place.seen(false, at(61)), place.is_missed()), (None, true));
        assert_eq!((place.seen(true, at(62)), place.is_missed()), (Some(News::Found), false));
        assert_eq!(place.seen(true, at(500)), None);
        assert_eq!(place.seen(false, at(501)), None);
        assert_eq!(place.seen(true, at(550)), None, "a rebalance is no news");
        assert_eq!(place.seen(false, at(559)), None);
        assert_eq!(place.seen(false, at(620)), Some(News::Missed));
    }

    /// Scenario: a member's coordinator does not answer any more, as in a rebalance that it does not end. Guarantee: that is no place either, from
    /// the first question without an answer to the next with one.
    #[test]
    fn a_member_needs_a_coordinator_that_answers() {
        let (mut place, begin) = (place(None), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        assert!(place.wants_answer(at(0)) && !place.wants_answer(at(100)), "one question at a time");
        place.answered(false);
        assert_eq!(place.seen(true, at(0)), None);
        assert_eq!(place.seen(true, at(60)), Some(News::Missed));
        assert!(place.wants_answer(at(60)));
        place.answered(true);
        assert_eq!(place.seen(true, at(61)), Some(News::Found));
    }

    /// Scenario: a member of the classic protocol joins again and again and is told nothing. Guarantee: it has its place in the generation in which
    /// it was told what it has, and in no other; with KIP-848 epochs move on without that.
    #[test]
    fn a_place_is_of_a_generation() {
        let mut classic = place(None);
        assert!(!classic.has(None) && !classic.has(Some(1)));
        classic.given(Some(1));
        assert!(classic.has(Some(1)) && !classic.has(Some(2)) && !classic.has(None));
        let mut options = KafkaOptions::plain("x:1");
        options.group_protocol = GroupProtocol::Consumer;
        let newer = Place::new(&options);
        assert!(newer.has(Some(7)) && !newer.has(None));
    }

    #[test]
    fn patience_is_some_session_timeouts_within_bounds() {
        assert_eq!(place(Some(6_000)).patience, Duration::from_secs(36));
        assert_eq!(place(Some(1_000)).patience, LEAST);
        assert_eq!(place(Some(45_000)).patience, MOST);
        assert_eq!(place(None).patience, MOST);
    }

    #[test]
    fn it_is_looked_at_once_in_a_second() {
        let (mut place, now) = (place(None), Instant::now());
        assert!(place.is_due(now));
        assert!(!place.is_due(now + Duration::from_millis(999)));
        assert!(place.is_due(now + LOOK));
    }
}
