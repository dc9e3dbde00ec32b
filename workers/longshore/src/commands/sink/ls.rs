//! `longshore sink ls`: the state of each pair's ledger.

use longshore_sinks::inspect::PairSummary;
use serde::Serialize;

use super::{Told, chosen, look, pipeline, size};
use crate::cli::Format;
use crate::cli::sink::SinkMeant;
use crate::commands::common::when;
use crate::exit::End;
use crate::output::{Output, counted, grouped};

const TITLES: [&str; 9] =
    ["PARTITION", "GEN", "EPOCH", "SEGMENTS", "ROWS", "BYTES", "HELD TO", "OPEN", "LAST"];

/// A pair of a sink, as JSON.
#[derive(Serialize)]
struct Line<'a> {
    sink: &'a str,
    #[serde(flatten)]
    pair: PairSummary,
}

pub(super) fn run(arguments: &SinkMeant, output: &Output) -> Result<(), End> {
    let pipeline = pipeline(arguments, output)?;
    let mut all = Vec::new();
    for sink in chosen(&pipeline, arguments, output)? {
        let told = Told::new(output, &format!("read {}", sink.name), "segments");
        let pairs = look::survey(&pipeline, sink, arguments.generation, &told);
        told.finish();
        let lines: Vec<Line<'_>> =
            pairs?.unwrap_or_default().into_iter().map(|pair| Line { sink: &sink.name, pair }).collect();
        if output.format() == Format::Table {
            table(&sink.name, &lines, output)?;
        }
        all.extend(lines);
    }
    if output.format() == Format::Table { Ok(()) } else { output.rows(&[], &all, |_| Vec::new()) }
}

fn table(sink: &str, lines: &[Line<'_>], output: &Output) -> Result<(), End> {
    let now = when::now_ms();
    output.line(output.bold(&format!("sink {sink}")));
    if !lines.is_empty() {
        output.rows(&TITLES, lines, |line| cells(&line.pair, now))?;
    }
    let sum = |number: fn(&PairSummary) -> u64| lines.iter().map(|line| number(&line.pair)).sum::<u64>();
    let bytes: u64 = lines.iter().filter_map(|line| line.pair.bytes).sum();
    let stored = if bytes > 0 { format!(", {}", size(bytes)) } else { String::new() };
    output.note(format_args!(
        "{sink}: {} rows{stored} in {} of {}",
        grouped(sum(|pair| pair.rows)),
        counted(sum(|pair| pair.segments), "segment"),
        counted(lines.len() as u64, "partition")
    ));
    if lines.iter().any(|line| line.pair.rows_from > 0) {
        let words =
            "ROWS with a + are those of the newest segments alone: the ledger forgets the oldest entries";
        output.note(format_args!("{sink}: {words}"));
    }
    for line in lines {
        if let Some(broken) = &line.pair.broken {
            let (topic, partition) = (&line.pair.topic, line.pair.partition);
            let red = output.red("broken:");
            output.note(format_args!("{red} {topic}/{partition}: {broken}; longshore sink verify says more"));
        }
    }
    Ok(())
}

fn cells(pair: &PairSummary, now_ms: i64) -> Vec<String> {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let more = if pair.rows_from > 0 { "+" } else { "" };
    vec![
        format!("{}/{}", pair.topic, pair.partition),
        pair.generation.to_string(),
        pair.epoch.to_string(),
        grouped(pair.segments),
        format!("{}{more}", grouped(pair.rows)),
        or_none(pair.bytes.map(size)),
        or_none(pair.held_to.map(|offset| grouped(u64::try_from(offset).unwrap_or(0)))),
        grouped(pair.open),
        or_none(pair.last.as_ref().map(|last| when::span(now_ms - last.published_ms))),
    ]
}
