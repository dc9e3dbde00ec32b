//! Who is asked, and who may ask.

use std::collections::BTreeSet;

use longshore_settings::{ObjectsPlace, ObjectsStore, Pipeline, SinkKind};
use serde_json::{Value, json};

use super::plan::{Plan, refused};
use super::secrets::stores_by_role;
use crate::exit::End;

/// Kafka's own port, for an address without one.
const KAFKA: u16 = 9092;
/// Where clouds tell a pod its role's keys: the instance's metadata, and EKS's and ECS's agents.
const ROLES: &[&str] = &["169.254.169.254/32", "169.254.170.2/32", "169.254.170.23/32"];
/// Where GKE does, to which it leads what is sent to the instance's metadata.
const GKE: (&str, u16) = ("169.254.169.252/32", 988);

/// What a worker connects to.
pub(super) struct Targets {
    /// Of the brokers alone, and of who gives tokens for them.
    brokers: BTreeSet<u16>,
    ports: BTreeSet<u16>,
    role: bool,
    google: bool,
}

impl Targets {
    /// `collectors` are the ports of the endpoints for spans and metrics.
    pub(super) fn of(pipeline: &Pipeline, collectors: &BTreeSet<u16>) -> Result<Self, End> {
        let brokers = pipeline.kafka.brokers.split(',');
        let mut ports: BTreeSet<u16> =
            brokers.map(|address| port_of(address.trim()).unwrap_or(KAFKA)).collect();
        if let Some(url) = pipeline.kafka.client.get("sasl.oauthbearer.token.endpoint.url") {
            ports.insert(port_of_url(&url.expose()));
        }
        let brokers = ports.clone();
        ports.extend(collectors);
        for sink in &pipeline.sinks {
            match &sink.kind {
                SinkKind::Postgres(options) if options.host.starts_with('/') => {
                    return Err(refused(
                        format!(
                            "sink {}: {} is a socket of a machine, and no pod has it",
                            sink.name, options.host
                        ),
                        "name the server's host",
                    ));
                }
                SinkKind::Postgres(options) => drop(ports.insert(options.port)),
                SinkKind::Objects(options) if matches!(options.place(), Ok(ObjectsPlace::Bucket { .. })) => {
                    ports.insert(options.endpoint.as_deref().map_or(443, port_of_url));
                }
                // A volume's server is the node's to reach, and a topic's brokers are known.
                SinkKind::Objects(_) | SinkKind::Files(_) | SinkKind::Topic(_) | SinkKind::Stdout(_) => {}
            }
        }
        let role = stores_by_role(pipeline).next().is_some();
        let google = stores_by_role(pipeline).any(|store| store == ObjectsStore::Google);
        Ok(Self { brokers, ports, role, google })
    }
}

/// The number behind the last colon of `host:port`.
fn port_of(address: &str) -> Option<u16> {
    address.rsplit_once(':')?.1.parse().ok()
}

pub(super) fn port_of_url(url: &str) -> u16 {
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
    let host = rest.split('/').next().unwrap_or(rest);
    port_of(host).unwrap_or(if scheme == "http" { 80 } else { 443 })
}

/// One address for the pages of whichever pod is ready: each answers for the fleet.
pub(super) fn service(plan: &Plan) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": plan.metadata(&plan.name),
        "spec": {
            "ports": [{ "name": "http", "port": plan.port, "protocol": "TCP", "targetPort": "http" }],
            "selector": plan.selector(),
            // A worker knows its fleet only some time after it was asked first, and KEDA connects anew after each failure: so it comes back to whom it asked.
            "sessionAffinity": "ClientIP",
            "type": "ClusterIP",
        },
    })
}

/// In: the pages' port, for kubelets, Prometheus, KEDA and people. Out: names, brokers, sinks and the Collector, by their ports, since brokers
/// and stores tell their addresses themselves; and the pages of the fleet's other pods, which `/fleet` shows.
pub(super) fn policy(plan: &Plan) -> Value {
    let mut egress = egress(&plan.targets.ports);
    egress.push(json!({
        "ports": [tcp(plan.port)],
        "to": [{ "podSelector": { "matchLabels": plan.selector() } }],
    }));
    if plan.targets.role {
        let to: Vec<Value> = ROLES.iter().map(|block| json!({ "ipBlock": { "cidr": block } })).collect();
        egress.push(json!({ "ports": [tcp(80)], "to": to }));
    }
    if plan.targets.google {
        let (block, port) = GKE;
        egress.push(json!({ "ports": [tcp(port)], "to": [{ "ipBlock": { "cidr": block } }] }));
    }
    network_policy(plan.metadata(&plan.name), &plan.selector(), plan.port, &egress)
}

/// The same for the scaler, which asks brokers alone.
pub(super) fn scaler_policy(plan: &Plan, metadata: Value, selector: &Value, port: u16) -> Value {
    network_policy(metadata, selector, port, &egress(&plan.targets.brokers))
}

fn tcp(port: u16) -> Value {
    json!({ "port": port, "protocol": "TCP" })
}

fn egress(ports: &BTreeSet<u16>) -> Vec<Value> {
    let dns = ["UDP", "TCP"].map(|protocol| json!({ "port": 53, "protocol": protocol }));
    let targets: Vec<Value> = ports.iter().copied().map(tcp).collect();
    vec![json!({ "ports": dns }), json!({ "ports": targets })]
}

fn network_policy(metadata: Value, selector: &Value, port: u16, egress: &[Value]) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata,
        "spec": {
            "egress": egress,
            "ingress": [{ "ports": [tcp(port)] }],
            "podSelector": { "matchLabels": selector },
            "policyTypes": ["Ingress", "Egress"],
        },
    })
}

/// Each pod is scraped by itself, ready or not.
pub(super) fn pod_monitor(plan: &Plan) -> Value {
    json!({
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": plan.metadata(&plan.name),
        "spec": {
            "podMetricsEndpoints": [{ "interval": "15s", "path": "/metrics", "port": "http" }],
            "selector": { "matchLabels": plan.selector() },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_found_in_addresses() {
        assert_eq!(port_of("kafka-0:9093"), Some(9093));
        assert_eq!(port_of("[::1]:9094"), Some(9094));
        assert_eq!(port_of("kafka"), None);
        assert_eq!(port_of_url("https://minio:9000/x"), 9000);
        assert_eq!(port_of_url("https://s3.example.com"), 443);
        assert_eq!(port_of_url("http://store/x:1"), 80);
    }
}
