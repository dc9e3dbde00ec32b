//! `longshore dev --serve`: a broker to try things with, until Ctrl-C.

use longshore_kafka::{Admin, KafkaOptions, NewTopic, own_settings};

use super::broker::Broker;
use super::folder::Folder;
use crate::cli::{DevStart, Overrides};
use crate::commands::{self, check};
use crate::exit::{End, Exit};
use crate::output::Output;

pub(crate) fn run(arguments: &DevStart, output: &Output) -> Result<(), End> {
    if arguments.broker.contains(':') {
        let words = "runs already (--broker or KAFKA_BOOTSTRAP), and --serve starts one: add --broker auto";
        return Err(End::new(Exit::Usage, format!("the broker at {} {words}", arguments.broker)));
    }
    let folder = Folder::fresh(&arguments.dir)?;
    let broker = Broker::start(&arguments.broker, &folder.path().join("broker"), output)?;
    let topics = topics(arguments, output)?;
    make_topics(&broker, &topics)?;
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
fn make_topics(broker: &Broker, topics: &[NewTopic]) -> Result<(), End> {
    if let Broker::Embedded(embedded) = broker {
        for topic in topics {
            embedded.create_topic(&topic.name, topic.partitions as i32)?;
        }
        return Ok(());
    }
    if topics.is_empty() {
        return Ok(());
    }
    Ok(Admin::new(&KafkaOptions::plain(broker.bootstrap()))?.create_topics(topics)?)
}

/// The topics that were named, and all of the pipelines that were named.
fn topics(arguments: &DevStart, output: &Output) -> Result<Vec<NewTopic>, End> {
    let mut topics: Vec<NewTopic> = arguments
        .topic
        .iter()
        .map(|name| NewTopic { settings: own_settings(name), ..NewTopic::new(name, arguments.partitions) })
        .collect();
    for file in &arguments.pipeline {
        let pipeline = check::load(file, &Overrides::default(), output)?.pipeline;
        for topic in commands::topics::all_new(&pipeline, arguments.partitions)? {
            if !topics.iter().any(|known| known.name == topic.name) {
                topics.push(topic);
            }
        }
    }
    Ok(topics)
}

fn wait_for_interrupt() -> Result<(), End> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { crate::worker::signals::stop().await });
    Ok(())
}
