//! From a pipeline file's steps and sinks to the runtime's plan and the pair's options.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use longshore_codec::{Store, ValueEncoder};
use longshore_conditions::{BuildError, Condition, steps};
use longshore_core::item::Step;
use longshore_core::metadata::METADATA_BYTES;
use longshore_core::pair::{
    CommitPolicy, FloodPolicy, Order, PairOptions, RetryPolicy, SealPolicy, SinkSpec, Window,
};
use longshore_core::retry::Backoff;
use longshore_core::sink::Sink;
use longshore_core::{Failure, Generation, Item};
use longshore_runtime::{AnyStep, Plan, Predicate, Route};
use longshore_settings::{Kind, Pipeline, SinkEntry, SinkKind, StepOptions, TopicFormat};

use super::delay::Delay;
use super::{objects, postgres};
use crate::exit::{End, Exit};

/// A sink's `when:`.
struct When(Condition);

impl Predicate for When {
    fn matches(&self, item: &Item) -> Result<bool, Failure> {
        self.0.matches(item)
    }
}

/// Makes the sinks that talk to Kafka; the rest is built here.
pub(crate) trait TopicSinks {
    /// A sink of this topic whose payloads the encoder writes.
    fn topic(&self, entry: &SinkEntry, encoder: ValueEncoder) -> Result<Arc<dyn Sink>, End>;
}

/// The steps and sinks of a pipeline, and what its pairs are told.
pub(crate) struct Built {
    pub(crate) plan: Plan,
    pub(crate) pair: PairOptions,
}

/// Builds everything that a pipeline file names.
pub(crate) fn build(pipeline: &Pipeline, version: &str, topics: &dyn TopicSinks) -> Result<Built, End> {
    let store = schema_store(pipeline.schemas.as_deref())?;
    let steps = steps_of(pipeline)?;
    let mut routes = Vec::with_capacity(pipeline.sinks.len());
    let mut specs = Vec::with_capacity(pipeline.sinks.len());
    for entry in &pipeline.sinks {
        let sink = sink(pipeline, entry, &store, topics)?;
        specs.push(SinkSpec {
            name: entry.name.clone(),
            ledger: sink.has_ledger(),
            refuses: sink.may_refuse(),
            seal: seal(&entry.kind),
        });
        routes.push(Route { sink, when: when(entry)? });
    }
    let plan = Plan::new(steps, routes, pipeline.input.order, pipeline.limits.step.get())?;
    let pair = pair_options(pipeline, version, specs, &plan);
    Ok(Built { plan, pair })
}

/// The steps that fail records on purpose, in words; none in a pipeline that means it.
pub(crate) fn rehearsal(pipeline: &Pipeline) -> Option<String> {
    let fails = pipeline.steps.iter().filter_map(|step| match step {
        StepOptions::Fail(options) => Some(options.words()),
        _ => None,
    });
    let fails: Vec<String> = fails.collect();
    (!fails.is_empty()).then(|| fails.join(", "))
}

/// The steps alone, in their order.
pub(crate) fn steps_of(pipeline: &Pipeline) -> Result<Vec<AnyStep>, End> {
    let store = schema_store(pipeline.schemas.as_deref())?;
    let numbered = pipeline.steps.iter().enumerate();
    numbered
        .map(|(number, options)| {
            let built = step(options, number, pipeline.kind, &store);
            built.map_err(|error| configuration(format!("steps[{number}]: {error}")))
        })
        .collect()
}

pub(crate) fn configuration(message: impl std::fmt::Display) -> End {
    End::new(Exit::Configuration, message)
}

fn schema_store(folder: Option<&Path>) -> Result<Arc<Store>, End> {
    let Some(folder) = folder else { return Ok(Arc::default()) };
    Store::load(folder).map(Arc::new).map_err(|findings| {
        let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
        configuration(format!("schemas: {}", lines.join("; ")))
    })
}

fn step(options: &StepOptions, number: usize, kind: Kind, store: &Arc<Store>) -> Result<AnyStep, BuildError> {
    let pure = |step: Box<dyn Step>| Ok(AnyStep::Pure(step));
    let kind = match kind {
        Kind::Logs => steps::Kind::Log,
        Kind::Dataset => steps::Kind::Document,
    };
    match options {
        StepOptions::Set(options) => pure(steps::set(options, kind)?),
        StepOptions::Rename(options) => pure(steps::rename(options, kind)?),
        StepOptions::Remove(options) => pure(steps::remove(options, kind)?),
        StepOptions::Filter(options) => pure(steps::filter(options, number)?),
        StepOptions::Parse(options) => pure(longshore_logs::parse(options, store)?),
        StepOptions::Accept(options) => pure(longshore_datasets::accept(options, store)?),
        StepOptions::Normalize(options) => pure(longshore_datasets::normalize(options)?),
        StepOptions::Length(options) => pure(longshore_datasets::length(options)?),
        StepOptions::Fingerprint(options) => pure(longshore_datasets::fingerprint(options)?),
        StepOptions::Fail(options) => pure(steps::fail(options)?),
        StepOptions::Delay(options) => {
            let delay = Delay::new(options.span.get(), options.condition()?);
            Ok(AnyStep::Waiting(Arc::new(delay)))
        }
    }
}

