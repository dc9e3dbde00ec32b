//! `longshore why`: what can be typed about the life of one record.

use clap::Args;

use super::Connection;

pub(crate) const EXAMPLES: &str = "\
Examples:
  longshore why -c my-logs/pipeline.yaml logs.raw/3/42
  longshore why -c my-logs/pipeline.yaml logs.raw.my-logs.dlq/3/7
  longshore why -c my-logs/pipeline.yaml logs.raw.my-logs.retry/3/0 -o json

Exit code 1 says that the record has not ended anywhere yet, or never was.";

#[derive(Debug, Args)]
pub(crate) struct Why {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// TOPIC/PARTITION/OFFSET of a record of the input, of its copy in the retry
    /// topic, or of its letter.
    pub(crate) id: String,
    /// Show the payload as it is; it may hold secrets.
    #[arg(long)]
    pub(crate) raw: bool,
}
