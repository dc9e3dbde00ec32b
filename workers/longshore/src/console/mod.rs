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
use std::sync::atomic::{AtomicBool, Ordering};

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
    /// Set when the worker stops: a replay ends in order and can be resumed.
    stop: Arc<AtomicBool>,
}

/// The console of a worker that listens on `address`; an empty router when the pipeline wants none. Ends replays at SIGTERM, so call it
/// where tasks can be spawned.
pub(crate) fn router(loaded: &Loaded, address: SocketAddr) -> Router {
    let pipeline = &loaded.pipeline;
    if !pipeline.http.console.enabled {
        return Router::new();
    }
    let options = KafkaOptions { buffers: Some(BUFFERS), ..connect::options(&pipeline.kafka) };
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
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
        errands: Errands::default(),
        stop,
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
    api.merge(assets::router()).layer(middleware::from_fn_with_state(console, guard::door))
}
