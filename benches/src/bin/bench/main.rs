//! The benchmarks on a real broker: every figure of ours is a ratio to a roofline measured in the same run on the same
//! topic, interleaved. `scripts/bench.sh` builds the parts and starts this.

mod bare;
mod cluster;
mod judge;
mod machine;
mod options;
mod page;
mod process;
mod report;
mod rooflines;
mod rounds;
mod statistics;
mod worker;
mod workloads;

use std::process::ExitCode;

use clap::Parser;

use options::Options;

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            report::error(&error);
            ExitCode::from(70)
        }
    }
}

/// False when a roofline is wrong: then no ratio means anything. A goal that is not met is a figure, not a failure.
fn run(options: &Options) -> anyhow::Result<bool> {
    let cluster = cluster::Cluster::start(options)?;
    let machine = machine::describe(&cluster.versions());
    report::block(&machine);
    let results = rounds::run(options, &cluster)?;
    let judged = judge::rows(&results);
    let check = judge::rooflines(&results);
    report::block(&page::table(&judged));
    report::block(&page::roofline_table(&check));
    if let Some(path) = &options.page {
        page::write(path, &page::section(options, &machine, &judged, &check))?;
    }
    Ok(check.sound)
}
