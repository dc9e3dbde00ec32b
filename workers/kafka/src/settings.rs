//! The librdkafka settings, each with its reason, and those a pipeline file may not touch.

use longshore_core::client::owned;
use longshore_core::{Failure, Reason};

use crate::memory::ClientMemory;
use crate::names::{CLIENT_ID, worker_client_id};
use crate::options::{GroupProtocol, KafkaOptions, Mechanism, Protocol, SaslOptions, TlsOptions};

/// Checks the `client:` section and returns every finding: the setting's name and what is wrong with it.
pub fn check_client_settings(options: &KafkaOptions) -> Vec<(String, String)> {
    let finding =
        |name: &String| Some((name.clone(), format!("Longshore owns this setting: {}", owned(name)?)));
    options.client.keys().filter_map(finding).collect()
}

/// What a client is made for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role<'a> {
    /// A member of a group.
    Member {
        /// The group.
        group: &'a str,
        /// The port of the worker's pages, for its `client.id`; none without pages.
        http_port: Option<u16>,
    },
    /// A consumer that assigns by hand, or asks about a group.
    Reader {
        /// The group that is asked about; nothing is ever committed for it.
        group: &'a str,
    },
    /// A producer.
    Producer(&'a crate::producer::ProducerTuning),
}

type Settings = Vec<(String, String)>;

/// All settings of a client, ours last, so that they win.
///
/// # Errors
/// [`Reason::BrokerConfiguration`] for a setting that Longshore owns, or credentials that do not fit together.
pub(crate) fn settings(
    options: &KafkaOptions,
    memory: &ClientMemory,
    role: Role<'_>,
) -> Result<Settings, Failure> {
    if let Some((name, why)) = check_client_settings(options).into_iter().next() {
        return Err(misconfigured(format!("kafka.client.{name}: {why}")));
    }
    let mut list = defaults(memory, &role);
    list.extend(options.client.iter().map(|(name, value)| (name.clone(), value.to_string())));
    let mut set = |name: &str, value: &str| list.push((name.to_owned(), value.to_owned()));
    set("bootstrap.servers", &options.brokers);
    // Librdkafka prints a broker that closes an idle connection as an error.
    set("log.connection.close", "false");
    match role {
        Role::Member { group, http_port } => {
            consumer(&mut list, memory, group);
            member(&mut list, options.group_protocol);
            list.push(("client.id".to_owned(), client_id(options, http_port)));
            // Tells of topics that were made again before their first record comes; what else somebody asked for stays.
            let asked = options.client.get("debug").map(ToString::to_string).unwrap_or_default();
            let topics = crate::consumer::DEBUG;
            let debug = if asked.is_empty() { topics.to_owned() } else { format!("{asked},{topics}") };
            list.push(("debug".to_owned(), debug));
        }
        Role::Reader { group } => {
            consumer(&mut list, memory, group);
            // A reader of a range has to know that there is no more: behind the last record stand markers or gaps.
            list.push(("enable.partition.eof".to_owned(), "true".to_owned()));
            if options.buffers.is_some() {
                // The bound in bytes counts values alone: records that are headers and keys would be read ahead by the hundred thousand, whatever
                // they take (I5). Whoever says how much a reader may hold gets one answer at a time, and the next one soon.
                list.push(("queued.min.messages".to_owned(), "1".to_owned()));
                list.push(("fetch.queue.backoff.ms".to_owned(), "5".to_owned()));
            }
        }
        Role::Producer(_) => producer(&mut list, memory),
    }
    security(&mut list, options)?;
    Ok(list)
}

/// A worker's `client.id`: the pipeline file's, and the port of its pages if it has any.
pub fn client_id(options: &KafkaOptions, http_port: Option<u16>) -> String {
    let own = options.client.get("client.id").map_or_else(|| CLIENT_ID.to_owned(), ToString::to_string);
    http_port.map_or(own.clone(), |port| worker_client_id(&own, port))
}

