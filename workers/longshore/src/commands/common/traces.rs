//! The spans of a command that sends records.

use std::time::Duration;

use longshore_telemetry::trace::{Switch, TraceOptions};
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
    pub(crate) fn start(output: &Output) -> Self {
        let options = TraceOptions {
            switch: Switch::Auto,
            service: "longshore".to_owned(),
            version: VERSION.to_owned(),
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

    /// Sends what waits.
    pub(crate) fn finish(self, output: &Output) {
        let lost = self.tracer.map_or(0, |tracer| tracer.stop(FLUSH));
        if lost > 0 {
            output.note(format_args!(
                "{} not sent: the Collector did not take them",
                counted(lost as u64, "span")
            ));
        }
    }
}
