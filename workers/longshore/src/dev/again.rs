//! The rehearsal's second half: its cause is mended, workers start anew, and the letters it made are sent again by the command that a
//! person on call would type.

use std::path::Path;
use std::process::Command;

use super::expect::{FLOODED, REHEARSED};
use super::{Demo, crew::Worker};
use crate::exit::{End, Exit};
use crate::output::Output;

impl Demo<'_> {
    /// Takes the failing steps out of the pipeline files, starts a worker of each pipeline, and replays.
    pub(super) fn mend_and_replay(&mut self, dir: &Path, brokers: &str, output: &Output) -> Result<(), End> {
        for pipeline in &self.prepared {
            pipeline.write(dir, brokers, None)?;
        }
        output.note("the rehearsal's steps are out of both pipeline files; new workers start");
        for pipeline in &self.prepared {
            let name = format!("{}-mended", pipeline.name);
            self.crews.push(vec![Worker::start(&name, &pipeline.file, &self.logs)?]);
        }
        for pipeline in &self.prepared {
            replay(&pipeline.file, output)?;
        }
        self.drain(output)?;
        self.stop(output)
    }
}

fn replay(file: &Path, output: &Output) -> Result<(), End> {
    let binary = std::env::current_exe()?;
    let file_name = file.display();
    output.note(format_args!(
        "$ longshore dlq replay -c {file_name} --reason {REHEARSED} --reason {FLOODED} --yes"
    ));
    let mut command = Command::new(binary);
    command.args(["dlq", "replay", "--reason", REHEARSED, "--reason", FLOODED, "--yes", "-c"]).arg(file);
    let ran = command.output()?;
    let told = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    for line in told.lines() {
        output.note(format_args!("  {line}"));
    }
    if ran.status.success() {
        return Ok(());
    }
    Err(End::new(Exit::Failed, format!("the replay ended with {}", ran.status)))
}
