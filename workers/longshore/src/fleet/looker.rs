//! Looks at the fleet when somebody asks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::{self, BoxFuture};
use futures::{FutureExt, StreamExt};
use jiff::Timestamp;
use longshore_core::{Failure, Reason};
use longshore_kafka::{Admin, FleetView, KafkaOptions};
use longshore_settings::Pipeline;

use super::ask::ask;
use super::merge::{Answers, Named, addresses, merge};
use super::pace::Pace;
use super::view::View;
use crate::worker::topics;

/// How long one question to the broker may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// A look that is younger serves the next one who asks.
const FRESH: Duration = Duration::from_secs(1);
/// Members that are asked at the same time.
const AT_ONCE: usize = 16;

/// So long a failure is told at once, while the next look goes on: whoever asks may not wait as long as a broker that is away takes.
const REMEMBERED: Duration = Duration::from_secs(15);

/// A look's outcome.
type Seen = Result<Arc<View>, Failure>;

/// Looks at one fleet; whoever asks while it looks waits for that look. Clones share it.
#[derive(Clone)]
pub(crate) struct Looker {
    shared: Arc<Shared>,
}

struct Shared {
    named: Named,
    options: KafkaOptions,
    /// Inputs with their retry topics.
    topics: Vec<(String, Option<String>)>,
    /// What the look that goes on works with.
    work: tokio::sync::Mutex<Work>,
    state: Mutex<State>,
}

#[derive(Default)]
struct Work {
    admin: Option<Arc<Admin>>,
    pace: Pace,
}

#[derive(Default)]
struct State {
    latest: Option<(Instant, Seen)>,
    running: Option<future::Shared<BoxFuture<'static, Seen>>>,
}

impl Looker {
    /// The fleet of a pipeline, whose file has this fingerprint.
    pub(crate) fn new(pipeline: &Pipeline, version: String, options: KafkaOptions) -> Self {
        let mut retries = topics::retry_topics(pipeline);
        let inputs = pipeline.input.topics.iter();
        let named =
            Named { pipeline: pipeline.pipeline.clone(), pipeline_version: version, group: pipeline.group() };
        let topics = inputs.map(|input| (input.clone(), retries.remove(input))).collect();
        let shared = Shared { named, options, topics, work: Default::default(), state: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }

    /// The fleet at this moment, at most a second old.
    ///
    /// # Errors
    /// Reasons `broker.*`: without the group's listing nobody knows who to ask.
    pub(crate) async fn look(&self) -> Seen {
        let running = {
            let mut state = self.shared.lock();
            if let Some((at, latest)) = &state.latest
                && at.elapsed() < FRESH
            {
                return latest.clone();
            }
            // One that broke has left its place taken.
            if state.running.as_ref().is_some_and(|running| running.peek().is_some()) {
                state.running = None;
            }
            let running = state.running.get_or_insert_with(|| self.start()).clone();
            if let Some((at, Err(failure))) = &state.latest
                && at.elapsed() < REMEMBERED
            {
                return Err(failure.clone());
            }
            running
        };
        running.await
    }

    /// A look in a task of its own: it comes to its end whoever stops waiting, so that there is never more than one.
    fn start(&self) -> future::Shared<BoxFuture<'static, Seen>> {
        let own = self.clone();
        let task = tokio::spawn(async move {
            let seen = own.shared.look().await.map(Arc::new);
            let mut state = own.shared.lock();
            state.latest = Some((Instant::now(), seen.clone()));
            state.running = None;
            seen
        });
        task.map(|seen| seen.unwrap_or_else(|error| Err(broke(error)))).boxed().shared()
    }
}

fn broke(error: tokio::task::JoinError) -> Failure {
    Failure::halt(Reason::Internal, format!("the look at the group broke: {error}"))
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn look(&self) -> Result<View, Failure> {
        let mut work = self.work.lock().await;
        let kafka = self.ask_kafka(&mut work.admin).await?;
        let addresses = addresses(&kafka.members);
        let asked = futures::stream::iter(addresses).map(|address| async move {
            match ask(address.ip(), address.port()).await {
                Ok(page) => Some((address, page)),
                Err(silence) => {
                    tracing::debug!(%address, %silence, "a member of the group tells nothing");
                    None
                }
            }
        });
        let answers: Answers = asked.buffer_unordered(AT_ONCE).filter_map(future::ready).collect().await;
        let done = kafka.partitions.iter().filter_map(|seen| {
            let backlog = i64::try_from(*seen.backlog.as_ref().ok()?).ok()?;
            Some((seen.pair.clone(), seen.end - backlog))
        });
        let rates: HashMap<_, _> = work.pace.look(Instant::now(), done.collect());
        // To the second, as people read it.
        let at = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default().to_string();
        Ok(merge(&self.named, at, kafka, answers, &rates))
    }

    /// What Kafka says. A client that failed is not used again.
    async fn ask_kafka(&self, kept: &mut Option<Arc<Admin>>) -> Result<FleetView, Failure> {
        let (admin, options) = (kept.take(), self.options.clone());
        let (group, topics) = (self.named.group.clone(), self.topics.clone());
        let asked = tokio::task::spawn_blocking(move || {
            let admin = match admin {
                Some(admin) => admin,
                None => Arc::new(Admin::with_deadline(&options, DEADLINE)?),
            };
            let seen = admin.fleet_view(&group, &topics)?;
            Ok((admin, seen))
        });
        let (admin, seen) = asked.await.map_err(broke)??;
        *kept = Some(admin);
        Ok(seen)
    }
}
