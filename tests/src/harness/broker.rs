//! Real brokers for suites.

use std::sync::OnceLock;

use longshore_broker::{BrokerOptions, JvmBroker};

use super::report;

/// One single-node broker for the whole suite, or `None` where none can run: then the test returns, and is counted as
/// skipped. Use names of topics and groups that no other test of the suite uses.
///
/// It ends with the process: nothing drops a static, but the broker's guard sees the process go.
///
/// # Panics
/// When a broker could run but does not start, and with `CI=true` when none can run.
#[must_use]
pub fn shared_broker() -> Option<&'static JvmBroker> {
    static SHARED: OnceLock<Option<JvmBroker>> = OnceLock::new();
    let mut first = false;
    let broker = SHARED.get_or_init(|| {
        first = true;
        start_broker(BrokerOptions::default())
    });
    if broker.is_none() && !first {
        report::skipped("no real broker");
    }
    broker.as_ref()
}

/// Settings of a broker that misses dead members within seconds: of those that speak the protocol of KIP-848 it is the broker that
/// decides how soon.
#[must_use]
pub fn soon_missed() -> Vec<(String, String)> {
    let properties = [
        ("group.consumer.min.session.timeout.ms", "1000"),
        ("group.consumer.session.timeout.ms", "2500"),
        ("group.consumer.min.heartbeat.interval.ms", "200"),
        ("group.consumer.heartbeat.interval.ms", "300"),
    ];
    properties.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

/// A broker of the test's own, to kill or to configure; see [`shared_broker`] for `None` and panics.
#[must_use]
pub fn start_broker(options: BrokerOptions) -> Option<JvmBroker> {
    let versions = match JvmBroker::available() {
        Ok(versions) => versions,
        Err(missing) => {
            assert!(!is_ci(), "CI=true, and no real broker can run: {missing}");
            report::skipped(&format!("no real broker: {missing}"));
            return None;
        }
    };
    let nodes = options.brokers;
    match JvmBroker::start(options) {
        Ok(broker) => {
            let nodes = if nodes == 1 { "1 node".to_owned() } else { format!("{nodes} nodes") };
            report::used(&format!("Apache Kafka {} ({nodes}) on Java {}", versions.kafka, versions.java));
            Some(broker)
        }
        Err(error) => panic!("{error}"),
    }
}

/// Whether a missing real part is a failure.
fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}
