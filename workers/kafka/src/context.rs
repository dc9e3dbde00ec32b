//! What every client's callbacks share: log lines and tokens.

use crate::ffi::Token;
use crate::options::KafkaOptions;
use crate::token::TokenFile;

/// The shared half of a client's callbacks.
#[derive(Debug, Default)]
pub(crate) struct Context {
    token_file: Option<TokenFile>,
}

impl Context {
    pub(crate) fn new(options: &KafkaOptions) -> Self {
        let sasl = options.security.sasl.as_ref();
        Self { token_file: sasl.and_then(|sasl| sasl.token_file.clone()).map(TokenFile) }
    }

    pub(crate) fn token(&self) -> Result<Token, String> {
        self.token_file.as_ref().ok_or_else(|| "no token file is configured".to_owned())?.read()
    }

    /// A log line of librdkafka. What matters reaches us as an error code as well, so the lines are for whoever looks
    /// for the cause: nothing above `debug` unless librdkafka calls it critical.
    pub(crate) fn log(level: i32, facility: &str, line: &str) {
        match level {
            0..=2 => tracing::error!(target: "librdkafka", facility, "{line}"),
            3..=4 => tracing::debug!(target: "librdkafka", facility, "{line}"),
            _ => tracing::trace!(target: "librdkafka", facility, "{line}"),
        }
    }
}
