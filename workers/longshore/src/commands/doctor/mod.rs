//! `longshore doctor -c PIPELINE`: everything that a worker needs, looked at from where the command runs, before a worker is started or
//! when one does not work. All looks run at once, each for a bounded time; nothing is written that stays.

mod broker;
mod case;
mod clock;
mod crew;
mod finding;
mod group;
mod machine;
mod rights;
mod sinks;
mod timing;
mod topics;
mod writers;

use std::sync::Arc;
use std::time::Duration;

use longshore_core::{Class, Failure, Reason};
use longshore_kafka::Admin;

use self::case::Case;
use self::crew::Crew;
use self::finding::{Finding, Level};
use super::check::{self, NoTopics};
use crate::cli::{Doctor, Format};
use crate::exit::{End, Exit};
use crate::output::{Output, counted};
use crate::worker::plan;

/// How long one question to a broker may take.
const ANSWER: Duration = Duration::from_secs(10);

/// How long all looks together may take; what has not ended by then hangs.
const LONGEST: Duration = Duration::from_secs(25);

pub(crate) fn run(arguments: &Doctor, output: &Output) -> Result<(), End> {
    let loaded = check::load(&arguments.config, &arguments.overrides, output)?;
    plan::build(&loaded.pipeline, &loaded.fingerprint(), &NoTopics)?;
    let case = Arc::new(Case::new(loaded, arguments));
    let mut crew = Crew::new(&case, LONGEST);
    timing::looks(&mut crew);
    machine::looks(&mut crew);
    sinks::looks(&mut crew);
    // The others need the connection; those above do not wait for it.
    let options = case.options.clone();
    let connected = crew.meanwhile(output, move || Admin::examining(&options, ANSWER).map(Arc::new));
    let connected = connected.unwrap_or_else(|| {
        let detail = format_args!("no answer of {} within {} s", case.options.brokers, LONGEST.as_secs());
        Err(Failure::target(Reason::BrokerUnavailable, detail))
    });
    if let Ok(admin) = &connected {
        broker::looks(&mut crew, admin);
        rights::looks(&mut crew, admin);
        writers::looks(&mut crew, admin);
        topics::looks(&mut crew, admin);
        group::looks(&mut crew, admin);
        clock::looks(&mut crew, admin);
    }
    let mut findings = crew.findings(output);
    if let Err(failure) = &connected {
        findings.insert(0, unreachable(&case, failure));
    }
    findings.sort_by_key(|finding| finding.check);
    show(&findings, output)?;
    ended(&findings, connected.err())
}

fn unreachable(case: &Case, failure: &Failure) -> Finding {
    case.failed(finding::Check::Broker, &case.options.brokers, failure)
}

fn show(findings: &[Finding], output: &Output) -> Result<(), End> {
    match output.format() {
        Format::Table => {
            findings.iter().flat_map(|found| found.lines(output)).for_each(|line| output.line(line))
        }
        Format::Json => output.json(&findings)?,
        Format::Ndjson => {
            for finding in findings {
                output.line(serde_json::to_string(finding).map_err(|error| End::new(Exit::Internal, error))?);
            }
        }
    }
    Ok(())
}

/// 0 without an error, 69 when no broker was reached, else 1.
fn ended(findings: &[Finding], unconnected: Option<Failure>) -> Result<(), End> {
    let count = |level| findings.iter().filter(|finding| finding.level == level).count() as u64;
    let (errors, warnings) = (count(Level::Error), count(Level::Warn));
    let words = format!("{}, {}", counted(errors, "error"), counted(warnings, "warning"));
    match unconnected {
        Some(Failure { reason: Reason::BrokerUnavailable, class: Class::Retry { .. }, .. }) => {
            let words = format!("{words}; no broker answered, so what needs one was not looked at");
            Err(End::new(Exit::Unavailable, words))
        }
        _ if errors > 0 => Err(End::new(Exit::Failed, words)),
        _ => Ok(()),
    }
}
