//! `longshore dlq`: what can be typed about dead letters.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::Connection;

pub(crate) const EXAMPLES: &str = "\
Examples:
  longshore dlq ls -c my-logs/pipeline.yaml
  longshore dlq show -c my-logs/pipeline.yaml logs.raw.my-logs.dlq/3/42
  longshore dlq replay -c my-logs/pipeline.yaml --reason decode.json --dry-run
  longshore dlq replay -c my-logs/pipeline.yaml --where 'letter.at == \"parse\"'
  longshore dlq replay resume -c my-logs/pipeline.yaml ID
  longshore dlq discard -c my-logs/pipeline.yaml --code decode.empty \\
    --reason 'heartbeats of the old agent'
  longshore dlq ls --broker localhost:9092 --topic orders-dlt --by topic";

#[derive(Debug, Args)]
pub(crate) struct Dlq {
    #[command(subcommand)]
    pub(crate) action: DlqAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DlqAction {
    /// Count open letters, or list them with -o ndjson.
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// Show one letter: why it failed, where it came from, what is in it.
    Show(Show),
    /// Send letters again; prints its plan and asks.
    Replay(Box<Replay>),
    /// Give letters up for good, with a reason that is kept.
    Discard(Discard),
    /// Delete letters below the first open one of each partition.
    Trim(Trim),
}

/// Which letters a command is about.
#[derive(Clone, Debug, Args)]
pub(crate) struct LetterTopics {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// The letters of this topic: ours, Spring Kafka's or Kafka Connect's; all
    /// dead-letter topics of -c when left out.
    #[arg(short, long)]
    pub(crate) topic: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Ls {
    #[command(flatten)]
    pub(crate) topics: LetterTopics,
    /// What to group by.
    #[arg(long, value_enum, default_value_t = By::Reason)]
    pub(crate) by: By,
}

/// What letters are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// The reason code, or the other tool's exception.
    Reason,
    /// The step or sink that failed.
    Step,
    /// Name and version of the pipeline that failed it.
    Version,
    /// The topic the record came from.
    Topic,
    /// The hour in which the letter arrived (UTC).
    Hour,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    pub(crate) topics: LetterTopics,
    /// TOPIC/PARTITION/OFFSET of the letter, or of the record it was made from.
    pub(crate) id: String,
    /// Show keys, headers and payload as they are; they may hold secrets.
    #[arg(long)]
    pub(crate) raw: bool,
}

/// Which of the open letters are meant.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct LetterFilter {
    /// A condition (CEL): letter.reason, fields.x, payload, key, headers, ...
    #[arg(long = "where", value_name = "CEL")]
    pub(crate) condition: Option<String>,
    /// Arrived at or after: a time (2026-11-27T02:00:00Z), or how long ago (2h).
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Arrived before: a time, or how long ago.
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// At most so many.
    #[arg(long, value_name = "COUNT")]
    pub(crate) limit: Option<u64>,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Replay {
    #[command(subcommand)]
    pub(crate) action: Option<ReplayAction>,
    #[command(flatten)]
    pub(crate) start: ReplayStart,
}

#[derive(Debug, Args)]
pub(crate) struct ReplayStart {
    #[command(flatten)]
    pub(crate) topics: LetterTopics,
    #[command(flatten)]
    pub(crate) filter: LetterFilter,
    /// With this reason code; may be given several times.
    #[arg(long, visible_alias = "code", value_name = "CODE")]
    pub(crate) reason: Vec<String>,
    /// Where to: retry (the same record again), input (a new record), or a topic.
    #[arg(long, default_value = "retry", value_name = "retry|input|TOPIC")]
    pub(crate) to: String,
    /// A YAML map of places in the payload to CEL expressions.
    #[arg(long, value_name = "FILE")]
    pub(crate) transform: Option<PathBuf>,
    /// Send the letters whose transform succeeds, leave the others open.
    #[arg(long, requires = "transform")]
    pub(crate) skip_failures: bool,
    /// At most so many letters a second.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) rate: Option<u64>,
    /// Refuse letters that were replayed so often.
    #[arg(long, default_value_t = 3, value_name = "COUNT")]
    pub(crate) max_replays: u32,
    #[command(flatten)]
    pub(crate) consent: Consent,
}

/// Whether to do it, and whether to ask.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Consent {
    /// Print the plan and do nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask.
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReplayAction {
    /// List replays, discards and trims.
    #[command(visible_alias = "list")]
    Ls {
        #[command(flatten)]
        connection: Connection,
    },
    /// Show how far a replay is.
    Status {
        #[command(flatten)]
        connection: Connection,
        /// Its id.
        id: String,
    },
    /// Go on with a replay that was stopped or died.
    Resume {
        #[command(flatten)]
        connection: Connection,
        /// Its id.
        id: String,
        /// Another rate than before.
        #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
        rate: Option<u64>,
    },
    /// Give a replay up; letters not yet sent stay open.
    Cancel {
        #[command(flatten)]
        connection: Connection,
        /// Its id.
        id: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Discard {
    #[command(flatten)]
    pub(crate) topics: LetterTopics,
    #[command(flatten)]
    pub(crate) filter: LetterFilter,
    /// With this reason code; may be given several times.
    #[arg(long, value_name = "CODE")]
    pub(crate) code: Vec<String>,
    /// Why, in your words; kept in the journal.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) consent: Consent,
}

#[derive(Debug, Args)]
pub(crate) struct Trim {
    #[command(flatten)]
    pub(crate) topics: LetterTopics,
    #[command(flatten)]
    pub(crate) consent: Consent,
}
