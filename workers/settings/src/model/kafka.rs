//! The broker: addresses, security, and what librdkafka is told. Plain data, so that `longshore check` links no Kafka.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use longshore_core::client::Latency;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use super::secret::{REDACTED, Secret};

/// How the broker is reached.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaOptions {
    /// Addresses to begin with, `host:port`, separated by commas.
    #[schemars(length(min = 1))]
    pub brokers: String,
    /// Further librdkafka settings, as librdkafka's `CONFIGURATION.md` names them, except those that Longshore owns.
    #[serde(default)]
    pub client: BTreeMap<String, Scalar>,
    /// Encryption and credentials.
    #[serde(default)]
    pub security: SecurityOptions,
    /// Which group protocol the brokers and we speak.
    #[serde(default)]
    pub group_protocol: GroupProtocol,
    /// What counts for records on their way to the broker: how many go through, or how soon each is there.
    #[serde(default)]
    pub latency: Latency,
}

/// The group protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GroupProtocol {
    /// The protocol every broker speaks, with cooperative-sticky assignment.
    #[default]
    Classic,
    /// The protocol of KIP-848: brokers of version 4.0 and later assign.
    Consumer,
}

/// Encryption and credentials.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SecurityOptions {
    /// How to speak to the brokers. Without it: TLS if `tls` is there, SASL if `sasl` is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sasl: Option<SaslOptions>,
    /// Encryption.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsOptions>,
}

/// Kafka's `security.protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Neither encryption nor credentials.
    Plaintext,
    /// Encryption.
    Ssl,
    /// Credentials without encryption.
    SaslPlaintext,
    /// Both.
    SaslSsl,
}

impl Protocol {
    /// Whether credentials are needed.
    pub fn sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }

    /// Whether the connection is encrypted.
    pub fn tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }
}

/// Credentials.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SaslOptions {
    /// The mechanism.
    pub mechanism: Mechanism,
    /// The user; for PLAIN and SCRAM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password; for PLAIN and SCRAM. Write `${NAME}` or `${file:/path}` rather than the password itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// A file that holds a JWT and is read again before the token expires; for OAUTHBEARER.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
}

/// SASL mechanisms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mechanism {
    /// User and password as they are; use it with TLS alone.
    #[serde(rename = "PLAIN")]
    Plain,
    /// Challenge and response with SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// Challenge and response with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
    /// A bearer token.
    #[serde(rename = "OAUTHBEARER")]
    OauthBearer,
}

/// Encryption.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsOptions {
    /// PEM file or folder of authorities to trust; without it the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// PEM file with our certificate, for brokers that ask for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// PEM file with our certificate's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// The key's password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_password: Option<Secret>,
    /// Whether the certificate must name the broker's host. Leave it on.
    pub verify_hostname: bool,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self { ca: None, certificate: None, key: None, key_password: None, verify_hostname: true }
    }
}

/// A librdkafka setting's value; YAML writes numbers and booleans without quotes. Never shown (I10): some hold secrets.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Scalar {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Number(i64),
    /// Anything else.
    Text(String),
}

/// The text that librdkafka is given. Named for its one use, so that no log prints it by accident.
impl Scalar {
    /// The value as librdkafka's configuration takes it.
    pub fn expose(&self) -> String {
        match self {
            Self::Bool(value) => value.to_string(),
            Self::Number(value) => value.to_string(),
            Self::Text(value) => value.clone(),
        }
    }
}

impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for Scalar {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}
