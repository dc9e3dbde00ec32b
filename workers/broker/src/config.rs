//! The `server.properties` of one node.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use crate::options::{BrokerOptions, Listener, SASL_PASSWORD, SASL_USER};
use crate::ports::Ports;
use crate::tls::{KEYSTORE_PASSWORD, Tls};

const COMMON: &str = include_str!("../kafka/server.properties");

impl Listener {
    /// The listener's name in Kafka's configuration.
    fn name(self) -> &'static str {
        match self {
            Self::Tls => "TLS",
            Self::SaslPlain => "SASLPLAIN",
            Self::SaslScram => "SASLSCRAM",
            Self::SaslTls => "SASLTLS",
            Self::SaslToken => "SASLTOKEN",
            Self::Detour(_) => "DETOUR",
        }
    }

    fn protocol(self) -> &'static str {
        match self {
            Self::Tls => "SSL",
            Self::Detour(_) => "PLAINTEXT",
            Self::SaslPlain | Self::SaslScram | Self::SaslToken => "SASL_PLAINTEXT",
            Self::SaslTls => "SASL_SSL",
        }
    }

    /// Whether the listener shows a certificate.
    pub(crate) fn uses_tls(self) -> bool {
        matches!(self, Self::Tls | Self::SaslTls)
    }

    fn mechanisms(self) -> &'static [&'static str] {
        const PLAIN: &str = "PLAIN";
        const SCRAM: [&str; 2] = ["SCRAM-SHA-256", "SCRAM-SHA-512"];
        match self {
            Self::Tls | Self::Detour(_) => &[],
            Self::SaslPlain => &[PLAIN],
            Self::SaslScram => &SCRAM,
            Self::SaslTls => &[PLAIN, SCRAM[0], SCRAM[1]],
            Self::SaslToken => &["OAUTHBEARER"],
        }
    }
}

/// The properties of node `node` of `nodes`, which are numbered from 1. Its data go to `log_folder`.
pub(crate) fn server_properties(
    node: u32,
    nodes: &[Ports],
    log_folder: &Path,
    options: &BrokerOptions,
    tls: Option<&Tls>,
) -> String {
    let mut own = BTreeMap::new();
    identity(&mut own, node, nodes, log_folder);
    listeners(&mut own, &nodes[node as usize - 1]);
    for listener in &options.listeners {
        sasl(&mut own, *listener);
    }
    if let Some(tls) = tls {
        set(&mut own, "ssl.keystore.type", "PKCS12");
        set(&mut own, "ssl.keystore.location", tls.keystore.display());
        set(&mut own, "ssl.keystore.password", KEYSTORE_PASSWORD);
        set(&mut own, "ssl.key.password", KEYSTORE_PASSWORD);
    }
    if options.acls {
        set(&mut own, "authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer");
        set(&mut own, "super.users", "User:ANONYMOUS");
    }
    own.extend(options.properties.iter().cloned());
    // Java keeps the last of several lines with one key, so ours may override the common ones.
    format!("{COMMON}\n{}", lines(&own))
}

fn set(own: &mut BTreeMap<String, String>, key: &str, value: impl ToString) {
    own.insert(key.to_owned(), value.to_string());
}

fn identity(own: &mut BTreeMap<String, String>, node: u32, nodes: &[Ports], log_folder: &Path) {
    let voters: Vec<String> =
        (1..).zip(nodes).map(|(id, ports)| format!("{id}@127.0.0.1:{}", ports.controller)).collect();
    let replicas = nodes.len();
    set(own, "node.id", node);
    set(own, "log.dirs", log_folder.display());
    set(own, "controller.quorum.voters", voters.join(","));
    for topics in ["default", "offsets.topic", "transaction.state.log", "share.coordinator.state.topic"] {
        set(own, &format!("{topics}.replication.factor"), replicas);
    }
    let in_sync = if replicas == 1 { 1 } else { 2 };
    for topics in ["", "transaction.state.log.", "share.coordinator.state.topic."] {
        let key =
            if topics.is_empty() { "min.insync.replicas".to_owned() } else { format!("{topics}min.isr") };
        set(own, &key, in_sync);
    }
}

fn listeners(own: &mut BTreeMap<String, String>, ports: &Ports) {
    let mut bound = vec![format!("PLAINTEXT://127.0.0.1:{}", ports.plaintext)];
    let mut advertised = bound.clone();
    let mut protocols = vec!["PLAINTEXT:PLAINTEXT".to_owned(), "CONTROLLER:PLAINTEXT".to_owned()];
    for (listener, port) in &ports.listeners {
        bound.push(format!("{}://127.0.0.1:{port}", listener.name()));
        let told = if let Listener::Detour(other) = listener { other } else { port };
        advertised.push(format!("{}://127.0.0.1:{told}", listener.name()));
        protocols.push(format!("{}:{}", listener.name(), listener.protocol()));
    }
    set(own, "listeners", format!("{},CONTROLLER://127.0.0.1:{}", bound.join(","), ports.controller));
    set(own, "advertised.listeners", advertised.join(","));
    set(own, "listener.security.protocol.map", protocols.join(","));
}

