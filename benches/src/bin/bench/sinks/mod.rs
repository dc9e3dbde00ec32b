//! The sinks, each beside the smallest thing that writes the same bytes to the same place: in this process, without a broker.

mod assign;
mod copy;
mod rows;
mod stored;

use anyhow::Context;

use self::assign::Ledgers;
use self::copy::{Copy, Into};
use self::stored::Stored;
use crate::judge::Goal;
use crate::options::Options;
use crate::rounds::{Comparison, Results, compare};
use crate::workloads::Group;

/// One row of the table.
#[derive(Clone, Copy)]
struct Figure {
    name: &'static str,
    bound: &'static str,
    goal: Goal,
    what: What,
}

/// What a row measures.
#[derive(Clone, Copy)]
enum What {
    Lines,
    Parquet,
    Copy(Into, i64),
    /// A take-over of a pair with a long ledger, against seconds.
    Assign(assign::Sink),
}

/// A take-over of a pair with 10,000 segments may last so many seconds.
const ASSIGN_SECONDS: f64 = 2.0;

const fn rate(name: &'static str, bound: &'static str, goal: f64, what: What) -> Figure {
    Figure { name, bound, goal: Goal::AtLeast(goal), what }
}

const fn assign(name: &'static str, sink: assign::Sink) -> Figure {
    Figure { name, bound: "seconds", goal: Goal::AtMost(1.0), what: What::Assign(sink) }
}

const FIGURES: [Figure; 11] = [
    rate("files-zst", "zstd MB/s", 0.9, What::Lines),
    rate("parquet", "parquet MB/s", 0.9, What::Parquet),
    rate("pg-insert", "COPY k/s", 0.8, What::Copy(Into::Plain, 1)),
    rate("pg-insert-4", "4 COPY k/s", 0.8, What::Copy(Into::Plain, 4)),
    rate("pg-upsert", "COPY k/s", 0.8, What::Copy(Into::Keyed, 1)),
    rate("pg-upsert-4", "4 COPY k/s", 0.8, What::Copy(Into::Keyed, 4)),
    rate("pg-change", "merge k/s", 0.8, What::Copy(Into::Changed, 1)),
    rate("pg-change-4", "4 merge k/s", 0.8, What::Copy(Into::Changed, 4)),
    assign("assign-files", assign::Sink::Files),
    assign("assign-objects", assign::Sink::Objects),
    assign("assign-pg", assign::Sink::Postgres),
];

/// Whether a name is this table's or that of one of its rows.
pub(crate) fn knows(name: &str) -> bool {
    name == Group::Sinks.name() || FIGURES.iter().any(|figure| figure.name == name)
}

/// Runs what was asked for of the table.
pub(crate) fn run(options: &Options, results: &mut Results) -> anyhow::Result<()> {
    let wanted: Vec<Figure> =
        FIGURES.into_iter().filter(|figure| options.wants_of(Group::Sinks, figure.name)).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let needs_postgres = wanted.iter().any(|figure| match figure.what {
        What::Copy(..) | What::Assign(assign::Sink::Postgres) => true,
        What::Lines | What::Parquet | What::Assign(_) => false,
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let bench = Bench {
            stored: Stored::new(options.quick)?,
            copy: needs_postgres.then(|| Copy::new(options.quick)).transpose()?,
            ledgers: Ledgers::new(options.quick)?,
        };
        let first = u32::from(options.quick || options.rounds() == 1);
        for round in first..=options.rounds() {
            for figure in &wanted {
                let samples = vec![bench.measure(figure.what).await.context(figure.name)?];
                let Figure { name, bound: bound_name, goal, .. } = *figure;
                let found = Comparison { group: Group::Sinks, name, bound_name, goal, samples };
                // Round 0 warms up.
                if round > 0 {
                    compare(results, found, round);
                }
            }
        }
        Ok(())
    })
}

struct Bench {
    stored: Stored,
    copy: Option<Copy>,
    ledgers: Ledgers,
}

impl Bench {
    /// The bound's figure and ours.
    async fn measure(&self, what: What) -> anyhow::Result<(f64, f64)> {
        match what {
            What::Lines => self.stored.lines().await,
            What::Parquet => self.stored.parquet().await,
            What::Copy(into, at_once) => {
                self.copy.as_ref().context("no cluster")?.measure(into, at_once).await
            }
            What::Assign(sink) => {
                let took = self.ledgers.take_over(sink, self.copy.as_ref()).await?;
                Ok((ASSIGN_SECONDS, took.as_secs_f64()))
            }
        }
    }
}
