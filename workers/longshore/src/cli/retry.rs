//! `longshore retry`: what can be typed about records that wait for their next try.

use clap::{Args, Subcommand};

use super::Connection;
use super::dlq::{Consent, LetterFilter};

pub(crate) const EXAMPLES: &str = "\
Examples:
  longshore retry ls -c my-logs/pipeline.yaml
  longshore retry ls -c my-logs/pipeline.yaml -o ndjson \\
    --where 'letter.at == \"parse\"'
  longshore retry now -c my-logs/pipeline.yaml --reason step.deadline --dry-run
  longshore retry now -c my-logs/pipeline.yaml \\
    --where 'fields.tenant == \"acme\"'";

#[derive(Debug, Args)]
pub(crate) struct Retry {
    #[command(subcommand)]
    pub(crate) action: RetryAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RetryAction {
    /// Show what waits, when it is due, and which keys are parked.
    #[command(visible_alias = "list")]
    Ls(RetryLs),
    /// Make waiting records due now; prints its plan and asks.
    Now(RetryNow),
}

/// Which of the waiting records are meant.
#[derive(Clone, Debug, Args)]
pub(crate) struct WaitingFilter {
    #[command(flatten)]
    pub(crate) filter: LetterFilter,
    /// With this reason code; may be given several times.
    #[arg(long, value_name = "CODE")]
    pub(crate) reason: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RetryLs {
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) meant: WaitingFilter,
    /// With -o ndjson: the payloads too, as they are; they may hold secrets.
    #[arg(long)]
    pub(crate) raw: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RetryNow {
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) meant: WaitingFilter,
    #[command(flatten)]
    pub(crate) consent: Consent,
}
