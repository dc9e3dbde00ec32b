//! `longshore completions SHELL`.

use clap::CommandFactory;

use crate::cli::{Cli, Completions};
use crate::exit::End;
use crate::output::Output;

pub(crate) fn run(arguments: &Completions, output: &Output) -> Result<(), End> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "longshore", &mut script);
    output.bytes(&script);
    Ok(())
}
