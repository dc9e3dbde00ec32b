//! Whether spans would arrive, asked without making any.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use opentelemetry_sdk::trace::SpanExporter;

use super::TraceError;
use super::environment::{Environment, Switch};
use super::outlet::{plain, unusable};

/// What asking gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Whether an endpoint takes spans; false when none are wanted.
    ///
    /// # Errors
    /// Why they would be lost.
    pub outcome: Result<bool, TraceError>,
    /// What is not done as a variable wants it, a line each.
    pub remarks: Vec<String>,
}

/// Sends the endpoint that the environment names a message without spans, as the exporter would send it. Blocks, for as long as
/// `OTEL_EXPORTER_OTLP_TIMEOUT` says (10 s); not inside of an async runtime.
pub fn probe(switch: Switch) -> Probe {
    let environment = Environment::read(switch, |name| std::env::var(name).ok());
    let outcome = if environment.on { send() } else { Ok(false) };
    Probe { outcome, remarks: environment.remarks }
}

fn send() -> Result<bool, TraceError> {
    let exporter = opentelemetry_otlp::SpanExporter::builder().with_http().build();
    let exporter = exporter.map_err(|error| TraceError(unusable(&error)))?;
    let mut sending = pin!(exporter.export(Vec::new()));
    // The client of the exporter blocks, so there is nothing that could wake us.
    match sending.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(())) => Ok(true),
        Poll::Ready(Err(error)) => Err(TraceError(plain(&error.to_string()))),
        Poll::Pending => Err(TraceError("the exporter does not answer".to_owned())),
    }
}
