//! Reading: the pipeline, letters, and the life of one record.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::Console;
use super::guard::{Refused, Visitor};
use crate::cli::VERSION;
use crate::cli::dlq::By;
use crate::commands::dlq::asked::Letters;
use crate::commands::why;
use crate::exit::End;
use crate::output::Output;

type Answer = Result<Json<Value>, Refused>;

/// A place: topic, partition, offset.
pub(super) type Place = Path<(String, i32, i64)>;

/// What the page has to know first; with a token also whether it is right.
pub(super) async fn console(State(console): State<Arc<Console>>, headers: HeaderMap) -> Answer {
    let visitor = console.guard.visitor(&headers)?;
    let pipeline = &console.pipeline;
    Ok(Json(json!({
        "pipeline": pipeline.pipeline,
        "pipeline_version": console.version,
        "version": VERSION,
        "group": pipeline.group(),
        "inputs": pipeline.input.topics,
        "read_only": !console.guard.has_token(),
        "holder": visitor == Visitor::Holder,
    })))
}

/// `GET /api/letters[?by=step|version|topic|hour]`.
pub(super) async fn groups(
    State(console): State<Arc<Console>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    console.guard.visitor(&headers)?;
    let by = match query.as_deref().unwrap_or("by=reason") {
        "by=reason" => By::Reason,
        "by=step" => By::Step,
        "by=version" => By::Version,
        "by=topic" => By::Topic,
        "by=hour" => By::Hour,
        _ => return Err(Refused::new(StatusCode::BAD_REQUEST, "by=reason, step, version, topic or hour")),
    };
    console.look(move |letters, output| letters.groups(by, output)).await
}

/// `GET /api/reasons/REASON`: the newest letters with it.
pub(super) async fn newest(
    State(console): State<Arc<Console>>,
    Path(reason): Path<String>,
    headers: HeaderMap,
) -> Answer {
    console.guard.visitor(&headers)?;
    console.look(move |letters, output| letters.newest(&reason, output)).await
}

/// `GET /api/letters/TOPIC/PARTITION/OFFSET[?raw]`.
pub(super) async fn one(
    State(console): State<Arc<Console>>,
    Path((topic, partition, offset)): Place,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let raw = console.raw(query.as_deref(), &headers)?;
    let id = format!("{topic}/{partition}/{offset}");
    known(console.look(move |letters, output| letters.one(&id, raw, output)).await)
}

/// `GET /api/why/TOPIC/PARTITION/OFFSET[?raw]`.
pub(super) async fn why(
    State(console): State<Arc<Console>>,
    Path((topic, partition, offset)): Place,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let raw = console.raw(query.as_deref(), &headers)?;
    let id = format!("{topic}/{partition}/{offset}");
    let own = Arc::clone(&console);
    let look = move |output: &Output| why::answer(&id, &own.pipeline, &own.options, raw, output);
    known(with_notes(console.errands.look(look).await))
}

/// A place that is none is no page.
fn known(answer: Answer) -> Answer {
    answer.map_err(|refused| match refused.code {
        StatusCode::BAD_REQUEST => Refused { code: StatusCode::NOT_FOUND, ..refused },
        _ => refused,
    })
}

fn with_notes(found: Result<(Value, Vec<String>), Refused>) -> Answer {
    let (mut found, notes) = found?;
    found["notes"] = json!(notes);
    Ok(Json(found))
}

impl Console {
    /// Looks at the letters of the pipeline.
    pub(super) async fn look(
        self: &Arc<Self>,
        look: impl FnOnce(&Letters, &Output) -> Result<Value, End> + Send + 'static,
    ) -> Answer {
        let own = Arc::clone(self);
        let look = move |output: &Output| look(&Letters::of(&own.pipeline, &own.options), output);
        with_notes(self.errands.look(look).await)
    }

    /// Whether payloads are asked for as they are, which only the token opens.
    fn raw(&self, query: Option<&str>, headers: &HeaderMap) -> Result<bool, Refused> {
        match query {
            None | Some("") => self.guard.visitor(headers).map(|_| false),
            Some("raw") => self.guard.holder(headers).map(|()| true),
            Some(_) => Err(Refused::new(StatusCode::BAD_REQUEST, "?raw, or nothing")),
        }
    }
}
