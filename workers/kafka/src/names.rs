//! The names of a pipeline's own topics and of its group (design section 4, "The retry lane").

/// The dead-letter topic of an input topic.
pub fn dead_letter_topic(topic: &str, pipeline: &str) -> String {
    format!("{topic}.{pipeline}.dlq")
}

/// The retry topic of an input topic.
pub fn retry_topic(topic: &str, pipeline: &str) -> String {
    format!("{topic}.{pipeline}.retry")
}

/// The pipeline's journal.
pub fn journal_topic(pipeline: &str) -> String {
    format!("longshore.{pipeline}.journal")
}

/// The pipeline's consumer group, unless `input.group` says otherwise.
pub fn default_group(pipeline: &str) -> String {
    format!("longshore.{pipeline}")
}
