//! Which letters were met already: a second copy of a letter is the same letter (I1).

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::Place;

/// Offsets of one block.
const BLOCK_BITS: u32 = 6;
/// The most blocks that are kept, about 300 MB; what comes later is taken for new, and [`Seen::is_full`] says so.
const BLOCKS_MAX: usize = 1 << 23;
/// The most bytes that names of topics may take: whoever writes letters chooses what they name, and a pipeline has few inputs.
const NAMES_MAX_BYTES: usize = 1 << 20;
/// What a name takes beside its letters, bytes.
const NAME_BYTES: usize = 48;

/// Letters by identity: origin and replay number. Exact, and small where letters lie close together: 64 neighbours share one
/// entry.
#[derive(Debug)]
pub struct Seen {
    topics: HashMap<Box<str>, u32, FixedState>,
    /// What these take.
    names_bytes: usize,
    streams: HashMap<(u32, i32, u32, u32), u32, FixedState>,
    blocks: HashMap<(u32, i64), u64, FixedState>,
    last: Option<Last>,
    most: usize,
    full: bool,
}

impl Default for Seen {
    fn default() -> Self {
        Self::with_blocks(BLOCKS_MAX)
    }
}

/// The stream met last; letters of one partition mostly come in a row.
#[derive(Debug)]
struct Last {
    topic: Box<str>,
    key: (i32, u32, u32),
    stream: u32,
}

impl Seen {
    /// Keeps at most so many blocks of 64 neighbours together with partitions of topics, which take about 50 bytes each while their table
    /// grows, and a megabyte of topics' names.
    pub fn with_blocks(most: usize) -> Self {
        Self {
            topics: HashMap::default(),
            names_bytes: 0,
            streams: HashMap::default(),
            blocks: HashMap::default(),
            last: None,
            most,
            full: false,
        }
    }

    /// Notes a letter; true when it was not met before.
    pub fn insert(&mut self, place: Place<'_>, replays: u32) -> bool {
        let Some(stream) = self.stream(place, replays) else {
            self.full = true;
            return true;
        };
        let block = (stream, place.offset >> BLOCK_BITS);
        let bit = 1_u64 << (place.offset & ((1 << BLOCK_BITS) - 1));
        if self.blocks.len() + self.streams.len() >= self.most && !self.blocks.contains_key(&block) {
            self.full = true;
            return true;
        }
        let bits = self.blocks.entry(block).or_default();
        let fresh = *bits & bit == 0;
        *bits |= bit;
        fresh
    }

    /// Whether some letters were not noted because there were too many.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// None when there is no room for another one.
    fn stream(&mut self, place: Place<'_>, replays: u32) -> Option<u32> {
        let key = (place.partition, place.index, replays);
        if let Some(last) = &self.last
            && last.key == key
            && *last.topic == *place.topic
        {
            return Some(last.stream);
        }
        // A stream that is new wants a block as well.
        let room = self.blocks.len() + self.streams.len() + 1 < self.most;
        let topic = match self.topics.get(place.topic) {
            Some(topic) => *topic,
            None if room => self.name(place.topic)?,
            None => return None,
        };
        let of_topic = (topic, place.partition, place.index, replays);
        let stream = match self.streams.get(&of_topic) {
            Some(stream) => *stream,
            None if room => {
                let stream = self.streams.len() as u32;
                self.streams.insert(of_topic, stream);
                stream
            }
            None => return None,
        };
        self.last = Some(Last { topic: place.topic.into(), key, stream });
        Some(stream)
    }

    /// None when there is no room for another name.
    fn name(&mut self, topic: &str) -> Option<u32> {
        let bytes = topic.len() + NAME_BYTES;
        if self.names_bytes + bytes > NAMES_MAX_BYTES {
            return None;
        }
        self.names_bytes += bytes;
        let number = self.topics.len() as u32;
        self.topics.insert(topic.into(), number);
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Scenario: letters of few origins, in any order, with copies. Guarantee: each is new exactly once.
        #[test]
        fn each_letter_is_new_once(
            letters in proptest::collection::vec((0..2usize, 0..2i32, 0..200i64, 0..2u32, 0..2u32), 0..300)
        ) {
            let (mut seen, mut plain) = (Seen::default(), std::collections::HashSet::new());
            for (topic, partition, offset, index, replays) in letters {
                let place = Place { topic: ["a", "b"][topic], partition, offset, index };
                prop_assert_eq!(
                    seen.insert(place, replays),
                    plain.insert((topic, partition, offset, index, replays))
                );
            }
            prop_assert!(!seen.is_full());
        }
    }

