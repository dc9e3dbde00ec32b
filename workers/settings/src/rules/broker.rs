//! The broker's address, credentials that fit together, and client settings that are ours.

use longshore_core::client::{Latency, owned};

use super::{Context, at};
use crate::model::SinkKind;
use crate::model::kafka::{KafkaOptions, Mechanism, SaslOptions, SecurityOptions};
use crate::report::Code;

pub(crate) fn check(context: &mut Context<'_>) {
    let Some(kafka) = &context.parts.kafka else { return };
    addresses(context, &kafka.brokers);
    for name in kafka.client.keys() {
        let Some(why) = owned(name) else { continue };
        let path = at(["kafka", "client", name]);
        let mut finding =
            context.find(Code::Conflict, &path, format!("Longshore owns the setting `{name}`: {why}"));
        finding.place = context.sources.key(&path);
        context.push(finding);
    }
    latency(context, kafka);
    security(context, &kafka.security);
}

/// librdkafka's names for how long a record waits for others.
const LINGERS: [&str; 2] = ["linger.ms", "queue.buffering.max.ms"];

/// `low` is refused where it would change nothing, and where the file says the opposite elsewhere.
fn latency(context: &mut Context<'_>, kafka: &KafkaOptions) {
    if kafka.latency != Latency::Low {
        return;
    }
    let path = at(["kafka", "latency"]);
    let to_topics = |entry: &crate::model::SinkEntry| matches!(entry.kind, SinkKind::Topic(_));
    // A sink that could not be read may be a topic; it has a finding of its own.
    if context.parts.sinks.iter().all(|entry| entry.as_ref().is_some_and(|entry| !to_topics(entry))) {
        let message = "`low` is about records on their way to a topic, and no sink is one";
        let finding = context.find(Code::Conflict, &path, message);
        context
            .push(finding.help("how soon rows are seen in a file, an object or a table is its `roll.age`"));
    }
    for name in LINGERS.into_iter().filter(|name| kafka.client.contains_key(*name)) {
        let place = at(["kafka", "client", name]);
        let message = format!("`{name}` says how long records wait, and `latency: low` that none does");
        let mut finding = context.find(Code::Conflict, &place, message);
        finding.place = context.sources.key(&place);
        context.push(finding.help("leave one of them out"));
    }
}

fn addresses(context: &mut Context<'_>, brokers: &str) {
    let path = at(["kafka", "brokers"]);
    for address in brokers.split(',') {
        let trimmed = address.trim();
        let port = trimmed.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
        if port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0)) {
            continue;
        }
        let offset = address.as_ptr() as usize - brokers.as_ptr() as usize;
        let place = context.sources.within(&path, brokers, offset..offset + address.len());
        let mut finding =
            context.find(Code::Value, &path, "expected addresses such as localhost:9092, commas between");
        finding.place = place;
        context.push(finding);
    }
}

fn security(context: &mut Context<'_>, security: &SecurityOptions) {
    let here = at(["kafka", "security"]);
    if let Some(protocol) = security.protocol {
        let path = here.key("protocol");
        if protocol.sasl() && security.sasl.is_none() {
            let finding =
                context.find(Code::Conflict, &path, "this protocol needs the credentials of `sasl`");
            context.push(finding.help("add `sasl: { mechanism: ..., username: ..., password: ... }`"));
        }
        if !protocol.sasl() && security.sasl.is_some() {
            let finding = context.find(
                Code::Conflict,
                &path,
                "this protocol sends no credentials, yet `sasl` gives some",
            );
            context.push(finding.help("write `sasl_ssl`, or leave `protocol` out"));
        }
        if !protocol.tls() && security.tls.is_some() {
            let finding =
                context.find(Code::Conflict, &path, "this protocol does not encrypt, yet `tls` is given");
            context.push(finding.help("write `ssl` or `sasl_ssl`, or leave `protocol` out"));
        }
    }
    if let Some(sasl) = &security.sasl {
        credentials(context, sasl);
    }
    if let Some(tls) = &security.tls {
        let path = here.key("tls");
        if tls.certificate.is_some() != tls.key.is_some() {
            let finding = context.find(Code::Conflict, &path, "`certificate` and `key` go together");
            context.push(finding);
        }
        if tls.key_password.is_some() && tls.key.is_none() {
            let finding =
                context.find(Code::Conflict, &path.key("key_password"), "a password without its `key`");
            context.push(finding);
        }
    }
}

fn credentials(context: &mut Context<'_>, sasl: &SaslOptions) {
    let path = at(["kafka", "security", "sasl"]);
    let mechanism = path.key("mechanism");
    match sasl.mechanism {
        Mechanism::Plain | Mechanism::ScramSha256 | Mechanism::ScramSha512 => {
            if sasl.username.is_none() || sasl.password.is_none() {
                let finding = context.find(
                    Code::Conflict,
                    &mechanism,
                    "this mechanism needs `username` and `password`",
                );
                context.push(finding);
            }
            if sasl.token_file.is_some() {
                let finding =
                    context.find(Code::Conflict, &path.key("token_file"), "only OAUTHBEARER reads a token");
                context.push(finding);
            }
        }
        Mechanism::OauthBearer => {
            if sasl.token_file.is_none() {
                let finding = context.find(Code::Conflict, &mechanism, "OAUTHBEARER needs `token_file`");
                context.push(finding);
            }
        }
    }
}
