//! From samples to rows: medians, ranges, goals.

use crate::rounds::{Comparison, Results, Sample};
use crate::statistics::Spread;
use crate::workloads::{ALIKE, Alike, Group, W2, Workload};

/// `limits.memory` when a pipeline file does not set it, in bytes.
const BUDGET_BYTES: f64 = 256.0 * 1024.0 * 1024.0;
/// How much of it may be used.
const BUDGET_GOAL: f64 = 1.15;
/// What W2 may take at its peak, by the design's table of peers, in bytes.
const W2_BYTES: f64 = 256e6;
/// How much of the rate has to stay with 256 times the partitions, or 1,000 times the keys.
const RATE_KEPT: f64 = 0.9;
/// How much of the peak may come with 1,000 times the keys: runs differ by so much anyway.
const MEMORY_KEPT: f64 = 1.15;
/// A roofline may take so many times the processor time that the design measured.
const ROOFLINE_TOLERANCE: f64 = 1.3;

/// Processor seconds for a million records of the rooflines in `kafka.md`.
const KNOWN: [(&str, f64); 4] =
    [("R0 100 B", 0.47), ("R0 1 KB lz4", 0.89), ("P0 100 B", 0.53), ("P0 1 KB lz4", 1.01)];

/// A bound on a ratio.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    pub(crate) fn met(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(goal) => ratio >= goal,
            Self::AtMost(goal) => ratio <= goal,
        }
    }
}

/// One row of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// What ours is compared with, with its unit.
    pub(crate) bound_name: String,
    /// Medians.
    pub(crate) bound: f64,
    pub(crate) ours: f64,
    pub(crate) ratio: Spread,
    pub(crate) goal: Goal,
    /// Processor seconds for a million records: the bound's and ours; for rows about rates.
    pub(crate) cpu: Option<(Option<f64>, f64)>,
    /// Peak of ours in MiB; for rows about rates.
    pub(crate) peak_mib: Option<f64>,
}

/// A roofline beside what the design measured.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) name: &'static str,
    pub(crate) known: f64,
    pub(crate) found: f64,
}

impl Known {
    pub(crate) fn ratio(&self) -> f64 {
        self.found / self.known
    }
}

/// What the rooflines say about the run.
pub(crate) struct RooflineCheck {
    pub(crate) rooflines: Vec<Known>,
    /// All are slower alike: the machine is.
    pub(crate) slow_machine: bool,
    /// False when one alone is too slow: then it is set up wrongly, and ratios to it flatter us.
    pub(crate) sound: bool,
}

/// The rows of a table, goals judged by the medians.
pub(crate) fn rows(results: &Results, group: Group) -> Vec<Row> {
    let mut rows = Vec::new();
    for (workload, samples) in results.workloads.iter().filter(|(workload, _)| workload.group == group) {
        rows.extend(rate_row(workload, samples));
        rows.extend(workload.cpu_goal.and_then(|goal| cpu_row(workload, samples, goal)));
    }
    let of_group = results.comparisons.iter().filter(|comparison| comparison.group == group);
    rows.extend(of_group.filter_map(comparison_row));
    match group {
        Group::Engine => {
            let engine = results.workloads.iter().filter(|(workload, _)| workload.group == Group::Engine);
            let samples = engine.flat_map(|(_, samples)| samples);
            rows.extend(peak_row("peak memory", samples, (BUDGET_BYTES, BUDGET_GOAL)));
        }
        Group::Scale => rows.extend(ALIKE.iter().flat_map(|alike| alike_rows(results, alike))),
        Group::Peers => {
            let samples = results.workloads.iter().filter(|(workload, _)| workload.name == W2);
            let samples = samples.flat_map(|(_, samples)| samples);
            rows.extend(peak_row("W2-json, peak", samples, (W2_BYTES, 1.0)));
        }
        Group::Failure | Group::Sinks | Group::Tracing | Group::Cores | Group::Rebalance => {}
    }
    rows
}

fn comparison_row(comparison: &Comparison) -> Option<Row> {
    let samples = &comparison.samples;
    Some(Row {
        name: comparison.name.to_owned(),
        bound_name: comparison.bound_name.to_owned(),
        bound: median(samples.iter().map(|(bound, _)| *bound))?,
        ours: median(samples.iter().map(|(_, ours)| *ours))?,
        ratio: Spread::of(samples.iter().map(|(bound, ours)| ours / bound))?,
        goal: comparison.goal,
        cpu: None,
        peak_mib: None,
    })
}

