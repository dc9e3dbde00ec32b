//! What a pipeline file may say to the Kafka client. It stands here because the settings, which must not link the client,
//! and the crate that makes clients both ask.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Compression of batches on their way to the broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// None.
    None,
    /// gzip: small, slow.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4: the quickest.
    #[default]
    Lz4,
    /// Zstandard: the smallest.
    Zstd,
}

impl Compression {
    /// The word that librdkafka uses.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// What counts for records on their way to the broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Latency {
    /// How many of them go through: one waits up to 10 ms for others that are sent with it.
    #[default]
    Normal,
    /// How soon each of them is there: it is sent at once.
    Low,
}

/// Why Longshore owns a setting of librdkafka, so that the `client:` section may not set it; none when it may.
pub fn owned(setting: &str) -> Option<&'static str> {
    OWNED_SETTINGS.iter().find(|(name, _)| *name == setting).map(|(_, why)| *why)
}

/// Settings that Longshore owns, and why.
const OWNED_SETTINGS: &[(&str, &str)] = &[
    ("bootstrap.servers", "write kafka.brokers"),
    ("metadata.broker.list", "write kafka.brokers"),
    ("group.id", "write input.group"),
    ("group.instance.id", "a removed pod would hold its partitions until the session times out"),
    ("group.protocol", "write kafka.group_protocol"),
    ("group.remote.assignor", "the order of pairs depends on it"),
    (
        "partition.assignment.strategy",
        "only cooperative-sticky leaves the other partitions running in a rebalance",
    ),
    ("enable.auto.commit", "only settled records are committed"),
    ("enable.auto.offset.store", "only settled records are committed"),
    ("auto.commit.interval.ms", "only settled records are committed"),
    ("auto.offset.reset", "write input.start; an offset out of range must stop the pair, not skip records"),
    ("check.crcs", "a wrong checksum must never reach a sink"),
    ("enable.idempotence", "a retry inside the client would double or reorder records"),
    ("enable.gapless.guarantee", "the producer is rebuilt after a fatal error instead"),
    ("acks", "a record settles only when all in-sync replicas hold it"),
    ("request.required.acks", "a record settles only when all in-sync replicas hold it"),
    ("transactional.id", "exactly-once comes from the sink's ledger"),
    ("isolation.level", "aborted records must never be read"),
    ("message.timeout.ms", "unacknowledged records are never given up"),
    ("delivery.timeout.ms", "unacknowledged records are never given up"),
    ("partitioner", "keys must go to the partitions that Java's clients choose"),
    ("queued.max.messages.kbytes", "write limits.memory"),
    ("fetch.max.bytes", "write limits.memory"),
    ("queue.buffering.max.kbytes", "write limits.memory"),
    ("queue.buffering.max.messages", "write limits.memory"),
    ("enable.partition.eof", "the event makes librdkafka jump over a record after a pause"),
    ("security.protocol", "write kafka.security.protocol"),
    ("sasl.mechanism", "write kafka.security.sasl.mechanism"),
    ("sasl.mechanisms", "write kafka.security.sasl.mechanism"),
    ("sasl.username", "write kafka.security.sasl.username"),
    ("sasl.password", "write kafka.security.sasl.password"),
    ("sasl.oauthbearer.config", "write kafka.security.sasl.token_file"),
    ("sasl.oauthbearer.client.secret", "write kafka.security.sasl.token_file"),
    ("ssl.ca.location", "write kafka.security.tls.ca"),
    ("ssl.ca.pem", "write kafka.security.tls.ca"),
    ("ssl.certificate.location", "write kafka.security.tls.certificate"),
    ("ssl.certificate.pem", "write kafka.security.tls.certificate"),
    ("ssl.key.location", "write kafka.security.tls.key"),
    ("ssl.key.pem", "write kafka.security.tls.key"),
    ("ssl.key.password", "write kafka.security.tls.key_password"),
    ("ssl.keystore.password", "write kafka.security.tls.key_password"),
    ("ssl.endpoint.identification.algorithm", "write kafka.security.tls.verify_hostname"),
    ("enable.ssl.certificate.verification", "an unchecked certificate is no encryption"),
    ("log.queue", "logs go to Longshore's own log"),
    ("allow.auto.create.topics", "a mistyped topic must be an error"),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantee: a setting that Longshore owns is refused with its reason, and no other; compressions have librdkafka's words.
    #[test]
    fn owned_settings_say_why() {
        assert_eq!(owned("acks"), Some("a record settles only when all in-sync replicas hold it"));
        assert_eq!((owned("group.id"), owned("linger.ms")), (Some("write input.group"), None));
        use Compression::{Gzip, Lz4, Snappy, Zstd};
        let words = [Compression::None, Gzip, Snappy, Lz4, Zstd].map(Compression::word);
        assert_eq!(words, ["none", "gzip", "snappy", "lz4", "zstd"]);
    }
}
