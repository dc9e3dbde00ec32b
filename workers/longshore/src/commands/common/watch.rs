//! Shows how far a pass over a topic is, and looks that it goes on.

use std::time::{Duration, Instant};

use super::journal::{SILENCE, unanswered};
use crate::exit::End;
use crate::output::{Output, Progress};

/// A pass that takes longer shows how far it is.
const PATIENCE: Duration = Duration::from_secs(2);

/// Looks that a pass goes on, and shows how far it is when it takes long.
pub(crate) struct Watch<'a> {
    topic: &'a str,
    /// What is counted, in the plural.
    unit: &'static str,
    output: &'a Output,
    total: u64,
    done: u64,
    began: Instant,
    last: Instant,
    progress: Option<Progress>,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(topic: &'a str, total: u64, unit: &'static str, output: &'a Output) -> Self {
        let now = Instant::now();
        Self { topic, unit, output, total, done: 0, began: now, last: now, progress: None }
    }

    /// So many more records came.
    pub(crate) fn went_on(&mut self, records: u64) -> Result<(), End> {
        self.output.go_on(self.topic)?;
        let now = Instant::now();
        if records > 0 {
            self.last = now;
        } else if now.duration_since(self.last) >= SILENCE {
            return Err(unanswered(self.topic));
        }
        self.done += records;
        if self.progress.is_none() && now.duration_since(self.began) >= PATIENCE {
            let what = format!("read {}", self.topic);
            self.progress = Some(self.output.progress(&what, Some(self.total), self.unit));
        }
        if let Some(progress) = &mut self.progress {
            progress.tick(self.done);
        }
        Ok(())
    }

    pub(crate) fn finish(self) {
        if let Some(progress) = self.progress {
            progress.finish();
        }
    }
}
