//! The topics that a pipeline file asks for, beside those that are there.

use longshore_kafka::{Difference, Mend, NewTopic, OwnTopic, OwnTopics, TopicState};
use longshore_settings::{Pipeline, SinkKind};

/// What a topic is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// The pipeline reads it. How it is set is its owner's matter.
    Input,
    /// A sink writes it; as above.
    Sink,
    /// It is the pipeline's own.
    Own(OwnTopic),
}

/// A topic that a pipeline needs, and what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) need: Need,
    /// How many partitions it gets when it is made, or must have.
    pub(super) partitions: u32,
    /// As the broker has it; none when it is missing.
    pub(super) found: Option<TopicState>,
}

/// The topics that only the pipeline itself writes.
pub(crate) fn own_topics(pipeline: &Pipeline) -> OwnTopics {
    OwnTopics {
        pipeline: pipeline.pipeline.clone(),
        inputs: pipeline.input.topics.clone(),
        retry_cap: pipeline.has_retry_topics().then(|| pipeline.failure.retry.cap.get()),
    }
}

/// Whose topic is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// The pipeline's own, to which it has every right.
    Own,
    /// Somebody's; the pipeline may have no right to its settings.
    Theirs,
}

/// All of them, each once: those of the pipeline's own first, an input's retry topic before anything else of it, so that
/// who goes through them in this order never leaves an input with more partitions than its retry topic.
pub(super) fn of<E>(
    pipeline: &Pipeline,
    partitions: u32,
    grow: Option<u32>,
    mut find: impl FnMut(&str, Whose) -> Result<Option<TopicState>, E>,
) -> Result<Vec<Topic>, E> {
    let (mut inputs, mut others) = (Vec::new(), Vec::new());
    for name in &pipeline.input.topics {
        let found = find(name, Whose::Theirs)?;
        // The pipeline's own topics are made for what the input will have.
        let grown = found.clone().map(|found| grown(found, grow));
        let partitions = grown.as_ref().map_or(partitions.max(grow.unwrap_or(0)), |found| found.partitions);
        others.push(Topic { name: name.clone(), need: Need::Input, partitions, found });
        inputs.push((name.clone(), grown));
    }
    let mut topics = Vec::new();
    for own in own_topics(pipeline).wanted(&inputs, partitions.max(grow.unwrap_or(0))) {
        let (name, found) = (own.name.clone(), find(&own.name, Whose::Own)?);
        topics.push(Topic { name, partitions: own.partitions, need: Need::Own(own), found });
    }
    for sink in &pipeline.sinks {
        if let SinkKind::Topic(options) = &sink.kind {
            let (name, found) = (options.name.clone(), find(&options.name, Whose::Theirs)?);
            others.push(Topic { name, need: Need::Sink, partitions, found });
        }
    }
    for other in others {
        if !topics.iter().any(|known| known.name == other.name) {
            topics.push(other);
        }
    }
    Ok(topics)
}

fn grown(found: TopicState, grow: Option<u32>) -> TopicState {
    TopicState { partitions: found.partitions.max(grow.unwrap_or(0)), ..found }
}

impl Topic {
    pub(super) fn word(&self) -> &'static str {
        match &self.need {
            Need::Input => "input",
            Need::Sink => "sink",
            Need::Own(own) => own.purpose.word(),
        }
    }

    pub(super) fn is_own(&self) -> bool {
        matches!(self.need, Need::Own(_))
    }

    /// What is not as it must be; nothing of one that is missing.
    pub(super) fn differences(&self) -> Vec<Difference> {
        let Some(found) = &self.found else { return Vec::new() };
        match &self.need {
            Need::Own(own) => own.judge(found),
            Need::Input if found.partitions < self.partitions => {
                let (has, wanted) = (found.partitions, self.partitions);
                let words = format!(
                    "has {has} partitions; {wanted} are asked for (order by key does not hold from one count to \
                     the other)"
                );
                vec![Difference { words, refused: false, mend: Mend::Grow(wanted) }]
            }
            Need::Input | Need::Sink => Vec::new(),
        }
    }

    /// The topic to make; `replicas` when the person said so.
    pub(super) fn new_topic(&self, replicas: Option<i32>) -> NewTopic {
        let new = match &self.need {
            Need::Own(own) => own.new_topic(),
            Need::Input | Need::Sink => NewTopic::new(&self.name, self.partitions),
        };
        NewTopic { replicas: replicas.or(new.replicas), ..new }
    }
}
