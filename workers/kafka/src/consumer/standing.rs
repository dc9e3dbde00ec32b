//! What stands still without a word of librdkafka: commits of which none is acknowledged, and partitions that cannot be read. We and
//! librdkafka try both again for ever, so a worker would wait in silence (I6).
//!
//! Of a partition what its leader answers counts, or that it has none. That nothing comes says something only of one that is behind its end
//! ([`super::behind`]): another may be idle, paused, or in front of a transaction that is open. Librdkafka (2.12) tells of an error in the answer to a fetch that it deals with
//! itself by a line of its debug log alone, in the part of it that is on already ([`super::identity`]). A partition without a leader is not
//! fetched; that shows when its end is asked for ([`super::ends`]), and at its beginning when it is asked where it stands ([`super::scout`]).

use std::time::{Duration, Instant};

use longshore_core::{Failure, Lane, Offset, Reason};

use super::pairs::{Pair, State};
use super::poll::Poll;
use crate::errors::{Meaning, meaning};
use crate::ffi::{Code, OK, describe};

/// Without a further error for so long, fetches get none any more: librdkafka asks again after half a second.
const QUIET: Duration = Duration::from_secs(10);
/// The same of ends, which are asked for every five seconds and by turns with where pairs stand, with up to six for an answer.
const QUIET_ENDS: Duration = Duration::from_secs(30);

/// One part in so many of the patience with a missing place is how long a pair is kept whose commit was refused: a member that is none hears that with
/// its next heartbeat.
const REFUSED_SHARE: u32 = 3;

/// Commits of a lane since the last one that was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unacknowledged {
    /// When the first of them was asked for.
    since: Instant,
    /// The last answer; [`OK`] before the first one.
    answer: Code,
}

impl Unacknowledged {
    pub(super) fn asked(now: Instant) -> Self {
        Self { since: now, answer: OK }
    }

    /// It was answered, and not with an acknowledgement.
    pub(super) fn answered(&mut self, code: Code) {
        self.answer = code;
    }
}

/// Answers to commits by which we are no member of the group, or not in its present generation, without an acknowledgement in between. One is
/// what an owner hears that was replaced. A group that takes us in again each time gives us other ownerships, so these are the worker's and no
/// lane's.
#[derive(Debug, Default)]
pub(super) struct Denials(Option<Denial>);

#[derive(Clone, Copy, Debug)]
struct Denial {
    since: Instant,
    last: Instant,
    answer: Code,
}

impl Denials {
    /// A commit was answered.
    pub(super) fn answered(&mut self, code: Code, patience: Duration, now: Instant) {
        if code == OK {
            self.0 = None;
        } else if meaning(code) == Meaning::Fenced {
            let known = self.0.filter(|known| now.duration_since(known.last) < patience);
            self.0 = Some(Denial { since: known.map_or(now, |known| known.since), last: now, answer: code });
        }
    }

    /// The last of them, if they have come for so long and still do.
    fn lasting(&self, patience: Duration, now: Instant) -> Option<Code> {
        let lasts = |known: &Denial| {
            known.last.duration_since(known.since) >= patience && now.duration_since(known.last) < patience
        };
        self.0.filter(lasts).map(|known| known.answer)
    }
}

/// What was asked of a partition's leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Records,
    End,
}

/// Errors in answers of a partition's leader, one after the other, while nothing came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unread {
    since: Instant,
    last: Instant,
    /// Where the lane stood meanwhile.
    at: Offset,
    /// What was asked last.
    asked: Asked,
    /// The last answer.
    words: String,
}

impl Unread {
    /// One more error, after these.
    fn after(before: Option<Self>, at: Offset, asked: Asked, words: String, now: Instant) -> Self {
        let since = before.filter(|known| known.is_fresh(at, now)).map_or(now, |known| known.since);
        Self { since, last: now, at, asked, words }
    }

    fn is_fresh(&self, at: Offset, now: Instant) -> bool {
        let quiet = match self.asked {
            Asked::Records => QUIET,
            Asked::End => QUIET_ENDS,
        };
        self.at == at && now.duration_since(self.last) < quiet
    }

    fn lasts(&self, at: Offset, patience: Duration, now: Instant) -> bool {
        self.is_fresh(at, now) && self.last.duration_since(self.since) >= patience
    }
}

/// Topic, partition and error of an answer to a fetch, by a line of librdkafka's log.
pub(super) fn unfetched<'a>(facility: &str, line: &'a str) -> Option<(&'a str, i32, &'a str)> {
    if facility != "BROKERUA" {
        return None;
    }
    // "[thrd:NAME]: TOPIC [PARTITION]: broker unavailable: fetch: ERROR"
    let (place, words) = line.split_once(": broker unavailable: fetch: ")?;
    let (before, partition) = place.strip_suffix(']')?.rsplit_once(" [")?;
    let topic = before.rsplit_once(' ').map_or(before, |(_, topic)| topic);
    Some((topic, partition.parse().ok()?, words))
}

