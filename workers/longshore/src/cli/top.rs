//! What can be typed behind `longshore top`.

use clap::Args;

use super::Connection;

pub(crate) const EXAMPLES: &str = "\
Examples:
  longshore top -c my-logs/pipeline.yaml
  longshore top -c my-logs/pipeline.yaml --sort behind --filter 'lag>0'
  longshore top -c my-logs/pipeline.yaml --once
  longshore top -c my-logs/pipeline.yaml -o json | jq .totals

Filters are words that all have to fit: a part of a topic/partition, of its
worker or of why it is held; held; silent; or a number such as lag>1000 or
dead>0 (lag, behind, rate, drain, waiting, retries, dead).

Keys: q leaves, s and S choose the column to sort by, r turns the order, / types
a filter, arrows and pages scroll, ? shows them all.";

#[derive(Debug, Args)]
pub(crate) struct Top {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// The column to begin with: lag, behind, rate, drain, waiting, retries,
    /// dead, partition or worker.
    #[arg(long, value_name = "COLUMN", default_value = "lag", hide_default_value = true)]
    pub(crate) sort: String,
    /// Sort the other way round.
    #[arg(long)]
    pub(crate) reverse: bool,
    /// Show only partitions that fit.
    #[arg(long, value_name = "WORDS", default_value = "", hide_default_value = true)]
    pub(crate) filter: String,
    /// Look every so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 2,
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) interval: u64,
    /// Print once and end; so it is too where no terminal is.
    #[arg(long)]
    pub(crate) once: bool,
}