fn rate_row(workload: &Workload, samples: &[Sample]) -> Option<Row> {
    let bound_cpu = median(samples.iter().filter_map(|sample| sample.bound_cpu));
    Some(Row {
        name: workload.name.to_owned(),
        bound_name: format!("{} k/s", workload.bound.name()),
        bound: median(samples.iter().map(|sample| sample.bound_rate))? / 1000.0,
        ours: median(samples.iter().map(|sample| sample.ours.rate()))? / 1000.0,
        ratio: Spread::of(samples.iter().map(|sample| sample.ours.rate() / sample.bound_rate))?,
        goal: Goal::AtLeast(workload.goal),
        cpu: Some((bound_cpu, median(samples.iter().map(|sample| sample.ours.cpu()))?)),
        peak_mib: Spread::of(samples.iter().map(|sample| mebibytes(sample.ours.cost.peak_bytes)))
            .map(|spread| spread.high),
    })
}

fn cpu_row(workload: &Workload, samples: &[Sample], goal: f64) -> Option<Row> {
    let ratios = samples.iter().filter_map(|sample| Some(sample.ours.cpu() / sample.bound_cpu?));
    Some(Row {
        name: format!("{}, CPU", workload.name),
        bound_name: format!("{} s/M", workload.bound.name()),
        bound: median(samples.iter().filter_map(|sample| sample.bound_cpu))?,
        ours: median(samples.iter().map(|sample| sample.ours.cpu()))?,
        ratio: Spread::of(ratios)?,
        goal: Goal::AtMost(goal),
        cpu: None,
        peak_mib: None,
    })
}

/// Ours with much against ours with little, of the same rounds: rate, and memory where it may not grow.
fn alike_rows(results: &Results, alike: &Alike) -> Vec<Row> {
    let of = |name: &str| {
        let found = results.workloads.iter().find(|(workload, _)| workload.name == name);
        found.map_or(&[][..], |(_, samples)| samples.as_slice())
    };
    let pairs: Vec<_> = of(alike.small).iter().zip(of(alike.large)).collect();
    let row = |name: String, unit: &str, goal: Goal, figure: &dyn Fn(&Sample) -> f64| {
        Some(Row {
            name,
            bound_name: format!("{} {unit}", alike.small),
            bound: median(pairs.iter().map(|(small, _)| figure(small)))?,
            ours: median(pairs.iter().map(|(_, large)| figure(large)))?,
            ratio: Spread::of(pairs.iter().map(|(small, large)| figure(large) / figure(small)))?,
            goal,
            cpu: None,
            peak_mib: None,
        })
    };
    let rate =
        row(alike.name.to_owned(), "k/s", Goal::AtLeast(RATE_KEPT), &|sample| sample.ours.rate() / 1e3);
    let memory = row(format!("{}, MiB", alike.name), "MiB", Goal::AtMost(MEMORY_KEPT), &|sample| {
        mebibytes(sample.ours.cost.peak_bytes)
    });
    rate.into_iter().chain(memory.filter(|_| alike.memory)).collect()
}

/// The highest peak of some runs against so many bytes, of which so much may be used.
fn peak_row<'a>(
    name: &str,
    samples: impl Iterator<Item = &'a Sample>,
    (limit, goal): (f64, f64),
) -> Option<Row> {
    let spread = Spread::of(samples.map(|sample| sample.ours.cost.peak_bytes as f64 / limit))?;
    Some(Row {
        name: name.to_owned(),
        bound_name: "limit MiB".to_owned(),
        bound: limit / 1048576.0,
        ours: spread.high * limit / 1048576.0,
        // A peak is judged by the highest, not by the median.
        ratio: Spread { median: spread.high, ..spread },
        goal: Goal::AtMost(goal),
        cpu: None,
        peak_mib: None,
    })
}

/// Compares the rooflines with the design's figures.
pub(crate) fn rooflines(results: &Results) -> RooflineCheck {
    let found = |name: &str| {
        let (_, figures) = results.rooflines.iter().find(|(known, _)| *known == name)?;
        median(figures.iter().copied())
    };
    let rooflines: Vec<Known> = KNOWN
        .into_iter()
        .filter_map(|(name, known)| Some(Known { name, known, found: found(name)? }))
        .collect();
    let ratios: Vec<f64> = rooflines.iter().map(Known::ratio).collect();
    let usual = median(ratios.iter().copied()).unwrap_or(1.0);
    let slow_machine = usual > ROOFLINE_TOLERANCE;
    let sound = ratios.iter().all(|ratio| *ratio <= ROOFLINE_TOLERANCE * usual.max(1.0));
    RooflineCheck { rooflines, slow_machine, sound }
}

fn median(figures: impl IntoIterator<Item = f64>) -> Option<f64> {
    Spread::of(figures).map(|spread| spread.median)
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1048576.0
}
