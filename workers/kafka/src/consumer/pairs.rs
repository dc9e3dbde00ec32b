//! The pairs we own, and what each is doing.

use std::collections::BTreeMap;
use std::time::Instant;

use longshore_core::{Epoch, Offset, PairId, Partition, TopicName};

use super::credit::Credit;
use super::damage::Damage;
use super::gap::Beginning;

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
    /// The runtime let go of it, or it was refused: nothing flows until it is taken away or begun anew.
    Resting,
}

/// One pair.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) id: PairId,
    pub(super) epoch: Epoch,
    pub(super) state: State,
    pub(super) credit: Credit,
    /// The lowest offset that may still come; what is below was handed over already.
    pub(super) next: Offset,
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
}

impl Pair {
    fn new(id: PairId, epoch: Epoch) -> Self {
        let (state, credit) = (State::Looking(None), Credit::default());
        Self {
            id,
            epoch,
            state,
            credit,
            next: Offset(0),
            told: false,
            doubtful: false,
            damage: Damage::default(),
            beginning: Beginning::default(),
            denied: 0,
            topic_id: String::new(),
        }
    }

    /// Begins anew under another epoch; the runtime keeps what it has for the pair.
    pub(super) fn renew(&mut self, epoch: Epoch) {
        *self = Self { told: self.told, ..Self::new(self.id.clone(), epoch) };
    }
}

/// All pairs, by topic and partition.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    topics: Vec<(TopicName, BTreeMap<Partition, Pair>)>,
    last_epoch: Epoch,
}

impl Pairs {
    /// The next ownership; epochs rise over all pairs, so none comes twice.
    pub(super) fn next_epoch(&mut self) -> Epoch {
        self.last_epoch = Epoch(self.last_epoch.0 + 1);
        self.last_epoch
    }

    /// Adds a pair unless we have it.
    pub(super) fn add(&mut self, topic: &str, partition: i32) {
        let epoch = self.next_epoch();
        let index = self.topic_index(topic).unwrap_or_else(|| {
            self.topics.push((TopicName::new(topic), BTreeMap::new()));
            self.topics.len() - 1
        });
        let (name, pairs) = &mut self.topics[index];
        let id = PairId { topic: name.clone(), partition: Partition(partition) };
        pairs.entry(id.partition).or_insert_with(|| Pair::new(id, epoch));
    }

    /// Takes a pair out.
    pub(super) fn remove(&mut self, topic: &str, partition: i32) -> Option<Pair> {
        let index = self.topic_index(topic)?;
        self.topics[index].1.remove(&Partition(partition))
    }

    /// The place of a topic, for [`Self::at`].
    pub(super) fn topic_index(&self, topic: &str) -> Option<usize> {
        self.topics.iter().position(|(name, _)| name.as_str() == topic)
    }

    /// The pair of a topic's place and a partition.
    pub(super) fn at(&mut self, topic: usize, partition: i32) -> Option<&mut Pair> {
        self.topics.get_mut(topic)?.1.get_mut(&Partition(partition))
    }

    /// The pair of a topic and a partition.
    pub(super) fn find(&mut self, topic: &str, partition: i32) -> Option<&mut Pair> {
        let index = self.topic_index(topic)?;
        self.at(index, partition)
    }

    /// The pair, if we own it under this epoch: whatever carries an old one is dropped.
    pub(super) fn owned(&mut self, id: &PairId, epoch: Epoch) -> Option<&mut Pair> {
        self.find(id.topic.as_str(), id.partition.0).filter(|pair| pair.epoch == epoch)
    }

    /// All pairs.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Pair> {
        self.topics.iter_mut().flat_map(|(_, pairs)| pairs.values_mut())
    }
}
