//! Logs, metrics and spans. Every metric name stands in [`metrics`] and nowhere else, every name of a span and its attributes in
//! [`trace`].
//!
//! **Architecture invariant:** no offset, key, payload or error text is ever a label (labels stay bounded), and no
//! payload reaches a log line: the panic hook prints the place of a panic, never its message (I10).

pub mod logs;
pub mod metrics;
mod otlp;
pub mod trace;

pub use logs::{LogFormat, LogOptions, LogsError, init_logs, install_panic_hook};
pub use metrics::{Metrics, PairMetrics, SinkMetrics};
pub use trace::Tracer;
