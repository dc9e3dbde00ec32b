//! The pipeline's journal, a compacted topic: what people did with dead letters, and which letters are done with.
//!
//! Every record is JSON with a `version`; the key says what it is:
//!
//! | key | value |
//! |---|---|
//! | `run/ID` | a [`Run`]: a replay, a discard, a trim, or waiting records made due; who, when, which letters, how far |
//! | `selected/ID/TOPIC/PARTITION/BASE` | a [`Block`]: the letters that the run was asked to handle |
//! | `handled/ID/TOPIC/PARTITION/BASE` | a [`Block`]: the letters that it has handled |
//!
//! A block holds offsets of the *letter* topic in `[BASE, BASE + BLOCK_OFFSETS)`. Each run has blocks of its own, so two
//! runs never write the same key; a key is written again as the run goes on, and compaction keeps the last. The largest
//! block, every second offset of [`BLOCK_OFFSETS`], is below 512 KiB.
//!
//! Other keys are counted and left alone. A version that this code does not know is noted: whoever reads the journal then has to refuse it, since what
//! was done with which letters is not known. A later record of the same key takes its place in that as well, as compaction would sooner or later.

mod marks;
mod run;

use std::collections::BTreeMap;

use crate::format::{FormatError, JOURNAL, Newer};

pub use marks::{BLOCK_OFFSETS, Block, Marks};
pub use run::{Counts, Filter, Run, RunKind, RunState, Target};

/// The version of the records that this code writes.
pub const VERSION: u32 = 1;

/// The key of a record in the journal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// A run by its id.
    Run(String),
    /// A block of letters that a run was asked to handle.
    Selected(BlockKey),
    /// A block of letters that a run has handled.
    Handled(BlockKey),
}

/// Names one block.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlockKey {
    /// The run's id.
    pub run: String,
    /// The letter topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// The block's first offset.
    pub base: i64,
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let block = |f: &mut std::fmt::Formatter<'_>, word: &str, key: &BlockKey| {
            write!(f, "{word}/{}/{}/{}/{}", key.run, key.topic, key.partition, key.base)
        };
        match self {
            Self::Run(id) => write!(f, "run/{id}"),
            Self::Selected(key) => block(f, "selected", key),
            Self::Handled(key) => block(f, "handled", key),
        }
    }
}

impl Key {
    /// Whether a key, as it is written, is that of letters that a run was asked to handle.
    pub fn is_selected(bytes: &[u8]) -> bool {
        bytes.starts_with(b"selected/")
    }

    /// The bytes of its names.
    fn text_bytes(&self) -> usize {
        match self {
            Self::Run(id) => id.len(),
            Self::Selected(key) | Self::Handled(key) => key.run.len() + key.topic.len(),
        }
    }

    /// Reads a key; none for what is not ours.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (word, rest) = std::str::from_utf8(bytes).ok()?.split_once('/')?;
        match word {
            "run" => (!rest.is_empty() && !rest.contains('/')).then(|| Self::Run(rest.to_owned())),
            "selected" => BlockKey::parse(rest).map(Self::Selected),
            "handled" => BlockKey::parse(rest).map(Self::Handled),
            _ => None,
        }
    }
}

impl BlockKey {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let key = Self {
            run: parts.next()?.to_owned(),
            topic: parts.next()?.to_owned(),
            partition: parts.next()?.parse().ok()?,
            base: parts.next()?.parse().ok()?,
        };
        // Behind the last block there is another offset, so that none of what is reckoned with one passes the end of a number.
        let bases = 0..=i64::MAX - BLOCK_OFFSETS;
        let sound = parts.next().is_none() && key.partition >= 0 && bases.contains(&key.base);
        (sound && key.base % BLOCK_OFFSETS == 0).then_some(key)
    }
}

/// A journal as it reads now.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    /// Runs by id; ids begin with the time, so this is their order.
    pub runs: BTreeMap<String, Run>,
    /// What each run took as it is written, bytes.
    run_bytes: BTreeMap<String, usize>,
    selected: BTreeMap<String, Marks>,
    handled: BTreeMap<String, Marks>,
    /// Records that this code could not read, or that are not the journal's.
    pub unreadable: u64,
    /// The keys whose last record is of a newer version.
    newer: BTreeMap<Key, Newer>,
}