/// One sink alone.
pub(crate) fn sink_of(
    pipeline: &Pipeline,
    entry: &SinkEntry,
    topics: &dyn TopicSinks,
) -> Result<Arc<dyn Sink>, End> {
    sink(pipeline, entry, &schema_store(pipeline.schemas.as_deref())?, topics)
}

fn sink(
    pipeline: &Pipeline,
    entry: &SinkEntry,
    store: &Arc<Store>,
    topics: &dyn TopicSinks,
) -> Result<Arc<dyn Sink>, End> {
    match &entry.kind {
        SinkKind::Files(options) => {
            let generation = Generation(pipeline.generation);
            let sink =
                longshore_sinks::FilesSink::new(&entry.name, &pipeline.pipeline, generation, options.clone());
            Ok(Arc::new(sink.map_err(|error| configuration(format!("{}: {error}", entry.name)))?))
        }
        SinkKind::Objects(options) => objects::sink(pipeline, entry, options),
        SinkKind::Postgres(options) => postgres::sink(pipeline, entry, options),
        SinkKind::Stdout(_) => {
            let output = Box::new(std::io::stdout());
            Ok(Arc::new(longshore_sinks::StdoutSink::new(&entry.name, output)))
        }
        SinkKind::Topic(options) => {
            let format = match &options.format {
                TopicFormat::Json => longshore_codec::Format::Json,
                TopicFormat::Raw => longshore_codec::Format::Raw,
                TopicFormat::Avro(subject) => {
                    longshore_codec::Format::Avro { subject: Some(subject.clone()) }
                }
            };
            let encoder = ValueEncoder::new(&format, store)
                .map_err(|error| configuration(format!("sink {}: {error}", entry.name)))?;
            topics.topic(entry, encoder)
        }
    }
}

pub(crate) fn when(entry: &SinkEntry) -> Result<Option<Box<dyn Predicate>>, End> {
    let Some(text) = &entry.when else { return Ok(None) };
    let condition = Condition::compile(text)
        .map_err(|error| configuration(format!("sink {}: when: {error}", entry.name)))?;
    Ok(Some(Box::new(When(condition))))
}

/// When a sink's segments are sealed.
fn seal(kind: &SinkKind) -> SealPolicy {
    match kind {
        SinkKind::Files(options) => {
            let roll = options.roll;
            SealPolicy { bytes: roll.bytes.get(), rows: roll.rows, age: roll.age.get() }
        }
        SinkKind::Objects(options) => {
            let roll = options.roll;
            SealPolicy { bytes: roll.bytes.get(), rows: roll.rows, age: roll.age.get() }
        }
        SinkKind::Postgres(options) => {
            let roll = options.roll;
            SealPolicy { bytes: roll.bytes.get(), rows: roll.rows, age: roll.age.get() }
        }
        // Without a ledger a segment is a barrier for acknowledgements, sealed as soon as the one before it is through.
        SinkKind::Topic(_) | SinkKind::Stdout(_) => {
            SealPolicy { bytes: u64::MAX, rows: 5_000, age: Duration::from_millis(50) }
        }
    }
}

/// How failed records wait in the retry topic; none where they wait in the worker.
fn retry_policy(pipeline: &Pipeline) -> Option<RetryPolicy> {
    let retry = &pipeline.failure.retry;
    let order = retry.order.unwrap_or(pipeline.input.order);
    if !retry.topic || order == Order::Partition {
        return None;
    }
    Some(RetryPolicy {
        ordered: order == Order::Key,
        in_place: retry.in_place.get(),
        cap: retry.cap.get(),
        max_age: retry.max_age.map(|age| age.get()),
        waiting: retry.waiting,
        parked: retry.parked,
        span: retry.span,
        // The topic keeps records for the longest wait and a day at least.
        carry_age: (retry.cap.get() + Duration::from_secs(24 * 3600)) / 3,
    })
}

fn flood_policy(pipeline: &Pipeline) -> FloodPolicy {
    let flood = &pipeline.failure.flood;
    FloodPolicy { ratio: flood.ratio, min: flood.min, window: flood.window.get() }
}

fn pair_options(pipeline: &Pipeline, version: &str, sinks: Vec<SinkSpec>, plan: &Plan) -> PairOptions {
    let retry = &pipeline.failure.retry;
    PairOptions {
        pipeline: pipeline.pipeline.clone(),
        version: version.to_owned(),
        order: pipeline.input.order,
        grain: plan.grain(),
        sinks,
        unit_records: 512,
        units_in_flight: match plan.grain() {
            longshore_core::pair::Grain::Batch => 8,
            longshore_core::pair::Grain::Record => 1_000,
        },
        // The fleet puts the pair's share of the memory here.
        window: Window { records: 0, bytes: 0 },
        commit: CommitPolicy {
            interval: Duration::from_secs(1),
            records: 5_000,
            uncommitted_cap: pipeline.limits.repeats,
            metadata_bytes: METADATA_BYTES,
        },
        backoff: Backoff { base: retry.first.get(), cap: retry.cap.get(), floor: retry.shortest().get() },
        attempts: retry.attempts,
        retry: retry_policy(pipeline),
        flood: Some(flood_policy(pipeline)),
        generation: Generation(pipeline.generation),
    }
}
