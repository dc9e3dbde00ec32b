//! `longshore dev --serve`: a broker to try things with, until Ctrl-C.

use longshore_kafka::{Admin, KafkaOptions, NewTopic};

use super::broker::Broker;
use super::folder::Folder;
use crate::cli::DevStart;
use crate::commands::topic_settings;
use crate::exit::{End, Exit};
use crate::output::Output;

pub(crate) fn run(arguments: &DevStart, output: &Output) -> Result<(), End> {
    if arguments.broker.contains(':') {
        let words = "runs already (--broker or KAFKA_BOOTSTRAP), and --serve starts one: add --broker auto";
        return Err(End::new(Exit::Usage, format!("the broker at {} {words}", arguments.broker)));
    }
    let folder = Folder::fresh(&arguments.dir)?;
    let broker = Broker::start(&arguments.broker, &folder.path().join("broker"), output)?;
    make_topics(&broker, arguments)?;
    let address = broker.bootstrap();
    output.note(format_args!("in another terminal: export KAFKA_BOOTSTRAP={address}"));
    if broker.log().is_some() {
        let dir = arguments.dir.display();
        output.note(format_args!("records are in {dir}/ until the next --serve begins anew"));
    }
    output.note("Ctrl-C ends it");
    // Last, so that a script that waits for the address finds all as said.
    output.line(address);
    wait_for_interrupt()
}

/// The topics that were asked for; the embedded broker makes them at no other time.
fn make_topics(broker: &Broker, arguments: &DevStart) -> Result<(), End> {
    if let Broker::Embedded(embedded) = broker {
        for name in &arguments.topic {
            embedded.create_topic(name, arguments.partitions as i32)?;
        }
        return Ok(());
    }
    if arguments.topic.is_empty() {
        return Ok(());
    }
    let topics: Vec<NewTopic> =
        arguments.topic.iter().map(|name| new_topic(name, arguments.partitions)).collect();
    Ok(Admin::new(&KafkaOptions::plain(broker.bootstrap()))?.create_topics(&topics)?)
}

fn new_topic(name: &str, partitions: u32) -> NewTopic {
    let settings = if name.ends_with(".dlq") { topic_settings::letter_settings() } else { Vec::new() };
    NewTopic { settings, ..NewTopic::new(name, partitions) }
}

fn wait_for_interrupt() -> Result<(), End> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(crate::worker::signals::stop());
    Ok(())
}
