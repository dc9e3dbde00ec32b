//! Variables for spans and metrics: the standard's own, since a pipeline file says nothing of where they go.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::network::port_of_url;
use super::plan::refused;
use crate::exit::{End, Exit};

/// Variables whose values are credentials; they come from the Secret when it has them.
const SECRET: &[&str] = &[
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
];
/// Where spans and metrics go.
const ENDPOINTS: &[&str] = &[
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
];

/// Variables by name.
pub(super) struct Spans {
    given: BTreeMap<String, String>,
    /// The endpoints' ports.
    pub(super) ports: BTreeSet<u16>,
}

impl Spans {
    pub(super) fn of(arguments: &[String]) -> Result<Self, End> {
        let mut given = BTreeMap::new();
        for argument in arguments {
            let usage = |why: &str| End::new(Exit::Usage, format!("--otel: {why}"));
            let (name, value) = argument.split_once('=').ok_or_else(|| usage("expected OTEL_NAME=VALUE"))?;
            if !name.starts_with("OTEL_") {
                return Err(usage(&format!(
                    "{name} is no variable of OpenTelemetry; those of a worker go by --set"
                )));
            }
            // What a manifest shows, everybody reads (I10).
            let next = format!("put {name} into the Secret, under its name");
            if SECRET.contains(&name) {
                return Err(refused(format!("--otel {name}: a manifest would show the credentials"), &next));
            }
            if ENDPOINTS.contains(&name) && value.split('/').nth(2).is_some_and(|host| host.contains('@')) {
                let next =
                    "put them into the Secret as OTEL_EXPORTER_OTLP_HEADERS: authorization=Basic%20...";
                return Err(refused(
                    format!("--otel {name}: a manifest would show the credentials in it"),
                    next,
                ));
            }
            given.insert(name.to_owned(), value.to_owned());
        }
        let ports =
            ENDPOINTS.iter().filter_map(|name| given.get(*name)).map(|url| port_of_url(url)).collect();
        Ok(Self { given, ports })
    }

    /// As a container has them, with the headers of the Secret if it has some.
    pub(super) fn variables(&self, secret: &str) -> Vec<Value> {
        let mut variables: Vec<Value> =
            self.given.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
        if !self.ports.is_empty() {
            variables.extend(SECRET.iter().map(|name| {
                let reference = json!({ "key": name, "name": secret, "optional": true });
                json!({ "name": name, "valueFrom": { "secretKeyRef": reference } })
            }));
        }
        variables
    }
}
