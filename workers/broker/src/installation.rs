//! What a start needs and keeps in the cache: jars, template folder, class archive, certificate.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cache::{self, Lock};
use crate::config::server_properties;
use crate::error::{BrokerError, Missing};
use crate::fresh::{self, Root};
use crate::jars;
use crate::java::{Archive, Flags, Java, on_path};
use crate::node::Node;
use crate::options::{BrokerOptions, Data, Jit, LogLevel, Progress, SASL_PASSWORD, SASL_USER};
use crate::ports;
use crate::process;
use crate::ready;
use crate::tls::Tls;

/// Writing the class archive at exit takes 2 to 4 s, more on a busy machine.
const ARCHIVE_PATIENCE: Duration = Duration::from_secs(60);

/// Paths and Java of one machine's installation; [`Installation::prepare`] makes it complete.
#[derive(Debug, Clone)]
pub(crate) struct Installation {
    pub(crate) java: Java,
    cache: PathBuf,
}

impl Installation {
    /// Finds Java, and the jars or Maven. Quick, changes nothing.
    pub(crate) fn locate() -> Result<Self, Missing> {
        let version = format!("kafka-{}-{}", jars::KAFKA_VERSION, jars::fingerprint());
        let cache = cache::folder()?.join(version);
        let found = Self { java: Java::find()?, cache };
        if !found.has_jars() && on_path("mvn").is_none() {
            return Err(Missing::Maven { cache: found.cache });
        }
        Ok(found)
    }

    /// Whether the jars are there.
    pub(crate) fn has_jars(&self) -> bool {
        jars::complete(&self.jars())
    }

    /// Fetches and builds what is missing, with the cache locked. Nothing to do takes less than a millisecond.
    pub(crate) fn prepare(&self, progress: &Progress) -> Result<(), BrokerError> {
        if self.is_prepared() {
            return Ok(());
        }
        let _lock = Lock::acquire(&self.cache)?;
        if !self.has_jars() {
            progress.tell("fetching Apache Kafka from Maven Central (38 MB, about 20 s, once)");
            jars::fetch(&self.cache, &self.jars())?;
        }
        if !self.template().is_dir() {
            self.make_template()?;
        }
        if !self.archive_file().is_file() {
            progress.tell("recording Kafka's class archive (about 10 s, once for each Java)");
            if let Err(error) = self.record_archive() {
                // Some Java builds cannot write one. It saves time and nothing else.
                progress.tell(&format!("no class archive, so each start takes longer: {error}"));
            }
        }
        Ok(())
    }

    /// The test certificate, made at its first use.
    pub(crate) fn tls(&self) -> Result<Tls, BrokerError> {
        let _lock = Lock::acquire(&self.cache)?;
        Tls::ensure(&self.cache, &self.cache.join("tls"), &self.java)
    }

    /// The explicit class path.
    pub(crate) fn class_path(&self) -> String {
        jars::class_path(&self.jars())
    }

    /// A formatted folder to copy from.
    pub(crate) fn template(&self) -> PathBuf {
        self.cache.join("template")
    }

    /// The class archive of this Java. The JVM ignores one that does not fit, so using it is always safe.
    pub(crate) fn archive(&self) -> Archive {
        let file = self.archive_file();
        if file.is_file() { Archive::Use(file) } else { Archive::None }
    }

    fn is_prepared(&self) -> bool {
        self.has_jars() && self.template().is_dir() && self.archive_file().is_file()
    }

    fn jars(&self) -> PathBuf {
        self.cache.join("jars")
    }

    fn archive_file(&self) -> PathBuf {
        let safe = |letter: char| if letter.is_ascii_alphanumeric() || letter == '.' { letter } else { '-' };
        let build: String = self.java.build.chars().map(safe).collect();
        self.cache.join(format!("java-{build}.jsa"))
    }

    fn quick_flags<'a>(&self, archive: Archive, class_path: &'a str) -> Flags<'a> {
        Flags { jit: Jit::Quick, heap_mib: 256, log_level: LogLevel::Warn, archive, class_path }
    }

    /// Formats once (1 s), with the SCRAM credentials of the test user in it; other starts copy the result.
    fn make_template(&self) -> Result<(), BrokerError> {
        let staging = cache::staging(&self.cache)?;
        let (config, log) = (staging.path().join("server.properties"), staging.path().join("log"));
        let ports = [ports::Ports { plaintext: 9092, controller: 9093, listeners: Default::default() }];
        let properties = server_properties(1, &ports, &log, &BrokerOptions::default(), None);
        fs::write(&config, properties).map_err(BrokerError::io("write server.properties"))?;
        let class_path = self.class_path();
        let mut args = self.quick_flags(Archive::None, &class_path).arguments("kafka.tools.StorageTool");
        // Any id does: each copy gets its own.
        args.extend(["format", "--cluster-id", "AAAAAAAAAAAAAAAAAAAAAQ", "--config"].map(Into::into));
        args.push(config.into());
        for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
            args.push("--add-scram".into());
            args.push(format!("{mechanism}=[name={SASL_USER},password={SASL_PASSWORD}]").into());
        }
        let finished = process::run(&self.java.program, args, None)?;
        if !finished.status.success() {
            return Err(BrokerError::Program {
                program: "kafka-storage format".to_owned(),
                status: finished.status.to_string(),
                output: finished.tail(),
            });
        }
        self.publish(&log, &self.template())
    }

    /// Runs a broker until it is ready and lets the JVM write down the classes it loaded.
    fn record_archive(&self) -> Result<(), BrokerError> {
        let staging = cache::staging(&self.cache)?;
        let recorded = staging.path().join("archive");
        let root = Root::open(&Data::Temporary)?;
        fresh::format(&root, 1, &self.template())?;
        let ports = ports::choose(1, &[])?;
        let properties =
            server_properties(1, &ports, &fresh::log_folder(&root.node(1)), &BrokerOptions::default(), None);
        let mut nodes: Vec<Node> =
            ports.into_iter().map(|ports| Node::new(1, ports, root.node(1), root.scratch())).collect();
        let class_path = self.class_path();
        let flags = self.quick_flags(Archive::Record(recorded.clone()), &class_path);
        for node in &mut nodes {
            node.start(&self.java.program, &flags, &properties)?;
        }
        ready::wait(&mut nodes)?;
        for mut process in nodes.iter_mut().filter_map(Node::take_process) {
            process.terminate(ARCHIVE_PATIENCE);
        }
        self.publish(&recorded, &self.archive_file())
    }

    fn publish(&self, made: &Path, place: &Path) -> Result<(), BrokerError> {
        fs::rename(made, place).map_err(BrokerError::io(format!("rename to {}", place.display())))
    }
}
