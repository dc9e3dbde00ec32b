//! The spans of workers and commands.

use std::time::Duration;

use longshore_kafka as kafka;
use longshore_settings::{Pipeline, Traces};
use longshore_telemetry::metrics::otlp::MetricsExport;
use longshore_telemetry::trace::{Clients, Ended, Switch, Topics, TraceOptions};
use longshore_telemetry::{Metrics, Tracer};

use crate::cli::VERSION;

/// A worker's spans, if there are to be any. What cannot be traced is worked off all the same.
pub(crate) fn of_worker(
    pipeline: &Pipeline,
    options: &kafka::KafkaOptions,
    http_port: Option<u16>,
    metrics: &Metrics,
) -> Option<Tracer> {
    // A worker with little memory holds fewer spans.
    let memory_bytes = (pipeline.limits.memory.get() / 16).min(TraceOptions::MEMORY_BYTES);
    let switch = match pipeline.telemetry.traces {
        Traces::Auto => Switch::Auto,
        Traces::On => Switch::On,
        Traces::Off => Switch::Off,
    };
    let clients =
        Clients { consumer: kafka::client_id(options, http_port), producer: kafka::client_id(options, None) };
    let options = TraceOptions {
        switch,
        service: pipeline.pipeline.clone(),
        version: VERSION.to_owned(),
        group: Some(pipeline.group()),
        clients: Some(clients),
        topics: topics(pipeline),
        memory_bytes,
    };
    match Tracer::start(options, metrics.spans()) {
        Ok(tracer) => {
            if tracer.is_some() {
                tracing::info!("spans of traced records go to the OTLP endpoint");
            }
            tracer
        }
        Err(error) => {
            tracing::warn!(%error, "no spans: the OTLP exporter cannot be made");
            None
        }
    }
}

/// What each input topic's own topics are called.
pub(crate) fn topics(pipeline: &Pipeline) -> Vec<Topics> {
    let topics = |input: &String| Topics {
        input: input.clone(),
        retry: kafka::retry_topic(input, &pipeline.pipeline),
        dead_letters: kafka::dead_letter_topic(input, &pipeline.pipeline),
    };
    pipeline.input.topics.iter().map(topics).collect()
}

/// A worker's metrics over OTLP, if anybody wants them there.
pub(crate) fn metrics_of_worker(pipeline: &Pipeline, metrics: &Metrics) -> Option<MetricsExport> {
    match MetricsExport::start(metrics, &pipeline.pipeline, VERSION) {
        Ok(export) => {
            if export.is_some() {
                tracing::info!("metrics go to the OTLP endpoint");
            }
            export
        }
        Err(error) => {
            tracing::warn!(%error, "no metrics over OTLP");
            None
        }
    }
}

/// Sends the last values, at most so long.
pub(crate) async fn flush_metrics(export: Option<MetricsExport>, deadline: Duration) {
    let Some(export) = export else { return };
    if !matches!(tokio::task::spawn_blocking(move || export.stop(deadline)).await, Ok(true)) {
        tracing::warn!("the last metrics were not sent before the end");
    }
}

/// Sends what waits, at most so long.
pub(crate) async fn flush(tracer: Option<Tracer>, deadline: Duration) {
    let Some(tracer) = tracer else { return };
    // A thread that still waits for the Collector ends with the process.
    let lost = tokio::task::spawn_blocking(move || tracer.stop(deadline)).await;
    match lost {
        Ok(Ended { unsent: 0, .. }) => {}
        Ok(Ended { unsent, lost }) => {
            tracing::warn!(spans = unsent, lost, "spans were not sent before the end")
        }
        Err(_) => tracing::warn!("the end of tracing panicked"),
    }
}
