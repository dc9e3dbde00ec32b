//! When something is asked of the brokers again and again.

use std::time::{Duration, Instant};

/// Questions at an interval, one at a time, since a broker that does not answer takes long.
#[derive(Debug)]
pub(super) struct Looks {
    every: Duration,
    asked: Option<Instant>,
    waiting: bool,
}

impl Looks {
    pub(super) fn every(every: Duration) -> Self {
        Self { every, asked: None, waiting: false }
    }

    /// Whether to ask now; then the answer is waited for.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let due = self.asked.is_none_or(|asked| now.duration_since(asked) >= self.every);
        if !due || self.waiting {
            return false;
        }
        self.asked = Some(now);
        self.waiting = true;
        true
    }

    /// The answer came.
    pub(super) fn answered(&mut self) {
        self.waiting = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_question_waits_for_its_time_and_for_the_last_answer() {
        const EVERY: Duration = Duration::from_secs(2);
        let (mut looks, now) = (Looks::every(EVERY), Instant::now());
        assert!(looks.is_due(now));
        assert!(!looks.is_due(now + EVERY), "the answer has not come");
        looks.answered();
        assert!(!looks.is_due(now), "too soon");
        assert!(looks.is_due(now + EVERY));
    }
}
