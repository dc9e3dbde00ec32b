//! Dying at a named point, for the fault suite: `LONGSHORE_CRASH_AT=publish.after:3` ends a worker by SIGKILL when it
//! comes by that point for the third time. Debug builds alone; a release build has no such points.

/// Where a worker can be made to die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
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
}

/// Comes by a point; does not return from the time that was asked for.
#[cfg(debug_assertions)]
pub(crate) fn at(point: Point) {
    armed::pass(point);
}

/// Nothing in a release build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn at(_: Point) {}

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
        }
    }
}
