//! The benchmarks on a real broker: every figure of ours is a ratio to a roofline measured in the same run on the same
//! topic, interleaved. `scripts/bench.sh` builds the parts and starts this.

mod bare;
mod cluster;
mod collector;
mod cores;
mod judge;
mod kills;
mod latency;
mod letters;
mod machine;
mod options;
mod page;
mod process;
mod rebalance;
mod report;
mod rooflines;
mod rounds;
mod sinks;
mod statistics;
mod worker;
mod workloads;

use std::process::ExitCode;

use clap::Parser;

use options::Options;
use rounds::Results;
use workloads::Group;

/// That of a worker, so that what runs in this process has no other one than what it is compared with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    let mut results = Results::default();
    let mut versions = None;
    if options.only.is_empty() || options.only.iter().any(|name| !sinks::knows(name)) {
        let cluster = cluster::Cluster::start(options)?;
        let found = versions.insert(cluster.versions());
        report::block(&machine::describe(Some(found)));
        rounds::run(options, &cluster, &mut results)?;
    } else {
        report::block(&machine::describe(None));
    }
    sinks::run(options, &mut results)?;
    let check = judge::rooflines(&results);
    for group in Group::ALL {
        let rows = judge::rows(&results, group);
        if rows.is_empty() {
            continue;
        }
        report::block(&page::table(&rows));
        if let Some(path) = options.page.as_ref().filter(|_| options.whole(group)) {
            let machine = machine::describe(versions.as_ref().filter(|_| group != Group::Sinks));
            page::write(path, group, &page::section(options, &machine, group, (&rows, &check)))?;
        }
    }
    if !check.rooflines.is_empty() {
        report::block(&page::roofline_table(&check));
    }
    Ok(check.sound)
}
