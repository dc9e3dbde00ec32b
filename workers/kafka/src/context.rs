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
    /// for the cause: nothing above `debug` unless librdkafka calls it critical. But of a single broker that takes requests and does
    /// not answer them it says nothing else, and what stands still by it would not be understood.
    pub(crate) fn log(level: i32, facility: &str, line: &str) {
        let broker = || broker_of(line);
        match level {
            0..=2 => tracing::error!(target: "librdkafka", facility, broker = broker(), "{line}"),
            3..=4 if facility == UNANSWERED => tracing::warn!(
                target: "librdkafka",
                facility,
                broker = broker(),
                "{line}: the broker is overloaded or cut off; longshore doctor asks each by its advertised address"
            ),
            3..=4 => tracing::debug!(target: "librdkafka", facility, broker = broker(), "{line}"),
            _ => tracing::trace!(target: "librdkafka", facility, broker = broker(), "{line}"),
        }
    }
}

/// The facility of lines about requests that nobody answered in time.
const UNANSWERED: &str = "REQTMOUT";

/// The broker that a line is about, as librdkafka names it (`host:port/id`, with the protocol before it where that is not plaintext); none
/// for a line of the client as a whole.
fn broker_of(line: &str) -> Option<&str> {
    // "[thrd:NAME]: BROKER: what happened"
    let (_, told) = line.split_once("]: ")?;
    let (name, _) = told.split_once(": ")?;
    (name.contains('/') && !name.contains(' ')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_its_broker() {
        let plain = "[thrd:127.0.0.1:9092/1]: 127.0.0.1:9092/1: Timed out 1 in-flight, 0 retry-queued";
        assert_eq!(broker_of(plain), Some("127.0.0.1:9092/1"));
        let first = "[thrd:sasl_ssl://kafka:9093/bootstrap]: sasl_ssl://kafka:9093/bootstrap: Connect to ipv4#10.0.0.1:9093 failed: x";
        assert_eq!(broker_of(first), Some("sasl_ssl://kafka:9093/bootstrap"));
        let coordinator = "[thrd:GroupCoordinator]: GroupCoordinator/2: Timed out";
        assert_eq!(broker_of(coordinator), Some("GroupCoordinator/2"));
        assert_eq!(broker_of("[thrd:main]: Topic a/b changed id: x"), None);
        assert_eq!(broker_of("[thrd:main]: Group \"g\" left: x/y"), None);
        assert_eq!(broker_of(""), None);
    }
}
