//! Waits for a producer's answers: as long as the broker may keep silent, and no longer than it takes to know that it refuses
//! us, which waiting would not mend.

use std::pin::pin;
use std::time::{Duration, Instant};

use longshore_core::{Class, Failure};
use longshore_kafka::Producer;
use tokio::runtime::Runtime;

use super::journal::{SILENCE, unanswered};
use crate::exit::End;

/// How often what the producer noted is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// A runtime for a command that waits for one thing at a time.
pub(crate) fn runtime() -> Result<Runtime, End> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// Waits for a batch to be taken or answered. `topic` is named when nothing comes.
pub(crate) fn wait<T>(
    runtime: &Runtime,
    producer: &Producer,
    topic: &str,
    answer: impl Future<Output = Result<T, Failure>>,
) -> Result<T, End> {
    let began = Instant::now();
    runtime.block_on(async {
        let mut answer = pin!(answer);
        loop {
            // The answer stays where it is when its time is up: only this look at it ends.
            if let Ok(answered) = tokio::time::timeout(LOOK, answer.as_mut()).await {
                return answered.map_err(End::from);
            }
            match producer.trouble() {
                Some(failure) if failure.class == Class::Halt => return Err(failure.into()),
                trouble if began.elapsed() >= SILENCE => {
                    return Err(trouble.map_or_else(|| unanswered(topic), End::from));
                }
                Some(_) | None => {}
            }
        }
    })
}
