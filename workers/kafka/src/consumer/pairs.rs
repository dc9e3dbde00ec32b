//! The pairs we own, and what each is doing.

use std::collections::BTreeMap;
use std::time::Instant;

use longshore_core::{Charge, Epoch, Lane, Offset, PairId, Partition, TopicName};

use super::behind::Behind;
use super::credit::Credit;
use super::damage::Damage;
use super::gap::Beginning;
use super::held::Held;
use super::keep::Kept;
use super::standing::{Unacknowledged, Unread};

/// What a pair is doing, as far as the source is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The scout is asked, or to be asked at this time, where the pair stands.
    Looking(Option<Instant>),
    /// `Assigned` was sent; waits for `Start`.
    Waiting,
    /// `Start` came; librdkafka is to go there.
    Starting(Offset),
    /// Fetching, unless paused for want of credit.
    Flowing,
    /// Paused in front of a large record, which is fetched again when there is room for it ([`super::gate`]).
    InLine,
    /// The runtime let go of it, or it was refused: nothing flows until it is taken away or begun anew.
    Resting,
}

/// One lane of a pair: what there is to say of one partition. Both lanes have the pair's id and epoch; begin, end and
/// refusal are the pair's and change both, fetching and credit are each one's own.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) id: PairId,
    pub(super) lane: Lane,
    /// The topic that this lane reads; that of the id for the input lane.
    pub(super) topic: TopicName,
    pub(super) epoch: Epoch,
    pub(super) state: State,
    pub(super) credit: Credit,
    /// What came without credit, until it has some.
    pub(super) held: Held,
    /// The lowest offset that may still come; what is below was handed over or is held back.
    pub(super) next: Offset,
    /// The offset behind the farthest record that was handed over; `next` goes back.
    reached: Offset,
    /// The copy that the retry lane was sent back to: its value is wanted, however large it is.
    pub(super) wanted: Option<Offset>,
    /// Room that is kept for the large record to come next, and since when.
    pub(super) room: Option<(Charge, Instant)>,
    /// Whether the runtime has work for this pair, or a note of it, and so must hear when it goes.
    pub(super) told: bool,
    /// An error event may have moved librdkafka's position; a seek sets it right.
    pub(super) doubtful: bool,
    /// What could not be read, and how often in a row.
    pub(super) damage: Damage,
    /// Where records begin behind the seek, as far as that was looked at.
    pub(super) beginning: Beginning,
    /// Seeks refused in a row.
    pub(super) denied: u32,
    /// The id of the topic it was given to the runtime with; empty before, and where the broker has none.
    pub(super) topic_id: String,
    /// Whether the runtime was told that the pair is refused for what may come right by itself.
    pub(super) refused: bool,
    /// Whether commits are of another topic than the one that is there now, and say nothing.
    pub(super) made_again: bool,
    /// The retry lane's last commit, to be sent again before the broker forgets it.
    pub(super) kept: Option<Kept>,
    /// Commits since the last acknowledged one; none when the runtime asked for none.
    pub(super) unacknowledged: Option<Unacknowledged>,
    /// When the group refused a commit last, as from one that is not the owner, if no other was acknowledged since.
    pub(super) refused_commit: Option<Instant>,
    /// Errors in answers of the partition's leader, if there were any.
    pub(super) unread: Option<Unread>,
    /// How far it is behind the end of its log.
    pub(super) behind: Behind,
}

impl Pair {
    pub(super) fn new(id: PairId, lane: Lane, topic: TopicName, epoch: Epoch) -> Self {
        let (state, credit) = (State::Looking(None), Credit::default());
        Self {
            id,
            lane,
            topic,
            epoch,
            state,
            credit,
            held: Held::default(),
            next: Offset(0),
            reached: Offset(0),
            wanted: None,
            room: None,
            told: false,
            doubtful: false,
            damage: Damage::default(),
            beginning: Beginning::default(),
            denied: 0,
            topic_id: String::new(),
            refused: false,
            made_again: false,
            kept: None,
            unacknowledged: None,
            refused_commit: None,
            unread: None,
            behind: Behind::default(),
        }
    }

