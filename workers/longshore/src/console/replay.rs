//! Sending letters again: first the plan, then, with the token, the run.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Console;
use super::guard::{Refused, Visitor};
use crate::cli::dlq::{Consent, LetterFilter, LetterTopics, ReplayStart};
use crate::cli::{Connection, Overrides};
use crate::commands::dlq::asked::{Letters, Started};
use crate::exit::End;
use crate::output::Output;

/// How often a letter may have been replayed, as for the command.
const MAX_REPLAYS: u32 = 3;
/// The most reasons of one request.
const REASONS_MAX: usize = 20;

/// Which letters, and how.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Request {
    /// Reason codes; any when empty.
    reasons: Vec<String>,
    /// A condition (CEL), with the token alone: how many letters it holds for tells what is in them.
    #[serde(rename = "where")]
    condition: Option<String>,
    /// A time, or how long ago.
    since: Option<String>,
    /// A time, or how long ago. A plan without it gets the present, so that letters that come meanwhile do not change it.
    until: Option<String>,
    /// At most so many.
    limit: Option<u64>,
    /// Where to.
    to: To,
    /// At most so many a second.
    rate: Option<u64>,
    /// The plan that was read, to start it.
    #[serde(skip_serializing)]
    plan: Option<String>,
}

/// Where letters go. The command also sends them to other topics.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum To {
    /// The same record again.
    #[default]
    Retry,
    /// A new record.
    Input,
}

impl Request {
    fn arguments(self) -> Result<ReplayStart, Refused> {
        let refused = |words: &str| Refused::new(StatusCode::BAD_REQUEST, words);
        if self.rate == Some(0) || self.limit == Some(0) {
            return Err(refused("rate and limit are at least 1"));
        }
        if self.reasons.len() > REASONS_MAX {
            return Err(refused("too many reasons"));
        }
        let connection = Connection { broker: None, config: None, overrides: Overrides::default() };
        let to = match self.to {
            To::Retry => "retry",
            To::Input => "input",
        };
        Ok(ReplayStart {
            topics: LetterTopics { connection, topic: None },
            filter: LetterFilter {
                condition: self.condition,
                since: self.since,
                until: self.until,
                limit: self.limit,
            },
            reason: self.reasons,
            to: to.to_owned(),
            transform: None,
            skip_failures: false,
            rate: self.rate,
            max_replays: MAX_REPLAYS,
            consent: Consent { dry_run: false, yes: true },
        })
    }
}

fn read(body: Result<Json<Request>, JsonRejection>) -> Result<Request, Refused> {
    body.map(|Json(request)| request).map_err(|error| Refused::new(error.status(), error.body_text()))
}

/// `POST /api/replay/plan`: what would be sent, and the request that starts it.
pub(super) async fn plan(
    State(console): State<Arc<Console>>,
    headers: HeaderMap,
    body: Result<Json<Request>, JsonRejection>,
) -> Result<Json<Value>, Refused> {
    console.guard.visitor(&headers)?;
    let mut request = read(body)?;
    if request.condition.is_some() {
        console.guard.holder(&headers)?;
    }
    request.until.get_or_insert_with(|| Timestamp::now().to_string());
    let arguments = request.clone().arguments()?;
    let planned = console.look(move |letters, output| letters.plan(&arguments, output));
    let Json(mut planned) = planned.await?;
    planned["request"] = json!(request);
    Ok(Json(planned))
}

/// `POST /api/replay`: starts what was planned. 202 with the run; 409 with the plan as it is now when that is another one.
pub(super) async fn start(
    State(console): State<Arc<Console>>,
    headers: HeaderMap,
    body: Result<Json<Request>, JsonRejection>,
) -> Result<Response, Refused> {
    console.guard.holder(&headers)?;
    let request = read(body)?;
    let (Some(plan), Some(_)) = (request.plan.clone(), &request.until) else {
        let words = "ask /api/replay/plan first, and send its `request` with its `plan`";
        return Err(Refused::new(StatusCode::BAD_REQUEST, words));
    };
    let (echo, arguments) = (request.clone(), request.arguments()?);
    let own = Arc::clone(&console);
    let replay = move |output: &Output, tell: &mut dyn FnMut(Result<Started, End>)| {
        let letters = Letters::of(&own.pipeline, &own.options);
        letters.replay(&arguments, &plan, Arc::clone(&own.errands.stop), output, tell);
    };
    Ok(match console.errands.replay(replay).await? {
        Started::Run(run) => {
            tracing::info!(
                run = run.id,
                letters = run.counts.selected,
                "a replay was started from the console"
            );
            (StatusCode::ACCEPTED, Json(json!({ "run": run }))).into_response()
        }
        Started::Nothing => (StatusCode::OK, Json(json!({ "run": null }))).into_response(),
        Started::Changed(mut plan) => {
            plan["request"] = json!(echo);
            let words = "the letters are not those of the plan any more; read the plan anew";
            (StatusCode::CONFLICT, Json(json!({ "error": words, "now": plan }))).into_response()
        }
    })
}

/// `GET /api/runs`: what was done with letters; conditions, transforms and words with the token alone.
pub(super) async fn runs(
    State(console): State<Arc<Console>>,
    headers: HeaderMap,
) -> Result<Json<Value>, Refused> {
    let all = console.guard.visitor(&headers)? == Visitor::Holder;
    console.look(move |letters, output| letters.runs(all, output)).await
}

/// `GET /api/runs/ID`.
pub(super) async fn run(
    State(console): State<Arc<Console>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, Refused> {
    let all = console.guard.visitor(&headers)? == Visitor::Holder;
    if id.len() > 64 {
        return Err(Refused::new(StatusCode::NOT_FOUND, "no such run"));
    }
    console.look(move |letters, output| letters.run(&id, all, output)).await
}
