//! The topics that a pipeline file asks for. Retry and journal topics come with the retry lane.

use longshore_kafka as kafka;
use longshore_settings::{Pipeline, SinkKind};

use super::judge::Found;
use crate::commands::topic_settings::letter_settings;

/// The size of a record that a broker takes when nobody says otherwise (`max.message.bytes`, Kafka's documentation).
const DEFAULT_RECORD_BYTES: u64 = 1_048_588;
/// What our headers may add to a letter, with room for a batch's own head. They take at most 2 KiB; the rest is for
/// headers that a later version adds.
const HEADER_ROOM_BYTES: u64 = 64 * 1024;
pub(super) const RECORD_BYTES: &str = "max.message.bytes";

/// What a topic is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The pipeline reads it.
    Input,
    /// Dead letters of an input.
    Letters {
        /// The size of a record that it has to take, bytes.
        record_bytes: u64,
    },
    /// A sink writes it.
    Sink,
}

impl Purpose {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Letters { .. } => "dead letters",
            Self::Sink => "sink",
        }
    }
}

/// A topic that a pipeline needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) purpose: Purpose,
    /// How many it gets when it is made; dead letters need as many as their input has.
    pub(super) partitions: u32,
}

impl Wanted {
    pub(super) fn is_letters(&self) -> bool {
        matches!(self.purpose, Purpose::Letters { .. })
    }

    /// The settings it gets when it is made.
    pub(super) fn settings(&self) -> Vec<(String, String)> {
        match self.purpose {
            Purpose::Input | Purpose::Sink => Vec::new(),
            Purpose::Letters { record_bytes } => {
                let mut settings = letter_settings();
                settings.push((RECORD_BYTES.to_owned(), record_bytes.to_string()));
                settings
            }
        }
    }
}

/// All of them, each once, inputs with their letters first. `partitions` is for what has to be made.
pub(super) fn of(pipeline: &Pipeline, inputs: &[(String, Option<Found>)], partitions: u32) -> Vec<Wanted> {
    let mut topics: Vec<Wanted> = Vec::new();
    let mut add = |wanted: Wanted| {
        if !topics.iter().any(|known| known.name == wanted.name) {
            topics.push(wanted);
        }
    };
    for (name, found) in inputs {
        let partitions = found.as_ref().map_or(partitions, |found| found.partitions);
        add(Wanted { name: name.clone(), purpose: Purpose::Input, partitions });
        let largest =
            found.as_ref().and_then(|found| found.number(RECORD_BYTES)).unwrap_or(DEFAULT_RECORD_BYTES);
        let purpose = Purpose::Letters { record_bytes: largest + HEADER_ROOM_BYTES };
        add(Wanted { name: kafka::dead_letter_topic(name, &pipeline.pipeline), purpose, partitions });
    }
    for sink in &pipeline.sinks {
        if let SinkKind::Topic(options) = &sink.kind {
            add(Wanted { name: options.name.clone(), purpose: Purpose::Sink, partitions });
        }
    }
    topics
}
