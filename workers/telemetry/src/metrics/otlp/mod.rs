//! The metrics' other way out: the page that `/metrics` shows, sent over OTLP/HTTP every minute. One registry has both ways, so names and
//! values are the same; where nobody asks for it there is no thread and no cost. The SDK's own metrics would be a second count of
//! everything, and what it sends cannot be made of values that are there.

mod environment;
mod page;
mod request;

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost::Message;

use self::environment::Wanted;
use self::request::{Times, request};
use super::Metrics;
use crate::otlp::{Post, Rejected, Stop};
use crate::trace::{TraceError, resource_attributes};

/// How often failures are told in the log.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Sends metrics until it is stopped.
#[derive(Debug)]
pub struct MetricsExport {
    stop: Sender<()>,
    stop_waits: Stop,
    stopped: Receiver<()>,
}

impl MetricsExport {
    /// Begins to send if the environment wants it (`OTEL_METRICS_EXPORTER`, `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT`). What is not done as a
    /// variable wants it is told in the log. Starts a thread.
    ///
    /// # Errors
    /// When what the environment says is no address or no header, or the system refuses a thread.
    pub fn start(metrics: &Metrics, service: &str, version: &str) -> Result<Option<Self>, TraceError> {
        let mut remarks = Vec::new();
        let wanted = Wanted::read(|name| std::env::var(name).ok(), &mut remarks);
        for remark in &remarks {
            tracing::warn!("metrics: {remark}");
        }
        let Some(Wanted { target, interval }) = wanted else { return Ok(None) };
        let (stop, asked) = channel();
        let (ended, stopped) = channel();
        let (begun, begins) = channel();
        let (resource, metrics) = (resource_attributes(service, version), metrics.clone());
        let version = version.to_owned();
        // Whoever starts this may be in a runtime, inside of which the client's own must not be made.
        let run = move || {
            let _ended = ended;
            let post = match Post::to(&target) {
                Ok(post) => post,
                Err(error) => return drop(begun.send(Err(error))),
            };
            let _ = begun.send(Ok(post.stop()));
            let exporter = Exporter { post, resource, version, began_ns: now_ns(), metrics };
            exporter.run(&asked, interval);
        };
        let thread = std::thread::Builder::new().name("longshore-otlp".to_owned());
        thread.spawn(run).map_err(|error| TraceError::new(format!("cannot start a thread: {error}")))?;
        let begun = begins.recv().map_err(|_| TraceError::new("the client of the Collector cannot be made"));
        Ok(Some(Self { stop, stop_waits: begun??, stopped }))
    }

    /// Sends the last values, with one try, at most so long, and ends; blocks. False when that took too long.
    pub fn stop(self, deadline: Duration) -> bool {
        self.stop_waits.now();
        drop(self.stop);
        matches!(self.stopped.recv_timeout(deadline), Err(RecvTimeoutError::Disconnected))
    }
}

struct Exporter {
    post: Post,
    resource: Vec<(String, String)>,
    version: String,
    began_ns: u64,
    metrics: Metrics,
}

impl Exporter {
    fn run(&self, asked: &Receiver<()>, interval: Duration) {
        let mut told: Option<std::time::Instant> = None;
        loop {
            let ends = !matches!(asked.recv_timeout(interval), Err(RecvTimeoutError::Timeout));
            let sent = self.send();
            self.metrics.sent(sent.is_ok());
            if let Err(cause) = sent
                && told.is_none_or(|told| told.elapsed() >= TELL_EVERY)
            {
                told = Some(std::time::Instant::now());
                tracing::warn!(cause, "metrics were not taken; they are at /metrics, and sent again");
            }
            if ends {
                return;
            }
        }
    }

    fn send(&self) -> Result<(), String> {
        let times = Times { began_ns: self.began_ns, now_ns: now_ns() };
        let body = request(&self.metrics.render(), &self.resource, &self.version, times).encode_to_vec();
        match self.post.send(body)? {
            Rejected { items: 0, .. } => Ok(()),
            Rejected { items, words } => Err(format!("{items} values were not taken: {words}")),
        }
    }
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
