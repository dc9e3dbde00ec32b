//! The rounds: of each workload the roofline and ours, one right after the other and in turns first, so that what the
//! machine does meanwhile meets both.

use std::collections::HashMap;

use anyhow::Context;
use longshore_benches::lines::log_lines;

use crate::bare;
use crate::cluster::{Cluster, Contents};
use crate::collector;
use crate::cores::Cores;
use crate::judge::Goal;
use crate::kills::{self, Kills};
use crate::latency::Latency;
use crate::letters::Letters;
use crate::options::Options;
use crate::process::Cost;
use crate::rebalance::Rebalance;
use crate::report;
use crate::rooflines::{Measure, Rooflines};
use crate::worker::Workers;
use crate::workloads::{ALL, BUSY, Bound, Group, Input, LARGE, LETTERS, Proof, SMALL, Workload};

/// Records that P0 writes.
const PRODUCED: u64 = 1_000_000;

/// One round of one workload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Records a second.
    pub(crate) bound_rate: f64,
    /// Processor seconds for a million records; none for a bound by arithmetic.
    pub(crate) bound_cpu: Option<f64>,
    pub(crate) ours: Measure,
}

/// Two figures of one kind, of every round.
#[derive(Clone, Debug)]
pub(crate) struct Comparison {
    pub(crate) group: Group,
    pub(crate) name: &'static str,
    /// What ours is compared with, with its unit.
    pub(crate) bound_name: &'static str,
    pub(crate) goal: Goal,
    /// The bound's figure and ours.
    pub(crate) samples: Vec<(f64, f64)>,
}

/// All that was measured.
#[derive(Default)]
pub(crate) struct Results {
    pub(crate) workloads: Vec<(Workload, Vec<Sample>)>,
    /// What is no rate of a worker.
    pub(crate) comparisons: Vec<Comparison>,
    /// Processor seconds for a million records of each roofline that the design gives figures for.
    pub(crate) rooflines: Vec<(&'static str, Vec<f64>)>,
}

/// Runs everything that was asked for and wants a broker.
pub(crate) fn run(options: &Options, cluster: &Cluster, results: &mut Results) -> anyhow::Result<()> {
    let bench = Bench {
        rooflines: Rooflines::new(cluster, options.rooflines.clone()),
        workers: Workers::new(cluster, options.worker.clone(), collector::start()?),
        cluster,
        options,
        lines: log_lines(10_000),
    };
    let wanted: Vec<Workload> =
        ALL.into_iter().filter(|workload| options.wants_of(workload.group, workload.name)).collect();
    let mut needed: Vec<Input> = wanted.iter().map(|workload| workload.input).collect();
    needed.extend(options.wants_letters().then_some(LETTERS));
    let apart = kills::ROWS.iter().chain(BUSY.iter().map(|busy| &busy.workload));
    needed.extend(apart.filter(|row| options.wants_of(row.group, row.name)).map(|row| row.input));
    let inputs = bench.fill(&needed)?;
    results.workloads.extend(wanted.into_iter().map(|workload| (workload, Vec::new())));
    // A topic just written and a JVM just started behave unlike themselves: the first round is thrown away.
    if !options.quick && options.rounds() > 1 {
        let mut unused = Results { workloads: results.workloads.clone(), ..Results::default() };
        bench.round(0, &inputs, &mut unused).context("warm-up")?;
    }
    for round in 1..=options.rounds() {
        bench.round(round, &inputs, results).with_context(|| format!("round {round}"))?;
    }
    Ok(())
}

type Inputs = HashMap<&'static str, Contents>;

struct Bench<'a> {
    cluster: &'a Cluster,
    options: &'a Options,
    rooflines: Rooflines<'a>,
    workers: Workers<'a>,
    lines: Vec<String>,
}

