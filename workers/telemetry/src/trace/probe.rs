//! Whether spans would arrive, asked without making any.

use opentelemetry_sdk::Resource;

use super::environment::{Environment, Switch};
use super::{TraceError, wire};
use crate::otlp::{Post, Target};

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
    let Environment { target, remarks, .. } = Environment::read(switch, |name| std::env::var(name).ok());
    Probe { outcome: target.map_or(Ok(false), |target| send(&target)), remarks }
}

fn send(target: &Target) -> Result<bool, TraceError> {
    let nothing = wire::request(&Resource::builder_empty().build(), &[]);
    Post::to(target)?.send_once(nothing).map_err(TraceError)?;
    Ok(true)
}