/// What a pipeline file may change.
fn defaults(memory: &ClientMemory, role: &Role<'_>) -> Settings {
    let mut list = Settings::new();
    let mut set = |name: &str, value: String| list.push((name.to_owned(), value));
    set("client.id", CLIENT_ID.to_owned());
    // A broker that comes back is tried again soon, and never in a busy loop.
    set("reconnect.backoff.ms", "100".to_owned());
    set("reconnect.backoff.max.ms", "3000".to_owned());
    // A peer that is gone without a word, as when a firewall has forgotten a connection, shows by its silence alone. The default of a minute
    // is how long nothing would be fetched or written then; this is as long as the default session.
    set("socket.timeout.ms", "10000".to_owned());
    // New partitions are seen within 30 s instead of 5 minutes.
    set("topic.metadata.refresh.interval.ms", "30000".to_owned());
    match role {
        Role::Member { .. } | Role::Reader { .. } => {
            // The default of a second halves the rate: a full queue makes the fetcher sleep that long (measured).
            set("fetch.queue.backoff.ms", "50".to_owned());
            // 20,000 costs a third of the rate (measured); the bound that counts is the one in bytes.
            set("queued.min.messages", "100000".to_owned());
            // An idle partition's record arrives at once; this is only how long the broker holds an empty answer.
            set("fetch.wait.max.ms", "100".to_owned());
            set("max.partition.fetch.bytes", memory.fetch_bytes.min(1 << 20).to_string());
            // How long a kill costs: the default of 45 s is how long nobody reads the dead worker's partitions.
            if matches!(role, Role::Member { .. }) {
                set("max.poll.interval.ms", "300000".to_owned());
            }
        }
        Role::Producer(tuning) => {
            set("linger.ms", tuning.linger.as_millis().to_string());
            set("batch.size", tuning.batch_bytes.to_string());
            // Our batches are bounded by bytes.
            set("batch.num.messages", "100000".to_owned());
            set("compression.type", tuning.compression.word().to_owned());
            // The full-size record of an input gets our headers on top; the broker judges what is too large.
            set("message.max.bytes", MESSAGE_MAX_BYTES.to_string());
            // Below `socket.timeout.ms`: a broker whose followers are slow says so, instead of being taken for gone.
            set("request.timeout.ms", "9000".to_owned());
            // A missing topic is known after this instead of 30 s.
            set("topic.metadata.propagation.max.ms", "10000".to_owned());
        }
    }
    list
}

/// The largest record that the producer takes.
const MESSAGE_MAX_BYTES: u64 = 100 << 20;

fn consumer(list: &mut Settings, memory: &ClientMemory, group: &str) {
    let mut set = |name: &str, value: &str| list.push((name.to_owned(), value.to_owned()));
    set("group.id", group);
    // Only settled records are committed, and by us: the defaults would commit what was merely polled (I4).
    set("enable.auto.commit", "false");
    set("enable.auto.offset.store", "false");
    // The default jumps silently to the end, past unread records; ours is an error that halts the pair.
    set("auto.offset.reset", "error");
    // Off by default in librdkafka; costs nothing visible (measured).
    set("check.crcs", "true");
    set("isolation.level", "read_committed");
    // With the batch interface an end of partition moves librdkafka's own position one too far (it adds one to the
    // event's offset), and after the next pause a record would be jumped over.
    set("enable.partition.eof", "false");
    set("allow.auto.create.topics", "false");
    // The memory bound (I5): the default is 64 MiB. At this mark nothing more is asked for, so what waits is this and one
    // answer, never more.
    set("queued.max.messages.kbytes", &(memory.prefetch_bytes / 1024).max(1).to_string());
    // One answer. A broker counts a record that is larger as all of it, so such a record comes alone.
    set("fetch.max.bytes", &memory.fetch_bytes.to_string());
    // It bounds what a producer sends; a consumer only refuses to be made when it exceeds `fetch.max.bytes`, which it would
    // when the pipeline file sets it for its topic sinks.
    set("message.max.bytes", &memory.fetch_bytes.min(1_000_000).to_string());
    // Must exceed fetch.max.bytes, and the size of the largest record anybody sends.
    set("receive.message.max.bytes", &(memory.fetch_bytes + (128 << 20)).to_string());
}

/// How long a member may be silent when nobody says otherwise, in milliseconds.
pub const SESSION_MS: u64 = 10_000;