    /// Its partition, as librdkafka knows it.
    pub(super) fn place(&self) -> Place {
        (self.topic.clone(), self.id.partition.0)
    }

    /// Begins to fetch at an offset. The retry lane is also sent back to a copy whose value is wanted, and to its end again.
    pub(super) fn start(&mut self, offset: Offset) {
        match (self.state, self.lane) {
            (State::Waiting, _) => self.state = State::Starting(offset),
            // It stands in front of this very copy.
            (State::InLine, Lane::Retry) if self.wanted == Some(offset) => {}
            (State::Starting(_) | State::Flowing | State::InLine, Lane::Retry) => {
                self.state = State::Starting(offset);
                self.reached = self.reached.max(self.next);
                // What nobody has read yet is no copy whose value is wanted: if it is large it is left, as anywhere.
                self.wanted = (offset < self.reached).then_some(offset);
                self.room = None;
                self.beginning = Beginning::default();
            }
            (_, Lane::Input) | (State::Looking(_) | State::Resting, Lane::Retry) => {}
        }
    }

    /// Whether a large record at this offset has to wait for its room. Of the retry lane only one that it was sent back to: it would
    /// stand in front of another until somebody sent it elsewhere, and nobody may.
    pub(super) fn stands_in_line(&self, offset: Offset) -> bool {
        match self.lane {
            Lane::Input => true,
            Lane::Retry => self.wanted == Some(offset),
        }
    }

    /// Begins anew under another epoch; the runtime keeps what it has for the pair.
    fn renew(&mut self, epoch: Epoch) {
        let (id, topic) = (self.id.clone(), self.topic.clone());
        *self = Self {
            told: self.told,
            refused: self.refused,
            // Until it has committed itself, what is committed may still be of the old topic.
            made_again: self.made_again && self.kept.is_none(),
            ..Self::new(id, self.lane, topic, epoch)
        };
    }
}

/// A partition, as librdkafka knows it.
pub(super) type Place = (TopicName, i32);

/// Places as the calls of librdkafka want them.
pub(super) fn named(places: &[Place]) -> impl Iterator<Item = (&str, i32)> {
    places.iter().map(|(topic, partition)| (topic.as_str(), *partition))
}

/// All lanes of all pairs, by topic and partition.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    topics: Vec<(TopicName, BTreeMap<Partition, Pair>)>,
    /// The retry topic of each input topic.
    retry_topics: BTreeMap<TopicName, TopicName>,
    last_epoch: Epoch,
}

impl Pairs {
    pub(super) fn new(retry_topics: &BTreeMap<String, String>) -> Self {
        let names = |(input, retry): (&String, &String)| (TopicName::new(input), TopicName::new(retry));
        Self { retry_topics: retry_topics.iter().map(names).collect(), ..Self::default() }
    }

    /// The partitions of a pair: the input's, and the retry topic's if there is one.
    pub(super) fn places(&self, topic: &str, partition: i32) -> Vec<Place> {
        let input = TopicName::new(topic);
        let retry = self.retry_topics.get(&input).cloned();
        std::iter::once(input).chain(retry).map(|topic| (topic, partition)).collect()
    }

    /// The next ownership; epochs rise over all pairs, so none comes twice.
    pub(super) fn next_epoch(&mut self) -> Epoch {
        self.last_epoch = Epoch(self.last_epoch.0 + 1);
        self.last_epoch
    }

    /// Adds a pair unless we have it.
    pub(super) fn add(&mut self, topic: &str, partition: i32) {
        if self.find(topic, partition).is_some() {
            return;
        }
        let epoch = self.next_epoch();
        let id = PairId::new(topic, partition);
        let lanes = [Lane::Input, Lane::Retry];
        for ((topic, _), lane) in self.places(topic, partition).into_iter().zip(lanes) {
            let index = self.topic_index(topic.as_str()).unwrap_or_else(|| {
                self.topics.push((topic.clone(), BTreeMap::new()));
                self.topics.len() - 1
            });
            let pair = Pair::new(id.clone(), lane, topic, epoch);
            self.topics[index].1.insert(id.partition, pair);
        }
    }