impl Pair {
    /// Whether the lane's commits and fetches are of any consequence now.
    fn is_at_work(&self) -> bool {
        match self.state {
            State::Waiting | State::Starting(_) | State::Flowing | State::InLine => true,
            State::Looking(_) | State::Resting => false,
        }
    }

    /// Whether its leader is needed: before it is at work it has to tell where the lane stands.
    fn needs_leader(&self) -> bool {
        self.is_at_work() || matches!(self.state, State::Looking(_))
    }

    /// The last answer to its commits, if there was none that is an acknowledgement for so long.
    fn lacks_commit(&self, patience: Duration, now: Instant) -> Option<Code> {
        let lacks = |commits: &Unacknowledged| now.duration_since(commits.since) >= patience;
        self.unacknowledged
            .filter(|commits| self.is_at_work() && lacks(commits))
            .map(|commits| commits.answer)
    }

    /// Whether a commit was refused so long ago, and the lane is still ours.
    fn refused_for(&self, patience: Duration, now: Instant) -> bool {
        self.is_at_work() && self.refused_commit.is_some_and(|since| now.duration_since(since) >= patience)
    }

    /// What its leader answers, if that was errors for so long.
    fn lacks_leader(&self, patience: Duration, now: Instant) -> Option<&str> {
        let lacks = |unread: &&Unread| self.needs_leader() && unread.lasts(self.next, patience, now);
        self.unread.as_ref().filter(lacks).map(|unread| unread.words.as_str())
    }

    /// A fetch was answered with an error.
    fn not_fetched(&mut self, words: String, now: Instant) {
        self.unread = Some(Unread::after(self.unread.take(), self.next, Asked::Records, words, now));
    }

    /// The leader told where the partition stands or ends. That says nothing of fetches which it refuses, nor, as long as it is not known where the
    /// pair stands, of the other lane's leader.
    pub(super) fn leader_answered(&mut self) {
        if !matches!(self.state, State::Looking(_)) {
            self.unread.take_if(|unread| unread.asked == Asked::End);
        }
    }

    /// There is no leader that tells where the partition stands or ends.
    pub(super) fn leader_failed(&mut self, words: String, now: Instant) {
        self.unread = Some(Unread::after(self.unread.take(), self.next, Asked::End, words, now));
    }
}

impl Poll<'_> {
    /// A fetch of a partition was answered with an error.
    pub(super) fn not_fetched(&mut self, topic: &str, partition: i32, words: String) {
        if let Some(lane) = self.pairs.find(topic, partition) {
            lane.not_fetched(words, Instant::now());
        }
    }

    /// Looks whether we stand still, and says it when that begins and when it ends. Not while closing: a group that ends leaves the question
    /// for our place without an answer (see [`Poll::check_held`]).
    pub(super) fn look_whether_standing(&mut self) {
        let now = Instant::now();
        if self.closing() || self.ended() || !self.health.place.is_due(now) {
            return;
        }
        self.look_at_place(now);
        if self.is_forgotten(now) {
            let detail = "the consumer group is not known to its coordinator any more, and the Kafka client does not join it again";
            return self.end(Err(Failure::target(Reason::BrokerFatal, detail)));
        }
        // A group that denies us is seen as one without a place as well, for most of the time.
        let standing = self.denied(now).or_else(|| match self.health.place.is_missed() {
            true => Some(self.no_place()),
            false => {
                self.begin_refused_anew(now);
                let reads = |poll: &mut Self| poll.without_leader(now).or_else(|| poll.without_records(now));
                self.without_commits(now).or_else(|| reads(self))
            }
        });
        self.stand(standing);
    }

    /// With KIP-848 librdkafka (2.12) counts itself as a member of a group that its coordinator has forgotten, as when `__consumer_offsets` was deleted,
    /// for ever; only a new client joins.
    fn is_forgotten(&mut self, now: Instant) -> bool {
        let patience = self.health.place.patience();
        let forgotten = Some(Code::RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND);
        self.pairs.iter_mut().any(|lane| lane.lacks_commit(patience, now) == forgotten)
    }

    /// Begins pairs anew whose commits the group refuses while it counts us as the member that has them: the runtime has let go of such a pair, and waits
    /// for the word that it is lost, which does not come.
    fn begin_refused_anew(&mut self, now: Instant) {
        let patience = self.health.place.patience() / REFUSED_SHARE;
        if self.rebalance.busy() {
            return;
        }
        let refused =
            |lane: &mut Pair| lane.refused_for(patience, now).then(|| (lane.id.clone(), lane.epoch));
        let refused: Vec<_> = self.pairs.iter_mut().filter_map(refused).collect();
        for (pair, epoch) in refused {
            tracing::warn!(%pair, "a commit was refused, and the pair is ours all the same: beginning it anew");
            self.begin_anew(&pair, epoch);
        }
    }

    /// The group takes us in, and denies it at each commit.
    fn denied(&self, now: Instant) -> Option<Failure> {
        let patience = self.health.place.patience();
        let code = self.health.denials.lasting(patience, now)?;
        let detail = format!(
            "consumer group {} gives partitions again and again, and has refused each commit for {} s and more: {}; does its coordinator \
             forget it?",
            self.options.group,
            patience.as_secs(),
            describe(code)
        );
        Some(Failure::target(Reason::BrokerCommits, detail))
    }

    fn without_commits(&mut self, now: Instant) -> Option<Failure> {
        let patience = self.health.place.patience();
        let lacking = |lane: &mut Pair| Some((lane.id.clone(), lane.lane, lane.lacks_commit(patience, now)?));
        let mut lanes = self.pairs.iter_mut().filter_map(lacking);
        let (pair, lane, code) = lanes.next()?;
        let others = others(lanes.count());
        let lane = if lane == Lane::Retry { " (its retry lane)" } else { "" };
        let answer = if code == OK { "no answer".to_owned() } else { describe(code) };
        let detail = format!(
            "no commit of {pair}{lane}{others} has been acknowledged for {} s and more: {answer}",
            patience.as_secs()
        );
        Some(Failure::target(Reason::BrokerCommits, detail))
    }

    fn without_leader(&mut self, now: Instant) -> Option<Failure> {
        let patience = self.health.place.patience();
        let lacking = |lane: &mut Pair| Some((lane.place(), lane.lacks_leader(patience, now)?.to_owned()));
        let mut lanes = self.pairs.iter_mut().filter_map(lacking);
        let ((topic, partition), words) = lanes.next()?;
        let others = others(lanes.count());
        let detail = format!(
            "nothing comes of {topic}/{partition}{others} for {} s and more: {words}; is there a leader, is it well, and can it be reached?",
            patience.as_secs()
        );
        Some(Failure::target(Reason::BrokerFetches, detail))
    }
}

