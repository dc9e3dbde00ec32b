//! Whether brokers answer, what they are, and whether each is reached where it says that it is.

use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use longshore_kafka::{Admin, BrokerAddress, GroupProtocol};

use super::case::Case;
use super::crew::Crew;
use super::finding::{Check, Finding, Next};
use crate::output::counted;

/// How long one address may take.
const REACH: Duration = Duration::from_secs(5);

pub(super) fn looks(crew: &mut Crew, admin: &Arc<Admin>) {
    let asked = Arc::clone(admin);
    crew.look(Check::Broker, crew.case().options.brokers.clone(), move |case| answered(case, &asked));
    let brokers = match admin.brokers() {
        Ok(brokers) => brokers,
        Err(failure) => {
            let case = Arc::clone(crew.case());
            let finding = case.failed(Check::Broker, &case.options.brokers, &failure);
            return crew.look(Check::Broker, "brokers", move |_| vec![finding]);
        }
    };
    for broker in brokers {
        let about = format!("{}:{}", broker.host, broker.port);
        crew.look(Check::Broker, about.clone(), move |_| reached(&about, &broker));
    }
}

/// The cluster, and the release of Kafka that it is at least like.
fn answered(case: &Case, admin: &Admin) -> Vec<Finding> {
    let about = &case.options.brokers;
    let cluster = match admin.cluster_id() {
        Ok(cluster) => cluster,
        Err(failure) => return vec![case.failed(Check::Broker, about, &failure)],
    };
    let release = admin.release();
    let like = match release.at_least() {
        Some(release) => format!("Apache Kafka {release} or later, by the requests that it takes"),
        None if release.is_known() => "older than Apache Kafka 2.4, by the requests that it takes".to_owned(),
        None => "it does not tell which requests it takes".to_owned(),
    };
    let mut findings = vec![Finding::ok(Check::Broker, about, format!("cluster {cluster} answers: {like}"))];
    if !release.is_known() {
        return findings;
    }
    if case.options.group_protocol == GroupProtocol::Consumer && !release.deals_out_itself() {
        let found = "these brokers do not speak the group protocol of KIP-848 (Kafka 4.0)";
        let next = Next::Setting("kafka.group_protocol: classic".to_owned());
        findings.push(Finding::error(Check::Broker, about, found, next));
    }
    if !release.fetches_by_id() {
        let found = "records are not asked for by the topic's id (Kafka 3.1): for two seconds a topic that was made again is taken \
                     for the old one";
        let next = Next::Command(case_of_deletion(case));
        findings.push(Finding::warn(Check::Broker, about, found, next));
    }
    findings
}

/// On such brokers a topic is deleted with no worker running.
fn case_of_deletion(case: &Case) -> String {
    let inputs = counted(case.pipeline().input.topics.len() as u64, "input");
    format!(
        "kubectl scale --replicas 0 ... (stop all workers) before one of the {inputs} is deleted and made again"
    )
}

/// Whether somebody listens where a broker says that it is reached. Clients go there, whatever address they began with.
fn reached(about: &str, broker: &BrokerAddress) -> Vec<Finding> {
    let id = broker.id;
    let connected = (broker.host.as_str(), broker.port).to_socket_addrs().and_then(|found| {
        let mut last = std::io::Error::from(std::io::ErrorKind::NotFound);
        for address in found {
            match TcpStream::connect_timeout(&address, REACH) {
                Ok(_) => return Ok(()),
                Err(error) => last = error,
            }
        }
        Err(last)
    });
    vec![match connected {
        Ok(()) => {
            Finding::ok(Check::Broker, about, format!("broker {id} is reached where it says that it is"))
        }
        Err(error) => {
            let found = format!("broker {id} says that it is reached here, and it is not: {error}");
            let next = Next::Setting("advertised.listeners of that broker (server.properties): an address that is reached from here".to_owned());
            Finding::error(Check::Broker, about, found, next)
        }
    }]
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::super::finding::Level;
    use super::*;

    /// Guarantee: a broker that advertises an address at which nobody listens, or which nobody knows, is an error; one that is there is not.
    #[test]
    fn advertised_addresses_are_gone_to() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let level =
            |host: &str, port| reached("x", &BrokerAddress { id: 1, host: host.to_owned(), port })[0].level;
        assert_eq!(level("127.0.0.1", port), Level::Ok);
        drop(listener);
        assert_eq!(level("127.0.0.1", port), Level::Error);
        assert_eq!(level("no.such.host.invalid", 9092), Level::Error);
    }
}
