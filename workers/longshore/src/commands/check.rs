//! `longshore check PIPELINE`: every mistake at once, without a broker.

use std::path::Path;

use longshore_codec::ValueEncoder;
use longshore_core::human::Bytes;
use longshore_core::pair::WAITING_ENTRY_BYTES;
use longshore_core::sink::Sink;
use longshore_runtime::MemoryShares;
use longshore_settings::{DumpFormat, Loaded, Pipeline, SinkEntry, Sources};

use crate::cli::{Check, Format, Overrides};
use crate::exit::{End, Exit};
use crate::output::Output;
use crate::worker::plan::{self, TopicSinks};

pub(crate) fn run(arguments: &Check, output: &Output) -> Result<(), End> {
    if arguments.schema {
        return output.json(&longshore_settings::schema());
    }
    let Some(path) = &arguments.pipeline else { return Err(End::new(Exit::Usage, "name a pipeline file")) };
    let loaded = load(path, &arguments.overrides, output)?;
    // What only building shows (a schema that a sink names, say) is a mistake of the file too.
    plan::build(&loaded.pipeline, &loaded.fingerprint(), &NoTopics)?;
    if arguments.dump {
        let format = if output.format() == Format::Table { DumpFormat::Yaml } else { DumpFormat::Json };
        output.bytes(loaded.dump(format).as_bytes());
    } else if output.format() == Format::Json {
        output.line("[]");
    }
    let (name, version) = (&loaded.pipeline.pipeline, loaded.fingerprint());
    output.note(format_args!(
        "{}: pipeline {name}, version {version}: {}",
        path.display(),
        output.green("no mistakes")
    ));
    memory_plan(&loaded.pipeline).iter().for_each(|line| output.note(line));
    if let Some(fails) = plan::rehearsal(&loaded.pipeline) {
        output.note(format_args!("rehearsal step in force: records fail on purpose ({fails})"));
    }
    Ok(())
}

/// Where `limits.memory` goes in a worker, and where payloads wait for their retry.
fn memory_plan(pipeline: &Pipeline) -> Vec<String> {
    let limits = &pipeline.limits;
    let shares = MemoryShares::of(limits.memory.get());
    let records = (shares.intake + shares.rows) >> 20;
    let others = Bytes::mebi((limits.memory.get() >> 20).saturating_sub(records));
    let (memory, records) = (limits.memory, Bytes::mebi(records));
    let mut plan = vec![format!(
        "memory {memory} a worker: {records} for records at work, {others} for the Kafka client, sinks and code"
    )];
    if pipeline.has_retry_topics() {
        let folder = limits.spool_folder.clone().unwrap_or_else(std::env::temp_dir);
        let beyond = match limits.spool.get() {
            0 => "are read from the retry topic again (no spool)".to_owned(),
            _ => format!("go to a spool of up to {} in {}", limits.spool, folder.display()),
        };
        let entry = Bytes(WAITING_ENTRY_BYTES);
        plan.push(format!(
            "retry: a record that waits takes {entry} of it; payloads without room there {beyond}"
        ));
    }
    plan
}

/// Reads a pipeline file with its overrides; prints every mistake and ends with 78 when there are any.
pub(crate) fn load(path: &Path, overrides: &Overrides, output: &Output) -> Result<Loaded, End> {
    let sources = Sources::file(path).process_environment().set(overrides.set.iter().cloned());
    load_from(sources, path, output)
}

/// The same for sources that were put together elsewhere.
pub(crate) fn load_from(sources: Sources, path: &Path, output: &Output) -> Result<Loaded, End> {
    longshore_settings::load(sources).map_err(|report| {
        if output.format() == Format::Table {
            output.note(report.render(output.colour()));
        } else if let Err(end) = output.rows(&[], &report.lines(), |_| Vec::new()) {
            return end;
        }
        let findings =
            if report.len() == 1 { "1 mistake".to_owned() } else { format!("{} mistakes", report.len()) };
        End::new(Exit::Configuration, format!("{}: {findings}", path.display()))
    })
}

/// Stands in for topic sinks, which need no building to be checked.
pub(crate) struct NoTopics;

impl TopicSinks for NoTopics {
    fn topic(&self, entry: &SinkEntry, _: ValueEncoder) -> Result<std::sync::Arc<dyn Sink>, End> {
        let out = Box::new(std::io::sink());
        Ok(std::sync::Arc::new(longshore_sinks::StdoutSink::new(&entry.name, out)))
    }
}
