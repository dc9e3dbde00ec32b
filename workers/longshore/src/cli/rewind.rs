//! `longshore rewind`: what can be typed about going back on purpose.

use clap::Args;

use super::Connection;
use super::dlq::Consent;

pub(crate) const EXAMPLES: &str = "\
Examples:
  longshore rewind -c my-logs/pipeline.yaml --to earliest --dry-run
  longshore rewind -c my-logs/pipeline.yaml --to 2026-11-27T02:00:00Z
  longshore rewind -c my-logs/pipeline.yaml --to 6h

All workers must be stopped. Afterwards set `generation` in the pipeline file to
the one that the command names, and start them.";

#[derive(Debug, Args)]
pub(crate) struct Rewind {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Where to: earliest, a time (2026-11-27T02:00:00Z), how long ago (6h), or
    /// an offset, the same in every partition. Never forward.
    #[arg(long, value_name = "earliest|TIME|OFFSET")]
    pub(crate) to: String,
    #[command(flatten)]
    pub(crate) consent: Consent,
}
