//! What a worker needs of the machine that it runs on: the folder for payloads, the port of its pages, the way to the Collector.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use longshore_settings::{Listen, Traces};
use longshore_telemetry::trace::{self, Probe, Switch};

use super::case::Case;
use super::crew::Crew;
use super::finding::{Check, Finding, Next};
use crate::commands::common::page;
use crate::worker;

pub(super) fn looks(crew: &mut Crew) {
    let pipeline = crew.case().pipeline();
    let (listen, retries) = (pipeline.http.listen, pipeline.has_retry_topics());
    if retries {
        crew.look(Check::Spool, "limits.spool", |case| vec![spool(case)]);
    }
    if let Listen::At(address) = listen {
        crew.look(Check::Http, address.to_string(), move |_| vec![port(address)]);
    }
    crew.look(Check::Traces, "OTLP", traces);
}

fn spool(case: &Case) -> Finding {
    let next = || Next::Setting("limits.spool_folder: a folder on a disk, or limits.spool: 0B".to_owned());
    match worker::spool(case.pipeline()) {
        Ok(worker::Spooled::Unwanted) => Finding::ok(Check::Spool, "limits.spool", "no spool is wanted"),
        Ok(worker::Spooled::In(_)) => {
            Finding::ok(Check::Spool, "limits.spool", "payloads that wait have a folder on a disk")
        }
        Ok(worker::Spooled::Without { why, folder }) => {
            let found = format!(
                "no spool in {}: {why}; records without room in memory are read from the retry topic again when they are due",
                folder.display()
            );
            Finding::warn(Check::Spool, "limits.spool", found, next())
        }
        Err(end) => Finding::error(Check::Spool, "limits.spool", end.message, next()),
    }
}

/// Whether a worker could listen there. One that already does is no trouble.
fn port(address: SocketAddr) -> Finding {
    let about = address.to_string();
    let error = match TcpListener::bind(address) {
        Ok(_) => return Finding::ok(Check::Http, about, "free"),
        Err(error) => error,
    };
    let taken = error.kind() == std::io::ErrorKind::AddrInUse;
    let answered = taken.then(|| page::get(page::near(address), "/version", Duration::from_secs(2)));
    if let Some(Ok((200, version))) = answered
        && version.contains("librdkafka")
    {
        let version = version.split_whitespace().next().unwrap_or_default().to_owned();
        return Finding::ok(Check::Http, about, format!("a worker of version {version} answers there"));
    }
    let found = format!("cannot listen there: {error}");
    Finding::error(
        Check::Http,
        about,
        found,
        Next::Setting("http.listen: another address, 127.0.0.1:0 for any port, or off".to_owned()),
    )
}

/// Whether the Collector takes spans. Nothing but a message without spans is sent.
fn traces(case: &Case) -> Vec<Finding> {
    let switch = match case.pipeline().telemetry.traces {
        Traces::Auto => Switch::Auto,
        Traces::On => Switch::On,
        Traces::Off => Switch::Off,
    };
    let next = || {
        Next::Setting("OTEL_EXPORTER_OTLP_ENDPOINT (environment): http://HOST:4318 of a Collector, or telemetry.traces: off".to_owned())
    };
    let Probe { outcome, remarks } = trace::probe(switch);
    let remarks = remarks.into_iter().map(|remark| Finding::warn(Check::Traces, "OTLP", remark, next()));
    let outcome = match outcome {
        Ok(true) => Finding::ok(Check::Traces, "OTLP", "the endpoint takes spans"),
        Ok(false) => Finding::ok(Check::Traces, "OTLP", "no spans are wanted"),
        // The pipeline does not notice; only the spans are lost.
        Err(error) => Finding::warn(Check::Traces, "OTLP", format!("spans would be lost: {error}"), next()),
    };
    remarks.chain([outcome]).collect()
}
