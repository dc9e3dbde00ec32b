//! `/scale`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::{Said, Watch};

/// The number, or 503 with the reason: KEDA takes its fallback then.
pub(crate) fn scale(watch: &Watch) -> Response {
    match watch.ask() {
        Ok(answer) => Json(Said::from(&answer)).into_response(),
        Err(unknown) => (StatusCode::SERVICE_UNAVAILABLE, Json(unknown)).into_response(),
    }
}
