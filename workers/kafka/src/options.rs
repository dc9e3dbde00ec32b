//! The `kafka:` section of a pipeline file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use crate::memory::ClientMemory;

/// How to reach the brokers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaOptions {
    /// Addresses to begin with, `host:port`, separated by commas.
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
    /// What the buffers of a client may hold that only asks and reads; that of a process of its own when none is said. A worker, which
    /// has such clients beside its work, says less (I5).
    #[serde(skip)]
    pub buffers: Option<ClientMemory>,
}

impl KafkaOptions {
    /// These brokers, without encryption or credentials.
    pub fn plain(brokers: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            client: BTreeMap::new(),
            security: SecurityOptions::default(),
            group_protocol: GroupProtocol::default(),
            buffers: None,
        }
    }
}

/// A librdkafka setting's value; YAML writes numbers and booleans without quotes. Debug shows `***`, since some of
/// librdkafka's settings are passwords (I10).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Scalar {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Number(i64),
    /// Anything else.
    Text(String),
}

impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            Self::Text(value) => value.fmt(f),
        }
    }
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecurityOptions {
    /// How to speak to the brokers. Without it: TLS if `tls` is there, SASL if `sasl` is there.
    #[serde(default)]
    pub protocol: Option<Protocol>,
    /// Credentials.
    #[serde(default)]
    pub sasl: Option<SaslOptions>,
    /// Encryption.
    #[serde(default)]
    pub tls: Option<TlsOptions>,
}

impl SecurityOptions {
    /// The protocol: as said, or as `tls` and `sasl` ask for.
    pub fn effective_protocol(&self) -> Protocol {
        self.protocol.unwrap_or(match (self.sasl.is_some(), self.tls.is_some()) {
            (false, false) => Protocol::Plaintext,
            (false, true) => Protocol::Ssl,
            (true, false) => Protocol::SaslPlaintext,
            (true, true) => Protocol::SaslSsl,
        })
    }
}

/// Kafka's `security.protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Neither encryption nor credentials.
    #[serde(alias = "PLAINTEXT")]
    Plaintext,
    /// Encryption.
    #[serde(alias = "SSL", alias = "tls")]
    Ssl,
    /// Credentials without encryption.
    #[serde(alias = "SASL_PLAINTEXT")]
    SaslPlaintext,
    /// Both.
    #[serde(alias = "SASL_SSL")]
    SaslSsl,
}

/// Credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SaslOptions {
    /// The mechanism.
    pub mechanism: Mechanism,
    /// The user; for PLAIN and SCRAM.
    #[serde(default)]
    pub username: Option<String>,
    /// The password; for PLAIN and SCRAM. Write `${ENV}` or `${file:/path}` rather than the password itself.
    #[serde(default)]
    pub password: Option<Secret>,
    /// A file that holds a JWT and is read again before the token expires; for OAUTHBEARER.
    #[serde(default)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsOptions {
    /// PEM file or folder of authorities to trust; without it the system's.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// PEM file with our certificate, for brokers that ask for one.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// PEM file with our certificate's key.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// The key's password.
    #[serde(default)]
    pub key_password: Option<Secret>,
    /// Whether the certificate must name the broker's host. Leave it on.
    #[serde(default = "yes")]
    pub verify_hostname: bool,
}

fn yes() -> bool {
    true
}

/// Text that is never shown (I10): neither by `Debug` nor when settings are written out.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// I10: neither `Debug` nor a dump of the settings shows a password.
    #[test]
    fn secrets_are_never_shown() {
        let mut options = KafkaOptions::plain("localhost:9092");
        options.security.sasl = Some(SaslOptions {
            mechanism: Mechanism::Plain,
            username: Some("me".into()),
            password: Some(Secret::new("hunter2")),
            token_file: None,
        });
        options.security.tls =
            Some(TlsOptions { key_password: Some(Secret::new("hunter2")), ..TlsOptions::default() });
        assert!(!format!("{options:?}").contains("hunter2"));
        assert!(!serde_json::to_string(&options).unwrap().contains("hunter2"));
    }

    #[test]
    fn unknown_fields_are_refused() {
        let text = r#"{"brokers": "a:1", "securety": {}}"#;
        assert!(serde_json::from_str::<KafkaOptions>(text).is_err());
    }

    #[test]
    fn values_may_be_numbers_and_booleans() {
        let text = r#"{"brokers": "a:1", "client": {"a": 1, "b": true, "c": "x"}}"#;
        let options = serde_json::from_str::<KafkaOptions>(text).unwrap();
        assert_eq!(options.client.values().map(ToString::to_string).collect::<Vec<_>>(), ["1", "true", "x"]);
    }

    #[test]
    fn the_protocol_follows_from_what_is_given() {
        let mut security = SecurityOptions::default();
        assert_eq!(security.effective_protocol(), Protocol::Plaintext);
        security.tls = Some(TlsOptions::default());
        assert_eq!(security.effective_protocol(), Protocol::Ssl);
    }
}
