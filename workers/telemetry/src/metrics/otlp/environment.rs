//! What the standard variables say of metrics
//! (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>).

use std::time::Duration;

use crate::otlp::{Protocol, Signal, Target, millis, set};

/// The standard's default.
const INTERVAL_MS: u64 = 60_000;

/// Where metrics are sent, and how often.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    pub(super) target: Target,
    pub(super) interval: Duration,
}

impl Wanted {
    /// None where nothing asks for it: `OTEL_METRICS_EXPORTER=otlp`, or an endpoint for metrics. That `OTEL_EXPORTER_OTLP_ENDPOINT` is set is not
    /// enough, since it is set for spans, and metrics are at `/metrics` anyway.
    pub(super) fn read(all: impl Fn(&str) -> Option<String>, remarks: &mut Vec<String>) -> Option<Self> {
        let get = |name: &str| set(&all, name);
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
        if !wanted {
            return None;
        }
        let protocol = Protocol::read(Signal::Metrics, &all, remarks)?;
        let interval = get("OTEL_METRIC_EXPORT_INTERVAL");
        Some(Self {
            target: Target::read(Signal::Metrics, protocol, &all, remarks),
            interval: millis("OTEL_METRIC_EXPORT_INTERVAL", interval, INTERVAL_MS, remarks),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> (Option<Wanted>, Vec<String>) {
        let find = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let mut remarks = Vec::new();
        let target = Wanted::read(find, &mut remarks);
        (target, remarks)
    }

    const OTLP: (&str, &str) = ("OTEL_METRICS_EXPORTER", "otlp");

    #[test]
    fn metrics_are_sent_when_somebody_asks_for_it() {
        let common = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/");
        let own = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://m/x");
        let endpoint = |variables: &[_]| read(variables).0.map(|wanted| wanted.target.endpoint);
        assert_eq!(endpoint(&[]), None);
        assert_eq!(endpoint(&[common]), None);
        assert_eq!(endpoint(&[OTLP]).as_deref(), Some("http://localhost:4318/v1/metrics"));
        assert_eq!(endpoint(&[OTLP, common]).as_deref(), Some("http://c:4318/v1/metrics"));
        assert_eq!(endpoint(&[common, own]).as_deref(), Some("http://m/x"));
        assert_eq!(endpoint(&[own, ("OTEL_METRICS_EXPORTER", "none")]), None);
        assert_eq!(endpoint(&[OTLP, ("OTEL_SDK_DISABLED", "true")]), None);
        for odd in [("OTEL_METRICS_EXPORTER", "console"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")] {
            let (target, remarks) = read(&[own, odd]);
            assert!(target.is_none() && remarks.len() == 1 && remarks[0].contains(odd.1), "{remarks:?}");
        }
    }

    #[test]
    fn variables_are_read_within_bounds() {
        let (target, remarks) = read(&[OTLP]);
        let target = target.unwrap();
        assert!(remarks.is_empty(), "{remarks:?}");
        assert_eq!(target.interval, Duration::from_secs(60));
        for (text, ms, told) in [("500", 500, 0), ("0", 100, 1), ("99999999", 3_600_000, 1), ("x", 60_000, 1)]
        {
            let (target, remarks) = read(&[OTLP, ("OTEL_METRIC_EXPORT_INTERVAL", text)]);
            assert_eq!(
                (target.unwrap().interval, remarks.len()),
                (Duration::from_millis(ms), told),
                "{text}"
            );
        }
    }
}
