//! OTLP (<https://opentelemetry.io/docs/specs/otlp/>): a request that is the same each time but for its body, tried again where the
//! Collector says that this helps. The exporters' own crate would go three times over a span before it is sent, which is most of what a
//! traced record costs (docs/benchmarks.md).

#[cfg(feature = "otlp-grpc")]
mod grpc;
mod target;
mod tries;
mod trust;

use std::io::{Read, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use reqwest::Url;
use reqwest::blocking::Client;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

pub(crate) use self::target::{Protocol, Signal, Target, millis, set};
use self::tries::{Again, Waits, chance};
pub(crate) use self::tries::{Refusal, Stop};
use crate::trace::{TraceError, plain};

/// The most of an answer that is read.
const ANSWER_BYTES: u64 = 64 * 1024;

/// How often a Collector's warnings are told in the log.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// What the Collector did not take of a body that it took, also where that is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rejected {
    /// Spans, or values of metrics.
    pub(crate) items: usize,
    /// Why, without credentials.
    pub(crate) words: String,
}

impl Rejected {
    /// Of the message that both signals' answers are: the fields have the same numbers and types. What cannot be read is an answer without words.
    fn read(answer: &[u8]) -> Self {
        let read = ExportTraceServiceResponse::decode(answer).ok().and_then(|answer| answer.partial_success);
        let Some(partial) = read else { return Self::default() };
        Self { items: partial.rejected_spans.try_into().unwrap_or(0), words: plain(&partial.error_message) }
    }
}

/// Sends bodies to a target.
#[derive(Debug)]
pub(crate) struct Post {
    way: Way,
    endpoint: Url,
    headers: HeaderMap,
    gzip: bool,
    timeout: Duration,
    stop: Stop,
    /// When a warning was told last.
    warned: Mutex<Option<Instant>>,
}

#[derive(Debug)]
enum Way {
    Http(Client),
    #[cfg(feature = "otlp-grpc")]
    Grpc(grpc::Unary),
}

impl Way {
    fn to(target: &Target, endpoint: &Url) -> Result<Self, TraceError> {
        let client = trust::client_to(target, endpoint)?;
        #[cfg(feature = "otlp-grpc")]
        if target.protocol == Protocol::Grpc {
            return grpc::Unary::new(client).map(Self::Grpc);
        }
        let client = reqwest::blocking::ClientBuilder::from(client).build();
        Ok(Self::Http(client.map_err(|error| TraceError::new(told(&error.without_url())))?))
    }
}