impl Bench<'_> {
    fn fill(&self, needed: &[Input]) -> anyhow::Result<Inputs> {
        let mut inputs = Inputs::new();
        for input in needed {
            let &Input { topic, records, kind, codec, .. } = input;
            if inputs.contains_key(topic) {
                continue;
            }
            let records = self.options.scaled(records);
            report::line(&format!("fill  {topic}: {records} records, {kind}, {codec}"));
            inputs.insert(topic, self.cluster.fill(input, records)?);
        }
        Ok(inputs)
    }

    fn round(&self, round: u32, inputs: &Inputs, results: &mut Results) -> anyhow::Result<()> {
        for (workload, samples) in &mut results.workloads {
            let contents = *inputs.get(workload.input.topic).context("a topic that was not filled")?;
            let ours_first = round.is_multiple_of(2);
            let mut ours = None;
            if ours_first {
                ours = Some(self.workers.measure(workload, contents, round)?);
            }
            let (bound_rate, bound_cpu) = self.bound(workload, contents, round)?;
            let ours = match ours {
                Some(ours) => ours,
                None => self.workers.measure(workload, contents, round)?,
            };
            if workload.bound == Bound::Consume && workload.cpu_goal.is_some() {
                let name = if workload.input == SMALL { "R0 100 B" } else { "R0 1 KB lz4" };
                note(&mut results.rooflines, name, bound_cpu);
            }
            let sample = Sample { bound_rate, bound_cpu, ours };
            report::line(&progress(round, workload, &sample));
            samples.push(sample);
        }
        if self.options.wants_letters() {
            let contents = *inputs.get(LETTERS.topic).context("a topic that was not filled")?;
            let letters =
                Letters { cluster: self.cluster, rooflines: &self.rooflines, workers: &self.workers };
            letters.measure(contents, round)?.into_iter().for_each(|found| compare(results, found, round));
        }
        let latency = Latency {
            cluster: self.cluster,
            rooflines: &self.rooflines,
            workers: &self.workers,
            options: self.options,
        };
        latency.measure(round)?.into_iter().for_each(|found| compare(results, found, round));
        self.apart(round, inputs, results)?;
        self.produce(round, results)
    }

    /// What has rows of its own: busy steps, members that come and go, kills.
    fn apart(&self, round: u32, inputs: &Inputs, results: &mut Results) -> anyhow::Result<()> {
        let Self { cluster, options, ref rooflines, ref workers, .. } = *self;
        let contents_of = |workload: &Workload| {
            inputs.get(workload.input.topic).copied().context("a topic that was not filled")
        };
        let mut found = Cores { workers, options }.measure(contents_of, round)?;
        found.extend(Rebalance { cluster, rooflines, workers, options }.measure(round)?);
        // Nothing of these needs to get warm.
        if round > 0 {
            found.extend(Kills { cluster, workers, options }.measure(contents_of, round)?);
        }
        found.into_iter().for_each(|found| compare(results, found, round));
        Ok(())
    }

    fn bound(
        &self,
        workload: &Workload,
        contents: Contents,
        round: u32,
    ) -> anyhow::Result<(f64, Option<f64>)> {
        let records = contents.records;
        let topic = workload.input.topic;
        let group = format!("bench.roofline.{}.{round}", workload.name);
        match workload.bound {
            Bound::Arithmetic(rate) => Ok((rate, None)),
            Bound::Peers { rate, cpu } => Ok((rate, Some(cpu))),
            Bound::Clean { name, steps } => {
                let clean = Workload { name, steps, proof: Proof::EvenHalf, traced: None, ..*workload };
                let measure = self.workers.measure(&clean, contents, round)?;
                Ok((measure.rate(), Some(measure.cpu())))
            }
            Bound::Consume => {
                let measure = self.rooflines.consume(topic, records, &group)?;
                Ok((measure.rate(), Some(measure.cpu())))
            }
            Bound::Loop => {
                let measure = self.pass(topic, records, 1, &group)?;
                Ok((measure.rate(), Some(measure.cpu())))
            }
            Bound::LoopAndFilter => {
                let pass = self.pass(topic, records, 2, &group)?;
                let wall = bare::parse_filter_write(&self.lines, records)?;
                let filter = Measure { records, wall, cost: Cost { cpu: wall, peak_bytes: 0 } };
                let rate = 1.0 / (1.0 / pass.rate() + 1.0 / filter.rate());
                Ok((rate, Some(pass.cpu() + filter.cpu())))
            }
        }
    }

    fn pass(&self, from: &str, records: u64, keep_every: u64, group: &str) -> anyhow::Result<Measure> {
        let to = format!("{group}.out");
        self.cluster.create(&to)?;
        let measure = self.rooflines.pass((from, &to), records, keep_every, group)?;
        self.cluster.delete(&to)?;
        Ok(measure)
    }

    /// P0, to compare the machine with the one of the design.
    fn produce(&self, round: u32, results: &mut Results) -> anyhow::Result<()> {
        if !self.options.whole(Group::Engine) {
            return Ok(());
        }
        for (name, input, bytes) in [("P0 100 B", SMALL, 100), ("P0 1 KB lz4", LARGE, 1024)] {
            let topic = format!("bench.produced.{bytes}.{round}");
            self.cluster.create(&topic)?;
            let records = self.options.scaled(PRODUCED);
            let measure = self.rooflines.produce(&topic, records, bytes, input.codec, &[])?;
            self.cluster.delete(&topic)?;
            note(&mut results.rooflines, name, Some(measure.cpu()));
        }
        Ok(())
    }
}

/// Adds samples to those of the same name.
pub(crate) fn compare(results: &mut Results, found: Comparison, round: u32) {
    for (bound, ours) in &found.samples {
        let (name, kind) = (found.name, found.bound_name);
        report::line(&format!(
            "round {round}  {name:<12} {bound:.1} {kind}, ours {ours:.1}  {:.2}",
            ours / bound
        ));
    }
    match results.comparisons.iter_mut().find(|known| known.name == found.name) {
        Some(known) => known.samples.extend(found.samples),
        None => results.comparisons.push(found),
    }
}

fn note(rooflines: &mut Vec<(&'static str, Vec<f64>)>, name: &'static str, cpu: Option<f64>) {
    match rooflines.iter_mut().find(|(known, _)| *known == name) {
        Some((_, figures)) => figures.extend(cpu),
        None => rooflines.push((name, cpu.into_iter().collect())),
    }
}

fn progress(round: u32, workload: &Workload, sample: &Sample) -> String {
    format!(
        "round {round}  {:<12} {:>8.1} k/s {:<9} {:>8.1} k/s ours  {:.2}, CPU {:.2} s/M",
        workload.name,
        sample.bound_rate / 1000.0,
        workload.bound.name(),
        sample.ours.rate() / 1000.0,
        sample.ours.rate() / sample.bound_rate,
        sample.ours.cpu(),
    )
}
