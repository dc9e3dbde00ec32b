//! How commands without a worker reach a broker: by an address, or as a pipeline file says.

use longshore_kafka as kafka;
use longshore_settings::Loaded;

use super::check;
use crate::cli::Connection;
use crate::exit::{End, Exit};
use crate::output::Output;
use crate::worker::connect;

/// A broker, and the pipeline whose words apply, if one was named.
pub(crate) struct Target {
    pub(crate) options: kafka::KafkaOptions,
    /// Input topics of the pipeline; empty without one.
    pub(crate) inputs: Vec<String>,
    /// The pipeline's group; none without one.
    pub(crate) group: Option<String>,
}

impl Target {
    /// A broker by its address.
    pub(crate) fn broker(address: &str) -> Self {
        Self { options: kafka::KafkaOptions::plain(address), inputs: Vec::new(), group: None }
    }

    /// The topic that was asked for, or the pipeline's first input.
    pub(crate) fn topic(&self, asked: Option<&str>) -> Result<String, End> {
        let found = asked.map(str::to_owned).or_else(|| self.inputs.first().cloned());
        found.ok_or_else(|| End::new(Exit::Usage, "name a topic: --topic NAME, or a pipeline with -c"))
    }
}

/// How the connection was typed, for the next command.
pub(crate) fn typed(connection: &Connection) -> String {
    connection.config.as_ref().map_or(String::new(), |path| format!(" -c {}", path.display()))
}

/// The pipeline that is named, and how its brokers are reached; an address on the command line wins. `why` says what the
/// command needs it for.
pub(crate) fn pipeline(
    connection: &Connection,
    why: &str,
    output: &Output,
) -> Result<(Loaded, kafka::KafkaOptions), End> {
    let Some(path) = &connection.config else {
        return Err(End::new(Exit::Usage, format!("name the pipeline with -c: {why}")));
    };
    let loaded = check::load(path, &connection.overrides, output)?;
    let mut options = connect::options(&loaded.pipeline.kafka);
    if let Some(broker) = &connection.broker {
        broker.clone_into(&mut options.brokers);
    }
    Ok((loaded, options))
}

/// The broker that the arguments name. With both, the address wins over the pipeline file's.
pub(crate) fn target(connection: &Connection, output: &Output) -> Result<Target, End> {
    let mut target = match &connection.config {
        Some(path) => {
            let pipeline = check::load(path, &connection.overrides, output)?.pipeline;
            Target {
                options: connect::options(&pipeline.kafka),
                inputs: pipeline.input.topics.clone(),
                group: Some(pipeline.group()),
            }
        }
        None => {
            // An empty variable is how shells say that none is set.
            let set = || std::env::var("KAFKA_BOOTSTRAP").ok().filter(|broker| !broker.is_empty());
            let Some(broker) = connection.broker.clone().or_else(set) else {
                return Err(End::new(
                    Exit::Usage,
                    "name a broker: --broker HOST:PORT, KAFKA_BOOTSTRAP, or -c PIPELINE",
                ));
            };
            return Ok(Target::broker(&broker));
        }
    };
    if let Some(broker) = &connection.broker {
        broker.clone_into(&mut target.options.brokers);
    }
    Ok(target)
}
