//! `longshore sink verify`: ledgers held against themselves and against what is there.

use std::collections::BTreeMap;

use longshore_sinks::inspect::{Finding, Severity, Verified};
use serde::Serialize;

use super::{Told, chosen, look, pipeline};
use crate::cli::Format;
use crate::cli::sink::SinkVerify;
use crate::exit::{End, Exit};
use crate::output::{Output, counted};

/// A finding of a sink, as JSON.
#[derive(Serialize)]
struct Line<'a> {
    sink: &'a str,
    #[serde(flatten)]
    finding: &'a Finding,
}

pub(super) fn run(arguments: &SinkVerify, output: &Output) -> Result<(), End> {
    let pipeline = pipeline(&arguments.meant, output)?;
    let mut all: BTreeMap<&str, Verified> = BTreeMap::new();
    for sink in chosen(&pipeline, &arguments.meant, output)? {
        let unit =
            if matches!(sink.kind, longshore_settings::SinkKind::Postgres(_)) { "rows" } else { "segments" };
        let told = Told::new(output, &format!("verify {}", sink.name), unit);
        let found = look::verify(&pipeline, sink, arguments.meant.generation, !arguments.quick, &told);
        told.finish();
        let found = found?.unwrap_or_default();
        match output.format() {
            Format::Table => found.findings.iter().for_each(|finding| output.line(line(finding, output))),
            Format::Ndjson => {
                let lines: Vec<Line<'_>> =
                    found.findings.iter().map(|finding| Line { sink: &sink.name, finding }).collect();
                output.rows(&[], &lines, |_| Vec::new())?;
            }
            Format::Json => {}
        }
        output.note(words(&sink.name, &found, arguments.quick));
        all.insert(&sink.name, found);
    }
    if output.format() == Format::Json {
        output.json(&all)?;
    }
    let faults: u64 = all.values().map(|found| found.faults).sum();
    if faults == 0 { Ok(()) } else { Err(End::new(Exit::Failed, counted(faults, "fault"))) }
}

fn line(finding: &Finding, output: &Output) -> String {
    let severity = match finding.severity {
        Severity::Fault => output.red("fault"),
        Severity::Note => "note".to_owned(),
    };
    format!("{severity} {}: {finding}", finding.kind)
}

fn words(sink: &str, found: &Verified, quick: bool) -> String {
    let objects =
        if found.objects > 0 { format!(", {}", counted(found.objects, "object")) } else { String::new() };
    let rows = if quick { " (not counted)" } else { "" };
    let listed = found.findings.iter().filter(|finding| finding.severity == Severity::Fault).count() as u64;
    let verdict = match found.faults {
        0 => "no fault".to_owned(),
        faults if faults > listed => format!("{}, {listed} of them listed", counted(faults, "fault")),
        faults => counted(faults, "fault"),
    };
    format!(
        "{sink}: {}, {}{objects}, {}{rows}: {verdict}",
        counted(found.pairs, "partition"),
        counted(found.segments, "segment"),
        counted(found.rows, "row")
    )
}
