//! The promises I1-I10 by name, and the one macro that checks them: it panics where debug assertions are on (tests,
//! the demo) and counts in production, where telemetry reads the counters.

use std::sync::atomic::{AtomicU64, Ordering};

/// A promise of the design, section 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Invariant {
    /// Every input offset ends in exactly one counted final place.
    I1 = 1,
    /// An idempotent sink holds each record once.
    I2,
    /// Records of one key take effect in their offset order.
    I3,
    /// The committed offset is never past a record that is not settled.
    I4,
    /// Memory stays within the configured budget.
    I5,
    /// A worker makes progress or says why it does not.
    I6,
    /// One record, one identity and one trace.
    I7,
    /// A worker that no longer owns a partition commits nothing for it.
    I8,
    /// Bad input reaches the dead letter with a reason code.
    I9,
    /// A secret never reaches a log, a trace, a metric, a header or a config dump.
    I10,
}

static VIOLATIONS: [AtomicU64; 11] = [const { AtomicU64::new(0) }; 11];

impl Invariant {
    /// All of them, in order.
    pub const ALL: [Self; 10] =
        [Self::I1, Self::I2, Self::I3, Self::I4, Self::I5, Self::I6, Self::I7, Self::I8, Self::I9, Self::I10];

    /// How often it was found broken since the process began.
    pub fn violations(self) -> u64 {
        VIOLATIONS[self as usize].load(Ordering::Relaxed)
    }

    /// Counts a violation; called by [`crate::invariant!`].
    pub fn violated(self) {
        VIOLATIONS[self as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// `invariant!(I4, condition, "message {}", value)`: panics with the promise's name in debug builds, counts otherwise.
#[macro_export]
macro_rules! invariant {
    ($id:ident, $condition:expr, $($message:tt)+) => {
        if !$condition {
            $crate::invariant::Invariant::$id.violated();
            #[cfg(debug_assertions)]
            panic!("{} broken: {}", stringify!($id), format_args!($($message)+));
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantee: each promise that is found broken is counted under its own name.
    #[test]
    fn broken_promises_are_counted_apart() {
        let told = || (Invariant::I10.violations(), Invariant::I9.violations());
        let before = told();
        Invariant::I10.violated();
        Invariant::I10.violated();
        assert_eq!(told(), (before.0 + 2, before.1));
    }
}
