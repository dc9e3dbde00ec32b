//! From the pipeline file's `kafka:` section to the Kafka crate's options. The settings crate keeps its own types, so
//! that `longshore check` needs no Kafka client.

use longshore_kafka as kafka;
use longshore_settings::model::kafka as file;

/// How to reach the brokers, as the Kafka crate wants it.
pub(crate) fn options(from: &file::KafkaOptions) -> kafka::KafkaOptions {
    kafka::KafkaOptions {
        brokers: from.brokers.clone(),
        client: from.client.iter().map(|(name, value)| (name.clone(), scalar(value))).collect(),
        security: kafka::SecurityOptions {
            protocol: from.security.protocol.map(protocol),
            sasl: from.security.sasl.as_ref().map(sasl),
            tls: from.security.tls.as_ref().map(tls),
        },
        group_protocol: match from.group_protocol {
            file::GroupProtocol::Classic => kafka::GroupProtocol::Classic,
            file::GroupProtocol::Consumer => kafka::GroupProtocol::Consumer,
        },
        buffers: None,
    }
}

fn scalar(value: &file::Scalar) -> kafka::Scalar {
    kafka::Scalar::Text(value.expose())
}

fn protocol(from: file::Protocol) -> kafka::Protocol {
    match from {
        file::Protocol::Plaintext => kafka::Protocol::Plaintext,
        file::Protocol::Ssl => kafka::Protocol::Ssl,
        file::Protocol::SaslPlaintext => kafka::Protocol::SaslPlaintext,
        file::Protocol::SaslSsl => kafka::Protocol::SaslSsl,
    }
}

fn secret(from: &longshore_settings::Secret) -> kafka::Secret {
    kafka::Secret::new(from.expose())
}

fn sasl(from: &file::SaslOptions) -> kafka::SaslOptions {
    kafka::SaslOptions {
        mechanism: match from.mechanism {
            file::Mechanism::Plain => kafka::Mechanism::Plain,
            file::Mechanism::ScramSha256 => kafka::Mechanism::ScramSha256,
            file::Mechanism::ScramSha512 => kafka::Mechanism::ScramSha512,
            file::Mechanism::OauthBearer => kafka::Mechanism::OauthBearer,
        },
        username: from.username.clone(),
        password: from.password.as_ref().map(secret),
        token_file: from.token_file.clone(),
    }
}

fn tls(from: &file::TlsOptions) -> kafka::TlsOptions {
    kafka::TlsOptions {
        ca: from.ca.clone(),
        certificate: from.certificate.clone(),
        key: from.key.clone(),
        key_password: from.key_password.as_ref().map(secret),
        verify_hostname: from.verify_hostname,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: a worker's options are built and shown, as a log line or a panic would. Guarantee: no password in it (I10).
    #[test]
    fn the_clients_options_show_no_password() {
        let password = || Some(longshore_settings::Secret::new("planted-hunter2"));
        let from = file::KafkaOptions {
            brokers: "localhost:9092".to_owned(),
            client: [
                ("linger.ms".to_owned(), file::Scalar::Number(5)),
                ("ssl.truststore.password".to_owned(), file::Scalar::Text("planted-hunter2".to_owned())),
            ]
            .into(),
            security: file::SecurityOptions {
                protocol: Some(file::Protocol::SaslSsl),
                sasl: Some(file::SaslOptions {
                    mechanism: file::Mechanism::ScramSha512,
                    username: Some("me".to_owned()),
                    password: password(),
                    token_file: None,
                }),
                tls: Some(file::TlsOptions { key_password: password(), ..file::TlsOptions::default() }),
            },
            group_protocol: file::GroupProtocol::Classic,
            latency: longshore_settings::Latency::default(),
        };
        let options = options(&from);
        assert!(!format!("{options:?} {from:?}").contains("hunter2"));
        assert_eq!(options.client["linger.ms"].to_string(), "5");
    }
}