    /// Bad input: letters that name ever new topics. Guarantee: what is kept stays within its bound, and it says that it is full.
    #[test]
    fn what_is_kept_is_bounded() {
        let mut seen = Seen::with_blocks(8);
        for number in 0..1_000 {
            let topic = format!("forged-{number}");
            assert!(seen.insert(Place { topic: &topic, partition: 0, offset: number, index: 0 }, 0));
        }
        assert!(seen.is_full() && seen.blocks.len() + seen.streams.len() <= 8 && seen.topics.len() <= 4);
        assert!(!seen.insert(Place { topic: "forged-2", partition: 0, offset: 2, index: 0 }, 0));
    }

    /// Bad input: letters that name ever new topics by the longest names, while there is room for their blocks. Guarantee: the names stay
    /// within their bytes, and what was met before is still known.
    #[test]
    fn names_are_bounded_by_their_bytes() {
        let mut seen = Seen::default();
        assert!(seen.insert(Place { topic: "orders", partition: 0, offset: 7, index: 0 }, 0));
        for number in 0..100_000 {
            let topic = format!("{number:0>249}");
            assert!(seen.insert(Place { topic: &topic, partition: 0, offset: number, index: 0 }, 0));
        }
        let names: usize = seen.topics.keys().map(|name| name.len() + NAME_BYTES).sum();
        let least = NAMES_MAX_BYTES - 249 - NAME_BYTES;
        assert!(seen.is_full() && (least..=NAMES_MAX_BYTES).contains(&names), "{names}");
        assert!(!seen.insert(Place { topic: "orders", partition: 0, offset: 7, index: 0 }, 0));
        assert!(seen.insert(Place { topic: "orders", partition: 0, offset: 8, index: 0 }, 0));
    }

    /// Guarantee: neighbours share a block of 64; a partition and its first block need two places, and where only one is left neither is kept.
    #[test]
    fn neighbours_share_a_block() {
        let at = |topic, offset| Place { topic, partition: 0, offset, index: 0 };
        let mut seen = Seen::default();
        (0..128).for_each(|offset| assert!(seen.insert(at("a", offset), 0)));
        assert_eq!((seen.blocks.len(), seen.streams.len()), (2, 1));
        let mut seen = Seen::with_blocks(3);
        assert!(seen.insert(at("a", 0), 0) && !seen.is_full());
        assert!(seen.insert(at("b", 0), 0) && seen.is_full() && seen.streams.len() == 1);
        let other = Place { partition: 1, ..at("a", 0) };
        assert!(seen.insert(other, 0) && seen.insert(other, 0) && seen.streams.len() == 1);
        assert!(seen.insert(at("a", 64), 0) && !seen.insert(at("a", 64), 0));
        assert!(seen.insert(at("a", 128), 0) && seen.insert(at("a", 128), 0), "no room for a third block");
        let mut seen = Seen::with_blocks(4);
        for topic in ["a", "b"] {
            assert!(seen.insert(at(topic, 0), 0) && !seen.insert(at(topic, 0), 0), "{topic}");
        }
        assert!(!seen.is_full());
    }

    /// Guarantee: names take their room to its last byte.
    #[test]
    fn names_take_their_room_to_its_last_byte() {
        let mut seen = Seen { names_bytes: NAMES_MAX_BYTES - NAME_BYTES - 1, ..Seen::default() };
        let at = |topic| Place { topic, partition: 0, offset: 0, index: 0 };
        assert!(seen.insert(at("a"), 0) && !seen.is_full());
        assert!(seen.insert(at("b"), 0) && seen.is_full());
    }
}
