//! What must be true of a pipeline's topics before a worker starts (design section 4, "The retry lane", 1).

use longshore_core::{Failure, Reason};

use super::{Admin, TopicInfo, missing};
use crate::names::dead_letter_topic;
use crate::options::KafkaOptions;

/// What a dead-letter topic must have. With `CreateTime` an old record's letter would be deleted minutes after it
/// lands, since retention goes by the record's own time; compaction would delete letters of the same key.
pub const DEAD_LETTER_SETTINGS: &[(&str, &str)] =
    &[("message.timestamp.type", "LogAppendTime"), ("cleanup.policy", "delete")];

/// That a topic exists; asking never makes it.
///
/// # Errors
/// [`Reason::BrokerTopicMissing`] with its name, and the other reasons `broker.*`.
pub fn require_topic(options: &KafkaOptions, name: &str) -> Result<(), Failure> {
    Admin::new(options)?.existing(name).map(drop)
}

/// That every input topic has a dead-letter topic which holds its letters: enough partitions for a letter to go to
/// its record's own, and [`DEAD_LETTER_SETTINGS`] (not asked where the broker cannot tell them).
///
/// # Errors
/// [`Reason::BrokerTopicMissing`] with the topic's name; [`Reason::BrokerTopicUnfit`] with what was found and what is
/// wanted; the other reasons `broker.*`.
pub fn check_topics(options: &KafkaOptions, pipeline: &str, inputs: &[String]) -> Result<(), Failure> {
    let admin = Admin::new(options)?;
    for input in inputs {
        let input = admin.existing(input)?;
        let letters = dead_letter_topic(&input.name, pipeline);
        let letters = admin.topic(&letters)?.ok_or_else(|| missing(&letters))?;
        partitions(&input, &letters)?;
        settings(&admin, &letters.name)?;
    }
    Ok(())
}

fn partitions(input: &TopicInfo, letters: &TopicInfo) -> Result<(), Failure> {
    if letters.partitions >= input.partitions {
        return Ok(());
    }
    let (found, wanted) = (letters.partitions, input.partitions);
    Err(unfit(format!(
        "topic {} has {found} partitions, and {wanted} are wanted: a letter goes to the partition that its record \
         has in {}",
        letters.name, input.name
    )))
}

fn settings(admin: &Admin, topic: &str) -> Result<(), Failure> {
    let Some(settings) = admin.describe_topic_settings(topic)? else { return Ok(()) };
    for (name, wanted) in DEAD_LETTER_SETTINGS {
        let found = settings.get(*name).map_or("nothing", String::as_str);
        if found != *wanted {
            return Err(unfit(format!("topic {topic} has {name}={found}, and {wanted} is wanted")));
        }
    }
    Ok(())
}

fn unfit(detail: String) -> Failure {
    Failure::halt(Reason::BrokerTopicUnfit, detail)
}
