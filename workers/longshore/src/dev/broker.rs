//! Which broker the demo uses: an address that was given, a JVM broker, Docker, or the embedded one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use longshore_broker::{BrokerOptions, Data, JvmBroker, LogLevel, Progress};
use longshore_kafka::{Admin, EmbeddedBroker, KafkaOptions};

use crate::exit::{End, Exit};
use crate::output::Output;

/// The image that Docker runs; the same version as the JVM broker's jars.
const IMAGE: &str = "apache/kafka:4.2.0";
/// How long a container may take until it answers, the download of its image included.
const CONTAINER_DEADLINE: Duration = Duration::from_secs(180);

/// A broker for a run.
pub(crate) enum Broker {
    /// Somebody else's, by address.
    Given(String),
    /// Apache Kafka on this machine's Java.
    Jvm(Box<JvmBroker>),
    /// Apache Kafka in a container.
    Docker { bootstrap: String, container: Container },
    /// The mock cluster inside librdkafka.
    Embedded(EmbeddedBroker),
}

impl Broker {
    /// Picks and starts one; says which, and what it cannot do.
    pub(crate) fn start(wanted: &str, data: &Path, output: &Output) -> Result<Self, End> {
        let broker = match wanted {
            // An empty variable is how shells say that none is set.
            "" | "auto" => Self::auto(data, output)?,
            "jvm" => Self::jvm(data, output)?,
            "docker" => Self::docker()?,
            "embedded" => Self::embedded()?,
            address if address.contains(':') => Self::Given(address.to_owned()),
            other => {
                let words = "auto, jvm, docker, embedded, or HOST:PORT";
                return Err(End::new(Exit::Usage, format!("--broker {other}: expected {words}")));
            }
        };
        output.note(format_args!("broker: {}", broker.words()));
        if let Self::Embedded(_) = &broker {
            output.note("  it forgets everything at the end, keeps 5 MiB a partition, and cannot serve:");
            output.note(format_args!("  {}", longshore_kafka::REFUSED_COMMANDS.join(", ")));
        }
        Ok(broker)
    }

    fn auto(data: &Path, output: &Output) -> Result<Self, End> {
        match JvmBroker::available() {
            Ok(_) => Self::jvm(data, output),
            Err(missing) => {
                output.note(format_args!("no JVM broker: {missing}"));
                if docker_answers() { Self::docker() } else { Self::embedded() }
            }
        }
    }

    fn jvm(data: &Path, output: &Output) -> Result<Self, End> {
        output.note("starting Apache Kafka (the first time fetches 38 MB)...");
        let progress = Progress::new(|line| {
            // Called from any thread; a line without a standard error has nobody to read it.
            let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("  {line}\n"));
        });
        let options = BrokerOptions {
            data: Data::At(data.to_path_buf()),
            log_level: LogLevel::Info,
            heap_mib: 512,
            progress,
            ..BrokerOptions::default()
        };
        JvmBroker::start(options)
            .map(|broker| Self::Jvm(Box::new(broker)))
            .map_err(|error| End::new(Exit::Unavailable, error))
    }

    fn docker() -> Result<Self, End> {
        let container = Container::start()?;
        let bootstrap = container.bootstrap.clone();
        let deadline = Instant::now() + CONTAINER_DEADLINE;
        let options = KafkaOptions::plain(&bootstrap);
        while Admin::new(&options).and_then(|admin| admin.topics()).is_err() {
            if Instant::now() > deadline {
                return Err(End::new(Exit::Unavailable, format!("the container of {IMAGE} does not answer")));
            }
            // There is nothing to subscribe to before the container answers.
            std::thread::sleep(Duration::from_millis(250));
        }
        Ok(Self::Docker { bootstrap, container })
    }

    fn embedded() -> Result<Self, End> {
        Ok(Self::Embedded(EmbeddedBroker::start(&[])?))
    }

    /// Its address.
    pub(crate) fn bootstrap(&self) -> String {
        match self {
            Self::Given(address) => address.clone(),
            Self::Jvm(broker) => broker.bootstrap().to_owned(),
            Self::Docker { bootstrap, .. } => bootstrap.clone(),
            Self::Embedded(broker) => broker.bootstrap().to_owned(),
        }
    }

    /// What it is.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Given(address) => format!("the one at {address}"),
            Self::Jvm(broker) => {
                let versions = broker.versions();
                format!(
                    "Apache Kafka {} on Java {}, at {}",
                    versions.kafka,
                    versions.java,
                    broker.bootstrap()
                )
            }
            Self::Docker { bootstrap, container } => {
                format!("{IMAGE} in container {}, at {bootstrap}", container.id)
            }
            Self::Embedded(broker) => {
                format!("the embedded one (librdkafka's mock cluster), at {}", broker.bootstrap())
            }
        }
    }

    /// The container it runs in, for one that would outlive this process.
    pub(crate) fn container(&self) -> Option<String> {
        match self {
            Self::Docker { container, .. } => Some(container.id.clone()),
            Self::Given(_) | Self::Jvm(_) | Self::Embedded(_) => None,
        }
    }

    /// Its own log, for a broker that writes one on this machine.
    pub(crate) fn log(&self) -> Option<PathBuf> {
        match self {
            Self::Jvm(broker) => broker.log_path(1).ok(),
            Self::Given(_) | Self::Docker { .. } | Self::Embedded(_) => None,
        }
    }
}

/// A container that goes when it is dropped.
pub(crate) struct Container {
    id: String,
    bootstrap: String,
}

impl Container {
    fn start() -> Result<Self, End> {
        let port = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let bootstrap = format!("127.0.0.1:{port}");
        // Clients are sent to the advertised address, so the port outside has to be the port inside.
        let settings = [
            "KAFKA_NODE_ID=1".to_owned(),
            "KAFKA_PROCESS_ROLES=broker,controller".to_owned(),
            format!("KAFKA_LISTENERS=PLAINTEXT://:{port},CONTROLLER://:9093"),
            format!("KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://{bootstrap}"),
            "KAFKA_CONTROLLER_LISTENER_NAMES=CONTROLLER".to_owned(),
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT".to_owned(),
            "KAFKA_CONTROLLER_QUORUM_VOTERS=1@localhost:9093".to_owned(),
            "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR=1".to_owned(),
            "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR=1".to_owned(),
            "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR=1".to_owned(),
            "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS=0".to_owned(),
        ];
        let mut command = Command::new("docker");
        command.args(["run", "--detach", "--rm", "--publish", &format!("127.0.0.1:{port}:{port}")]);
        for setting in &settings {
            command.args(["--env", setting]);
        }
        let ran = command.arg(IMAGE).output()?;
        if !ran.status.success() {
            let words = String::from_utf8_lossy(&ran.stderr);
            return Err(End::new(Exit::Unavailable, format!("docker run {IMAGE}: {}", words.trim())));
        }
        let id = String::from_utf8_lossy(&ran.stdout).trim().chars().take(12).collect();
        Ok(Self { id, bootstrap })
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        end_container(&self.id);
    }
}

/// Ends a container.
pub(crate) fn end_container(id: &str) {
    // `--rm` removes it; an error means that it is gone already.
    let _ = Command::new("docker").args(["kill", id]).output();
}

fn docker_answers() -> bool {
    let asked = Command::new("docker").args(["version", "--format", "{{.Server.Version}}"]).output();
    asked.is_ok_and(|answer| answer.status.success())
}
