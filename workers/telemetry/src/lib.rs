//! Logs and metrics: one module owns every metric name.