/// How often a member of the classic protocol tells its coordinator that it lives when nobody says otherwise, by the session's length; both in
/// milliseconds. It hears with the answer that partitions were given back for others: with the client's default of 3 s they stood still for 3.1 s when
/// a worker joined (measured, `docs/benchmarks.md`). Never more than a third of a session, as the client's own documentation has it.
pub fn heartbeat_ms(session_ms: u64) -> u64 {
    (session_ms / 3).clamp(1, 1_000)
}

/// The one place that chooses the group protocol.
fn member(list: &mut Settings, protocol: GroupProtocol) {
    let mut set = |name: &str, value: &str| list.push((name.to_owned(), value.to_owned()));
    match protocol {
        GroupProtocol::Classic => {
            set("group.protocol", "classic");
            // The default (range, eager) drains every partition at every rebalance.
            set("partition.assignment.strategy", "cooperative-sticky");
            // The default of 45 s is how long a killed worker's partitions lie idle.
            if !list.iter().any(|(name, _)| name == "session.timeout.ms") {
                list.push(("session.timeout.ms".to_owned(), SESSION_MS.to_string()));
            }
            if !list.iter().any(|(name, _)| name == "heartbeat.interval.ms") {
                let session = list.iter().rev().find(|(name, _)| name == "session.timeout.ms");
                let session = session.and_then(|(_, value)| value.parse().ok()).unwrap_or(SESSION_MS);
                list.push(("heartbeat.interval.ms".to_owned(), heartbeat_ms(session).to_string()));
            }
        }
        GroupProtocol::Consumer => {
            set("group.protocol", "consumer");
            // Co-locates partition p of several topics, incrementally.
            set("group.remote.assignor", "range");
        }
    }
}

fn producer(list: &mut Settings, memory: &ClientMemory) {
    let mut set = |name: &str, value: &str| list.push((name.to_owned(), value.to_owned()));
    // Off by default: a retry inside the client would double or reorder.
    set("enable.idempotence", "true");
    // A hand-over settles a record only when all in-sync replicas hold it.
    set("acks", "all");
    // Never give up by time: a record given up may be on the broker nevertheless, and the caller waits with its own
    // deadline. Zero is "for ever".
    set("message.timeout.ms", "0");
    // The default, consistent_random, puts keys elsewhere than Java's clients do.
    set("partitioner", "murmur2_random");
    // The default of 1 GiB breaks I5. Our own count is the one that waits; this one is above it by the largest record,
    // which goes alone, so that it never refuses.
    let most = memory.produce_bytes * 2 + MESSAGE_MAX_BYTES;
    set("queue.buffering.max.kbytes", &(most / 1024).to_string());
    // Zero is "no bound in records"; the one in bytes holds.
    set("queue.buffering.max.messages", "0");
}

fn security(list: &mut Settings, options: &KafkaOptions) -> Result<(), Failure> {
    let security = &options.security;
    let protocol = security.effective_protocol();
    let name = match protocol {
        Protocol::Plaintext => "plaintext",
        Protocol::Ssl => "ssl",
        Protocol::SaslPlaintext => "sasl_plaintext",
        Protocol::SaslSsl => "sasl_ssl",
    };
    list.push(("security.protocol".to_owned(), name.to_owned()));
    match protocol {
        Protocol::Plaintext => {}
        Protocol::Ssl => tls(list, security.tls.as_ref()),
        Protocol::SaslPlaintext => sasl(list, security.sasl.as_ref())?,
        Protocol::SaslSsl => {
            tls(list, security.tls.as_ref());
            sasl(list, security.sasl.as_ref())?;
        }
    }
    Ok(())
}

fn tls(list: &mut Settings, options: Option<&TlsOptions>) {
    let Some(options) = options else { return };
    let mut set = |name: &str, value: Option<String>| {
        list.extend(value.map(|value| (name.to_owned(), value)));
    };
    let path = |path: &Option<std::path::PathBuf>| path.as_ref().map(|path| path.display().to_string());
    set("ssl.ca.location", path(&options.ca));
    set("ssl.certificate.location", path(&options.certificate));
    set("ssl.key.location", path(&options.key));
    set("ssl.key.password", options.key_password.as_ref().map(|secret| secret.reveal().to_owned()));
    let algorithm = if options.verify_hostname { "https" } else { "none" };
    set("ssl.endpoint.identification.algorithm", Some(algorithm.to_owned()));
}

