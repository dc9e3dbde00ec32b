//! Offsets of retry topics that the broker would forget: nobody in the group subscribes to those topics, and what is committed
//! of such a topic expires even while the group is at work (rule 5 of `kafka.md`; `offsets.retention.minutes`).

use std::time::{Duration, Instant};

use longshore_core::pair::Position;

use super::commits::Commit;
use super::pairs::State;
use super::poll::Poll;

/// What an earlier owner has committed is committed again soon: nobody knows how old it is.
const INHERITED: Duration = Duration::from_secs(60);

/// What was committed last, and when it is to be committed once more.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    position: Position,
    due: Instant,
}

impl Kept {
    /// A commit of ours, to be repeated after so long.
    pub(super) fn own(position: Position, after: Duration) -> Self {
        Self { position, due: Instant::now() + after }
    }

    /// A commit of an earlier owner's.
    pub(super) fn inherited(position: Position, after: Duration) -> Self {
        Self::own(position, after.min(INHERITED))
    }
}

impl Poll<'_> {
    /// Commits once more what was committed last of owned retry partitions, when that was long ago.
    pub(super) fn keep_offsets(&mut self) {
        let (now, age) = (Instant::now(), self.options.recommit);
        for pair in self.pairs.iter_mut() {
            let ours = match pair.state {
                State::Waiting | State::Starting(_) | State::Flowing | State::InLine => true,
                State::Looking(_) | State::Resting => false,
            };
            let Some(kept) = pair.kept.as_mut().filter(|kept| ours && kept.due <= now) else { continue };
            kept.due = now + age;
            tracing::debug!(pair = %pair.id, offset = kept.position.offset.0, "the retry offset is committed once more");
            self.to_commit.push(Commit {
                pair: pair.id.clone(),
                epoch: pair.epoch,
                lane: pair.lane,
                topic: pair.topic.clone(),
                position: kept.position.clone(),
                then: None,
                asked_for: false,
            });
        }
    }
}
