//! The settings suite: broken files, precedence, variables, secrets, the schema and the examples.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod broken;
mod examples;
mod layers;
mod secrets;
mod stores;
mod texts;

/// A pipeline without mistakes to begin with.
const GOOD: &str = "\
pipeline: web-logs
kind: logs
kafka: { brokers: \"localhost:9092\" }
input: { topics: [logs.raw] }
steps:
  - parse: { format: json }
  - filter: { drop: 'severity_number < 9' }
sinks:
  - files: { path: out/logs }
  - topic: { name: logs.out }
";

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