fn sasl(list: &mut Settings, options: Option<&SaslOptions>) -> Result<(), Failure> {
    let options = options.ok_or_else(|| misconfigured("kafka.security.sasl is missing for this protocol"))?;
    let mut set = |name: &str, value: &str| list.push((name.to_owned(), value.to_owned()));
    let mechanism = match options.mechanism {
        Mechanism::Plain => "PLAIN",
        Mechanism::ScramSha256 => "SCRAM-SHA-256",
        Mechanism::ScramSha512 => "SCRAM-SHA-512",
        Mechanism::OauthBearer => "OAUTHBEARER",
    };
    set("sasl.mechanism", mechanism);
    match options.mechanism {
        Mechanism::Plain | Mechanism::ScramSha256 | Mechanism::ScramSha512 => {
            let (Some(username), Some(password)) = (&options.username, &options.password) else {
                return Err(misconfigured(
                    "kafka.security.sasl needs username and password for this mechanism",
                ));
            };
            set("sasl.username", username);
            set("sasl.password", password.reveal());
        }
        Mechanism::OauthBearer => {
            if options.token_file.is_none() {
                return Err(misconfigured("kafka.security.sasl needs token_file for OAUTHBEARER"));
            }
        }
    }
    Ok(())
}

fn misconfigured(detail: impl std::fmt::Display) -> Failure {
    Failure::halt(Reason::BrokerConfiguration, detail)
}

#[cfg(test)]
mod tests {
    use longshore_core::client::Latency;

    use super::*;
    use crate::options::{Scalar, Secret};
    use crate::producer::ProducerTuning;

    fn value(list: &Settings, name: &str) -> Option<String> {
        list.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    }

    #[test]
    fn owned_settings_are_refused_with_their_reason() {
        let mut options = KafkaOptions::plain("a:1");
        options.client.insert("enable.auto.commit".into(), Scalar::Bool(true));
        let failure =
            settings(&options, &ClientMemory::default(), Role::Member { group: "g", http_port: None })
                .unwrap_err();
        assert_eq!(failure.reason, Reason::BrokerConfiguration);
        assert!(failure.detail().contains("only settled records"), "{failure}");
    }

    /// Trap 15: every default that would lose, double or bloat is overridden.
    #[test]
    fn dangerous_defaults_are_overridden() {
        let options = KafkaOptions::plain("a:1");
        let memory = ClientMemory::default();
        let member = settings(&options, &memory, Role::Member { group: "g", http_port: None }).unwrap();
        for (name, wanted) in [
            ("auto.offset.reset", "error"),
            ("partition.assignment.strategy", "cooperative-sticky"),
            ("check.crcs", "true"),
            ("fetch.queue.backoff.ms", "50"),
            ("enable.auto.offset.store", "false"),
            ("session.timeout.ms", "10000"),
            ("heartbeat.interval.ms", "1000"),
            ("socket.timeout.ms", "10000"),
        ] {
            assert_eq!(value(&member, name).as_deref(), Some(wanted), "{name}");
        }
        let tuning = ProducerTuning::default();
        let producer = settings(&options, &memory, Role::Producer(&tuning)).unwrap();
        for (name, wanted) in
            [("enable.idempotence", "true"), ("partitioner", "murmur2_random"), ("acks", "all")]
        {
            assert_eq!(value(&producer, name).as_deref(), Some(wanted), "{name}");
        }
        assert!(value(&producer, "message.max.bytes").is_some());
        assert!(value(&producer, "queue.buffering.max.kbytes").is_some());
    }

    /// Guarantee: a session that the pipeline file makes shorter has its heartbeats in time, and heartbeats that it names stay.
    #[test]
    fn heartbeats_keep_to_a_third_of_the_session() {
        let heartbeat = |client: &[(&str, i64)]| {
            let mut options = KafkaOptions::plain("a:1");
            let scalars = client.iter().map(|(name, ms)| ((*name).to_owned(), Scalar::Number(*ms)));
            options.client.extend(scalars);
            let role = Role::Member { group: "g", http_port: None };
            value(&settings(&options, &ClientMemory::default(), role).unwrap(), "heartbeat.interval.ms")
        };
        assert_eq!(heartbeat(&[("session.timeout.ms", 1_500)]).as_deref(), Some("500"));
        assert_eq!(heartbeat(&[("session.timeout.ms", 60_000)]).as_deref(), Some("1000"));
        let named = [("session.timeout.ms", 1_500), ("heartbeat.interval.ms", 250)];
        assert_eq!(heartbeat(&named).as_deref(), Some("250"));
    }

