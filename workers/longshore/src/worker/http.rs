//! The worker's pages: `/livez`, `/readyz`, `/metrics`, `/lag`, `/status`, `/fleet`, `/scale`, `/version`, `/config`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use longshore_runtime::{PairStatus, Status};
use longshore_telemetry::Metrics;
use serde::Serialize;
use tokio::net::TcpListener;

use crate::cli::VERSION;
use crate::fleet::{Looker, Own, page};
use crate::scale::{self, Watch};

/// The poll loop turns many times a second; a minute of silence is a hang, long before the group would evict us.
pub(super) const POLL_SILENCE_MAX: Duration = Duration::from_secs(60);

/// What the pages show.
pub(crate) struct Pages {
    pub(crate) status: Arc<Status>,
    pub(crate) metrics: Metrics,
    /// This worker, for those who look at the fleet.
    pub(crate) own: Own,
    /// The whole fleet.
    pub(crate) fleet: Looker,
    /// How many pods the fleet is to have.
    pub(crate) scale: Watch,
    /// The settings in force, redacted.
    pub(crate) config: String,
}

/// One pair in `/lag`.
#[derive(Serialize)]
struct PairLag {
    topic: String,
    partition: i32,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The offset behind the last record received.
    position: i64,
    /// Everything below is committed.
    committed: i64,
    /// Records received and not settled, those in open segments included.
    unsettled: u64,
    /// Records to be worked on, as `longshore_consumer_lag_records` counts them.
    lag: u64,
    /// Seconds since anything moved.
    idle_seconds: f64,
}

impl From<PairStatus> for PairLag {
    fn from(status: PairStatus) -> Self {
        Self {
            lag: status.lag.records,
            topic: status.pair.topic.to_string(),
            partition: status.pair.partition.0,
            state: status.state.name(),
            reason: status.reason.map(|failure| failure.to_string()),
            position: status.position.0,
            committed: status.committed.or(status.watermark).map_or(0, |offset| offset.0),
            unsettled: status.in_flight,
            idle_seconds: status.idle.as_secs_f64(),
        }
    }
}

/// Serves the pages and the console until the runtime ends.
pub(crate) fn serve(listener: TcpListener, pages: Pages, console: Router) {
    let router = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/lag", get(lag))
        .route("/status", get(status))
        .route("/fleet", get(fleet))
        .route("/scale", get(scale))
        .route("/version", get(version))
        .route("/config", get(config))
        .with_state(Arc::new(pages))
        .merge(console);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the status pages ended");
        }
    });
}

/// Alive means that the poll loop turns; a broker that does not answer is no reason to kill the pod.
async fn livez(State(pages): State<Arc<Pages>>) -> Response {
    let silence = pages.status.poll_silence();
    verdict(if silence < POLL_SILENCE_MAX {
        Ok(())
    } else {
        Err(format!("the poll loop has not turned for {} s", silence.as_secs()))
    })
}

async fn readyz(State(pages): State<Arc<Pages>>) -> Response {
    verdict(pages.status.ready())
}

fn verdict(verdict: Result<(), String>) -> Response {
    match verdict {
        Ok(()) => (StatusCode::OK, "ok\n").into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why + "\n").into_response(),
    }
}

async fn metrics(State(pages): State<Arc<Pages>>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], pages.metrics.render()).into_response()
}

async fn lag(State(pages): State<Arc<Pages>>) -> Json<Vec<PairLag>> {
    Json(pages.status.pairs().into_iter().map(PairLag::from).collect())
}

async fn status(State(pages): State<Arc<Pages>>) -> Response {
    page::status(&pages.own)
}

async fn fleet(State(pages): State<Arc<Pages>>) -> Response {
    page::fleet(&pages.fleet).await
}

async fn scale(State(pages): State<Arc<Pages>>) -> Response {
    scale::page::scale(&pages.scale)
}

async fn version() -> &'static str {
    VERSION
}

async fn config(State(pages): State<Arc<Pages>>) -> String {
    pages.config.clone()
}
