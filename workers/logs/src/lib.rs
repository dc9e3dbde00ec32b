//! Log steps: reads records of many shapes into the OpenTelemetry log data model
//! (<https://opentelemetry.io/docs/specs/otel/logs/data-model/>).
//!
//! A log's fields, in this order and left out when nothing is known: `time_unix_nano`, `observed_time_unix_nano` (the
//! broker's timestamp), `trace_id`, `span_id`, `trace_flags`, `severity_text` (as it was written), `severity_number`,
//! `body`, `attributes` (everything else that the record holds), `resource`, `event_name`.
//!
//! **Architecture invariant:** nothing here knows a clock: a record without a time of its own has none.

mod mapping;
mod parse;

pub use mapping::{MappingOptions, Numbers};
pub use parse::{Format, ParseOptions, Tombstone, parse};