fn sasl(own: &mut BTreeMap<String, String>, listener: Listener) {
    let mechanisms = listener.mechanisms();
    if mechanisms.is_empty() {
        return;
    }
    let prefix = format!("listener.name.{}", listener.name().to_ascii_lowercase());
    set(own, &format!("{prefix}.sasl.enabled.mechanisms"), mechanisms.join(","));
    for mechanism in mechanisms {
        let login = match *mechanism {
            "PLAIN" => format!(
                "org.apache.kafka.common.security.plain.PlainLoginModule required user_{SASL_USER}=\"{SASL_PASSWORD}\";"
            ),
            "OAUTHBEARER" => token_login("broker"),
            _ => "org.apache.kafka.common.security.scram.ScramLoginModule required;".to_owned(),
        };
        set(own, &format!("{prefix}.{}.sasl.jaas.config", mechanism.to_ascii_lowercase()), login);
    }
}

/// The login of Kafka's own tokens without a signature.
fn token_login(user: &str) -> String {
    let module = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule";
    format!("{module} required unsecuredLoginStringClaim_sub=\"{user}\";")
}

/// What a Java client needs to get through `listener`.
pub(crate) fn client_properties(listener: Listener, certificate: Option<&Path>) -> String {
    let mut own = BTreeMap::new();
    set(&mut own, "security.protocol", listener.protocol());
    if let (true, Some(certificate)) = (listener.uses_tls(), certificate) {
        set(&mut own, "ssl.truststore.type", "PEM");
        set(&mut own, "ssl.truststore.location", certificate.display());
    }
    if let Some(mechanism) = listener.mechanisms().last() {
        set(&mut own, "sasl.mechanism", mechanism);
        let credentials = |module| {
            format!(
                "org.apache.kafka.common.security.{module} required username=\"{SASL_USER}\" password=\"{SASL_PASSWORD}\";"
            )
        };
        let login = match *mechanism {
            "PLAIN" => credentials("plain.PlainLoginModule"),
            "OAUTHBEARER" => token_login(SASL_USER),
            _ => credentials("scram.ScramLoginModule"),
        };
        set(&mut own, "sasl.jaas.config", login);
    }
    lines(&own)
}

fn lines(own: &BTreeMap<String, String>) -> String {
    own.iter().fold(String::new(), |mut text, (key, value)| {
        let _ = writeln!(text, "{key}={value}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(first: u16, listeners: &[Listener]) -> Ports {
        let listeners = (first + 2..).zip(listeners).map(|(port, listener)| (*listener, port)).collect();
        Ports { plaintext: first, controller: first + 1, listeners }
    }

    #[test]
    fn three_nodes_replicate_and_know_each_other() {
        let nodes = [ports(100, &[]), ports(200, &[]), ports(300, &[])];
        let text = server_properties(2, &nodes, Path::new("/data"), &BrokerOptions::default(), None);
        for line in [
            "node.id=2",
            "controller.quorum.voters=1@127.0.0.1:101,2@127.0.0.1:201,3@127.0.0.1:301",
            "offsets.topic.replication.factor=3",
            "min.insync.replicas=2",
            "listeners=PLAINTEXT://127.0.0.1:200,CONTROLLER://127.0.0.1:201",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn callers_properties_come_last() {
        let properties = vec![("group.initial.rebalance.delay.ms".to_owned(), "3000".to_owned())];
        let options = BrokerOptions { properties, ..BrokerOptions::default() };
        let text = server_properties(1, &[ports(100, &[])], Path::new("/data"), &options, None);
        let last = text.lines().rfind(|line| line.starts_with("group.initial.rebalance.delay.ms="));
        assert_eq!(last, Some("group.initial.rebalance.delay.ms=3000"));
    }

    #[test]
    fn a_detour_is_advertised_elsewhere_than_it_listens() {
        let listeners = vec![Listener::Detour(900)];
        let nodes = [ports(100, &listeners)];
        let options = BrokerOptions { listeners, ..BrokerOptions::default() };
        let text = server_properties(1, &nodes, Path::new("/data"), &options, None);
        for line in [
            "listeners=PLAINTEXT://127.0.0.1:100,DETOUR://127.0.0.1:102,CONTROLLER://127.0.0.1:101",
            "advertised.listeners=PLAINTEXT://127.0.0.1:100,DETOUR://127.0.0.1:900",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn each_sasl_listener_has_its_mechanisms() {
        let listeners = vec![Listener::SaslPlain, Listener::SaslTls];
        let nodes = [ports(100, &listeners)];
        let options = BrokerOptions { listeners, ..BrokerOptions::default() };
        let text = server_properties(1, &nodes, Path::new("/data"), &options, None);
        assert!(text.contains("SASLPLAIN:SASL_PLAINTEXT,SASLTLS:SASL_SSL"), "{text}");
        assert!(text.contains("listener.name.saslplain.sasl.enabled.mechanisms=PLAIN\n"), "{text}");
        assert!(text.contains("listener.name.sasltls.scram-sha-512.sasl.jaas.config="), "{text}");
    }
}
