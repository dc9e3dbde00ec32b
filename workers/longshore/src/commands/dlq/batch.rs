//! Records that letters became, before they are sent.

use std::borrow::Cow;
use std::sync::Arc;

use longshore_core::headers::{HeaderText, LetterHeaders};
use longshore_kafka::RecordBuffer;
use longshore_telemetry::trace::Story;

/// Where a letter stands; the topic's name is shared by all of them.
pub(super) type Place = (Arc<str>, i32, i64);

/// Records that letters became.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) records: RecordBuffer,
    /// Of each record the number of its topic, and where its letter stands.
    pub(super) letters: Vec<(usize, Place)>,
    /// Where they go.
    pub(super) topics: Vec<String>,
    /// The traced ones of them.
    pub(super) stories: Vec<(Place, Story)>,
    /// Why the letter behind them cannot become a record.
    pub(super) failed: Option<String>,
    text: HeaderText,
}

impl Batch {
    /// Forgets the records, and keeps the room and the topics.
    pub(super) fn clear(&mut self) {
        self.records.clear();
        self.letters.clear();
        self.stories.clear();
        self.failed = None;
    }

    /// Adds a record without headers: its topic, its letter, and its partition, key and value.
    pub(super) fn begin(
        &mut self,
        topic: &str,
        letter: Place,
        (partition, key, value): (Option<i32>, Option<&[u8]>, Option<&[u8]>),
    ) {
        let number = self.topics.iter().position(|known| known == topic).unwrap_or_else(|| {
            self.topics.push(topic.to_owned());
            self.topics.len() - 1
        });
        self.letters.push((number, letter));
        self.records.record(partition, key, value);
    }

    /// Adds our own headers to the record added last.
    pub(super) fn say(&mut self, said: &LetterHeaders<Cow<'_, str>>) {
        self.text.clear();
        let all = said.encode_to(&mut self.text);
        for (name, value) in self.text.list(all) {
            self.records.header(name.as_bytes(), Some(value.as_bytes()));
        }
    }
}