impl Journal {
    /// Takes in one record; a later one of the same key replaces an earlier one, and one without a value takes it away.
    pub fn apply(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) {
        let Some(key) = key.and_then(Key::parse) else {
            self.unreadable += 1;
            return;
        };
        let read = match &key {
            Key::Run(id) => self.apply_run(id, value),
            Key::Selected(key) => apply_block(&mut self.selected, key, value),
            Key::Handled(key) => apply_block(&mut self.handled, key, value),
        };
        match read {
            Ok(()) => drop(self.newer.remove(&key)),
            Err(FormatError::Newer(newer)) => drop(self.newer.insert(key, newer)),
            Err(FormatError::Unreadable(_)) => self.unreadable += 1,
        }
    }

    fn apply_run(&mut self, id: &str, value: Option<&[u8]>) -> Result<(), FormatError> {
        match value {
            None => {
                self.runs.remove(id);
                self.run_bytes.remove(id);
            }
            Some(value) => {
                let run: Run = JOURNAL.read(value)?;
                if run.id != id {
                    return Err(FormatError::Unreadable(format!("the run {} under the key of {id}", run.id)));
                }
                self.run_bytes.insert(id.to_owned(), value.len());
                self.runs.insert(id.to_owned(), run);
            }
        }
        Ok(())
    }

    /// Some when there is a record of a newer version: what it says of letters is not known here, so nothing may be done with any.
    pub fn newer(&self) -> Option<Newer> {
        self.newer.values().next().copied()
    }

    /// How many bytes it takes in memory, about.
    pub fn bytes(&self) -> usize {
        let marks = self.selected.iter().chain(&self.handled).map(|(id, marks)| id.len() + marks.bytes());
        let runs = self.run_bytes.iter().map(|(id, bytes)| 3 * id.len() + bytes);
        let newer = self.newer.keys().map(|key| size_of::<(Key, Newer)>() + key.text_bytes());
        marks.chain(runs).chain(newer).sum()
    }

    /// Letters that any run has handled.
    pub fn all_handled(&self) -> Marks {
        let mut all = Marks::default();
        for marks in self.handled.values() {
            all.union(marks);
        }
        all
    }

    /// Letters that a run has handled.
    pub fn handled(&self, run: &str) -> Marks {
        self.handled.get(run).cloned().unwrap_or_default()
    }

    /// Letters that a run was asked to handle.
    pub fn selected(&self, run: &str) -> Marks {
        self.selected.get(run).cloned().unwrap_or_default()
    }

    /// Which run has handled a letter, if one has.
    pub fn handled_by(&self, topic: &str, partition: i32, offset: i64) -> Option<&Run> {
        let holds = |marks: &&Marks| marks.contains(topic, partition, offset);
        let found = self.handled.iter().rev().find(|(_, marks)| holds(marks));
        found.and_then(|(id, _)| self.runs.get(id))
    }

    /// Keys of handled blocks that lie wholly below a partition's first offset: the letters are gone, so are the marks.
    pub fn outlived(&self, start_of: impl Fn(&str, i32) -> Option<i64>) -> Vec<Key> {
        let mut keys = Vec::new();
        for (run, marks) in &self.handled {
            for (topic, partition, base) in marks.bases() {
                if start_of(topic, partition).is_some_and(|start| base + BLOCK_OFFSETS <= start) {
                    let (run, topic) = (run.clone(), topic.to_owned());
                    keys.push(Key::Handled(BlockKey { run, topic, partition, base }));
                }
            }
        }
        keys
    }
}

