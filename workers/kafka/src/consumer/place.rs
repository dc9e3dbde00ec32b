//! Whether we have a place in the group: it counts us as a member, and its coordinator answers. Librdkafka asks for a coordinator for ever
//! and says nothing of one that it does not find, so a worker without a place would wait in silence (I6). A member without partitions has a
//! place. Being a member is not enough: librdkafka does not end a session in the middle of a rebalance, nor with KIP-848.

use std::time::{Duration, Instant};

use longshore_core::{Failure, Reason};

use super::looks::Looks;
use super::poll::Poll;
use crate::options::KafkaOptions;

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

    /// Whether we have been without a place for long.
    pub(super) fn is_missed(&self) -> bool {
        self.missed
    }

    fn is_due(&mut self, now: Instant) -> bool {
        let due = self.looked.is_none_or(|looked| now.duration_since(looked) >= LOOK);
        if due {
            self.looked = Some(now);
        }
        due
    }

    /// Takes in what was seen.
    fn seen(&mut self, is_member: bool, now: Instant) -> Option<News> {
        if is_member && !self.unanswered {
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
    /// Looks at our place, and tells when it is missed and when it is found again. Not while closing: a group that ends leaves such a
    /// question without an answer (see [`Poll::check_held`]).
    pub(super) fn look_at_place(&mut self) {
        let now = Instant::now();
        if self.closing() || self.ended() || !self.health.place.is_due(now) {
            return;
        }
        let is_member = self.client().is_member();
        match self.health.place.seen(is_member, now) {
            Some(News::Missed) => self.trouble(self.no_place()),
            Some(News::Found) => self.all_well(),
            None => {}
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
