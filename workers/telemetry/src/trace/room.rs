//! What tracing may hold in memory (I5): bytes, counted where something is kept and given back when it is let go. Nobody waits for
//! room; who finds none makes no span.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A bound on bytes that many share.
#[derive(Debug)]
pub(super) struct Room {
    used_bytes: AtomicU64,
    most_bytes: u64,
}

impl Room {
    pub(super) fn new(most_bytes: u64) -> Arc<Self> {
        Arc::new(Self { used_bytes: AtomicU64::new(0), most_bytes })
    }

    /// Takes bytes; false, and nothing is taken, where there are not so many.
    pub(super) fn enter(&self, bytes: u64) -> bool {
        let before = self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
        let enters = before.saturating_add(bytes) <= self.most_bytes;
        if !enters {
            self.leave(bytes);
        }
        enters
    }

    /// Gives bytes back that were taken.
    pub(super) fn leave(&self, bytes: u64) {
        self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Takes bytes until what is returned is dropped.
    pub(super) fn hold(self: &Arc<Self>, bytes: u64) -> Option<Held> {
        self.enter(bytes).then(|| Held { room: Arc::clone(self), bytes })
    }
}

/// Room for a story that is kept until its record is through; dropping it gives it back.
#[derive(Debug)]
pub struct Held {
    room: Arc<Room>,
    bytes: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.room.leave(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantee (I5): what is kept at once is never more than there is room for, and room that was given back is room again.
    #[test]
    fn no_more_is_held_than_there_is_room_for() {
        let room = Room::new(1_000);
        let mut held: Vec<Held> = (0..100).filter_map(|_| room.hold(300)).collect();
        assert_eq!(held.len(), 3);
        assert!(room.hold(101).is_none() && room.hold(100).is_some());
        held.pop();
        assert!(room.hold(u64::MAX).is_none());
        assert_eq!((0..100).filter_map(|_| room.hold(400)).count(), 100);
        drop(held);
        assert_eq!(room.used_bytes.load(Ordering::Relaxed), 0);
    }
}
