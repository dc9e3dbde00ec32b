//! The tables, in 80 columns, and their place in `docs/benchmarks.md`.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::judge::{Goal, RooflineCheck, Row};
use crate::options::Options;
use crate::workloads::Group;

/// Between what a table of `docs/benchmarks.md` stands.
fn markers(group: Group) -> [String; 2] {
    let name = group.name();
    [format!("<!-- bench:{name}, written by make bench -->"), format!("<!-- bench:{name} end -->")]
}

/// The table of ratios.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut out = format!(
        "{:<15} {:<13} {:>7} {:>7}  {:<16} {:>6} {:<3} {:>4}\n",
        "workload", "bound", "bound", "ours", "ratio (range)", "goal", "met", "MiB"
    );
    for row in rows {
        let [median, low, high] = [row.ratio.median, row.ratio.low, row.ratio.high].map(ratio);
        let ratio = format!("{median} ({low}-{high})");
        let goal = match row.goal {
            Goal::AtLeast(goal) => format!(">={goal:.2}"),
            Goal::AtMost(goal) => format!("<={goal:.2}"),
        };
        let met = if row.goal.met(row.ratio.median) { "yes" } else { "NO" };
        let peak = row.peak_mib.map_or(String::new(), |peak| format!("{peak:.0}"));
        let _ = writeln!(
            out,
            "{:<15} {:<13} {:>7} {:>7}  {ratio:<16} {goal:>6} {met:<3} {peak:>4}",
            row.name,
            row.bound_name,
            figure(row.bound),
            figure(row.ours)
        );
    }
    let costs: Vec<_> = rows.iter().filter_map(|row| Some((&row.name, row.cpu?))).collect();
    if !costs.is_empty() {
        out.push_str("\nCPU-seconds for a million records, whole process, start and end included:\n");
    }
    for (name, (bound, ours)) in costs {
        let bound = bound.map_or("-".to_owned(), |bound| format!("{bound:.2}"));
        let _ = writeln!(out, "{name:<15} bound {bound:>6}   ours {ours:>6.2}");
    }
    out
}

/// A ratio in at most four characters below 100.
fn ratio(value: f64) -> String {
    if value >= 10.0 { format!("{value:.1}") } else { format!("{value:.2}") }
}

/// Three digits that count.
fn figure(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

/// The rooflines beside the design's figures, with what that means.
pub(crate) fn roofline_table(check: &RooflineCheck) -> String {
    let mut out = format!("{:<15} {:>10} {:>10} {:>7}\n", "roofline", "design s/M", "found s/M", "ratio");
    for known in &check.rooflines {
        let _ = writeln!(
            out,
            "{:<15} {:>10.2} {:>10.2} {:>7.2}",
            known.name,
            known.known,
            known.found,
            known.ratio()
        );
    }
    if check.slow_machine {
        out.push_str("WARNING: the rooflines take over 1.3 x the design's CPU, all alike: this machine is\n");
        out.push_str("slower, or busy. The ratios hold; do not compare the rates with other machines.\n");
    }
    if !check.sound {
        out.push_str("FAILED: one roofline takes over 1.3 x its share of CPU: ratios to it flatter us.\n");
    }
    out
}

/// What stands between the markers of a table. The rooflines' own table comes with the engine, which runs them all.
pub(crate) fn section(
    options: &Options,
    machine: &str,
    group: Group,
    (rows, check): (&[Row], &RooflineCheck),
) -> String {
    let missed: Vec<&str> =
        rows.iter().filter(|row| !row.goal.met(row.ratio.median)).map(|row| row.name.as_str()).collect();
    let missed = if missed.is_empty() { "none".to_owned() } else { missed.join(", ") };
    let rounds = options.rounds();
    let quick =
        if options.quick { " A quick run: a tenth of the records; these figures mean little." } else { "" };
    let mut section = format!(
        "Rounds: {rounds}, after one that is thrown away.{quick} Goals missed: {missed}.\n\n```text\n{}\n```\n\n\
         ```text\n{}\n```\n",
        machine.trim_end(),
        table(rows).trim_end(),
    );
    match group {
        Group::Engine => {
            let _ = write!(section, "\n```text\n{}\n```\n", roofline_table(check).trim_end());
        }
        Group::Failure
        | Group::Sinks
        | Group::Tracing
        | Group::Scale
        | Group::Cores
        | Group::Rebalance
        | Group::Peers => {}
    }
    section
}

/// Replaces what stands between the markers; the rest of the page is written by people.
pub(crate) fn write(path: &Path, group: Group, section: &str) -> anyhow::Result<()> {
    let page = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let [begin, end] = markers(group);
    let found = page.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
    let (before, after) = found.with_context(|| format!("{} has no {begin}", path.display()))?;
    fs::write(path, format!("{before}{begin}\n{section}{end}{after}"))?;
    Ok(())
}
