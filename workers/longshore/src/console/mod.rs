//! The console: a web page on the worker's port, and the API behind it.
//!
//! It shows what `/fleet` says, and does what `longshore dlq` and `longshore why` do, by the very same functions: open letters by
//! reason, one letter, the life of one record, the dry run of a replay, and with the token the replay itself.
//!
//! **Architecture invariant:** nothing here touches the engine. A look at letters runs in a thread of its own, with clients of its own
//! whose buffers are small, one at a time in each worker ([`Errands`]), and ends within [`errand::TIME`].
//!
//! **Architecture invariant:** payloads, keys and values of headers are masked as `dlq show` masks them unless the request carries the
//! token; without it nothing can be sent, nor asked by a condition over payloads, whose count would tell what is in them.

mod assets;
mod errand;
mod guard;
mod letters;
mod replay;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use axum::{Router, middleware};
use longshore_kafka::{ClientMemory, KafkaOptions};
use longshore_settings::{Loaded, Pipeline};

use self::errand::Errands;
use self::guard::Guard;
use crate::worker::{connect, signals};

/// Buffers of a client that looks at letters: a page of them does not have to come at the rate of a worker's input.
const BUFFERS: ClientMemory =
    ClientMemory { prefetch_bytes: 2 << 20, fetch_bytes: 1 << 20, produce_bytes: 4 << 20 };
/// The largest request, bytes.
const BODY_BYTES: usize = 16 * 1024;

/// What the API answers from.
struct Console {
    pipeline: Pipeline,
    version: String,
    options: KafkaOptions,
    guard: Guard,
    errands: Errands,
}

/// The replay that a worker sends for somebody at its console.
pub(crate) struct Replay(Option<Errands>);

impl Replay {
    /// No console, and so no replay.
    pub(crate) const NONE: Self = Self(None);

    /// Ends it in order, and says so when it did not end in time: what it sent since it wrote to the journal last is then found by who goes
    /// on with it.
    pub(crate) async fn end(self, within: Duration) {
        if let Some(errands) = self.0
            && !errands.ended(within).await
        {
            tracing::warn!(
                "the console's replay did not end in time; longshore dlq replay ls -c PIPELINE names it, and resume goes on"
            );
        }
    }
}

/// The console of a worker that listens on `address`, and its replay; an empty router when the pipeline wants none. Ends replays at SIGTERM,
/// so call it where tasks can be spawned.
pub(crate) fn router(loaded: &Loaded, address: SocketAddr) -> (Router, Replay) {
    let pipeline = &loaded.pipeline;
    if !pipeline.http.console.enabled {
        return (Router::new(), Replay::NONE);
    }
    let options = KafkaOptions { buffers: Some(BUFFERS), ..connect::options(&pipeline.kafka) };
    let errands = Errands::default();
    let flag = Arc::clone(&errands.stop);
    let received = signals::received();
    tokio::spawn(async move {
        received.await;
        flag.store(true, Ordering::Release);
    });
    let console = Arc::new(Console {
        guard: Guard::new(pipeline.http.console.token.as_ref(), address.ip().is_loopback()),
        pipeline: pipeline.clone(),
        version: loaded.fingerprint(),
        options,
        errands: errands.clone(),
    });
    let api = Router::new()
        .route("/api/console", get(letters::console))
        .route("/api/letters", get(letters::groups))
        .route("/api/letters/{topic}/{partition}/{offset}", get(letters::one))
        .route("/api/reasons/{reason}", get(letters::newest))
        .route("/api/why/{topic}/{partition}/{offset}", get(letters::why))
        .route("/api/runs", get(replay::runs))
        .route("/api/runs/{id}", get(replay::run))
        .route("/api/replay/plan", post(replay::plan))
        .route("/api/replay", post(replay::start))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(Arc::clone(&console));
    let router = api.merge(assets::router()).layer(middleware::from_fn_with_state(console, guard::door));
    (router, Replay(Some(errands)))
}
