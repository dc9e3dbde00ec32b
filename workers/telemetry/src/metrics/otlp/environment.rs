//! What the standard variables say of metrics
//! (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>, `../protocol/exporter`).

use std::time::Duration;

/// Where metrics are sent, and how.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Target {
    pub(super) endpoint: String,
    /// Names and values; they may be credentials.
    pub(super) headers: Vec<(String, String)>,
    pub(super) timeout: Duration,
    pub(super) interval: Duration,
    pub(super) gzip: bool,
}

/// The standard's defaults.
const ENDPOINT: &str = "http://localhost:4318";
const TIMEOUT_MS: u64 = 10_000;
const INTERVAL_MS: u64 = 60_000;
/// A page that is made more often costs more than it tells.
const LEAST_MS: u64 = 100;
const MOST_MS: u64 = 3_600_000;

impl Target {
    /// None where nothing asks for it: `OTEL_METRICS_EXPORTER=otlp`, or an endpoint for metrics. That `OTEL_EXPORTER_OTLP_ENDPOINT` is set is not
    /// enough, since it is set for spans, and metrics are at `/metrics` anyway.
    pub(super) fn read(get: impl Fn(&str) -> Option<String>, remarks: &mut Vec<String>) -> Option<Self> {
        // An empty variable is an unset one, by the specification.
        let get =
            |name: &str| get(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        if get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return None;
        }
        let own = get("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT");
        let wanted = match get("OTEL_METRICS_EXPORTER") {
            None => own.is_some(),
            Some(names) => {
                let mut known = false;
                for name in names.split(',').map(str::trim) {
                    match name {
                        "otlp" => known = true,
                        // It is there in any case.
                        "prometheus" | "none" => {}
                        other => remarks.push(format!(
                            "OTEL_METRICS_EXPORTER={other} is not known here, only otlp, prometheus and none"
                        )),
                    }
                }
                known
            }
        };
        let either = |name: &str| {
            get(&format!("OTEL_EXPORTER_OTLP_METRICS_{name}"))
                .or_else(|| get(&format!("OTEL_EXPORTER_OTLP_{name}")))
        };
        if !wanted {
            return None;
        }
        if let Some(protocol) = either("PROTOCOL").filter(|protocol| protocol != "http/protobuf") {
            remarks.push(format!(
                "OTEL_EXPORTER_OTLP_PROTOCOL={protocol} is not known here: no metrics are sent; next: set it to http/protobuf, and the endpoint to the Collector's port 4318"
            ));
            return None;
        }
        let common = || get("OTEL_EXPORTER_OTLP_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        let endpoint = own.unwrap_or_else(|| format!("{}/v1/metrics", common().trim_end_matches('/')));
        let mut ms = |name: &str, value: Option<String>, default: u64| {
            let Some(text) = value else { return Duration::from_millis(default) };
            let taken = text.parse().unwrap_or(default).clamp(LEAST_MS, MOST_MS);
            if text.parse() != Ok(taken) {
                remarks.push(format!("{name}={text}: not from {LEAST_MS} to {MOST_MS}, so {taken}"));
            }
            Duration::from_millis(taken)
        };
        Some(Self {
            endpoint,
            timeout: ms("OTEL_EXPORTER_OTLP_TIMEOUT", either("TIMEOUT"), TIMEOUT_MS),
            interval: ms("OTEL_METRIC_EXPORT_INTERVAL", get("OTEL_METRIC_EXPORT_INTERVAL"), INTERVAL_MS),
            headers: either("HEADERS").map(|text| headers(&text)).unwrap_or_default(),
            gzip: either("COMPRESSION").is_some_and(|name| name == "gzip"),
        })
    }
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

    fn read(variables: &[(&str, &str)]) -> (Option<Target>, Vec<String>) {
        let find = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let mut remarks = Vec::new();
        let target = Target::read(find, &mut remarks);
        (target, remarks)
    }

    const OTLP: (&str, &str) = ("OTEL_METRICS_EXPORTER", "otlp");

    #[test]
    fn metrics_are_sent_when_somebody_asks_for_it() {
        let common = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/");
        let own = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://m/x");
        let endpoint = |variables: &[_]| read(variables).0.map(|target| target.endpoint);
        assert_eq!(endpoint(&[]), None);
        assert_eq!(endpoint(&[common]), None);
        assert_eq!(endpoint(&[OTLP]).as_deref(), Some("http://localhost:4318/v1/metrics"));
        assert_eq!(endpoint(&[OTLP, common]).as_deref(), Some("http://c:4318/v1/metrics"));
        assert_eq!(endpoint(&[common, own]).as_deref(), Some("http://m/x"));
        assert_eq!(endpoint(&[own, ("OTEL_METRICS_EXPORTER", "none")]), None);
        assert_eq!(endpoint(&[OTLP, ("OTEL_SDK_DISABLED", "true")]), None);
        for odd in [("OTEL_METRICS_EXPORTER", "console"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")] {
            let (target, remarks) = read(&[own, odd]);
            assert!(target.is_none() && remarks.len() == 1 && remarks[0].contains(odd.1), "{remarks:?}");
        }
    }

    #[test]
    fn variables_are_read_within_bounds() {
        let (target, remarks) = read(&[OTLP]);
        let target = target.unwrap();
        assert!(remarks.is_empty() && !target.gzip && target.headers.is_empty(), "{remarks:?}");
        assert_eq!((target.interval, target.timeout), (Duration::from_secs(60), Duration::from_secs(10)));
        for (text, ms, told) in [("500", 500, 0), ("0", 100, 1), ("99999999", 3_600_000, 1), ("x", 60_000, 1)]
        {
            let (target, remarks) = read(&[OTLP, ("OTEL_METRIC_EXPORT_INTERVAL", text)]);
            assert_eq!(
                (target.unwrap().interval, remarks.len()),
                (Duration::from_millis(ms), told),
                "{text}"
            );
        }
        let headers = ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20x=%,b=2");
        let (target, _) = read(&[OTLP, headers, ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "gzip")]);
        let target = target.unwrap();
        let wanted =
            [("authorization".to_owned(), "Bearer x=%".to_owned()), ("b".to_owned(), "2".to_owned())];
        assert!(target.gzip && target.headers == wanted, "{target:?}");
    }
}
