//! The spans of a command that sends records.

use std::fmt;
use std::time::Duration;

use longshore_kafka as kafka;
use longshore_telemetry::trace::{Clients, Switch, TraceOptions};
use longshore_telemetry::{Metrics, Tracer};

use crate::cli::VERSION;
use crate::output::{Output, counted};

/// How long a command waits at its end for the Collector.
const FLUSH: Duration = Duration::from_secs(5);

/// The spans of a command, if the environment wants any.
pub(crate) struct Spans {
    tracer: Option<Tracer>,
}

impl Spans {
    /// None are made.
    pub(crate) fn none() -> Self {
        Self { tracer: None }
    }

    /// By `OTEL_*`. What stands in the way is told.
    pub(crate) fn start(kafka: &kafka::KafkaOptions, output: &Output) -> Self {
        let id = kafka::client_id(kafka, None);
        let options = TraceOptions {
            switch: Switch::Auto,
            service: "longshore".to_owned(),
            version: VERSION.to_owned(),
            clients: Some(Clients { consumer: id.clone(), producer: id }),
            ..TraceOptions::default()
        };
        let started = Tracer::start(options, Metrics::new(VERSION).spans());
        let tracer = started.unwrap_or_else(|error| {
            output.note(format_args!("no spans: {error}"));
            None
        });
        Self { tracer }
    }

    /// Makes them.
    pub(crate) fn tracer(&self) -> Option<&Tracer> {
        self.tracer.as_ref()
    }

    /// Sends what waits, and says what is lost.
    pub(crate) fn finish(self) -> LostSpans {
        LostSpans(self.tracer.map_or(0, |tracer| tracer.stop(FLUSH).lost))
    }
}

/// So many spans are lost. As text it is the end of a command's closing line, empty where nothing is lost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LostSpans(usize);

impl fmt::Display for LostSpans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            spans => {
                write!(f, "; {} lost: the Collector did not take them in time", counted(spans as u64, "span"))
            }
        }
    }
}
