//! Markers of transactions are no records, but they take offsets. At the end of a log no record comes behind them that
//! would carry the commit over them, so a lag would stay for ever.
//!
//! Librdkafka's position counts them. It is looked at after the records of a poll were handed over, by the thread that
//! polls, so nothing below it is still to come.

use std::time::{Duration, Instant};

use longshore_core::Offset;
use longshore_core::source::SourceEvent;

use super::pairs::{Pair, State, named};
use super::poll::Poll;
use crate::ffi::{OK, PartitionList};

/// How often the positions are looked at.
const INTERVAL: Duration = Duration::from_millis(500);

/// When the positions were looked at last.
#[derive(Debug, Default)]
pub(super) struct Markers {
    looked: Option<Instant>,
}

impl Markers {
    fn due(&mut self, now: Instant) -> bool {
        let due = self.looked.is_none_or(|looked| now.duration_since(looked) >= INTERVAL);
        if due {
            self.looked = Some(now);
        }
        due
    }
}

impl Poll<'_> {
    /// Tells how far the log was read beyond the last record.
    pub(super) fn pass_markers(&mut self) {
        if !self.markers.due(Instant::now()) {
            return;
        }
        let flows = |pair: &&mut Pair| {
            // What is held back, or was let go of, lies below the position and was not handed over.
            pair.state == State::Flowing && !pair.doubtful && pair.held.is_clear()
        };
        let wanted: Vec<_> = self.pairs.iter_mut().filter(flows).map(|pair| pair.place()).collect();
        let Some(mut list) = PartitionList::of(named(&wanted)).filter(|_| !wanted.is_empty()) else { return };
        if let Err(code) = self.client().positions(&mut list) {
            tracing::debug!(?code, "no positions");
            return;
        }
        for entry in list.entries().into_iter().filter(|entry| entry.code == OK) {
            let Some(pair) = self.pairs.find(&entry.topic, entry.partition) else { continue };
            // A logical offset is below every record's.
            let position = Offset(entry.offset);
            if position > pair.next && pair.begins_at(position) {
                pair.next = position;
                let (pair, epoch, lane) = (pair.id.clone(), pair.epoch, pair.lane);
                self.say(SourceEvent::Passed { pair, epoch, lane, offset: position });
            }
        }
    }
}