fn apply_block(
    all: &mut BTreeMap<String, Marks>,
    key: &BlockKey,
    value: Option<&[u8]>,
) -> Result<(), FormatError> {
    let block = match value {
        None => Block::default(),
        Some(value) => {
            let block: Block = JOURNAL.read(value)?;
            if !block.is_sound() {
                return Err(FormatError::Unreadable("marks beyond their block".to_owned()));
            }
            block
        }
    };
    all.entry(key.run.clone()).or_default().replace(&key.topic, key.partition, key.base, &block);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Offset;

    fn write(journal: &mut Journal, key: &Key, value: Option<Vec<u8>>) {
        journal.apply(Some(key.to_string().as_bytes()), value.as_deref());
    }

    #[test]
    fn keys_are_read_back() {
        let block =
            BlockKey { run: "r1".into(), topic: "in.p.dlq".into(), partition: 3, base: BLOCK_OFFSETS };
        for key in [Key::Run("r1".into()), Key::Selected(block.clone()), Key::Handled(block)] {
            assert_eq!(Key::parse(key.to_string().as_bytes()), Some(key));
        }
        let last = format!("handled/r/t/0/{}", i64::MAX - (BLOCK_OFFSETS - 1));
        for bad in
            ["", "run/", "run/a/b", "handled/r/t/0", "handled/r/t/0/1", "handled/r/t/-1/0", "park/x", &last]
        {
            assert_eq!(Key::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    /// Scenario: two runs mark letters of the same topic, one writes its blocks again as it goes on, old blocks are taken
    /// away. Guarantee: the union is what is handled, and each run's own part stays apart.
    #[test]
    fn marks_of_runs_add_up_and_stay_apart() {
        let mut journal = Journal::default();
        for (run, offsets) in [("r1", 0..10), ("r1", 0..20), ("r2", 30_000..40_000)] {
            let mut marks = Marks::default();
            marks.insert_range("t", 0, Offset(offsets.start), Offset(offsets.end));
            for (topic, partition, base) in marks.bases() {
                let block = marks.block(topic, partition, base);
                let key = BlockKey { run: run.into(), topic: topic.into(), partition, base };
                write(&mut journal, &Key::Handled(key), serde_json::to_vec(&block).ok());
            }
        }
        assert_eq!(journal.all_handled().len(), 10_020);
        assert_eq!((journal.handled("r1").len(), journal.handled("r2").len()), (20, 10_000));
        let gone = journal.outlived(|_, _| Some(BLOCK_OFFSETS));
        assert_eq!(gone.len(), 2, "{gone:?}");
        for key in &gone {
            write(&mut journal, key, None);
        }
        assert_eq!(journal.all_handled().len(), 40_000 - BLOCK_OFFSETS as u64);
        assert_eq!(journal.unreadable, 0);
    }

    /// Guarantee: what a journal takes is known by its letters and runs, and grows and shrinks with them (I5).
    #[test]
    fn what_it_takes_is_known() {
        let mut journal = Journal::default();
        let mut marks = Marks::default();
        for run in 0..10_000 {
            marks.insert("t", 0, 2 * run);
        }
        assert_eq!(marks.run_count(), 10_000);
        let block = serde_json::to_vec(&marks.block("t", 0, 0)).unwrap();
        let key = Key::Handled(BlockKey { run: "r1".into(), topic: "t".into(), partition: 0, base: 0 });
        write(&mut journal, &key, Some(block));
        assert!((160_000..170_000).contains(&journal.bytes()), "{}", journal.bytes());
        write(&mut journal, &key, None);
        assert!(journal.bytes() < 1_000, "{}", journal.bytes());
        assert!(Key::is_selected(b"selected/r1/t/0/0") && !Key::is_selected(key.to_string().as_bytes()));
    }

    /// Guarantee: names count in what it takes, of runs and of what a newer version wrote under keys of any kind.
    #[test]
    fn names_count_in_what_it_takes() {
        let block = |topic: &str| BlockKey { run: "r1".into(), topic: topic.into(), partition: 0, base: 0 };
        let keys = [
            (Key::Run("r1".into()), 2),
            (Key::Selected(block("topic")), 7),
            (Key::Handled(block("topics")), 8),
        ];
        let (mut journal, mut bytes) = (Journal::default(), 0);
        for (key, names) in keys {
            assert_eq!(key.text_bytes(), names, "{key}");
            write(&mut journal, &key, Some(br#"{"version":2}"#.to_vec()));
            bytes += size_of::<(Key, Newer)>() + names;
            assert_eq!(journal.bytes(), bytes, "{key}");
        }
        let mut journal = Journal::default();
        journal.run_bytes.insert("r1".into(), 100);
        assert_eq!(journal.bytes(), 3 * "r1".len() + 100);
    }

    /// Guarantee: the letters that a run was asked to handle are told of it alone; blocks whose last offset is gone are told, and no others.
    #[test]
    fn what_was_selected_is_told_of_its_run() {
        let mut journal = Journal::default();
        let key = BlockKey { run: "r1".into(), topic: "t".into(), partition: 0, base: BLOCK_OFFSETS };
        let block = br#"{"version":1,"runs":[[0,5]]}"#.to_vec();
        write(&mut journal, &Key::Selected(key.clone()), Some(block.clone()));
        assert_eq!((journal.selected("r1").len(), journal.selected("r2").len()), (5, 0));
        assert_eq!(journal.handled("r1").len(), 0);
        write(&mut journal, &Key::Handled(key.clone()), Some(block));
        assert_eq!(journal.outlived(|_, _| Some(2 * BLOCK_OFFSETS - 1)), []);
        assert_eq!(journal.outlived(|_, _| Some(2 * BLOCK_OFFSETS)), [Key::Handled(key)]);
        assert!(journal.handled_by("t", 0, BLOCK_OFFSETS).is_none(), "its run is not known");
        let run =
            br#"{"version":1,"id":"r1","kind":"replay","state":"done","who":"w","writer":"x","host":"h",
            "process":1,"started_ms":1,"updated_ms":1,"filter":{},"topics":[],"counts":{}}"#;
        journal.apply(Some(b"run/r2"), Some(run));
        assert_eq!((journal.unreadable, journal.runs.len()), (1, 0), "it is another's");
        journal.apply(Some(b"run/r1"), Some(run));
        let handled_by = |offset| journal.handled_by("t", 0, offset).map(|run| run.id.as_str());
        assert_eq!((handled_by(BLOCK_OFFSETS), handled_by(BLOCK_OFFSETS + 5)), (Some("r1"), None));
        let last = format!("handled/r/t/0/{}", (i64::MAX / BLOCK_OFFSETS - 1) * BLOCK_OFFSETS);
        assert!(Key::parse(last.as_bytes()).is_some());
    }

    /// Bad input: nonsense, a version that never was, another's key. Guarantee: counted, and nothing of it counts.
    #[test]
    fn what_cannot_be_read_is_counted() {
        let mut journal = Journal::default();
        let key = b"handled/r/t/0/0";
        journal.apply(None, None);
        journal.apply(Some(b"quarantine/x"), Some(b"{}"));
        journal.apply(Some(key), Some(b"{"));
        journal.apply(Some(key), Some(br#"{"version":0,"runs":[[0,5]]}"#));
        journal.apply(Some(key), Some(br#"{"version":1,"runs":[[0,50000]]}"#));
        journal.apply(Some(b"run/r"), Some(br#"{"version":1}"#));
        assert_eq!((journal.unreadable, journal.newer(), journal.all_handled().len()), (6, None, 0));
    }

    /// Scenario: a newer version writes a run and its blocks; of each key a record of this version follows, or its end. Guarantee: the journal is
    /// refused for as long as one key is the newer version's, whatever is written under others, and read when none is; what is told of
    /// in between counts in its bytes (I5).
    #[test]
    fn a_newer_record_counts_until_its_key_is_written_over() {
        let mut journal = Journal::default();
        let keys = ["run/r", "selected/r/t.dlq/0/0", "handled/r/t.dlq/0/0"];
        for key in keys {
            journal.apply(Some(key.as_bytes()), Some(br#"{"version":2,"more":1}"#));
        }
        assert!(journal.bytes() >= 3 * size_of::<(Key, Newer)>(), "{}", journal.bytes());
        let block = br#"{"version":1,"runs":[[0,5]]}"#;
        journal.apply(Some(b"handled/r/t.dlq/0/0"), Some(br#"{"version":0}"#));
        for (key, value) in
            [("handled/r/t.dlq/0/0", Some(&block[..])), ("selected/r/t.dlq/0/0", None), ("run/r", None)]
        {
            assert_eq!(journal.newer(), Some(JOURNAL.newer(2)), "before {key}");
            journal.apply(Some(key.as_bytes()), value);
            journal.apply(Some(b"handled/other/t.dlq/0/0"), Some(block));
        }
        assert_eq!((journal.newer(), journal.unreadable, journal.all_handled().len()), (None, 1, 5));
    }
}