pub(super) fn others(count: usize) -> String {
    if count == 0 { String::new() } else { format!(" and {count} more") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_core::{Epoch, PairId, TopicName};

    const PATIENCE: Duration = Duration::from_secs(60);

    fn lane(state: State) -> Pair {
        let mut lane = Pair::new(PairId::new("in", 0), Lane::Input, TopicName::new("in"), Epoch(1));
        lane.state = state;
        lane
    }

    /// Scenario: a lane commits, gets no acknowledgement for a minute, lets go. Guarantee: it lacks one from then on, as long as it is at work; a
    /// lane that has nothing to commit lacks nothing.
    #[test]
    fn commits_are_missed_by_lanes_that_commit() {
        let begin = Instant::now();
        let mut lane = lane(State::Waiting);
        assert_eq!(lane.lacks_commit(PATIENCE, begin + PATIENCE * 9), None);
        let mut commits = Unacknowledged::asked(begin);
        commits.answered(Code::RD_KAFKA_RESP_ERR_UNKNOWN);
        lane.unacknowledged = Some(commits);
        assert_eq!(lane.lacks_commit(PATIENCE, begin + PATIENCE - Duration::from_millis(1)), None);
        assert_eq!(lane.lacks_commit(PATIENCE, begin + PATIENCE), Some(Code::RD_KAFKA_RESP_ERR_UNKNOWN));
        lane.state = State::Resting;
        assert_eq!(lane.lacks_commit(PATIENCE, begin + PATIENCE), None);
    }

    /// Scenario: a commit is refused, and the pair is not taken away; then it lets go, or begins anew. Guarantee: that counts as long as it is at work.
    #[test]
    fn a_refused_commit_counts_while_the_lane_is_ours() {
        let begin = Instant::now();
        let mut lane = lane(State::Flowing);
        assert!(!lane.refused_for(PATIENCE, begin + PATIENCE));
        lane.refused_commit = Some(begin);
        assert!(!lane.refused_for(PATIENCE, begin + PATIENCE - Duration::from_millis(1)));
        assert!(lane.refused_for(PATIENCE, begin + PATIENCE));
        lane.state = State::Looking(None);
        assert!(!lane.refused_for(PATIENCE, begin + PATIENCE), "it has begun anew");
    }

    /// Scenario: commits are denied for a minute; then one is acknowledged, or none is answered for long. Guarantee: that is told from then on, and
    /// never by what an owner hears that was replaced, nor by answers that say nothing of membership.
    #[test]
    fn denials_are_told_while_they_follow_one_another() {
        let (begin, mut denials) = (Instant::now(), Denials::default());
        let at = |seconds| begin + Duration::from_secs(seconds);
        let unknown = Code::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID;
        for seconds in (0..60).step_by(10) {
            denials.answered(unknown, PATIENCE, at(seconds));
            denials.answered(Code::RD_KAFKA_RESP_ERR__TRANSPORT, PATIENCE, at(seconds));
            assert_eq!(denials.lasting(PATIENCE, at(seconds + 9)), None);
        }
        assert_eq!(denials.lasting(PATIENCE, at(60)), None, "none came so late");
        let illegal = Code::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION;
        denials.answered(illegal, PATIENCE, at(60));
        assert_eq!(denials.lasting(PATIENCE, at(119)), Some(illegal));
        assert_eq!(denials.lasting(PATIENCE, at(120)), None, "nothing is committed any more");
        denials.answered(OK, PATIENCE, at(121));
        denials.answered(illegal, PATIENCE, at(122));
        assert_eq!(denials.lasting(PATIENCE, at(122)), None, "it began anew");
        denials.answered(illegal, PATIENCE, at(182));
        assert_eq!(denials.lasting(PATIENCE, at(182)), None, "an owner that was replaced twice");
    }

    /// Scenario: fetches are answered with errors for a minute; then something comes, or the errors end, or the lane lets go. Guarantee: only errors that
    /// follow one another while nothing comes count, up to the last one.
    #[test]
    fn leaders_are_missed_while_errors_follow_one_another() {
        let (begin, mut lane) = (Instant::now(), lane(State::Flowing));
        let at = |seconds| begin + Duration::from_secs(seconds);
        for seconds in (0..60).step_by(5) {
            lane.not_fetched("x".to_owned(), at(seconds));
            assert_eq!(lane.lacks_leader(PATIENCE, at(seconds + 5)), None);
        }
        lane.not_fetched("y".to_owned(), at(60));
        assert_eq!(lane.lacks_leader(PATIENCE, at(60)), Some("y"));
        lane.leader_answered();
        assert_eq!(lane.lacks_leader(PATIENCE, at(69)), Some("y"), "it tells an end and refuses fetches");
        assert_eq!(lane.lacks_leader(PATIENCE, at(70)), None, "the errors have ended");
        lane.next = Offset(1);
        assert_eq!(lane.lacks_leader(PATIENCE, at(60)), None, "something came");
        for seconds in (61..=120).step_by(5) {
            lane.not_fetched("x".to_owned(), at(seconds));
            assert_eq!(lane.lacks_leader(PATIENCE, at(seconds)), None, "it began anew");
        }
        lane.not_fetched("x".to_owned(), at(121));
        lane.state = State::Resting;
        assert_eq!(lane.lacks_leader(PATIENCE, at(121)), None, "it wants nothing");
        lane.state = State::Flowing;
        assert_eq!(lane.lacks_leader(PATIENCE, at(121)), Some("x"));
        lane.not_fetched("x".to_owned(), at(131));
        assert_eq!(lane.lacks_leader(PATIENCE, at(131)), None, "there was none for long");
    }

    /// Scenario: a partition has no leader, and then has one again. Guarantee: that is told by its end, which is asked for seldom, and is over with
    /// the first answer.
    #[test]
    fn a_missing_leader_is_known_by_the_end() {
        let (begin, mut lane) = (Instant::now(), lane(State::Flowing));
        let at = |seconds| begin + Duration::from_secs(seconds);
        for seconds in (0..=60).step_by(15) {
            assert_eq!(lane.lacks_leader(PATIENCE, at(seconds)), None);
            lane.leader_failed("no leader".to_owned(), at(seconds));
        }
        assert_eq!(lane.lacks_leader(PATIENCE, at(89)), Some("no leader"));
        lane.state = State::Looking(None);
        lane.leader_answered();
        assert_eq!(lane.lacks_leader(PATIENCE, at(89)), Some("no leader"), "it may be the other lane's");
        lane.state = State::Waiting;
        lane.leader_answered();
        assert_eq!(lane.lacks_leader(PATIENCE, at(89)), None);
    }

    #[test]
    fn a_line_tells_of_a_fetch_in_vain() {
        let line = "[thrd:127.0.0.1:9092/1]: logs.raw [12]: broker unavailable: fetch: Broker: Not leader for partition";
        assert_eq!(unfetched("BROKERUA", line), Some(("logs.raw", 12, "Broker: Not leader for partition")));
        assert_eq!(unfetched("FETCH", line), None);
        let produced =
            "[thrd:x]: logs.raw [12]: broker unavailable: produce: Broker: Not leader for partition";
        assert_eq!(unfetched("BROKERUA", produced), None);
        assert_eq!(unfetched("BROKERUA", "[thrd:x]: logs.raw: broker unavailable: fetch: x"), None);
    }
}
