//! The broker: addresses, security, and what librdkafka is told. Plain data, so that `longshore check` links no Kafka.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::secret::{REDACTED, Secret};

/// How the broker is reached.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaOptions {
    /// Bootstrap addresses, `host:port` with commas between.
    #[schemars(length(min = 1))]
    pub brokers: String,
    /// Encryption and credentials.
    #[serde(default)]
    pub security: SecurityOptions,
    /// The group protocol: `classic` (cooperative-sticky), or `consumer` (KIP-848, brokers from 4.0).
    #[serde(default)]
    pub group_protocol: GroupProtocol,
    /// librdkafka settings as they are named there, except those that Longshore owns.
    #[serde(default)]
    pub client: BTreeMap<String, ClientValue>,
}

/// Who decides which worker owns which partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GroupProtocol {
    /// The members, with the cooperative-sticky assignor.
    #[default]
    Classic,
    /// The broker (KIP-848).
    Consumer,
}

/// Encryption and credentials.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SecurityOptions {
    /// How the connection is protected.
    pub protocol: SecurityProtocol,
    /// Credentials; for `sasl_plaintext` and `sasl_ssl`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sasl: Option<SaslOptions>,
    /// Certificates; for `ssl` and `sasl_ssl`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsOptions>,
}

/// `security.protocol` of Kafka.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SecurityProtocol {
    /// Neither encrypted nor authenticated.
    #[default]
    Plaintext,
    /// Encrypted.
    Ssl,
    /// Authenticated over a plain connection.
    SaslPlaintext,
    /// Encrypted and authenticated.
    SaslSsl,
}

impl SecurityProtocol {
    /// The word that librdkafka uses.
    pub fn word(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Ssl => "ssl",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslSsl => "sasl_ssl",
        }
    }

    /// Whether credentials are needed.
    pub fn sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }

    /// Whether the connection is encrypted.
    pub fn tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }
}

/// Credentials. Write secrets as `${file:/run/secrets/...}` or `${NAME}`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SaslOptions {
    /// How the credentials are proven.
    pub mechanism: SaslMechanism,
    /// The user; not for `oauthbearer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password; not for `oauthbearer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// The bearer token, for `oauthbearer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// A file that holds the bearer token and is read again before the token expires, for `oauthbearer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
}

/// `sasl.mechanism` of Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SaslMechanism {
    /// User and password in clear text: only over TLS.
    #[serde(rename = "plain")]
    Plain,
    /// Salted challenge with SHA-256.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// Salted challenge with SHA-512.
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
    /// A bearer token.
    #[serde(rename = "oauthbearer")]
    OauthBearer,
}

/// Certificates, all PEM files.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsOptions {
    /// Authorities to trust; those of the system when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Our certificate, where the broker asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// Its private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// The key's password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_password: Option<Secret>,
    /// Whether the broker's name must match its certificate; on when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify_hostname: Option<bool>,
}

/// A value of a librdkafka setting: text, number or switch, kept as text. Never shown by Debug, since some hold secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientValue(pub String);

impl fmt::Debug for ClientValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for ClientValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

impl<'de> Deserialize<'de> for ClientValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = ClientValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a number, true or false")
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<ClientValue, E> {
                Ok(ClientValue(value.to_owned()))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<ClientValue, E> {
                Ok(ClientValue(value.to_string()))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<ClientValue, E> {
                Ok(ClientValue(value.to_string()))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<ClientValue, E> {
                Ok(ClientValue(value.to_string()))
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<ClientValue, E> {
                Ok(ClientValue(value.to_string()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for ClientValue {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ClientValue".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": ["string", "number", "boolean"] })
    }
}

/// librdkafka settings that Longshore owns, each with what to do instead. A promise hangs on every one of them.
pub const OWNED_SETTINGS: &[(&str, &str)] = &[
    ("bootstrap.servers", "write `kafka.brokers`"),
    ("metadata.broker.list", "write `kafka.brokers`"),
    ("group.id", "write `input.group`"),
    ("group.protocol", "write `kafka.group_protocol`"),
    ("security.protocol", "write `kafka.security.protocol`"),
    ("sasl.mechanism", "write `kafka.security.sasl.mechanism`"),
    ("sasl.mechanisms", "write `kafka.security.sasl.mechanism`"),
    ("sasl.username", "write `kafka.security.sasl.username`"),
    ("sasl.password", "write `kafka.security.sasl.password`"),
    ("ssl.ca.location", "write `kafka.security.tls.ca`"),
    ("ssl.certificate.location", "write `kafka.security.tls.certificate`"),
    ("ssl.key.location", "write `kafka.security.tls.key`"),
    ("ssl.key.password", "write `kafka.security.tls.key_password`"),
    ("ssl.endpoint.identification.algorithm", "write `kafka.security.tls.verify_hostname`"),
    ("auto.offset.reset", "write `input.start`; an offset out of range is never skipped in silence"),
    ("enable.auto.commit", "only settled offsets are committed"),
    ("enable.auto.offset.store", "only settled offsets are committed"),
    ("auto.commit.interval.ms", "only settled offsets are committed"),
    ("partition.assignment.strategy", "an eager assignor drains every lane at every rebalance"),
    ("group.instance.id", "a removed pod would hold its partitions until the session times out"),
    ("enable.idempotence", "the producer is always idempotent"),
    ("acks", "a hand-over settles only after all replicas hold it"),
    ("request.required.acks", "a hand-over settles only after all replicas hold it"),
    ("max.in.flight", "the idempotent producer needs at most 5"),
    ("max.in.flight.requests.per.connection", "the idempotent producer needs at most 5"),
    ("transactional.id", "the producer uses no transactions"),
    ("partitioner", "keys must go to the partitions that Java clients choose"),
    ("check.crcs", "checksums are always checked"),
    ("enable.partition.eof", "the worker needs to see partition ends"),
    ("queue.buffering.max.kbytes", "derived from `limits.memory`"),
    ("queue.buffering.max.messages", "derived from `limits.memory`"),
    ("queued.max.messages.kbytes", "derived from `limits.memory`"),
];
