//! Steps that keep the cores busy: what becomes of their time when an engine is around them, and what a second core gives.

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use longshore_conditions::Condition;
use longshore_core::{ChunkBuilder, Epoch, Item, Lane, Offset, PairId, RecordRef};

use crate::cluster::Contents;
use crate::judge::Goal;
use crate::options::Options;
use crate::rounds::Comparison;
use crate::worker::Workers;
use crate::workloads::{BUSY, Busy, Group, Workload};

/// A second core is to give so much.
const SECOND_CORE: f64 = 1.85;
/// And the engine is to leave so much of the bare step's rate.
const OF_BARE: f64 = 0.95;

/// Measures it.
pub(crate) struct Cores<'a> {
    pub(crate) workers: &'a Workers<'a>,
    pub(crate) options: &'a Options,
}

impl Cores<'_> {
    /// The rows that were asked for: of each step the bare one on all cores, ours there, and ours on one.
    pub(crate) fn measure(
        &self,
        contents_of: impl Fn(&Workload) -> anyhow::Result<Contents>,
        round: u32,
    ) -> anyhow::Result<Vec<Comparison>> {
        let mut rows = Vec::new();
        for Busy { workload, condition, second } in
            BUSY.iter().filter(|busy| self.options.wants_of(Group::Cores, busy.workload.name))
        {
            let contents = contents_of(workload)?;
            let cores = std::thread::available_parallelism()?.get();
            let bare = bare(condition, contents.records, cores)?;
            let ours = self.workers.measure(workload, contents, round)?.rate();
            let alone = self.workers.measure_on_one_core(workload, contents, round)?.rate();
            rows.push(row(workload.name, "F0 x cores", OF_BARE, (bare, ours)));
            rows.push(row(second, "one core", SECOND_CORE, (alone, ours)));
        }
        Ok(rows)
    }
}

/// Records a second of the step alone, in as many threads as there are cores, each with its part of so many records.
fn bare(condition: &str, records: u64, cores: usize) -> anyhow::Result<f64> {
    let part = records.div_ceil(cores as u64);
    let slowest = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(|| bare_thread(condition, part))).collect();
        let times =
            threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?);
        times.collect::<anyhow::Result<Vec<Duration>>>()
    })?;
    let slowest = slowest.into_iter().max().context("no core")?;
    Ok((part * cores as u64) as f64 / slowest.as_secs_f64())
}

fn bare_thread(condition: &str, records: u64) -> anyhow::Result<Duration> {
    let condition = Condition::compile(condition)?;
    let mut chunk = ChunkBuilder::new(PairId::new("bare", 0), Lane::Input, Epoch(1));
    chunk.record(Offset(0), 1_769_860_000_000, Some(b"key"), Some(&[b'x'; 100]));
    let chunk = chunk.build(None);
    let item = Item::new(RecordRef::new(&chunk, 0).context("in the chunk")?);
    let began = Instant::now();
    for _ in 0..records {
        let dropped = condition.matches(&item).map_err(|failure| anyhow!("{failure}"))?;
        ensure!(std::hint::black_box(dropped), "the step drops everything");
    }
    Ok(began.elapsed())
}

fn row(name: &'static str, bound_name: &'static str, goal: f64, (bound, ours): (f64, f64)) -> Comparison {
    let samples = vec![(bound / 1e3, ours / 1e3)];
    Comparison { group: Group::Cores, name, bound_name, goal: Goal::AtLeast(goal), samples }
}