    /// Guarantee: with low latency nothing lingers, all else a producer is told stays, and a consumer is told nothing else: the broker answers
    /// it as soon as there is a record.
    #[test]
    fn low_latency_changes_how_long_records_linger_alone() {
        let (options, memory) = (KafkaOptions::plain("a:1"), ClientMemory::default());
        let producer = |latency| {
            let tuning = ProducerTuning::of(latency);
            settings(&options, &memory, Role::Producer(&tuning)).unwrap()
        };
        let (normal, mut low) = (producer(Latency::Normal), producer(Latency::Low));
        assert_eq!(value(&normal, "linger.ms").as_deref(), Some("10"));
        assert_eq!(value(&low, "linger.ms").as_deref(), Some("0"));
        let linger = low.iter_mut().find(|(name, _)| name == "linger.ms").unwrap();
        linger.1 = "10".to_owned();
        assert_eq!(low, normal);
        let member = settings(&options, &memory, Role::Member { group: "g", http_port: None }).unwrap();
        assert_eq!(
            value(&member, "fetch.min.bytes"),
            None,
            "librdkafka's own is 1, so nothing waits for more"
        );
    }

    /// Scenario: the pipeline file lets its topic sinks send records of 50 MB. Guarantee: the consumer, which refuses to be made
    /// when it may send more than it fetches at once, still fetches as much as the memory budget says.
    #[test]
    fn what_a_producer_may_send_does_not_change_what_a_consumer_fetches() {
        let mut options = KafkaOptions::plain("a:1");
        options.client.insert("message.max.bytes".to_owned(), Scalar::Number(50_000_000));
        let memory = ClientMemory::derive(64 << 20);
        let member = settings(&options, &memory, Role::Member { group: "g", http_port: None }).unwrap();
        let number = |name| value(&member, name).and_then(|value| value.parse::<u64>().ok()).unwrap();
        assert_eq!(number("fetch.max.bytes"), memory.fetch_bytes);
        assert!(number("message.max.bytes") <= memory.fetch_bytes);
        let tuning = ProducerTuning::default();
        let producer = settings(&options, &memory, Role::Producer(&tuning)).unwrap();
        assert_eq!(value(&producer, "message.max.bytes").as_deref(), Some("50000000"));
    }

    /// Guarantee: a worker's `client.id` tells the port of its pages, behind what the pipeline file says; all other clients keep theirs.
    #[test]
    fn a_member_with_pages_tells_their_port() {
        let mut options = KafkaOptions::plain("a:1");
        let memory = ClientMemory::default();
        let id = |options: &KafkaOptions, role| {
            value(&settings(options, &memory, role).unwrap(), "client.id").unwrap()
        };
        let member = |http_port| Role::Member { group: "g", http_port };
        assert_eq!(id(&options, member(None)), "longshore");
        assert_eq!(id(&options, member(Some(8080))), "longshore.http.8080");
        options.client.insert("client.id".into(), Scalar::Text("billing".into()));
        assert_eq!(id(&options, member(Some(8080))), "billing.longshore.http.8080");
        assert_eq!(id(&options, member(None)), "billing");
        assert_eq!(id(&options, Role::Reader { group: "g" }), "billing");
    }

    #[test]
    fn missing_credentials_are_named() {
        let mut options = KafkaOptions::plain("a:1");
        options.security.sasl = Some(SaslOptions {
            mechanism: Mechanism::ScramSha512,
            username: None,
            password: Some(Secret::new("p")),
            token_file: None,
        });
        let failure = settings(&options, &ClientMemory::default(), Role::Reader { group: "g" }).unwrap_err();
        assert!(failure.detail().contains("username"), "{failure}");
    }
}
