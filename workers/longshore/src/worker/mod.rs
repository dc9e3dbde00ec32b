//! `longshore run`: one worker, wired from the pipeline file.

mod alarm;
pub(crate) mod connect;
mod delay;
mod http;
pub(crate) mod ledgers;
pub(crate) mod objects;
pub(crate) mod plan;
pub(crate) mod postgres;
pub(crate) mod signals;
mod systemd;
pub(crate) mod topics;
mod traces;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_core::retry::OUTAGE;
use longshore_core::source::SourceControl;
use longshore_core::{Budget, Spool};
use longshore_kafka as kafka;
use longshore_runtime::{Fleet, FleetEnd, FleetOptions, FleetParts, Limits, MemoryShares, Status};
use longshore_settings::{DumpFormat, Listen, Loaded, Pipeline, Start};
use longshore_spool::FileSpool;
use longshore_telemetry::logs::tell_repeats;
use longshore_telemetry::{LogFormat, LogOptions, Metrics, init_logs, install_panic_hook};
use tokio::net::TcpListener;

use crate::cli::{Run, VERSION};
use crate::commands::check;
use crate::console;
use crate::exit::{End, Exit, code_of};
use crate::fleet;
use crate::output::Output;
use crate::scale::{self, Watch};

/// From the source's `Shutdown` until it is closed: commit 2 s, leaving a group up to 4 s.
const CLOSE: Duration = Duration::from_secs(6);
/// How long the producer may take for what is unacknowledged at the end, and the Collector for spans beside it.
const FLUSH: Duration = Duration::from_secs(2);
/// How long threads may take that hang in the disk when all else has ended.
const LEAVE: Duration = Duration::from_millis(500);
/// How long a pair with work may show no progress.
const STALLED: Duration = Duration::from_secs(300);

pub(crate) fn run(arguments: &Run, output: &Output) -> Result<(), End> {
    if arguments.with_parent {
        signals::end_with_parent()?;
    }
    use_small_pages();
    let loaded = check::load(&arguments.config, &arguments.overrides, output)?;
    start_logs(&loaded.pipeline, output)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("longshore-async")
        .max_blocking_threads(blocking_threads())
        .build()
        .map_err(|error| End::new(Exit::Internal, format!("cannot start threads: {error}")))?;
    let result = runtime.block_on(work(&loaded));
    // A writer that hangs in the disk must not keep the process; nothing of it is visible.
    runtime.shutdown_timeout(LEAVE);
    result
}

/// The longest from SIGTERM until the process has ended.
pub(crate) fn stop_within(pipeline: &Pipeline) -> Duration {
    pipeline.limits.drain.get() + CLOSE + FLUSH + LEAVE
}

