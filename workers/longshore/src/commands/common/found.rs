//! A record with failure headers as a pass over a topic meets it.

use longshore_core::letter::{LetterRef, Place};
use longshore_kafka::RecordView;

/// Whether there is something to do about a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Nobody has handled it.
    Open,
    /// A run has handled it.
    Handled,
    /// It is a second copy of another.
    Copy,
}

/// A letter as the pass meets it.
pub(crate) struct Found<'a> {
    pub(crate) topic: &'a str,
    pub(crate) record: RecordView<'a>,
    pub(crate) letter: LetterRef<'a>,
    /// Where the record first stood, by the headers; none when they do not say or cannot be read.
    pub(crate) place: Option<Place<'a>>,
    pub(crate) replays: u32,
    pub(crate) state: State,
}

impl Found<'_> {
    /// How often its content was replayed, those times included after which it was published anew and failed again.
    pub(crate) fn all_replays(&self) -> u32 {
        self.replays.saturating_add(self.letter.replayed())
    }
}
