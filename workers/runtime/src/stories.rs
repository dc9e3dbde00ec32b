//! The traced records of a unit: spans are told when a record is through, and what later happens to it is told under them.
//! Without a tracer nothing here runs.

use std::time::SystemTime;

use longshore_core::pair::{UnitEntry, Verdict};
use longshore_core::{Lane, Offset, SinkIndex, SinkMask, TraceContext};
use longshore_telemetry::Tracer;
use longshore_telemetry::logs::{Named, name_record};
use longshore_telemetry::trace::{Held, Outcome, Story};

/// Sees each record of a unit that is tried.
pub(crate) trait Watch {
    /// It begins; the trace that what sinks send on is to name.
    fn begins(&mut self, entry: &UnitEntry) -> Option<Box<TraceContext>>;

    /// It is through.
    fn ended(&mut self, entry: &UnitEntry, verdict: Option<&Verdict>);
}

/// Sees nothing.
pub(crate) struct Unwatched;

impl Watch for Unwatched {
    fn begins(&mut self, _: &UnitEntry) -> Option<Box<TraceContext>> {
        None
    }

    fn ended(&mut self, _: &UnitEntry, _: Option<&Verdict>) {}
}

/// A traced record that is through the steps.
pub(crate) struct Traced {
    pub(crate) story: Story,
    pub(crate) lane: Lane,
    pub(crate) lane_offset: Offset,
    pub(crate) offset: Offset,
    /// The sinks that get a row.
    sinks: SinkMask,
    pub(crate) failed: bool,
    _held: Held,
}

impl Traced {
    /// Whether the sink gets a row of it.
    pub(crate) fn goes_to(&self, sink: SinkIndex) -> bool {
        self.sinks.contains(sink)
    }
}

/// A record that is traced and at work.
pub(crate) struct AtWork {
    story: Story,
    held: Held,
    started: SystemTime,
}

impl AtWork {
    /// None for a record that is not sampled, or that there is no room for.
    pub(crate) fn begin(tracer: &Tracer, entry: &UnitEntry) -> Option<Self> {
        let story = tracer.story(&entry.record)?;
        let held = tracer.keep(&story)?;
        Some(Self { story, held, started: SystemTime::now() })
    }

    /// The trace that what sinks send on is to name.
    pub(crate) fn header(&self) -> Option<Box<TraceContext>> {
        self.story.header().map(Box::new)
    }

    /// Log lines of this thread name the record's trace for as long as what is returned lives.
    pub(crate) fn name(&self) -> Named {
        name_record(self.story.context())
    }

    /// Tells the span; what is left is told later.
    pub(crate) fn end(self, tracer: &Tracer, entry: &UnitEntry, verdict: Option<&Verdict>) -> Option<Traced> {
        let Self { story, held, started } = self;
        let (outcome, sinks, failed) = match verdict? {
            Verdict::Routed { sinks } => (Outcome::Routed, *sinks, false),
            Verdict::Filtered(reason) => (Outcome::Filtered(&reason.0), SinkMask::NONE, false),
            Verdict::Failed(failure) => (Outcome::Failed(failure), SinkMask::NONE, true),
            Verdict::Deferred => return None,
        };
        tracer.process(&story, &entry.record, entry.attempt, started, outcome);
        let record = &entry.record;
        if let Outcome::Failed(failure) = outcome {
            let (pair, offset, attempt) = (record.pair(), record.offset().0, entry.attempt);
            let (reason, at) = (failure.reason.code(), failure.at.as_str());
            let _named = name_record(story.context());
            tracing::debug!(%pair, offset, attempt, reason, at, "a traced record failed");
        }
        let (lane, lane_offset, offset) = (record.chunk().lane(), record.lane_offset(), record.offset());
        Some(Traced { story, lane, lane_offset, offset, sinks, failed, _held: held })
    }
}

/// Sees the sampled records.
pub(crate) struct Watched<'a> {
    tracer: &'a Tracer,
    at_work: Option<(AtWork, Named)>,
    pub(crate) traced: Vec<Traced>,
}

impl<'a> Watched<'a> {
    pub(crate) fn new(tracer: &'a Tracer) -> Self {
        Self { tracer, at_work: None, traced: Vec::new() }
    }
}

impl Watch for Watched<'_> {
    fn begins(&mut self, entry: &UnitEntry) -> Option<Box<TraceContext>> {
        let at_work = AtWork::begin(self.tracer, entry)?;
        let header = at_work.header();
        let named = at_work.name();
        self.at_work = Some((at_work, named));
        header
    }

    fn ended(&mut self, entry: &UnitEntry, verdict: Option<&Verdict>) {
        if let Some((at_work, _named)) = self.at_work.take() {
            self.traced.extend(at_work.end(self.tracer, entry, verdict));
        }
    }
}
