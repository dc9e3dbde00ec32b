//! Reads the pipeline's journal.

use std::time::Duration;

use longshore_core::journal::Journal;
use longshore_core::{Failure, Reason};
use longshore_kafka as kafka;
use longshore_kafka::{ReadFrom, ReadUntil, Reader};

use crate::exit::End;

/// One look for records; the whole has no deadline, but a broker that gives nothing for [`SILENCE`] is away.
const LOOK: Duration = Duration::from_millis(500);
/// How long a broker may keep silent.
pub(crate) const SILENCE: Duration = Duration::from_secs(30);

/// The journal as it is now; none when the topic does not exist.
pub(crate) fn read(options: &kafka::KafkaOptions, topic: &str) -> Result<Option<Journal>, End> {
    let mut reader = match Reader::open(options, topic, ReadFrom::Start, ReadUntil::EndNow) {
        Ok(reader) => reader,
        Err(failure) if failure.reason == Reason::BrokerTopicMissing => return Ok(None),
        Err(failure) => return Err(failure.into()),
    };
    let mut journal = Journal::default();
    let mut silent = Duration::ZERO;
    while let Some(records) =
        reader.visit_batch(LOOK, &mut |record| journal.apply(record.key(), record.value()))?
    {
        silent = if records == 0 { silent + LOOK } else { Duration::ZERO };
        if silent >= SILENCE {
            return Err(unanswered(topic));
        }
    }
    Ok(Some(journal))
}

/// A broker that does not go on.
pub(crate) fn unanswered(topic: &str) -> End {
    let words = format!("nothing came of {topic} for {} s", SILENCE.as_secs());
    Failure::target(Reason::BrokerUnavailable, words).into()
}
