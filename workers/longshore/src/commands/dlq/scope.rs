//! Which letters a command is about: topics, broker, and the pipeline whose journal counts.

use longshore_core::journal::{Journal, Marks};
use longshore_core::letter::Seen;
use longshore_kafka as kafka;
use longshore_settings::Pipeline;

use crate::cli::Connection;
use crate::cli::dlq::LetterTopics;
use crate::commands::common::journal;
use crate::commands::connection;
use crate::exit::{End, Exit};
use crate::output::{Output, counted};

/// Topics with letters, and what is known about them.
pub(super) struct Scope {
    pub(super) options: kafka::KafkaOptions,
    /// None for letters of a topic that were asked for without a pipeline.
    pub(super) pipeline: Option<Pipeline>,
    pub(super) topics: Vec<String>,
    /// How many blocks of letters are told apart from copies; all that a command may have when none is said.
    seen_blocks: Option<usize>,
}

/// Letters that are told apart from copies where a worker looks: 8 MB for 8 million that lie close together (I5).
const WORKER_BLOCKS: usize = 1 << 17;

impl Scope {
    /// All dead-letter topics of a pipeline, looked at from inside a worker.
    pub(super) fn in_worker(pipeline: &Pipeline, options: &kafka::KafkaOptions) -> Self {
        let scope = Self::of_pipeline(pipeline.clone(), options.clone());
        Self { seen_blocks: Some(WORKER_BLOCKS), ..scope }
    }

    fn of_pipeline(pipeline: Pipeline, options: kafka::KafkaOptions) -> Self {
        let name = &pipeline.pipeline;
        let topics =
            pipeline.input.topics.iter().map(|input| kafka::dead_letter_topic(input, name)).collect();
        Self { options, pipeline: Some(pipeline), topics, seen_blocks: None }
    }

    /// Remembers letters.
    pub(super) fn seen(&self) -> Seen {
        self.seen_blocks.map_or_else(Seen::default, Seen::with_blocks)
    }

    pub(super) fn of(arguments: &LetterTopics, output: &Output) -> Result<Self, End> {
        let mut scope = Self::of_connection(&arguments.connection, output)?;
        if let Some(topic) = &arguments.topic {
            scope.topics = vec![topic.clone()];
        }
        if scope.topics.is_empty() {
            return Err(End::new(
                Exit::Usage,
                "name a topic with letters: --topic NAME, or a pipeline with -c",
            ));
        }
        Ok(scope)
    }

    /// All dead-letter topics of the pipeline, if one is named.
    pub(super) fn of_connection(arguments: &Connection, output: &Output) -> Result<Self, End> {
        if arguments.config.is_none() {
            let options = connection::target(arguments, output)?.options;
            return Ok(Self { options, pipeline: None, topics: Vec::new(), seen_blocks: None });
        }
        let (loaded, options) = connection::pipeline(arguments, "its letters are meant", output)?;
        Ok(Self::of_pipeline(loaded.pipeline, options))
    }

    /// The pipeline, for commands that write to its journal.
    pub(super) fn pipeline(&self) -> Result<&Pipeline, End> {
        let words = "name the pipeline with -c: what is done with letters is noted in its journal";
        self.pipeline.as_ref().ok_or_else(|| End::new(Exit::Usage, words))
    }

    /// The pipeline's journal topic, if there is a pipeline.
    pub(super) fn journal_topic(&self) -> Option<String> {
        self.pipeline.as_ref().map(|pipeline| kafka::journal_topic(&pipeline.pipeline))
    }

    /// The journal as it is now; empty without a pipeline or before the topic was made.
    pub(super) fn journal(&self, output: &Output) -> Result<Journal, End> {
        let Some(topic) = self.journal_topic() else { return Ok(Journal::default()) };
        let journal = journal::read(&self.options, &topic, output)?.unwrap_or_default();
        if journal.unreadable > 0 {
            output.note(format_args!(
                "{} of {topic} cannot be read and are left out",
                counted(journal.unreadable, "record")
            ));
        }
        Ok(journal)
    }

    /// Letters that are done with.
    pub(super) fn handled(&self, output: &Output) -> Result<Marks, End> {
        Ok(self.journal(output)?.all_handled())
    }
}
