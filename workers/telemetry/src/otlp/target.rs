//! Where to, by the standard variables (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/>).

use std::path::PathBuf;
use std::time::Duration;

/// The standard's default.
const TIMEOUT_MS: u64 = 10_000;
/// What a time in a variable is at least and at most.
const LEAST_MS: u64 = 100;
const MOST_MS: u64 = 3_600_000;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Spans.
    Traces,
    /// Metrics.
    Metrics,
}

impl Signal {
    /// As variables name it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Traces => "TRACES",
            Self::Metrics => "METRICS",
        }
    }

    /// What is asked for at the address of all signals.
    fn path(self, protocol: Protocol) -> &'static str {
        match (self, protocol) {
            (Self::Traces, Protocol::Http) => "/v1/traces",
            (Self::Metrics, Protocol::Http) => "/v1/metrics",
            (Self::Traces, Protocol::Grpc) => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            (Self::Metrics, Protocol::Grpc) => {
                "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
            }
        }
    }
}

/// `OTEL_EXPORTER_OTLP_PROTOCOL`, of what can be spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// `http/protobuf`, the default.
    Http,
    /// `grpc`, in builds with the feature `otlp-grpc`.
    Grpc,
}

impl Protocol {
    /// None for one that this build does not speak, which is remarked on: sent to another's port by the wrong one, nothing would arrive.
    pub(crate) fn read(
        signal: Signal,
        get: &impl Fn(&str) -> Option<String>,
        remarks: &mut Vec<String>,
    ) -> Option<Self> {
        let own = format!("OTEL_EXPORTER_OTLP_{}_PROTOCOL", signal.word());
        let said = set(get, &own).or_else(|| set(get, "OTEL_EXPORTER_OTLP_PROTOCOL"));
        let http = "set it to http/protobuf, and the endpoint to the Collector's port 4318";
        let why = match said.as_deref() {
            None | Some("http/protobuf") => return Some(Self::Http),
            Some("grpc") if cfg!(feature = "otlp-grpc") => return Some(Self::Grpc),
            Some("grpc") => {
                format!("this build does not speak it; next: {http}, or build with --features otlp-grpc")
            }
            Some(_) => format!("not known here; next: {http}"),
        };
        let lost = match signal {
            Signal::Traces => "no spans",
            Signal::Metrics => "no metrics are sent",
        };
        remarks.push(format!("OTEL_EXPORTER_OTLP_PROTOCOL={}: {lost}: {why}", said.unwrap_or_default()));
        None
    }

    fn endpoint(self) -> &'static str {
        match self {
            Self::Http => "http://localhost:4318",
            Self::Grpc => "http://localhost:4317",
        }
    }
}

/// A variable; an empty one is an unset one, by the specification.
pub(crate) fn set(get: &impl Fn(&str) -> Option<String>, name: &str) -> Option<String> {
    get(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// Where something is sent, and how.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Target {
    pub(crate) protocol: Protocol,
    pub(crate) endpoint: String,
    /// Names and values; they may be credentials.
    pub(crate) headers: Vec<(String, String)>,
    /// How long a body may take, with all tries.
    pub(crate) timeout: Duration,
    pub(crate) gzip: bool,
    pub(crate) trust: Trust,
}

/// Files of PEM blocks that say who is believed, and who we are.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Trust {
    /// Authorities, instead of the system's.
    pub(crate) authorities: Option<PathBuf>,
    /// Our own certificate, with those between it and its authority.
    pub(crate) certificate: Option<PathBuf>,
    /// The key of it, as PKCS #8.
    pub(crate) key: Option<PathBuf>,
}

impl Target {
    /// Reads `OTEL_EXPORTER_OTLP_*`; a variable of the signal's own goes first.
    pub(crate) fn read(
        signal: Signal,
        protocol: Protocol,
        get: &impl Fn(&str) -> Option<String>,
        remarks: &mut Vec<String>,
    ) -> Self {
        let own = |name: &str| set(get, &format!("OTEL_EXPORTER_OTLP_{}_{name}", signal.word()));
        let either = |name: &str| own(name).or_else(|| set(get, &format!("OTEL_EXPORTER_OTLP_{name}")));
        let at = |address: String| format!("{}{}", address.trim_end_matches('/'), signal.path(protocol));
        let common =
            || set(get, "OTEL_EXPORTER_OTLP_ENDPOINT").unwrap_or_else(|| protocol.endpoint().to_owned());
        let endpoint = match (own("ENDPOINT"), protocol) {
            (Some(whole), Protocol::Http) => whole,
            (Some(address), Protocol::Grpc) => at(address),
            (None, _) => at(common()),
        };
        Self {
            protocol,
            endpoint,
            timeout: millis("OTEL_EXPORTER_OTLP_TIMEOUT", either("TIMEOUT"), TIMEOUT_MS, remarks),
            headers: either("HEADERS").map(|text| headers(&text)).unwrap_or_default(),
            gzip: either("COMPRESSION").is_some_and(|name| name == "gzip"),
            trust: Trust {
                authorities: either("CERTIFICATE").map(PathBuf::from),
                certificate: either("CLIENT_CERTIFICATE").map(PathBuf::from),
                key: either("CLIENT_KEY").map(PathBuf::from),
            },
        }
    }
}

