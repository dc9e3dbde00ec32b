//! OTLP over gRPC (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>): one unary call whose message is written already and whose
//! answer says nothing but its status. That is a prefix of five bytes and a look at two headers, over the `reqwest` and the TLS that HTTP
//! has; tonic's own client would bring a second of both.

use std::time::Duration;

use http_body_util::{BodyExt, LengthLimitError, Limited};
use reqwest::Url;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, TE};
use tokio::runtime::Runtime;

use super::{ANSWER_BYTES, Again, Refusal, Rejected, not_answered, told};
use crate::trace::{TraceError, plain};

/// Makes calls, one at a time.
#[derive(Debug)]
pub(super) struct Unary {
    runtime: Runtime,
    client: reqwest::Client,
}

impl Unary {
    /// Not inside of another runtime.
    pub(super) fn new(client: reqwest::ClientBuilder) -> Result<Self, TraceError> {
        // A thread of its own answers the pings of the Collector also between two calls.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("longshore-grpc")
            .enable_all()
            .build();
        let runtime = runtime.map_err(|error| TraceError::new(format!("cannot start a thread: {error}")))?;
        let client = client.http2_prior_knowledge().build();
        let client = client.map_err(|error| TraceError::new(told(&error.without_url())))?;
        Ok(Self { runtime, client })
    }

    /// Sends a message and waits for its status, at most so long; blocks.
    pub(super) fn call(
        &self,
        method: Url,
        mut headers: HeaderMap,
        message: &[u8],
        packed: bool,
        within: Duration,
    ) -> Result<Rejected, Refusal> {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        if packed {
            headers.insert("grpc-encoding", HeaderValue::from_static("gzip"));
        }
        let request = self.client.post(method).headers(headers).timeout(within).body(framed(message, packed));
        self.runtime.block_on(async {
            let answer = request.send().await.map_err(not_answered)?;
            if !answer.status().is_success() {
                return Err(Refusal::of_answer(answer.status(), answer.headers()));
            }
            let (head, body) = http::Response::<reqwest::Body>::from(answer).into_parts();
            if let Some(ended) = status(&head.headers) {
                return ended.map(|()| Rejected::default());
            }
            let body = Limited::new(body, ANSWER_BYTES as usize).collect().await;
            let body = body.map_err(|error| {
                // More words than anybody reads will be more the next time too.
                let again = if error.is::<LengthLimitError>() { Again::Never } else { Again::Soon };
                Refusal { words: told(&*error), again }
            })?;
            let ended = body.trailers().and_then(status);
            // The prefix of a message is five bytes: whether it is packed, which nobody asked for, and its length.
            let said = body.to_bytes();
            let silent = || {
                let words = "the Collector does not answer as gRPC does".to_owned();
                Err(Refusal { words, again: Again::Never })
            };
            ended.unwrap_or_else(silent).map(|()| Rejected::read(said.get(5..).unwrap_or_default()))
        })
    }
}

/// A message as it goes over the wire: whether it is packed, its length, itself.
fn framed(message: &[u8], packed: bool) -> Vec<u8> {
    let mut frame = Vec::with_capacity(message.len() + 5);
    frame.push(u8::from(packed));
    // Some thousand spans at most, so far below what a length holds.
    frame.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend_from_slice(message);
    frame
}

/// What headers or trailers say, if they say anything.
fn status(headers: &HeaderMap) -> Option<Result<(), Refusal>> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let code = text("grpc-status")?;
    if code == "0" {
        return Some(Ok(()));
    }
    let words = plain(text("grpc-message").unwrap_or_default());
    let words = format!("the Collector answered with gRPC status {code}: {words}");
    Some(Err(Refusal { words, again: Again::of_code(code) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_its_length_before_it() {
        assert_eq!(framed(b"abc", false), b"\0\0\0\0\x03abc");
        assert_eq!(framed(&[], true), [1, 0, 0, 0, 0]);
    }

    #[test]
    fn a_status_is_read() {
        let mut headers = HeaderMap::new();
        assert_eq!(status(&headers), None);
        headers.insert("grpc-status", HeaderValue::from_static("0"));
        assert_eq!(status(&headers), Some(Ok(())));
        headers.insert("grpc-message", HeaderValue::from_static("away"));
        for (code, again) in [("14", Again::Soon), ("8", Again::Never), ("16", Again::Never)] {
            headers.insert("grpc-status", HeaderValue::from_static(code));
            let words = format!("the Collector answered with gRPC status {code}: away");
            assert_eq!(status(&headers), Some(Err(Refusal { words, again })));
        }
    }
}
