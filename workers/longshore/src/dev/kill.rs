//! The kill: SIGKILL for a worker while it owns lag and unsettled records.

use std::time::{Duration, Instant};

use longshore_kafka::{Admin, KafkaOptions};

use super::crew::{PairSeen, Worker};
use super::pipelines::Prepared;
use crate::exit::{End, Exit};
use crate::output::grouped;

/// At most so many kills until one has caught something.
pub(crate) const TRIES_MAX: u32 = 4;
/// How long the workers may take until one of them owns lag and unsettled records.
const CHANCE_DEADLINE: Duration = Duration::from_secs(60);

/// What a kill met.
pub(crate) struct Killed {
    name: String,
    pid: u32,
    lag: u64,
    unsettled: u64,
    partitions: usize,
    /// Records that the worker had received and that lie beyond what is committed: they are read again.
    pub(crate) read_again: u64,
}

impl Killed {
    pub(crate) fn words(&self) -> String {
        format!(
            "kill -9 {} (pid {}): it owned {} partitions with {} records of lag, {} of them received and not settled; \
             {} are read again",
            self.name,
            self.pid,
            self.partitions,
            grouped(self.lag),
            grouped(self.unsettled),
            grouped(self.read_again)
        )
    }
}

/// Waits for a worker that owns lag and unsettled records, kills it, and asks the broker what it had committed.
pub(crate) fn kill_one(
    options: &KafkaOptions,
    pipeline: &Prepared,
    crew: &mut Vec<Worker>,
) -> Result<Killed, End> {
    let admin = Admin::new(options)?;
    let deadline = Instant::now() + CHANCE_DEADLINE;
    let (place, pairs) = loop {
        for worker in crew.iter_mut() {
            worker.check()?;
        }
        if let Some(found) = chance(crew) {
            break found;
        }
        if Instant::now() > deadline {
            return Err(End::new(Exit::Failed, "no worker came to own lag and unsettled records"));
        }
        // Workers tell only when asked, and the chance may last some tens of milliseconds.
        std::thread::sleep(Duration::from_millis(5));
    };
    let worker = crew.remove(place);
    let (name, pid) = (worker.name.clone(), worker.pid());
    worker.kill()?;
    let committed = admin.committed(&longshore_kafka::default_group(pipeline.name), pipeline.topic)?;
    let read_again = pairs.iter().map(|pair| {
        let at = committed
            .iter()
            .find(|(partition, _)| *partition == pair.partition)
            .and_then(|(_, offset)| *offset);
        u64::try_from(pair.position - at.unwrap_or(0)).unwrap_or(0)
    });
    Ok(Killed {
        name,
        pid,
        lag: pairs.iter().map(|pair| pair.lag).sum(),
        unsettled: pairs.iter().map(|pair| pair.unsettled).sum(),
        partitions: pairs.len(),
        read_again: read_again.sum(),
    })
}

/// The first worker that owns both, with what it says of its pairs.
fn chance(crew: &[Worker]) -> Option<(usize, Vec<PairSeen>)> {
    crew.iter().enumerate().find_map(|(place, worker)| {
        let pairs = worker.pairs()?;
        let owns = |count: fn(&PairSeen) -> u64| pairs.iter().map(count).sum::<u64>() > 0;
        (owns(|pair| pair.lag) && owns(|pair| pair.unsettled)).then_some((place, pairs))
    })
}
