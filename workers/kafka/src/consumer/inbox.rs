//! What librdkafka's callbacks and the scout noted, for the loop to act on.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use longshore_core::source::Assignment;
use longshore_core::{Epoch, Failure, Offset, PairId};

use super::ends::End;
use super::identity::renewed_topic;
use super::standing::unfetched;
use crate::context::Context;
use crate::ffi::{Callbacks, Change, Code, Delivery, Entry, Token};

/// Something that happened.
#[derive(Debug)]
pub(super) enum Note {
    /// The group decided.
    Rebalance(Change),
    /// The broker answered a commit.
    Committed(Vec<Entry>, Code),
    /// An error of the connection as a whole.
    Error(Code),
    /// A fetch of this topic and partition was answered with an error that librdkafka deals with itself.
    NotFetched(String, i32, String),
    /// The scout found out about a pair.
    Found(Box<Found>),
    /// The scout found that the pair must not be started.
    Refused(PairId, Epoch, Failure),
    /// The scout found that the pair cannot be started as things are, which somebody may set right.
    Unready(PairId, Epoch, Failure),
    /// The scout could not find out; ask again.
    NotFound(PairId, Epoch, Failure),
    /// No leader told the scout where the pair stands, in these words; ask again.
    Unanswered(PairId, Epoch, String),
    /// The scout asked for topics' ids: name and id, empty where the broker has none.
    Identified(Vec<(String, String)>),
    /// The scout asked where a pair's input ends; none when nobody could say.
    Ends(PairId, Epoch, Option<Offset>),
    /// The scout asked where inputs end.
    EndsSeen(Vec<End>),
    /// The scout asked the group's coordinator: whether it answered.
    Coordinator(bool),
    /// The scout asked for the topics: all there, or what is wrong.
    Probed(Result<(), Failure>),
}

/// What the scout found out about a pair.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) assignment: Assignment,
    /// The id of the retry topic; empty where the broker has none, and without a retry topic.
    pub(super) retry_id: String,
    /// That copies were lost since the last commit, and how.
    pub(super) lost: Option<String>,
}

/// Notes in the order they came.
#[derive(Debug)]
pub(super) struct Inbox {
    notes: Mutex<VecDeque<Note>>,
    /// Topics that librdkafka takes for others from now on: name and new id.
    renewed: Mutex<Vec<(String, String)>>,
    has_renewed: AtomicBool,
    context: Context,
}

impl Inbox {
    pub(super) fn new(context: Context) -> Self {
        Self {
            notes: Mutex::default(),
            renewed: Mutex::default(),
            has_renewed: AtomicBool::new(false),
            context,
        }
    }

    /// Topics that were made again since the last call. What was polled before the call may be of the new ones.
    pub(super) fn take_renewed(&self) -> Vec<(String, String)> {
        if !self.has_renewed.swap(false, Ordering::Acquire) {
            return Vec::new();
        }
        std::mem::take(&mut self.renewed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn put(&self, note: Note) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push_back(note);
    }

    pub(super) fn take(&self) -> Option<Note> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl Callbacks for Inbox {
    fn log(&self, level: i32, facility: &str, line: &str) {
        if let Some((topic, id)) = renewed_topic(facility, line) {
            let mut renewed = self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
            renewed.push((topic.to_owned(), id.to_owned()));
            self.has_renewed.store(true, Ordering::Release);
        } else if let Some((topic, partition, words)) = unfetched(facility, line) {
            self.put(Note::NotFetched(topic.to_owned(), partition, words.to_owned()));
        }
        Context::log(level, facility, line);
    }

    fn error(&self, code: Code, reason: &str) {
        tracing::debug!(target: "librdkafka", ?code, "{reason}");
        self.put(Note::Error(code));
    }

    fn token(&self) -> Result<Token, String> {
        self.context.token()
    }

    fn rebalance(&self, change: Change) {
        self.put(Note::Rebalance(change));
    }

    fn committed(&self, entries: Vec<Entry>, code: Code) {
        self.put(Note::Committed(entries, code));
    }

    fn delivered(&self, _: Delivery<'_>) {}
}
