//! How long it takes until records flow again.

use std::time::{Duration, Instant};

use longshore_tests::harness::wait::pass_time;
use longshore_tests::harness::{Rig, Worker};

/// So long nothing may stand still, whatever the promise of a row is; beyond it the row has failed with all that its workers said.
const PATIENCE: Duration = Duration::from_secs(120);
/// So many records of each partition, published after the mark, have to be committed.
const RECORDS: i64 = 20;

/// A moment, and where each partition ended then.
pub(super) struct Mark {
    set: Instant,
    ends: Vec<i64>,
}

impl Mark {
    /// Now. Records have to keep coming, to each partition.
    pub(super) fn set(rig: &Rig) -> Self {
        let ends = rig.witness.ends(&rig.topic);
        Self { set: Instant::now(), ends }
    }

    /// Waits until new records of every partition are committed, and gives how long after the mark that is.
    #[track_caller]
    pub(super) fn wait_until_passed(&self, rig: &Rig, crew: &[Worker]) -> Duration {
        loop {
            let committed = rig.witness.try_committed(&rig.group(), &rig.topic, self.ends.len());
            let at = |partition: usize| {
                committed
                    .as_ref()
                    .and_then(|found| found.get(&(partition as i32)))
                    .map_or(0, |found| found.offset)
            };
            if self.ends.iter().enumerate().all(|(partition, end)| at(partition) >= end + RECORDS) {
                return self.set.elapsed();
            }
            if self.set.elapsed() > PATIENCE {
                let said: Vec<_> = crew.iter().map(|worker| worker.process.transcript()).collect();
                panic!(
                    "nothing flows after {PATIENCE:?}: ends {:?}, committed {committed:?}\n{}",
                    self.ends,
                    said.join("\n======\n")
                );
            }
            pass_time(Duration::from_millis(50));
        }
    }
}
