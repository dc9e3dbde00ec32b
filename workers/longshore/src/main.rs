//! The `longshore` command: parses what was typed, wires the crates together, and turns every end into a documented
//! exit code.

mod cli;
mod commands;
mod console;
mod dev;
mod exit;
mod fleet;
mod output;
mod scale;
mod worker;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::exit::Exit;
use crate::output::Output;

#[global_allocator]
static ALLOCATOR: longshore_kafka::Allocator = longshore_kafka::ALLOCATOR;

fn main() -> std::process::ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return exit::usage(&error),
    };
    let output = Output::new(cli.output, cli.colour);
    let result = dispatch(cli, &output);
    match result {
        Ok(()) => Exit::Ok.into(),
        Err(end) => {
            output.failed(&end);
            end.code.into()
        }
    }
}

fn dispatch(cli: Cli, output: &Output) -> Result<(), exit::End> {
    match cli.command {
        Command::Dev(arguments) => dev::run(arguments, output),
        Command::Run(arguments) => worker::run(&arguments, output),
        Command::Check(arguments) => commands::check::run(&arguments, output),
        Command::Publish(arguments) => commands::publish::run(&arguments, output),
        Command::Tap(arguments) => commands::tap::run(&arguments, output),
        Command::Doctor(arguments) => commands::doctor::run(&arguments, output),
        Command::Health(arguments) => commands::health::run(&arguments, output),
        Command::Lag(arguments) => commands::lag::run(&arguments, output),
        Command::Top(arguments) => commands::top::run(&arguments, output),
        Command::Dlq(arguments) => commands::dlq::run(&arguments, output),
        Command::Why(arguments) => commands::why::run(&arguments, output),
        Command::Retry(arguments) => commands::retry::run(&arguments, output),
        Command::Rewind(arguments) => commands::rewind::run(&arguments, output),
        Command::Sink(arguments) => commands::sink::run(&arguments, output),
        Command::Scaler(arguments) => commands::scaler::run(&arguments, output),
        Command::Topics(arguments) => commands::topics::run(&arguments, output),
        Command::Deploy(arguments) => commands::deploy::run(&arguments, output),
        Command::Schema(arguments) => commands::schema::run(&arguments, output),
        Command::Init(arguments) => commands::init::run(&arguments, output),
        Command::Completions(arguments) => commands::completions::run(&arguments, output),
    }
}
