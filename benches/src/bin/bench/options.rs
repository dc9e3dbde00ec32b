//! What can be typed.

use std::path::PathBuf;

use clap::Parser;

use crate::letters;
use crate::workloads::Group;

/// Rooflines and our worker, interleaved, on a real broker.
#[derive(Debug, Parser)]
#[command(name = "bench", max_term_width = 80)]
pub(crate) struct Options {
    /// The release build of `longshore`.
    #[arg(long)]
    pub(crate) worker: PathBuf,
    /// The folder with `rdkafka_performance`, `loop` and `topic`.
    #[arg(long)]
    pub(crate) rooflines: PathBuf,
    /// The page whose table is replaced.
    #[arg(long)]
    pub(crate) page: Option<PathBuf>,
    /// How often everything is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// A tenth of the records and one round: to see that everything works. The figures mean little.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only these workloads or tables (engine, failure, sinks, tracing, scale, cores, rebalance, peers), by their names with commas between.
    /// A table of the page is replaced only when the whole of it was measured.
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Heap of the broker in MiB.
    #[arg(long, default_value_t = 1536)]
    pub(crate) heap_mib: u32,
    /// Keep the folder of pipelines and worker logs, here.
    #[arg(long)]
    pub(crate) keep: Option<PathBuf>,
}

impl Options {
    /// The rounds to run.
    pub(crate) fn rounds(&self) -> u32 {
        if self.quick { 1 } else { self.rounds }
    }

    /// So many of the full number of records.
    pub(crate) fn scaled(&self, records: u64) -> u64 {
        if self.quick { records / 10 } else { records }
    }

    /// Whether a workload of a table was asked for.
    pub(crate) fn wants_of(&self, group: Group, name: &str) -> bool {
        self.whole(group) || self.only.iter().any(|only| only == name)
    }

    /// Whether a whole table was asked for.
    pub(crate) fn whole(&self, group: Group) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == group.name())
    }

    /// Whether any figure about letters was asked for: they are all of the same letters.
    pub(crate) fn wants_letters(&self) -> bool {
        letters::NAMES.iter().any(|name| self.wants_of(Group::Failure, name))
    }
}
