//! Spans of records, made after the fact: whoever has done something with a sampled record tells when it began, and the span is
//! whole at once. What is not sampled costs a look at its headers, and where there is no [`Tracer`] not even that
//! (`docs/adr/0017-spans-after-the-fact.md`).

mod batches;
mod environment;
mod outlet;
mod probe;
mod room;
mod sampler;
mod spans;
mod wire;

use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use longshore_core::trace::{self, Carried};
use longshore_core::{Failure, Lane, PairId, RecordRef, TraceContext};
use opentelemetry::trace::SpanKind;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};

use crate::metrics::SpanMetrics;
pub use batches::Commit;
use environment::Environment;
pub use environment::Switch;
pub use outlet::Ended;
use outlet::Outlet;
pub(crate) use outlet::plain;
pub use probe::{Probe, probe};
pub use room::Held;
use room::Room;
use sampler::Sampler;
use spans::Draft;
pub use spans::{Outcome, Place};

/// Where the names of attributes are defined.
const CONVENTIONS: &str = "https://opentelemetry.io/schemas/1.44.0";

/// The most links of one span, the SDKs' default.
pub const LINKS: usize = 128;

/// What a story that is kept takes in memory at most, without its tracestate: itself, where its record stands, and its place in a map.
const STORY_BYTES: u64 = 320;
/// What a context that is kept takes, with where its record stands.
const LINK_BYTES: u64 = 48;

/// Why there are no spans although they are wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TraceError(String);

impl TraceError {
    pub(crate) fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }
}

/// The topics of one input topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    /// The input topic.
    pub input: String,
    /// Its retry topic.
    pub retry: String,
    /// Its dead-letter topic.
    pub dead_letters: String,
}

/// `client.id` of the Kafka clients, by which brokers know them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clients {
    /// Of the one that reads.
    pub consumer: String,
    /// Of those that send.
    pub producer: String,
}

/// What a tracer has to know.
#[derive(Clone, Debug)]
pub struct TraceOptions {
    /// Whether spans are made.
    pub switch: Switch,
    /// The service's name, unless the environment tells one.
    pub service: String,
    /// The service's version.
    pub version: String,
    /// The consumer group, of a worker.
    pub group: Option<String>,
    /// The ids of the Kafka clients.
    pub clients: Option<Clients>,
    /// The topics that a worker reads.
    pub topics: Vec<Topics>,
    /// The most bytes of memory for what waits (I5): one half for spans that are to be sent, the other for the stories of records that
    /// are not through.
    pub memory_bytes: u64,
}

impl TraceOptions {
    /// As much memory as is of use: some 8,000 spans, and more stories than that.
    pub const MEMORY_BYTES: u64 = 8 * 1024 * 1024;
}

impl Default for TraceOptions {
    fn default() -> Self {
        Self {
            switch: Switch::default(),
            service: String::new(),
            version: String::new(),
            group: None,
            clients: None,
            topics: Vec::new(),
            memory_bytes: Self::MEMORY_BYTES,
        }
    }
}

/// Makes spans. Cheap to clone.
#[derive(Clone)]
pub struct Tracer {
    inner: Arc<Inner>,
}

struct Inner {
    outlet: Outlet,
    stories: Arc<Room>,
    memory_bytes: u64,
    sampler: Sampler,
    propagates: bool,
    ids: RandomIdGenerator,
    scope: InstrumentationScope,
    group: Option<String>,
    clients: Option<Clients>,
    topics: Vec<Topics>,
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer").field("sampler", &self.inner.sampler).finish_non_exhaustive()
    }
}

/// A span that is under way, or the one that what follows happens under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    context: TraceContext,
    parent: Option<[u8; 8]>,
    /// Whether the parent is another process's span.
    remote: bool,
    state: Option<Arc<str>>,
    /// Whether the record's headers are without a trace, so that what we send of it is to name one.
    adds: bool,
}

impl Story {
    fn of(context: TraceContext) -> Self {
        Self { context, parent: None, remote: false, state: None, adds: false }
    }

    /// The place in the trace.
    pub fn context(&self) -> TraceContext {
        self.context
    }

    /// The span that it is under, if any.
    pub fn parent(&self) -> Option<[u8; 8]> {
        self.parent
    }

    /// What a record that is sent on is to name; nothing for one that names a trace itself.
    pub fn header(&self) -> Option<TraceContext> {
        self.adds.then_some(self.context)
    }
}

