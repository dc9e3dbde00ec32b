//! What can go wrong, each with what to do next.

use std::path::PathBuf;
use std::time::Duration;

/// Why no JVM broker can run on this machine. The message names the next step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// No `java` in `$JAVA_HOME/bin` or on the `PATH`.
    #[error(
        "no java found in JAVA_HOME or PATH; install Java 17 or newer (Debian: apt-get install openjdk-17-jre-headless)"
    )]
    Java,
    /// A Java that Kafka 4 does not run on.
    #[error(
        "java {found} is too old for Apache Kafka 4; install Java 17 or newer, or point JAVA_HOME at one"
    )]
    OldJava {
        /// What `java -version` says.
        found: String,
    },
    /// The jars are not in the cache, and without Maven they cannot be fetched.
    #[error(
        "the Kafka jars are not in {cache} and mvn is not on the PATH; install Maven (Debian: apt-get install maven) \
         or copy a filled cache there"
    )]
    Maven {
        /// The folder that was looked at.
        cache: PathBuf,
    },
    /// Neither `LONGSHORE_CACHE`, `XDG_CACHE_HOME` nor `HOME` is set.
    #[error("no cache folder: set LONGSHORE_CACHE to a folder that may be written")]
    CacheFolder,
}

/// Why a broker did not start, stop or answer.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// Something has to be installed first.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// The options contradict each other.
    #[error("broker options: {0}")]
    Options(String),
    /// The file system or the operating system refused.
    #[error("{action}: {source}")]
    Io {
        /// What was tried, with the path.
        action: String,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// Maven could not fetch the jars.
    #[error(
        "mvn could not fetch the Kafka jars; check the network and mirrors in ~/.m2/settings.xml. It said:\n{output}"
    )]
    Fetch {
        /// The end of Maven's output.
        output: String,
    },
    /// A fetched jar is not the one this version was made with. Nothing of the fetch is kept.
    #[error(
        "{jar} does not match its checksum in jars.sha256 (expected {expected}, found {found}); nothing was kept. \
         Try again; if it stays so, the mirror serves another file"
    )]
    Checksum {
        /// File name of the jar.
        jar: String,
        /// SHA-256 in hexadecimal, from the committed list.
        expected: String,
        /// SHA-256 in hexadecimal of what was fetched, or `no file`.
        found: String,
    },
    /// A Java command-line program ended with an error.
    #[error("{program} ended with {status}:\n{output}")]
    Program {
        /// Its short name.
        program: String,
        /// Its exit status in words.
        status: String,
        /// The end of what it wrote.
        output: String,
    },
    /// The broker process ended while it was starting.
    #[error("broker node {node} ended while starting; its log is {log}. Last lines:\n{tail}", log = log.display())]
    Died {
        /// Node id.
        node: u32,
        /// The whole log (gone with a temporary data folder).
        log: PathBuf,
        /// The end of the log.
        tail: String,
    },
    /// The broker runs, but its group coordinator did not answer in time.
    #[error(
        "broker not ready after {waited:?} ({missing}); its log is {log}. Is the machine overloaded? Last lines:\n{tail}",
        log = log.display()
    )]
    NotReady {
        /// How long was waited.
        waited: Duration,
        /// What was still missing.
        missing: String,
        /// The whole log (gone with a temporary data folder).
        log: PathBuf,
        /// The end of the log.
        tail: String,
    },
    /// No such node in this cluster, or it is not in the state the call needs.
    #[error("node {node}: {problem}")]
    Node {
        /// Node id.
        node: u32,
        /// What is wrong.
        problem: String,
    },
}

impl BrokerError {
    /// For `map_err`: adds what was tried to the operating system's error.
    pub(crate) fn io(action: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }
}
