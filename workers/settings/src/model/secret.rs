//! A text that nobody may print.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

/// What stands where a secret is not shown.
pub const REDACTED: &str = "***";

/// A secret. It shows as `***` in Debug, Display and every serialization; [`Secret::expose`] is the only way to the
/// text (I10).
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that hands it to the client library.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

/// Whether a text is an address with a user in front of its host, and so perhaps with a password: `https://ann:hunter2@host`.
pub(crate) fn holds_user(text: &str) -> bool {
    let Some((scheme, rest)) = text.trim_start().split_once("://") else { return false };
    let is_scheme = !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    is_scheme && authority.contains('@')
}

/// Whether a field of this name holds a secret, whatever its section: our own fields and librdkafka's.
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace(['.', '-'], "_");
    const WORDS: &[&str] =
        &["password", "passwd", "secret", "token", "passphrase", "credential", "credentials"];
    let words: Vec<&str> = name.split('_').collect();
    // Addresses and lifetimes of tokens are no secrets.
    if words.last().is_some_and(|last| matches!(*last, "url" | "ms" | "path" | "file")) {
        return false;
    }
    words.iter().any(|word| WORDS.contains(word))
        || ["key_pem", "ssl_key", "sasl_jaas_config", "sasl_oauthbearer_config"]
            .iter()
            .any(|tail| name.ends_with(tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_as_stars() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?} {secret}"), "*** ***");
    }

    #[test]
    fn addresses_with_a_user_are_known() {
        for text in ["https://ann:hunter2@host/x", "postgresql://ann@host", " HTTP://a@b?c"] {
            assert!(holds_user(text), "{text}");
        }
        for text in
            ["https://host/a@b", "ann@host", "file:///a@b", "http://host?x=@", "body.matches('://.*@')"]
        {
            assert!(!holds_user(text), "{text}");
        }
    }

    #[test]
    fn secret_names_are_known() {
        for name in [
            "password",
            "sasl.password",
            "key_password",
            "ssl.key.password",
            "token",
            "client.secret",
            "ssl.key.pem",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in
            ["brokers", "key", "retry.order.key", "sasl.oauthbearer.token.endpoint.url", "tokens", "username"]
        {
            assert!(!is_secret_name(name), "{name}");
        }
    }
}
