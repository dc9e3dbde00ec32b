//! What must be true of a pipeline's topics before a worker starts (design section 4, "The retry lane", 1).

use std::collections::BTreeMap;

use longshore_core::{Failure, Reason};

use super::own::{OwnTopics, TopicState};
use super::{Admin, TopicInfo, missing};
use crate::options::KafkaOptions;

/// That a topic exists; asking never makes it.
///
/// # Errors
/// [`Reason::BrokerTopicMissing`] with its name, and the other reasons `broker.*`.
pub fn require_topic(options: &KafkaOptions, name: &str) -> Result<(), Failure> {
    Admin::new(options)?.existing(name).map(drop)
}

/// That the topics are there and will do: enough partitions for a record to keep its own in the retry and the dead-letter
/// topic, and settings with which no copy or letter is lost. Gives what a person should know and a worker can start with,
/// among it what the broker could not tell.
///
/// # Errors
/// [`Reason::BrokerTopicMissing`] with the topics' names; [`Reason::BrokerTopicUnfit`] with what was found and what is
/// wanted; the other reasons `broker.*`.
pub fn check_topics(options: &KafkaOptions, topics: &OwnTopics) -> Result<Vec<String>, Failure> {
    let admin = Admin::new(options)?;
    let mut inputs = Vec::new();
    for name in &topics.inputs {
        let found = admin.input_state(name)?.ok_or_else(|| missing(name))?;
        inputs.push((name.clone(), Some(found)));
    }
    let (mut absent, mut refused, mut told) = (Vec::new(), Vec::new(), Vec::new());
    let mut untold = false;
    for topic in topics.wanted(&inputs, 0) {
        let Some(found) = admin.topic_state(&topic.name)? else {
            absent.push(topic.name);
            continue;
        };
        untold |= found.settings.is_none();
        for difference in topic.judge(&found) {
            let words = format!("topic {} {}", topic.name, difference.words);
            if difference.refused { refused.push(words) } else { told.push(words) }
        }
    }
    if !absent.is_empty() {
        let words = if absent.len() == 1 { "topic does not exist" } else { "topics do not exist" };
        return Err(Failure::halt(Reason::BrokerTopicMissing, format!("{words}: {}", absent.join(", "))));
    }
    if !refused.is_empty() {
        return Err(Failure::halt(Reason::BrokerTopicUnfit, refused.join("; ")));
    }
    if untold {
        told.push("this broker cannot tell the settings of topics, so they are not checked".to_owned());
    }
    Ok(told)
}

impl Admin {
    /// How an input topic is; none when it does not exist. A worker may have no right to its settings, which only say how
    /// large its records are.
    ///
    /// # Errors
    /// Reasons `broker.*`.
    pub fn input_state(&self, name: &str) -> Result<Option<TopicState>, Failure> {
        let Some(topic) = self.topic(name)? else { return Ok(None) };
        let settings = match self.describe_topic_settings(name) {
            Err(failure) if failure.reason == Reason::BrokerAuthorization => None,
            found => found?,
        };
        Ok(Some(state(&topic, settings)))
    }

    /// How a topic is; none when it does not exist. Asking never makes it.
    ///
    /// # Errors
    /// Reasons `broker.*`.
    pub fn topic_state(&self, name: &str) -> Result<Option<TopicState>, Failure> {
        let Some(topic) = self.topic(name)? else { return Ok(None) };
        let settings = self.describe_topic_settings(name)?;
        Ok(Some(state(&topic, settings)))
    }
}

fn state(topic: &TopicInfo, settings: Option<BTreeMap<String, String>>) -> TopicState {
    let partitions = u32::try_from(topic.partitions).unwrap_or(0);
    TopicState { partitions, replicas: topic.replicas, settings }
}