impl Tracer {
    /// Begins to make spans if options and environment want it (`OTEL_*`). What is not done as a variable wants it is told in the
    /// log. Starts a thread of the SDK.
    ///
    /// # Errors
    /// When no exporter can be made of what the environment says.
    pub fn start(options: TraceOptions, metrics: SpanMetrics) -> Result<Option<Self>, TraceError> {
        let read = Environment::read(options.switch, |name| std::env::var(name).ok());
        for remark in &read.remarks {
            tracing::warn!("tracing: {remark}");
        }
        let Some(target) = read.target else { return Ok(None) };
        let resource = resource(&options.service, &options.version);
        let memory_bytes = options.memory_bytes;
        let outlet = Outlet::open(&resource, target, &read.queue, memory_bytes / 2, metrics)?;
        let scope = InstrumentationScope::builder("longshore").with_version(options.version);
        let inner = Inner {
            outlet,
            stories: Room::new(memory_bytes / 2),
            memory_bytes,
            sampler: read.sampler,
            propagates: read.propagates,
            ids: RandomIdGenerator::default(),
            scope: scope.with_schema_url(CONVENTIONS).build(),
            group: options.group,
            clients: options.clients,
            topics: options.topics,
        };
        Ok(Some(Self { inner: Arc::new(inner) }))
    }

    /// Sends what waits, at most so long, and ends; blocks. Returns how many spans are lost.
    pub fn stop(&self, deadline: Duration) -> Ended {
        self.inner.outlet.close(deadline)
    }

    /// The most bytes that spans and stories take, to be charged to whoever bounds the process's memory.
    pub fn memory_bytes(&self) -> u64 {
        self.inner.memory_bytes
    }

    /// Room to keep a story until its record is through. Where there is none the span is counted as lost, and the story is to be
    /// dropped.
    pub fn keep(&self, story: &Story) -> Option<Held> {
        let state = story.state.as_ref().map_or(0, |state| state.len() as u64);
        let held = self.inner.stories.hold(STORY_BYTES + state);
        if held.is_none() {
            self.inner.outlet.lose(1);
        }
        held
    }

    /// Room for the contexts of [`LINKS`] records until a commit links to them; a commit without it has no links.
    pub fn keep_links(&self) -> Option<Held> {
        self.inner.stories.hold(LINKS as u64 * LINK_BYTES)
    }

    /// Begins the story of a record if its trace is recorded: in the trace that its headers name, else in its own. Its span is to be
    /// told with [`Self::process`].
    pub fn story(&self, record: &RecordRef) -> Option<Story> {
        let carried = if self.inner.propagates { trace::carried_by(record) } else { Carried::Unreadable };
        // Most records name no trace and are not sampled: that is decided before there is an id.
        if !matches!(carried, Carried::Context(..))
            && !self.inner.sampler.records_half(trace::lower_half_of_record(record))
        {
            return None;
        }
        self.carried(carried, || trace::trace_of_record(record))
    }

    /// The same for a record of which the headers and the trace that it has without are known.
    pub fn carried(&self, carried: Carried<'_>, own: impl FnOnce() -> [u8; 16]) -> Option<Story> {
        match carried {
            _ if !self.inner.propagates => self.alone(own(), false),
            Carried::Context(caller, state) => {
                if !self.inner.sampler.follows(&caller) {
                    return None;
                }
                let story = Story::of(TraceContext::sampled(caller.trace, self.span()));
                let (parent, state) = (Some(caller.span), state.map(Arc::from));
                Some(Story { parent, remote: true, state, ..story })
            }
            Carried::Nothing => self.alone(own(), true),
            Carried::Unreadable => self.alone(own(), false),
        }
    }

    /// Begins a trace, if it is recorded.
    pub fn root(&self) -> Option<Story> {
        self.alone(self.new_trace(), self.inner.propagates)
    }

    /// The id of a new trace, by chance.
    pub fn new_trace(&self) -> [u8; 16] {
        self.inner.ids.new_trace_id().to_bytes()
    }

    /// What follows from a story.
    pub fn child(&self, story: &Story) -> Story {
        let context = TraceContext { span: self.span(), ..story.context };
        Story { context, parent: Some(story.context.span), remote: false, ..story.clone() }
    }

    fn alone(&self, trace: [u8; 16], adds: bool) -> Option<Story> {
        let story = || Story { adds, ..Story::of(TraceContext::sampled(trace, self.span())) };
        self.inner.sampler.records(&trace).then(story)
    }

    fn span(&self) -> [u8; 8] {
        self.inner.ids.new_span_id().to_bytes()
    }

    /// A record went through the steps.
    pub fn process(
        &self,
        story: &Story,
        record: &RecordRef,
        attempt: u32,
        started: SystemTime,
        outcome: Outcome<'_>,
    ) {
        let place = Place::of(record);
        let topic = self.read_from(place);
        let (word, filter, failure) = match outcome {
            Outcome::Routed => ("routed", None, None),
            Outcome::Filtered(reason) => ("filtered", Some(reason.to_owned()), None),
            Outcome::Failed(failure) => ("failed", None, Some(failure)),
        };
        let span = self
            .draft(story, format!("process {topic}"), SpanKind::Consumer, started)
            .operation("process", "process", topic)
            .partition(place.pair.partition.0)
            .with_some("messaging.consumer.group.name", self.inner.group.clone())
            .with_some("messaging.client.id", self.consumer_id())
            .with("messaging.kafka.offset", place.lane_offset.0)
            .key(record.key())
            .origin(place)
            .with("longshore.attempt", i64::from(attempt))
            .with("longshore.outcome", word)
            .with_some("longshore.filter", filter)
            .failure(failure);
        self.inner.outlet.take(span.end());
    }