impl Post {
    /// The client has a runtime of its own, which must not be made or dropped inside of another one: to be called in a thread that keeps it.
    /// The values of variables are not quoted in errors, since they may hold credentials (I10).
    ///
    /// # Errors
    /// When what a variable says is no address or no header, or its file is none of certificates.
    pub(crate) fn to(target: &Target) -> Result<Self, TraceError> {
        let refused = |name: &str, like: &str| {
            TraceError::new(format!("the value of {name} cannot be used; it is like {like}"))
        };
        let endpoint = Url::parse(&target.endpoint);
        let endpoint = endpoint.ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let endpoint =
            endpoint.ok_or_else(|| refused("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &target.headers {
            let header = (HeaderName::try_from(name), HeaderValue::try_from(value));
            let (Ok(name), Ok(mut value)) = header else {
                return Err(refused("OTEL_EXPORTER_OTLP_HEADERS", "name=value,name=value"));
            };
            value.set_sensitive(true);
            headers.append(name, value);
        }
        let (gzip, timeout, stop) = (target.gzip, target.timeout, Stop::default());
        let (way, warned) = (Way::to(target, &endpoint)?, Mutex::default());
        Ok(Self { way, endpoint, headers, gzip, timeout, stop, warned })
    }

    /// What ends the waits of [`Self::send`].
    pub(crate) fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Sends a body until the Collector takes it, says that it never will, or the time is over; blocks.
    ///
    /// # Errors
    /// Why it was not taken, in words without credentials.
    pub(crate) fn send(&self, body: Vec<u8>) -> Result<Rejected, String> {
        let body = self.packed(body)?;
        let mut waits = Waits::new(self.timeout);
        let mut last = self.stop.comes_within(Duration::ZERO);
        loop {
            let Refusal { words, again } = match self.try_once(body.clone(), waits.left()) {
                Ok(rejected) => return Ok(self.heed(rejected)),
                Err(refusal) => refusal,
            };
            match waits.after(again, chance()) {
                // What waits at the end has one more try.
                Some(wait) if !last => last = self.stop.comes_within(wait),
                Some(_) | None => return Err(words),
            }
        }
    }

    /// The same with one try.
    pub(crate) fn send_once(&self, body: Vec<u8>) -> Result<Rejected, String> {
        self.try_once(self.packed(body)?, self.timeout)
            .map(|said| self.heed(said))
            .map_err(|refusal| refusal.words)
    }

    /// Tells what the Collector warns of though it took everything, once in a while
    /// (<https://opentelemetry.io/docs/specs/otlp/#partial-success>).
    fn heed(&self, said: Rejected) -> Rejected {
        if said.items > 0 || said.words.is_empty() {
            return said;
        }
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.is_none_or(|warned| warned.elapsed() >= WARN_EVERY) {
            *warned = Some(Instant::now());
            tracing::warn!(words = said.words, "the Collector took everything and warns");
        }
        said
    }

    fn packed(&self, body: Vec<u8>) -> Result<Bytes, String> {
        let body = if self.gzip { packed(&body).map_err(|error| error.to_string())? } else { body };
        Ok(body.into())
    }

    fn try_once(&self, body: Bytes, within: Duration) -> Result<Rejected, Refusal> {
        match &self.way {
            Way::Http(client) => self.try_by_http(client, body, within),
            #[cfg(feature = "otlp-grpc")]
            Way::Grpc(unary) => {
                unary.call(self.endpoint.clone(), self.headers.clone(), &body, self.gzip, within)
            }
        }
    }

    fn try_by_http(&self, client: &Client, body: Bytes, within: Duration) -> Result<Rejected, Refusal> {
        let mut headers = self.headers.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        if self.gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let request = client.post(self.endpoint.clone()).headers(headers).timeout(within);
        let answer = request.body(body).send().map_err(not_answered)?;
        if !answer.status().is_success() {
            return Err(Refusal::of_answer(answer.status(), answer.headers()));
        }
        let mut said = Vec::new();
        // It took the body: that its words cannot be read changes nothing.
        let _ = answer.take(ANSWER_BYTES).read_to_end(&mut said);
        Ok(Rejected::read(&said))
    }
}

/// It could not be asked, or said nothing: that may pass.
fn not_answered(error: reqwest::Error) -> Refusal {
    Refusal { words: told(&error.without_url()), again: Again::Soon }
}

/// An error and what is behind it, since the first words alone say nothing.
fn told(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    plain(&words)
}

fn packed(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut packing = GzEncoder::new(Vec::new(), Compression::fast());
    packing.write_all(body)?;
    packing.finish()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::sync::mpsc::{Receiver, channel};

    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

    use super::*;

    fn read(signal: Signal, variables: &[(&str, &str)]) -> Target {
        let find = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        Target::read(signal, Protocol::Http, &find, &mut Vec::new())
    }

    /// A Collector that gives these answers, one for each connection, and tells of the requests' first lines.
    fn collector(answers: Vec<Vec<u8>>) -> (Target, Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (tell, told) = channel();
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let head = request(&mut stream);
                let _ = tell.send(head.lines().next().unwrap_or_default().to_owned());
                stream.write_all(&answer).unwrap();
            }
        });
        (read(Signal::Traces, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]), told)
    }

    /// Reads a request and gives its head.
    fn request(stream: &mut TcpStream) -> String {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() > 0 {
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.unwrap().parse().unwrap()];
        stream.read_exact(&mut body).unwrap();
        head
    }

    /// A Collector that takes the first body but for so many of its spans.
    pub(crate) fn rejecting(spans: i64) -> Target {
        collector(vec![answer("200 OK", "", &partial(spans))]).0
    }

    fn partial(rejected_spans: i64) -> Vec<u8> {
        let partial = ExportTracePartialSuccess { rejected_spans, error_message: "too old\nx".to_owned() };
        ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec()
    }

    fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
        let head = format!(
            "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    }

    /// Scenario: the Collector is busy, then closes without a word, then takes the body. Guarantee: it comes a third time, not before the
    /// Collector wants it.
    #[test]
    fn what_passes_is_waited_for() {
        let busy = answer("503 Service Unavailable", "retry-after: 1\r\n", b"");
        let (target, asked) = collector(vec![busy, Vec::new(), answer("200 OK", "", b"")]);
        let post = Post::to(&target).unwrap();
        let began = Instant::now();
        assert_eq!(post.send(b"body".to_vec()), Ok(Rejected::default()));
        assert_eq!(asked.iter().collect::<Vec<_>>(), ["post /v1/traces http/1.1"; 3]);
        assert!(began.elapsed() >= Duration::from_millis(1_900), "{:?}", began.elapsed());
    }

    /// Guarantee: what will never be taken is sent once, and so is what a probe sends; at the end of a process nobody waits.
    #[test]
    fn what_does_not_pass_is_not_waited_for() {
        let busy = || answer("503 Service Unavailable", "retry-after: 9\r\n", b"");
        let (target, asked) = collector(vec![answer("400 Bad Request", "", b""), busy(), busy()]);
        let post = Post::to(&target).unwrap();
        let began = Instant::now();
        let words = |code| Err(format!("the Collector answered {code}"));
        assert_eq!(post.send(b"body".to_vec()), words("400 Bad Request"));
        assert_eq!(post.send_once(b"body".to_vec()), words("503 Service Unavailable"));
        post.stop().now();
        assert_eq!(post.send(b"body".to_vec()), words("503 Service Unavailable"));
        assert_eq!((asked.iter().count(), began.elapsed() < Duration::from_secs(5)), (3, true));
    }

    /// Scenario: a body waits for its next try when the process ends. Guarantee: it has that try at once.
    #[test]
    fn what_waits_at_the_end_is_tried_at_once() {
        let busy = answer("503 Service Unavailable", "retry-after: 9\r\n", b"");
        let (target, asked) = collector(vec![busy, answer("200 OK", "", b"")]);
        let post = Post::to(&target).unwrap();
        let (stop, began) = (post.stop(), Instant::now());
        std::thread::scope(|scope| {
            let sent = scope.spawn(|| post.send(b"body".to_vec()));
            asked.recv().unwrap();
            stop.now();
            assert_eq!(sent.join().unwrap(), Ok(Rejected::default()));
        });
        assert_eq!((asked.iter().count(), began.elapsed() < Duration::from_secs(5)), (1, true));
    }

    /// Scenario: the Collector takes three bodies whole, with words that warn, and one of them by a single try. Guarantee: nothing is lost, and the
    /// log has the words once.
    #[test]
    fn a_warning_is_told_once_in_a_while() {
        let (target, asked) = collector(vec![answer("200 OK", "", &partial(0)); 3]);
        let lines = crate::logs::tests::logged(crate::LogFormat::Text, || {
            let post = Post::to(&target).unwrap();
            for way in [Post::send, Post::send_once, Post::send] {
                assert_eq!(way(&post, b"body".to_vec()).map(|said| said.items), Ok(0));
            }
        });
        assert_eq!(asked.iter().count(), 3);
        let warned: Vec<_> = lines.iter().filter(|line| line.contains("WARN")).collect();
        assert!(matches!(warned[..], [line] if line.contains("and warns words=\"too old x\"")), "{lines:#?}");
    }

    /// Guarantee: what was taken in part is not sent again, and how much was not is known.
    #[test]
    fn what_is_taken_in_part_is_told() {
        let (target, asked) = collector(vec![answer("200 OK", "", &partial(2)), answer("200 OK", "", b"{}")]);
        let post = Post::to(&target).unwrap();
        let rejected = Rejected { items: 2, words: "too old x".to_owned() };
        assert_eq!(post.send(b"body".to_vec()), Ok(rejected));
        assert_eq!(post.send(b"body".to_vec()), Ok(Rejected::default()), "words that nobody can read");
        assert_eq!(asked.iter().count(), 2);
    }

    /// Guarantee (I10): headers with credentials go to no other place than the one that the variables name.
    #[test]
    fn a_redirect_is_not_followed() {
        let (other, visited) = collector(vec![answer("200 OK", "", b"")]);
        let moved = format!("location: {}\r\n", other.endpoint);
        let (target, _asked) = collector(vec![answer("307 Temporary Redirect", &moved, b"")]);
        let post = Post::to(&target).unwrap();
        let words = Err("the Collector answered 307 Temporary Redirect".to_owned());
        assert_eq!(post.send(b"body".to_vec()), words);
        assert!(visited.try_recv().is_err());
    }

    /// Guarantee (I10): what a variable says is in no error.
    #[test]
    fn a_value_that_cannot_be_used_is_not_quoted() {
        for (variable, name) in [
            (("OTEL_EXPORTER_OTLP_ENDPOINT", "user:secret@collector"), "OTEL_EXPORTER_OTLP_ENDPOINT"),
            (("OTEL_EXPORTER_OTLP_HEADERS", "authorization=secret%0A"), "OTEL_EXPORTER_OTLP_HEADERS"),
        ] {
            let error = Post::to(&read(Signal::Traces, &[variable])).unwrap_err().to_string();
            assert!(error.contains(name) && !error.contains("secret"), "{error}");
        }
    }

    /// Guarantee: a file that is not there or not what it is to be is told by its variable; half of an identity is none.
    #[cfg(feature = "tls")]
    #[test]
    fn files_of_certificates_are_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file.pem");
        std::fs::write(&file, "no certificate").unwrap();
        let file = file.to_str().unwrap();
        for (variables, words) in [
            (&[("OTEL_EXPORTER_OTLP_CERTIFICATE", "/not/there")][..], "CERTIFICATE: No such file"),
            (&[("OTEL_EXPORTER_OTLP_CERTIFICATE", file)], "CERTIFICATE has no certificate as PEM"),
            (&[("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", file)], "go together"),
            (
                &[("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", file), ("OTEL_EXPORTER_OTLP_CLIENT_KEY", file)],
                "PKCS #8",
            ),
        ] {
            let endpoint = [("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318")];
            let error = Post::to(&read(Signal::Traces, &[&endpoint, variables].concat())).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
            let plain = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")];
            assert!(Post::to(&read(Signal::Traces, &[&plain, variables].concat())).is_ok(), "not used");
        }
    }
}
