//! Names that become parts of other names: the pipeline's, topics, the group.

use super::{Context, at};
use crate::path::Path;
use crate::report::Code;

/// The longest name of a topic (Kafka's own bound, `Topic.MAX_NAME_LENGTH`).
pub(crate) const TOPIC_MAX: usize = 249;

pub(crate) fn check(context: &mut Context<'_>) {
    let parts = context.parts;
    if let Some(name) = &parts.pipeline {
        let path = at(["pipeline"]);
        if !is_topic_name(name) {
            let finding = context.find(
                Code::Value,
                &path,
                "a pipeline's name is made of letters, digits, `.`, `_` and `-`",
            );
            context.push(finding.help("it becomes part of the names of topics and of the consumer group"));
        }
    }
    let Some(input) = &parts.input else { return };
    let topics = at(["input", "topics"]);
    for (index, topic) in input.topics.iter().enumerate() {
        let path = topics.index(index);
        check_topic(context, topic, &path);
        if input.topics[..index].contains(topic) {
            let finding = context.find(Code::Conflict, &path, "this topic is listed twice");
            context.push(finding);
        }
        check_derived(context, topic, &path);
    }
}

/// The retry topic's name holds the input's and the pipeline's, and must fit as well.
fn check_derived(context: &mut Context<'_>, topic: &str, path: &Path) {
    let Some(pipeline) = &context.parts.pipeline else { return };
    let length = topic.len() + pipeline.len() + "..retry".len();
    if is_topic_name(topic) && length > TOPIC_MAX {
        let message = format!(
            "with the pipeline's name the retry topic's has {length} characters, Kafka takes {TOPIC_MAX}"
        );
        let finding = context.find(Code::Value, path, message);
        context.push(finding);
    }
    if topic.ends_with(&format!(".{pipeline}.retry")) || topic.ends_with(&format!(".{pipeline}.dlq")) {
        let finding =
            context.find(Code::Conflict, path, "this is the pipeline's own retry or dead-letter topic");
        context.push(
            finding.help(
                "retries are read by themselves; dead letters are sent again by `longshore dlq replay`",
            ),
        );
    }
}

/// A finding for a name that Kafka refuses.
pub(crate) fn check_topic(context: &mut Context<'_>, name: &str, path: &Path) {
    if is_topic_name(name) {
        return;
    }
    let message =
        format!("a topic's name is made of letters, digits, `.`, `_` and `-`, at most {TOPIC_MAX} of them");
    let finding = context.find(Code::Value, path, message);
    context.push(finding);
}

fn is_topic_name(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty() && name.len() <= TOPIC_MAX && name != "." && name != ".." && name.chars().all(letter)
}
