//! `/status` and `/fleet`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::{Looker, Own};

/// Why there is no fleet to show.
#[derive(Serialize)]
struct Unknown {
    cause: &'static str,
    reason: String,
}

/// This worker alone.
pub(crate) fn status(own: &Own) -> Response {
    Json(own.page()).into_response()
}

/// The whole fleet, or 503 with the reason.
pub(crate) async fn fleet(looker: &Looker) -> Response {
    match looker.look().await {
        Ok(view) => Json(view.as_ref()).into_response(),
        Err(failure) => {
            let unknown = Unknown { cause: "broker", reason: failure.to_string() };
            (StatusCode::SERVICE_UNAVAILABLE, Json(unknown)).into_response()
        }
    }
}