    /// Takes a pair out; gives its input lane.
    pub(super) fn remove(&mut self, topic: &str, partition: i32) -> Option<Pair> {
        let lanes = self.places(topic, partition).into_iter().map(|(topic, _)| {
            let index = self.topic_index(topic.as_str())?;
            self.topics[index].1.remove(&Partition(partition))
        });
        let mut lanes = lanes.collect::<Vec<_>>().into_iter();
        lanes.next().flatten()
    }

    /// The place of a topic, for [`Self::at`].
    pub(super) fn topic_index(&self, topic: &str) -> Option<usize> {
        self.topics.iter().position(|(name, _)| name.as_str() == topic)
    }

    /// The lane of a topic's place and a partition.
    pub(super) fn at(&mut self, topic: usize, partition: i32) -> Option<&mut Pair> {
        self.topics.get_mut(topic)?.1.get_mut(&Partition(partition))
    }

    /// The lane that reads a topic's partition.
    pub(super) fn find(&mut self, topic: &str, partition: i32) -> Option<&mut Pair> {
        let index = self.topic_index(topic)?;
        self.at(index, partition)
    }

    /// The pair's input lane, if we own it under this epoch: whatever carries an old one is dropped.
    pub(super) fn owned(&mut self, id: &PairId, epoch: Epoch) -> Option<&mut Pair> {
        self.lane(id, epoch, Lane::Input)
    }

    /// A lane of a pair, if there is one and we own the pair under this epoch.
    pub(super) fn lane(&mut self, id: &PairId, epoch: Epoch, lane: Lane) -> Option<&mut Pair> {
        let topic = match lane {
            Lane::Input => id.topic.clone(),
            Lane::Retry => self.retry_topics.get(&id.topic)?.clone(),
        };
        self.find(topic.as_str(), id.partition.0).filter(|pair| pair.epoch == epoch)
    }

    /// Both lanes of a pair, if we own it under this epoch.
    pub(super) fn both(&mut self, id: &PairId, epoch: Epoch, mut each: impl FnMut(&mut Pair)) {
        for lane in [Lane::Input, Lane::Retry] {
            if let Some(found) = self.lane(id, epoch, lane) {
                each(found);
            }
        }
    }

    /// Begins a pair anew under the next epoch, which is given with the partitions that flowed until now.
    pub(super) fn renew(&mut self, id: &PairId, epoch: Epoch) -> (Epoch, Vec<Place>) {
        let next = self.next_epoch();
        let mut flowed = Vec::new();
        self.both(id, epoch, |lane| {
            if lane.credit.flowing {
                flowed.push(lane.place());
            }
            lane.renew(next);
        });
        (next, flowed)
    }

    /// All lanes of all pairs.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Pair> {
        self.topics.iter_mut().flat_map(|(_, pairs)| pairs.values_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry_lane() -> Pair {
        let mut lane = Pair::new(PairId::new("in", 0), Lane::Retry, TopicName::new("in.retry"), Epoch(1));
        (lane.state, lane.next) = (State::Flowing, Offset(100));
        lane
    }

    /// Scenario: the retry lane is sent back to a copy, on to another one, and to its end again. Guarantee (I5, I6): it stands in line for
    /// the copies that it was sent back to and for nothing else, so also not for what comes at its end, which nobody has asked for.
    #[test]
    fn a_retry_lane_stands_in_line_for_what_is_wanted_alone() {
        let mut lane = retry_lane();
        assert!(!lane.stands_in_line(Offset(100)));
        lane.start(Offset(50));
        assert!(lane.stands_in_line(Offset(50)) && !lane.stands_in_line(Offset(51)));
        (lane.state, lane.next) = (State::Flowing, Offset(51));
        lane.start(Offset(70));
        assert!(lane.stands_in_line(Offset(70)));
        (lane.state, lane.next) = (State::Flowing, Offset(71));
        lane.start(Offset(100));
        assert_eq!((lane.state, lane.wanted), (State::Starting(Offset(100)), None));
        assert!(!lane.stands_in_line(Offset(100)));
    }
}
