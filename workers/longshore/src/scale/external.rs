//! KEDA's external scaler: gRPC with the messages of `externalscaler.proto` (KEDA v2.21), written by hand so that nobody needs protoc.

use std::future::{Ready, ready};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use futures::stream::{self, BoxStream, StreamExt};
use tonic::Status;
use tonic::server::{Grpc, ServerStreamingService, UnaryService};
use tonic_prost::ProstCodec;

use super::Watch;

/// The metric's name; what KEDA asks for by another one is answered with this one.
const METRIC: &str = "longshore-pods";
/// Between two looks whether there is something to say on a stream.
const PACE: Duration = Duration::from_secs(5);
/// A word that has not changed is said again after this.
const AGAIN: Duration = Duration::from_secs(60);

/// Which ScaledObject asks. What it says of itself is nothing to us: one process is for one pipeline.
#[derive(Clone, PartialEq, prost::Message)]
struct ScaledObjectRef {}

#[derive(Clone, PartialEq, prost::Message)]
struct IsActiveResponse {
    #[prost(bool, tag = "1")]
    result: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct GetMetricSpecResponse {
    #[prost(message, repeated, tag = "1")]
    metric_specs: Vec<MetricSpec>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct MetricSpec {
    #[prost(string, tag = "1")]
    metric_name: String,
    #[prost(int64, tag = "2")]
    target_size: i64,
    #[prost(double, tag = "3")]
    target_size_float: f64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct GetMetricsRequest {
    #[prost(string, tag = "2")]
    metric_name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct GetMetricsResponse {
    #[prost(message, repeated, tag = "1")]
    metric_values: Vec<MetricValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct MetricValue {
    #[prost(string, tag = "1")]
    metric_name: String,
    #[prost(int64, tag = "2")]
    metric_value: i64,
    #[prost(double, tag = "3")]
    metric_value_float: f64,
}

/// The service over a watch.
#[derive(Clone)]
struct ExternalScaler {
    watch: Watch,
}

/// The service's methods as routes. What is not here is answered with 404, which is gRPC's "unimplemented".
pub(crate) fn routes(watch: Watch) -> Router {
    Router::new()
        .route("/externalscaler.ExternalScaler/IsActive", post(is_active))
        .route("/externalscaler.ExternalScaler/StreamIsActive", post(stream_is_active))
        .route("/externalscaler.ExternalScaler/GetMetricSpec", post(metric_spec))
        .route("/externalscaler.ExternalScaler/StreamMetricSpec", post(stream_metric_spec))
        .route("/externalscaler.ExternalScaler/GetMetrics", post(metrics))
        .with_state(ExternalScaler { watch })
}

async fn is_active(State(own): State<ExternalScaler>, request: Request) -> Response {
    let method = Once(move |_: ScaledObjectRef| own.is_active());
    grpc().unary(method, request).await.map(Body::new)
}

async fn stream_is_active(State(own): State<ExternalScaler>, request: Request) -> Response {
    grpc().server_streaming(Activity(own), request).await.map(Body::new)
}

async fn metric_spec(request: Request) -> Response {
    let method = Once(|_: ScaledObjectRef| Ok(ExternalScaler::spec()));
    grpc().unary(method, request).await.map(Body::new)
}

async fn stream_metric_spec(request: Request) -> Response {
    grpc().server_streaming(Specification, request).await.map(Body::new)
}

async fn metrics(State(own): State<ExternalScaler>, request: Request) -> Response {
    let method = Once(move |asked: GetMetricsRequest| own.metrics(&asked));
    grpc().unary(method, request).await.map(Body::new)
}

impl ExternalScaler {
    /// The number, or a status that KEDA takes its fallback for.
    fn pods(&self) -> Result<u32, Status> {
        match self.watch.ask() {
            Ok(answer) => Ok(answer.pods),
            Err(unknown) => Err(Status::unavailable(format!("{}: {}", unknown.cause, unknown.reason))),
        }
    }

    fn is_active(&self) -> Result<IsActiveResponse, Status> {
        Ok(IsActiveResponse { result: self.pods()? > 0 })
    }

    /// One for each pod: the autoscaler divides the number by it.
    fn spec() -> GetMetricSpecResponse {
        let spec = MetricSpec { metric_name: METRIC.to_owned(), target_size: 1, target_size_float: 1.0 };
        GetMetricSpecResponse { metric_specs: vec![spec] }
    }

    /// The same at once, and then nothing for ever: it never changes. An autoscaler that was made while no scaler answered lacks this metric, and
    /// KEDA asks for it again only when somebody changes the ScaledObject; but this stream it opens again and again, and mends the autoscaler.
    fn told_spec() -> BoxStream<'static, Result<GetMetricSpecResponse, Status>> {
        let once = stream::once(ready(Ok(Self::spec())));
        Box::pin(once.chain(stream::pending()))
    }

    fn metrics(&self, request: &GetMetricsRequest) -> Result<GetMetricsResponse, Status> {
        let pods = self.pods()?;
        let name = if request.metric_name.is_empty() { METRIC } else { &request.metric_name };
        let value = MetricValue {
            metric_name: name.to_owned(),
            metric_value: pods.into(),
            metric_value_float: pods.into(),
        };
        Ok(GetMetricsResponse { metric_values: vec![value] })
    }

    /// Whether pods are wanted: at first, when that changes, and once a minute. What is not known is left out: an error would end the
    /// stream.
    fn activity(self) -> BoxStream<'static, Result<IsActiveResponse, Status>> {
        Box::pin(stream::unfold((self, None), |(own, told)| async move {
            let mut wait = told.is_some();
            loop {
                if wait {
                    // The pause between two looks.
                    tokio::time::sleep(PACE).await;
                }
                wait = true;
                let now = Instant::now();
                if let Ok(word) = own.is_active()
                    && is_news(told, word.result, now)
                {
                    let told = Some((word.result, now));
                    return Some((Ok(word), (own, told)));
                }
            }
        }))
    }
}

/// Whether a word is worth saying after the one that was said then.
fn is_news(told: Option<(bool, Instant)>, word: bool, now: Instant) -> bool {
    told.is_none_or(|(told, at)| told != word || now.saturating_duration_since(at) >= AGAIN)
}

/// A method that answers once.
struct Once<F>(F);

impl<Q, A, F: Fn(Q) -> Result<A, Status>> UnaryService<Q> for Once<F> {
    type Response = A;
    type Future = Ready<Result<tonic::Response<A>, Status>>;

    fn call(&mut self, request: tonic::Request<Q>) -> Self::Future {
        ready((self.0)(request.into_inner()).map(tonic::Response::new))
    }
}

/// Whether pods are wanted, for as long as somebody listens.
struct Activity(ExternalScaler);

impl ServerStreamingService<ScaledObjectRef> for Activity {
    type Response = IsActiveResponse;
    type ResponseStream = BoxStream<'static, Result<IsActiveResponse, Status>>;
    type Future = Ready<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, _: tonic::Request<ScaledObjectRef>) -> Self::Future {
        ready(Ok(tonic::Response::new(self.0.clone().activity())))
    }
}

/// What the metric is.
struct Specification;

impl ServerStreamingService<ScaledObjectRef> for Specification {
    type Response = GetMetricSpecResponse;
    type ResponseStream = BoxStream<'static, Result<GetMetricSpecResponse, Status>>;
    type Future = Ready<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, _: tonic::Request<ScaledObjectRef>) -> Self::Future {
        ready(Ok(tonic::Response::new(ExternalScaler::told_spec())))
    }
}

fn grpc<Q, A>() -> Grpc<ProstCodec<A, Q>>
where
    Q: prost::Message + Default + Send + 'static,
    A: prost::Message + Send + 'static,
{
    Grpc::new(ProstCodec::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantee: KEDA hears of a change at the next look, and of no change once a minute.
    #[test]
    fn a_stream_tells_changes_and_little_else() {
        let began = Instant::now();
        let (mut told, mut said) = (None, Vec::new());
        for look in 0..60 {
            let now = began + PACE * look;
            let word = look >= 30;
            if is_news(told, word, now) {
                told = Some((word, now));
                said.push((look, word));
            }
        }
        assert_eq!(said, [(0, false), (12, false), (24, false), (30, true), (42, true), (54, true)]);
    }
}
