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