/// No huge pages: buffers come and go by the megabyte here, and each time one is used again the kernel would clear two whole
/// megabytes, and count them as ours. Measured: a fifth less memory at the peak with records passed through, half of it with
/// records dropped, and there a tenth of the CPU as well.
fn use_small_pages() {
    // A kernel or sandbox that refuses leaves things as they are; the worker only takes more memory.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

/// Threads for calls that block, which are the files sink's. Each keeps memory of its own, so their number must not grow with the
/// partitions (I5); tokio's own bound is 512. More than the disk has use for: compression runs on as many as there are cores.
fn blocking_threads() -> usize {
    (2 * FleetOptions::cores()).clamp(4, 16)
}

fn start_logs(pipeline: &Pipeline, output: &Output) -> Result<(), End> {
    let format = match pipeline.telemetry.log {
        longshore_settings::LogFormat::Text => LogFormat::Text,
        longshore_settings::LogFormat::Json => LogFormat::Json,
    };
    let level = pipeline.telemetry.level.word().to_owned();
    init_logs(&LogOptions { format, level, colour: output.colour() })
        .map_err(|error| End::new(Exit::Configuration, error))?;
    install_panic_hook();
    Ok(())
}

async fn work(loaded: &Loaded) -> Result<(), End> {
    let pipeline = &loaded.pipeline;
    let spool = spool_of_worker(pipeline)?;
    let options = connect::options(&pipeline.kafka);
    let memory = MemoryShares::of(pipeline.limits.memory.get());
    let client = client_memory(&memory);
    // What librdkafka has of large blocks counts among those in use.
    kafka::keep_freed(usize::try_from(memory.intake + memory.consumer_queue).unwrap_or(usize::MAX));
    let topics = topics::Topics::new(&options, &client, pipeline.kafka.latency);
    let built = plan::build(pipeline, &loaded.fingerprint(), &topics)?;
    topics::check(pipeline, &options).await?;

    let status = Status::new();
    let metrics = Metrics::new(VERSION);
    metrics.name_topics(&pipeline.group(), traces::topics(pipeline));
    let export = traces::metrics_of_worker(pipeline, &metrics);
    let budget = memory.budget();
    // Before the console's replays listen for the same signals: one that came before the fleet looks is not lost.
    let stop = signals::stop();
    // Before the consumer, whose `client.id` tells the port.
    let (http_port, replay) = listen(loaded, &options, &status, &metrics, &budget).await?;
    let tracer = traces::of_worker(pipeline, &options, http_port, &metrics);
    let _spans = tracer.as_ref().map(|tracer| budget.charge_waiting(tracer.memory_bytes()));
    systemd::tell(Arc::clone(&status));

    let (send, events) = tokio::sync::mpsc::unbounded_channel();
    let source = kafka::SourceOptions {
        kafka: options,
        topics: pipeline.input.topics.clone(),
        retry_topics: topics::retry_topics(pipeline),
        recommit: kafka::SourceOptions::RECOMMIT,
        group: pipeline.group(),
        http_port,
        start: start(pipeline.input.start),
        revoke: pipeline.limits.revoke.get(),
        budget: Arc::clone(&budget),
        memory: client,
    };
    // A fleet that has ended wants no more events.
    let source = kafka::PollThread::spawn(source, move |event| drop(send.send(event)))?;
    let heartbeat = source.heartbeat();
    let source = Arc::new(source);
    let parts = FleetParts {
        plan: built.plan,
        events,
        control: Arc::clone(&source) as Arc<dyn SourceControl>,
        letters: topics.letters(pipeline, &loaded.fingerprint(), &metrics)?,
        spool,
        metrics,
        tracer: tracer.clone(),
        status,
        heartbeat,
    };
    let fleet = FleetOptions {
        pair: built.pair,
        memory,
        budget,
        limits: limits(pipeline),
        pool_threads: FleetOptions::cores(),
        backoff: OUTAGE,
    };
    tracing::info!(
        pipeline = pipeline.pipeline,
        version = loaded.fingerprint(),
        group = pipeline.group(),
        "started"
    );
    if let Some(fails) = plan::rehearsal(pipeline) {
        tracing::warn!(fails, "rehearsal step in force: records fail on purpose");
    }
    let stopped = std::cell::Cell::new(None);
    let asked = async {
        stop.await;
        stopped.set(Some(Instant::now()));
        systemd::stopping();
    };
    let end = Fleet::run(fleet, parts, asked).await;
    // It was told to stop when we were, and has as long as our own records had.
    let since = stopped.get().map_or(Duration::ZERO, |at| at.elapsed());
    let left = pipeline.limits.drain.get().saturating_sub(since).max(FLUSH);
    let flushed = (topics.flush(FLUSH), traces::flush(tracer, FLUSH), traces::flush_metrics(export, FLUSH));
    tokio::join!(flushed.0, flushed.1, flushed.2, replay.end(left));
    tell_repeats();
    ended(end)
}

/// Where payloads wait that have no room in memory.
pub(crate) enum Spooled {
    /// The file wants none, or nothing ever waits.
    Unwanted,
    /// Here.
    In(Arc<dyn Spool>),
    /// Nowhere: the system's folder for temporary files will not do.
    Without {
        /// Why not.
        why: String,
        /// The folder.
        folder: PathBuf,
    },
}

/// Opens the spool. A folder that the file names has to be usable. The system's own need not be: a pod whose file system is read-only works
/// without a spool, and so does a worker whose folder for temporary files is in memory.
pub(crate) fn spool(pipeline: &Pipeline) -> Result<Spooled, End> {
    let limits = &pipeline.limits;
    if limits.spool.get() == 0 || !pipeline.has_retry_topics() {
        return Ok(Spooled::Unwanted);
    }
    let open = |folder: &Path| FileSpool::open(folder, limits.spool.get());
    if let Some(folder) = &limits.spool_folder {
        let spool = open(folder).map_err(|error| {
            let message = format!(
                "limits.spool_folder: {} cannot hold the payloads of records that wait: {error}; name another folder, or set limits.spool to 0B",
                folder.display()
            );
            End::new(Exit::Configuration, message)
        })?;
        return Ok(Spooled::In(Arc::new(spool)));
    }
    let folder = std::env::temp_dir();
    let why = match longshore_spool::is_in_memory(&folder).and_then(|memory| Ok((memory, open(&folder)?))) {
        Ok((false, spool)) => return Ok(Spooled::In(Arc::new(spool))),
        Ok((true, _)) => "what is written there stays in memory".to_owned(),
        Err(error) => error.to_string(),
    };
    Ok(Spooled::Without { why, folder })
}

/// A worker's spool, if it has one.
fn spool_of_worker(pipeline: &Pipeline) -> Result<Option<Arc<dyn Spool>>, End> {
    match spool(pipeline)? {
        Spooled::Unwanted => Ok(None),
        Spooled::In(spool) => Ok(Some(spool)),
        Spooled::Without { why, folder } => {
            tracing::warn!(
                why,
                folder = %folder.display(),
                "no spool: records that wait for their retry and have no room in memory are read from the retry topic again when they are due; name a folder on a disk in limits.spool_folder"
            );
            Ok(None)
        }
    }
}

/// librdkafka's buffers out of the shares. Three answers of the consumer's are there at once: one whose last records are not taken yet, one that
/// waits, and one that comes, each an eighth larger than what was asked for. Beyond 16 MiB ahead nothing gets faster.
fn client_memory(shares: &MemoryShares) -> kafka::ClientMemory {
    let answer = (shares.consumer_queue / 4).min(16 * 1024 * 1024);
    kafka::ClientMemory { prefetch_bytes: answer, fetch_bytes: answer, produce_bytes: shares.producer_queue }
}

fn limits(pipeline: &Pipeline) -> Limits {
    Limits {
        drain: pipeline.limits.drain.get(),
        revoke: pipeline.limits.revoke.get(),
        halt: pipeline.limits.halt.get(),
        stalled: STALLED,
        close: CLOSE,
    }
}

fn start(from: Start) -> kafka::StartPolicy {
    match from {
        Start::Earliest => kafka::StartPolicy::Earliest,
        Start::Latest => kafka::StartPolicy::Latest,
        Start::Time(ms) => kafka::StartPolicy::Time(ms),
    }
}

/// Opens the port of the pages and serves them; the port, none when the file wants no pages, and the console's replay.
async fn listen(
    loaded: &Loaded,
    options: &kafka::KafkaOptions,
    status: &Arc<Status>,
    metrics: &Metrics,
    budget: &Arc<Budget>,
) -> Result<(Option<u16>, console::Replay), End> {
    let pipeline = &loaded.pipeline;
    let Listen::At(address) = pipeline.http.listen else { return Ok((None, console::Replay::NONE)) };
    let taken = |error: std::io::Error| {
        let next = "choose another with `http.listen`, or `off`";
        End::new(Exit::Configuration, format!("cannot listen on {address}: {error}\n  next: {next}"))
    };
    let listener = TcpListener::bind(address).await.map_err(taken)?;
    let bound = listener.local_addr().map_err(taken)?;
    let scale = Watch::start(scale::Fleet::of(pipeline), scale::Mode::Worker)
        .map_err(|error| End::new(Exit::Internal, format!("cannot start a thread: {error}")))?;
    let own = fleet::Own {
        pipeline: pipeline.pipeline.clone(),
        pipeline_version: loaded.fingerprint(),
        group: pipeline.group(),
        client_id: kafka::client_id(options, Some(bound.port())),
        port: bound.port(),
        status: Arc::clone(status),
        budget: Arc::clone(budget),
    };
    let pages = http::Pages {
        status: Arc::clone(status),
        metrics: metrics.clone(),
        own,
        fleet: fleet::Looker::new(pipeline, loaded.fingerprint(), options.clone()),
        scale,
        config: loaded.dump(DumpFormat::Yaml),
    };
    let (console, replay) = console::router(loaded, bound);
    http::serve(listener, pages, console);
    tracing::info!(%bound, "status pages at /livez, /readyz, /lag, /fleet, /scale, /metrics");
    Ok((Some(bound.port()), replay))
}

/// The exit code of an end.
fn ended(end: Result<FleetEnd, longshore_core::Failure>) -> Result<(), End> {
    match end {
        Ok(FleetEnd::Stopped { overran }) => {
            tracing::info!(overran, "stopped");
            Ok(())
        }
        Ok(FleetEnd::Halted(failure)) => Err(failure.into()),
        Ok(FleetEnd::Stalled(failure)) => Err(End { code: Exit::Internal, ..End::from(failure) }),
        Err(failure) => {
            let code = code_of(failure.reason);
            Err(End { code, ..End::from(failure) })
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_worker_uses_no_huge_pages() {
        super::use_small_pages();
        assert_eq!(rustix::thread::transparent_huge_pages_are_disabled(), Ok(true));
    }
}
