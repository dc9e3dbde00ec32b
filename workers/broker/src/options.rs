//! What a caller may ask of a broker.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// User name of the SASL test listeners.
pub const SASL_USER: &str = "longshore";
/// Password of the SASL test listeners. Not a secret: the broker listens on 127.0.0.1 only and holds test data.
pub const SASL_PASSWORD: &str = "longshore-test";

/// How to start a broker. `BrokerOptions::default()` is one quick node with a plaintext listener on a free port and a
/// temporary data folder.
#[derive(Debug, Clone)]
pub struct BrokerOptions {
    /// 1, or 3 (replication 3, `min.insync.replicas` 2).
    pub brokers: u32,
    /// Where topics live.
    pub data: Data,
    /// Listeners beside the plaintext one that every node has.
    pub listeners: Vec<Listener>,
    /// Refuse what no ACL allows. The plaintext listener's anonymous user stays a super user, so that tests can
    /// set ACLs up; [`SASL_USER`] starts without any right.
    pub acls: bool,
    /// More lines for `server.properties` as key and value; they override ours.
    pub properties: Vec<(String, String)>,
    /// Largest Java heap of each node in MiB.
    pub heap_mib: u32,
    /// Which compiler the JVM uses.
    pub jit: Jit,
    /// How much the broker writes to its own log.
    pub log_level: LogLevel,
    /// Told about anything that takes over two seconds (fetching jars takes about 20 s, once per user).
    pub progress: Progress,
}

impl Default for BrokerOptions {
    fn default() -> Self {
        Self {
            brokers: 1,
            data: Data::Temporary,
            listeners: Vec::new(),
            acls: false,
            properties: Vec::new(),
            heap_mib: 256,
            jit: Jit::Quick,
            log_level: LogLevel::Warn,
            progress: Progress::default(),
        }
    }
}

/// Where a broker keeps its topics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Data {
    /// A fresh folder that goes when the broker does, even when this process is killed.
    #[default]
    Temporary,
    /// This folder: made if missing, used again if a broker of the same size ran there, never removed.
    At(PathBuf),
}

/// A client listener beside the plaintext one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Listener {
    /// TLS without authentication; clients trust [`crate::JvmBroker::certificate_pem`].
    Tls,
    /// SASL/PLAIN as [`SASL_USER`] over plaintext.
    SaslPlain,
    /// SASL/SCRAM-SHA-256 or -512 as [`SASL_USER`] over plaintext.
    SaslScram,
    /// SASL/PLAIN or SCRAM as [`SASL_USER`] over TLS.
    SaslTls,
    /// SASL/OAUTHBEARER over plaintext: tokens without a signature (`alg: none`), whose claim `sub` names the user.
    SaslToken,
    /// Plaintext, and advertised under this port of 127.0.0.1: clients are sent to whatever listens there, which passes on what it
    /// likes. For clusters of one node.
    Detour(u16),
}

/// The JVM's compiler.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Jit {
    /// First tier and serial collector: quick to start, slow under load. For tests.
    #[default]
    Quick,
    /// The JVM's own defaults. For benchmarks, with a larger heap.
    Full,
}

/// Verbosity of the broker's own log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// Warnings and errors.
    #[default]
    Warn,
    /// Also what the broker does; the demo publishes this log as real input.
    Info,
}

/// Receives one line, lower case without a full stop, before each slow step. The default is a `tracing` event.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(&str) + Send + Sync>);

impl Progress {
    /// Tells `receiver`; it may be called from any thread.
    pub fn new(receiver: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(receiver))
    }

    pub(crate) fn tell(&self, line: &str) {
        (self.0)(line);
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new(|line| tracing::info!(target: "longshore_broker", "{line}"))
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Progress")
    }
}
