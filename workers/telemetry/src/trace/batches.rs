//! Spans of what is done with many records at once. They are traces of their own, sampled by themselves, and link to the records'
//! contexts; a batch with more of them than a span takes has several spans.

use std::sync::Arc;
use std::time::SystemTime;

use longshore_core::trace::{Carried, carried_by};
use longshore_core::{Chunk, Lane, Offset, PairId, RecordRef, TraceContext};
use opentelemetry::trace::SpanKind;

use super::spans::Draft;
use super::{LINKS, Place, Story, Tracer};

/// A commit under way.
#[derive(Clone, Debug)]
pub struct Commit {
    story: Story,
    started: SystemTime,
    links: Vec<TraceContext>,
}

impl Tracer {
    /// Records were received: from the question to the client until now.
    pub fn poll(&self, chunk: &Arc<Chunk>) {
        let Some(story) = self.root() else { return };
        let followed = |at| match carried_by(&RecordRef::new(chunk, at)?) {
            Carried::Context(caller, _) if self.inner.sampler.follows(&caller) => Some(caller),
            Carried::Context(..) | Carried::Nothing | Carried::Unreadable => None,
        };
        let links: Vec<TraceContext> = if self.inner.propagates {
            (0..chunk.len() as u32).filter_map(followed).collect()
        } else {
            Vec::new()
        };
        let first = chunk.offset(0);
        let place = Place { pair: chunk.pair(), lane: chunk.lane(), lane_offset: first, offset: first };
        let (topic, now) = (self.read_from(place), SystemTime::now());
        let began = now.checked_sub(chunk.polled()).unwrap_or(now);
        self.batch(&story, &links, |story| {
            self.draft(story, format!("poll {topic}"), SpanKind::Client, began)
                .operation("poll", "receive", topic)
                .partition(place.pair.partition.0)
                .with_some("messaging.consumer.group.name", self.inner.group.clone())
                .with_some("messaging.client.id", self.consumer_id())
                .with("messaging.kafka.offset", first.0)
                .with("messaging.batch.message_count", chunk.len() as i64)
        });
    }

    /// A segment is published: the records with these contexts are held by the sink.
    pub fn publish(&self, pair: &PairId, sink: &str, started: SystemTime, links: &[TraceContext]) {
        let Some(story) = self.root() else { return };
        self.batch(&story, links, |story| {
            self.draft(story, format!("publish {sink}"), SpanKind::Internal, started)
                .with("messaging.destination.name", pair.topic.as_str().to_owned())
                .partition(pair.partition.0)
                .with("longshore.sink", sink.to_owned())
        });
    }

    /// A commit is asked for, if it is traced; the records with these contexts are settled by it, at most [`LINKS`].
    pub fn commits(&self, links: Vec<TraceContext>) -> Option<Commit> {
        Some(Commit { story: self.root()?, started: SystemTime::now(), links })
    }

    /// The broker answered: done, or why it is not.
    pub fn committed(
        &self,
        commit: &Commit,
        pair: &PairId,
        lane: Lane,
        offset: Offset,
        refused: Option<&'static str>,
    ) {
        let place = Place { pair, lane, lane_offset: offset, offset };
        let topic = self.read_from(place);
        let span = self
            .draft(&commit.story, format!("commit {topic}"), SpanKind::Client, commit.started)
            .operation("commit", "settle", topic)
            .partition(pair.partition.0)
            .with_some("messaging.consumer.group.name", self.inner.group.clone())
            .with_some("messaging.client.id", self.consumer_id())
            .with("messaging.kafka.offset", offset.0)
            .links(commit.links.iter().take(LINKS).copied())
            .error(refused);
        self.inner.outlet.take(span.end());
    }

    /// Spans of one trace, each with as many of the links as a span takes.
    fn batch(&self, story: &Story, links: &[TraceContext], draft: impl Fn(&Story) -> Draft) {
        self.inner.outlet.take(draft(story).links(links.iter().take(LINKS).copied()).end());
        for more in links.chunks(LINKS).skip(1) {
            let context = TraceContext { span: self.span(), ..story.context };
            let beside = Story { context, ..story.clone() };
            self.inner.outlet.take(draft(&beside).links(more.iter().copied()).end());
        }
    }
}