/// A time in a variable, within bounds; what is not taken as it stands is remarked on.
pub(crate) fn millis(name: &str, value: Option<String>, default: u64, remarks: &mut Vec<String>) -> Duration {
    let Some(text) = value else { return Duration::from_millis(default) };
    let taken = text.parse().unwrap_or(default).clamp(LEAST_MS, MOST_MS);
    if text.parse() != Ok(taken) {
        remarks.push(format!("{name}={text}: not from {LEAST_MS} to {MOST_MS}, so {taken}"));
    }
    Duration::from_millis(taken)
}

/// `name=value,name=value`, with what is special encoded as in an address.
fn headers(text: &str) -> Vec<(String, String)> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.trim().to_owned(), decoded(value.trim()))).collect()
}

/// `%20` as a space, and so on; what is no such code stays.
fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind.get(..2).filter(|_| *first == b'%').and_then(|two| std::str::from_utf8(two).ok());
        let code = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(code) => {
                bytes.push(code);
                rest = &behind[2..];
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(signal: Signal, variables: &[(&str, &str)]) -> (Target, Vec<String>) {
        let find = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let mut remarks = Vec::new();
        (Target::read(signal, Protocol::Http, &find, &mut remarks), remarks)
    }

    #[test]
    fn a_target_is_read() {
        let (target, remarks) = read(Signal::Traces, &[]);
        assert_eq!(target.endpoint, "http://localhost:4318/v1/traces");
        assert!(remarks.is_empty() && !target.gzip && target.headers.is_empty(), "{remarks:?}");
        assert_eq!(target.timeout, Duration::from_secs(10));
        let common = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/"),
            ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://m/x"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20x=%,b=2"),
            ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "0"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/etc/ca.pem"),
            ("OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY", "/etc/key.pem"),
        ];
        let ((traces, remarks), (metrics, _)) =
            (read(Signal::Traces, &common), read(Signal::Metrics, &common));
        assert_eq!((traces.endpoint.as_str(), traces.gzip), ("http://c:4318/v1/traces", true));
        assert_eq!((metrics.endpoint.as_str(), metrics.gzip), ("http://m/x", false));
        assert_eq!((traces.timeout, remarks.len()), (Duration::from_millis(100), 1));
        let wanted =
            [("authorization".to_owned(), "Bearer x=%".to_owned()), ("b".to_owned(), "2".to_owned())];
        assert_eq!(traces.headers, wanted);
        assert_eq!(traces.trust, Trust { authorities: Some("/etc/ca.pem".into()), ..Trust::default() });
        assert_eq!(metrics.trust, Trust { key: Some("/etc/key.pem".into()), ..traces.trust });
    }

    /// Guarantee: gRPC goes to its own port and method; a build that does not speak it says what to do instead.
    #[test]
    fn grpc_is_spoken_or_refused_with_words() {
        let grpc = |name: &str| (name == "OTEL_EXPORTER_OTLP_PROTOCOL").then(|| "grpc".to_owned());
        let mut remarks = Vec::new();
        let spoken = Protocol::read(Signal::Traces, &grpc, &mut remarks);
        if cfg!(feature = "otlp-grpc") {
            assert_eq!((spoken, remarks.len()), (Some(Protocol::Grpc), 0));
        } else {
            assert_eq!((spoken, remarks.len()), (None, 1));
            assert!(
                remarks[0].contains("http/protobuf") && remarks[0].contains("--features otlp-grpc"),
                "{remarks:?}"
            );
        }
        let target = |get: &dyn Fn(&str) -> Option<String>| {
            Target::read(Signal::Metrics, Protocol::Grpc, &get, &mut Vec::new()).endpoint
        };
        let method = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
        assert_eq!(target(&|_: &str| None), format!("http://localhost:4317{method}"));
        let own =
            |name: &str| (name == "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT").then(|| "http://m:1/".to_owned());
        assert_eq!(target(&own), format!("http://m:1{method}"));
    }
}
