//! `longshore sink`: what can be typed about what sinks hold.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use longshore_core::human::Bytes;

use super::Overrides;

pub(crate) const EXAMPLES: &str = "\
Examples:
  longshore sink ls my-logs/pipeline.yaml
  longshore sink ls my-logs/pipeline.yaml archive -o json
  longshore sink verify my-logs/pipeline.yaml
  longshore sink verify my-logs/pipeline.yaml archive --quick
  longshore sink compact my-logs/pipeline.yaml archive --out merged

Nothing is asked of workers or brokers, so all of it works while workers run and
when they are down. Exit code 1 says that `verify` has found a fault.";

#[derive(Debug, Args)]
pub(crate) struct Sink {
    #[command(subcommand)]
    pub(crate) action: SinkAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SinkAction {
    /// Show what the ledger of each sink says, per partition.
    #[command(visible_alias = "list")]
    Ls(SinkMeant),
    /// Hold ledgers against themselves and against what is there; changes nothing.
    Verify(SinkVerify),
    /// Merge the files of a sink into fewer and larger ones, in a new place.
    Compact(SinkCompact),
}

/// Which sinks are meant.
#[derive(Clone, Debug, Args)]
pub(crate) struct SinkMeant {
    /// The pipeline file.
    pub(crate) pipeline: PathBuf,
    /// The sink's name in it; all sinks with a ledger when left out.
    pub(crate) sink: Option<String>,
    /// Only this sink generation; all when left out, for compact the pipeline's.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) generation: Option<u32>,
    #[command(flatten)]
    pub(crate) overrides: Overrides,
}

#[derive(Debug, Args)]
pub(crate) struct SinkVerify {
    #[command(flatten)]
    pub(crate) meant: SinkMeant,
    /// Judge ledgers, names and sizes alone; read and count no rows.
    #[arg(long)]
    pub(crate) quick: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SinkCompact {
    #[command(flatten)]
    pub(crate) meant: SinkMeant,
    /// Where to: a folder that is empty or not there, or s3://BUCKET/PREFIX (gs://,
    /// az:// in builds with them) without objects. The original stays as it is.
    #[arg(long, value_name = "FOLDER|URL")]
    pub(crate) out: String,
    /// A file is ended at this size.
    #[arg(long, value_name = "SIZE", default_value = "256MiB")]
    pub(crate) bytes: Bytes,
}