    /// A sink holds a record, or refused it.
    pub fn write(
        &self,
        story: &Story,
        place: Place<'_>,
        sink: &str,
        started: SystemTime,
        failure: Option<&Failure>,
    ) {
        let topic = self.read_from(place);
        let span = self
            .draft(story, format!("write {sink}"), SpanKind::Internal, started)
            .with("messaging.destination.name", topic.to_owned())
            .partition(place.pair.partition.0)
            .with("messaging.kafka.offset", place.lane_offset.0)
            .origin(place)
            .with("longshore.sink", sink.to_owned())
            .failure(failure);
        self.inner.outlet.take(span.end());
    }

    /// A copy or a letter of a record was sent, or could not be; `why` is why it had to.
    pub fn send_letter(
        &self,
        story: &Story,
        place: Place<'_>,
        letter: &SentLetter,
        failure: Option<&Failure>,
    ) {
        let topic = self.letter_topic(place.pair, letter.dead);
        let span = self
            .draft(story, format!("send {topic}"), SpanKind::Producer, letter.started)
            .operation("send", "send", topic)
            .partition(place.pair.partition.0)
            .origin(place)
            .with_some("messaging.client.id", self.producer_id())
            .with("longshore.attempt", i64::from(letter.attempts))
            .with("longshore.reason", letter.reason)
            .failure(failure);
        self.inner.outlet.take(span.end());
    }

    /// A record was sent by a command; a replayed letter has where it stands.
    pub fn send(
        &self,
        story: &Story,
        topic: &str,
        started: SystemTime,
        replay: Option<(&str, &str)>,
        failure: Option<&Failure>,
    ) {
        let span = self
            .draft(story, format!("send {topic}"), SpanKind::Producer, started)
            .operation("send", "send", topic)
            .with_some("messaging.client.id", self.producer_id())
            .with_some("longshore.replay", replay.map(|(id, _)| id.to_owned()))
            .with_some("longshore.letter", replay.map(|(_, letter)| letter.to_owned()))
            .failure(failure);
        self.inner.outlet.take(span.end());
    }

    fn draft(&self, story: &Story, name: String, kind: SpanKind, started: SystemTime) -> Draft {
        Draft::new(story, name, kind, started, &self.inner.scope)
    }

    fn consumer_id(&self) -> Option<String> {
        self.inner.clients.as_ref().map(|clients| clients.consumer.clone())
    }

    fn producer_id(&self) -> Option<String> {
        self.inner.clients.as_ref().map(|clients| clients.producer.clone())
    }

    fn topics(&self, pair: &PairId) -> Option<&Topics> {
        self.inner.topics.iter().find(|topics| topics.input == pair.topic.as_str())
    }

    /// The topic that a record was read from.
    fn read_from<'a>(&'a self, place: Place<'a>) -> &'a str {
        match place.lane {
            Lane::Input => place.pair.topic.as_str(),
            Lane::Retry => self.letter_topic(place.pair, false),
        }
    }

    fn letter_topic<'a>(&'a self, pair: &'a PairId, dead: bool) -> &'a str {
        let topic = self.topics(pair).map(|topics| if dead { &topics.dead_letters } else { &topics.retry });
        topic.map_or(pair.topic.as_str(), String::as_str)
    }
}

/// [`resource`] as names and texts.
pub(crate) fn resource_attributes(service: &str, version: &str) -> Vec<(String, String)> {
    let resource = resource(service, version);
    resource.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_str().into_owned())).collect()
}

/// The process's id, the same for spans and metrics.
fn instance() -> &'static str {
    static INSTANCE: LazyLock<String> = LazyLock::new(|| {
        format!("{:016x}", u64::from_be_bytes(RandomIdGenerator::default().new_span_id().to_bytes()))
    });
    &INSTANCE
}

/// What is said of this process. What the operator says in `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` stands.
fn resource(service: &str, version: &str) -> Resource {
    let said = Resource::builder().build();
    let ours = [
        KeyValue::new("service.name", service.to_owned()),
        KeyValue::new("service.version", version.to_owned()),
        KeyValue::new("service.instance.id", instance()),
    ];
    // The SDK has a name where nobody has said one.
    let stands = |value: &opentelemetry::Value| !value.as_str().starts_with("unknown_service");
    let ours = ours.into_iter().filter(|ours| !said.get_ref(&ours.key).is_some_and(stands));
    Resource::builder().with_attributes(ours).build()
}

/// A copy or letter that was sent.
#[derive(Clone, Copy, Debug)]
pub struct SentLetter {
    /// Whether it went to the dead-letter topic.
    pub dead: bool,
    /// Tries so far.
    pub attempts: u32,
    /// Why it had to be sent: the code.
    pub reason: &'static str,
    /// When it was given away.
    pub started: SystemTime,
}
