//! Dying at a named point, for the fault suite: `LONGSHORE_CRASH_AT=publish.after:3` ends the process by SIGKILL when it
//! comes by that point for the third time. Debug builds alone; a release build has no such points.

use longshore_core::pair::{Destination, Letter, Unit};
use longshore_core::{Lane, Reason};

/// Where a worker, or a replay of dead letters, can be made to die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// A sink is about to take rows.
    AppendBefore,
    /// It has taken them.
    AppendAfter,
    /// A segment is sealed and not published.
    PublishBefore,
    /// A segment is published, and nobody was told.
    PublishAfter,
    /// The pair is about to hear that a segment is published.
    SettleBefore,
    /// Records are settled.
    SettleAfter,
    /// A commit is about to go to the broker.
    CommitBefore,
    /// The broker acknowledged a commit.
    CommitAfter,
    /// A dead letter is about to go to the broker.
    LetterBefore,
    /// The broker acknowledged a dead letter.
    LetterAfter,
    /// The copy of a record that failed is about to go to the retry topic.
    HandOverBefore,
    /// The broker acknowledged that copy.
    HandOverAfter,
    /// The copy of a record that stands behind a failed one of its key is about to follow into the retry topic.
    ParkBefore,
    /// The broker acknowledged that copy.
    ParkAfter,
    /// The next copy of a record that failed once more is about to go to the retry topic.
    AgainBefore,
    /// The broker acknowledged that copy.
    AgainAfter,
    /// A record that stood behind another one is about to be tried for the first time.
    ReleaseBefore,
    /// The steps have it.
    ReleaseAfter,
    /// A copy is about to be carried forward to the end of the retry topic.
    CarryBefore,
    /// The broker acknowledged the copy there.
    CarryAfter,
    /// A replay is about to send letters.
    ReplayBefore,
    /// The broker acknowledged them, and the journal does not know it.
    ReplaySent,
    /// The journal knows the letters, and not how far the run is.
    ReplayNoted,
}

/// The points before and after a letter of this kind is sent.
pub(crate) fn around(letter: &Letter) -> (Point, Point) {
    let again = letter.record.chunk().lane() == Lane::Retry;
    match letter.to {
        Destination::DeadLetters => (Point::LetterBefore, Point::LetterAfter),
        Destination::Tail => (Point::CarryBefore, Point::CarryAfter),
        Destination::Retry { .. } if again => (Point::AgainBefore, Point::AgainAfter),
        Destination::Retry { .. } if letter.failure.reason == Reason::RetryParked => {
            (Point::ParkBefore, Point::ParkAfter)
        }
        Destination::Retry { .. } => (Point::HandOverBefore, Point::HandOverAfter),
    }
}

/// Whether a unit has a record that waited in the retry lane without having failed.
pub(crate) fn releases(unit: &Unit) -> bool {
    unit.entries.iter().any(|entry| entry.attempt == 1 && entry.record.chunk().lane() == Lane::Retry)
}

/// Comes by a point; does not return from the time that was asked for.
#[cfg(debug_assertions)]
pub fn at(point: Point) {
    armed::pass(point);
}

/// Nothing in a release build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn at(_: Point) {}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    use super::Point;

    const VARIABLE: &str = "LONGSHORE_CRASH_AT";

    struct Plan {
        point: String,
        /// How often the worker may still come by.
        left: AtomicU64,
    }

    pub(super) fn pass(point: Point) {
        static PLAN: OnceLock<Option<Plan>> = OnceLock::new();
        let Some(plan) = PLAN.get_or_init(read) else { return };
        if plan.point == name(point) && plan.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            // SIGKILL and not `abort`: nothing may run any more, not even a handler.
            let _ = kill_process(getpid(), Signal::KILL);
            std::process::abort();
        }
    }

    /// A plan that cannot be read is none; the suite sees that its worker does not die.
    fn read() -> Option<Plan> {
        let text = std::env::var(VARIABLE).ok()?;
        let (point, count) = text.split_once(':')?;
        let left = count.parse().ok().filter(|count| *count > 0)?;
        tracing::warn!(point, count = left, "this worker is going to kill itself");
        Some(Plan { point: point.to_owned(), left: AtomicU64::new(left) })
    }

    fn name(point: Point) -> &'static str {
        match point {
            Point::AppendBefore => "append.before",
            Point::AppendAfter => "append.after",
            Point::PublishBefore => "publish.before",
            Point::PublishAfter => "publish.after",
            Point::SettleBefore => "settle.before",
            Point::SettleAfter => "settle.after",
            Point::CommitBefore => "commit.before",
            Point::CommitAfter => "commit.after",
            Point::LetterBefore => "letter.before",
            Point::LetterAfter => "letter.after",
            Point::HandOverBefore => "handover.before",
            Point::HandOverAfter => "handover.after",
            Point::ParkBefore => "park.before",
            Point::ParkAfter => "park.after",
            Point::AgainBefore => "again.before",
            Point::AgainAfter => "again.after",
            Point::ReleaseBefore => "release.before",
            Point::ReleaseAfter => "release.after",
            Point::CarryBefore => "carry.before",
            Point::CarryAfter => "carry.after",
            Point::ReplayBefore => "replay.before",
            Point::ReplaySent => "replay.sent",
            Point::ReplayNoted => "replay.noted",
        }
    }
}
