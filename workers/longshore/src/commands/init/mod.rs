//! `longshore init logs|dataset DIR`: a pipeline that runs as it is, with a few records to publish.

use std::path::Path;

use crate::cli::{Init, Kind};
use crate::exit::{End, Exit};
use crate::output::Output;

const LOGS: &[(&str, &str)] =
    &[("pipeline.yaml", include_str!("logs.yaml")), ("sample.jsonl", include_str!("logs.jsonl"))];
const DATASET: &[(&str, &str)] =
    &[("pipeline.yaml", include_str!("dataset.yaml")), ("sample.jsonl", include_str!("dataset.jsonl"))];

pub(crate) fn run(arguments: &Init, output: &Output) -> Result<(), End> {
    let (files, key) = match arguments.kind {
        Kind::Logs => (LOGS, "user"),
        Kind::Dataset => (DATASET, "id"),
    };
    let dir = arguments.dir.display();
    if let Some((name, _)) = files.iter().find(|(name, _)| arguments.dir.join(name).exists()) {
        return Err(End::new(Exit::Usage, format!("{dir} holds a {name} already; choose another folder")));
    }
    write(&arguments.dir, files)?;
    for (name, _) in files {
        output.line(format_args!("{}", arguments.dir.join(name).display()));
    }
    output.note("\nNext (a broker to try it with: `longshore dev --serve`):");
    output.note("  export KAFKA_BOOTSTRAP=localhost:9092     # the address of your broker");
    output.note(format_args!("  longshore check {dir}/pipeline.yaml"));
    output.note(format_args!("  longshore topics apply {dir}/pipeline.yaml"));
    output.note(format_args!("  longshore run -c {dir}/pipeline.yaml      # in another terminal, or with &"));
    output.note(format_args!("  longshore publish -c {dir}/pipeline.yaml --key {key} {dir}/sample.jsonl"));
    Ok(())
}

fn write(dir: &Path, files: &[(&str, &str)]) -> Result<(), End> {
    let named = |error: std::io::Error| End::new(Exit::Configuration, format!("{}: {error}", dir.display()));
    std::fs::create_dir_all(dir).map_err(named)?;
    for (name, text) in files {
        std::fs::write(dir.join(name), text).map_err(named)?;
    }
    Ok(())
}
