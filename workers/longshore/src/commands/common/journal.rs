//! Reads the pipeline's journal.

use std::time::Duration;

use longshore_core::journal::{Journal, Key};
use longshore_core::{Failure, Reason};
use longshore_kafka as kafka;
use longshore_kafka::{ReadFrom, ReadUntil, Reader};

use crate::exit::{End, Exit};
use crate::output::Output;

/// One look for records; the whole has no deadline, but a broker that gives nothing for [`SILENCE`] is away.
const LOOK: Duration = Duration::from_millis(500);
/// How long a broker may keep silent.
pub(crate) const SILENCE: Duration = Duration::from_secs(30);

/// The most bytes of a journal that a worker keeps (I5): a quarter of a million runs of handled letters.
const WORKER_BYTES: usize = 4 << 20;

/// The journal as it is now; none when the topic does not exist. Where a worker is asked, without the letters that runs were asked to
/// handle, and at most so large. One with records of a newer version is refused: what was done with letters would be done again.
pub(crate) fn read(
    options: &kafka::KafkaOptions,
    topic: &str,
    output: &Output,
) -> Result<Option<Journal>, End> {
    let mut reader = match Reader::open(options, topic, ReadFrom::Start, ReadUntil::EndNow) {
        Ok(reader) => reader,
        Err(failure) if failure.reason == Reason::BrokerTopicMissing => return Ok(None),
        Err(failure) => return Err(failure.into()),
    };
    let mut journal = Journal::default();
    let mut silent = Duration::ZERO;
    while let Some(records) = reader.visit_batch(LOOK, &mut |record| {
        if !(output.in_worker() && record.key().is_some_and(Key::is_selected)) {
            journal.apply(record.key(), record.value());
        }
    })? {
        output.go_on(topic)?;
        if output.in_worker() && journal.bytes() > WORKER_BYTES {
            let words = "more room than a worker has for it; ask the command `longshore`";
            return Err(End::new(Exit::Temporary, format!("to read {topic} takes {words}")));
        }
        silent = if records == 0 { silent + LOOK } else { Duration::ZERO };
        if silent >= SILENCE {
            return Err(unanswered(topic));
        }
    }
    match journal.newer() {
        Some(newer) => Err(newer.into_failure().at(topic).into()),
        None => Ok(Some(journal)),
    }
}

/// A broker that does not go on.
pub(crate) fn unanswered(topic: &str) -> End {
    let words = format!("nothing came of {topic} for {} s", SILENCE.as_secs());
    Failure::target(Reason::BrokerUnavailable, words).into()
}
