//! What the standard variables say
//! (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>). The SDK reads `OTEL_SERVICE_NAME` and
//! `OTEL_RESOURCE_ATTRIBUTES` by itself; what it does not read, or what has to be known before there is an SDK, is read here.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::sampler::Sampler;
use crate::otlp::{Protocol, Signal, Target, set};

/// Whether spans are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Switch {
    /// When the environment names a place to send them to: an endpoint, or the exporter `otlp`.
    #[default]
    Auto,
    /// Yes; without an endpoint to the Collector on this host.
    On,
    /// No.
    Off,
}

/// The variables, read.
#[derive(Debug, PartialEq)]
pub(super) struct Environment {
    /// Where spans are sent; none where none are made.
    pub(super) target: Option<Target>,
    pub(super) sampler: Sampler,
    /// Whether contexts are read from headers and written to them.
    pub(super) propagates: bool,
    /// How spans wait and are sent.
    pub(super) queue: Queue,
    /// What is not done as a variable wants it, for a log line each.
    pub(super) remarks: Vec<String>,
}

/// `OTEL_BSP_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Queue {
    /// The most spans that wait to be sent.
    pub(super) spans: usize,
    /// The most spans that are sent together.
    pub(super) batch: usize,
    /// How long a span waits for others.
    pub(super) delay: Duration,
}

impl Default for Queue {
    fn default() -> Self {
        Self { spans: 2_048, batch: 512, delay: Duration::from_secs(5) }
    }
}

impl Queue {
    /// The SDK makes room for the whole queue when it begins, and spins where it is not to wait at all: so there is a least and a most.
    const SPANS: RangeInclusive<u64> = 1..=16_384;
    const DELAY_MS: RangeInclusive<u64> = 10..=3_600_000;

    fn read(get: &impl Fn(&str) -> Option<String>, remarks: &mut Vec<String>) -> Self {
        let default = Self::default();
        let mut number = |name: &str, default: u64, range: RangeInclusive<u64>| {
            let Some(text) = get(name) else { return default };
            // What has more digits than a number holds is a large one.
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            let (least, most) = range.into_inner();
            let (taken, why) = match text.parse::<u64>() {
                Ok(number) if (least..=most).contains(&number) => return number,
                Ok(0) => (default, "0 is of no use"),
                Ok(number) if number < least => (least, "too small"),
                Ok(_) => (most, "too large"),
                Err(_) if digits => (most, "too large"),
                Err(_) => (default, "not a number"),
            };
            remarks.push(format!("{name}={text}: {why}, so {taken} ({least} to {most} are possible)"));
            taken
        };
        let spans = number("OTEL_BSP_MAX_QUEUE_SIZE", default.spans as u64, Self::SPANS);
        let batch = number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", default.batch as u64, Self::SPANS);
        let delay = number("OTEL_BSP_SCHEDULE_DELAY", default.delay.as_millis() as u64, Self::DELAY_MS);
        if get("OTEL_BSP_EXPORT_TIMEOUT").is_some() {
            let instead = "has no effect here; OTEL_EXPORTER_OTLP_TIMEOUT is how long the Collector may take";
            remarks.push(format!("OTEL_BSP_EXPORT_TIMEOUT {instead}"));
        }
        Self { spans: spans as usize, batch: batch.min(spans) as usize, delay: Duration::from_millis(delay) }
    }
}

impl Environment {
    pub(super) fn read(switch: Switch, get: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name: &str| set(&get, name);
        let mut remarks = Vec::new();
        let disabled = get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let wanted = match switch {
            Switch::Off => false,
            Switch::On => exporter(&get, true, &mut remarks),
            Switch::Auto => exporter(&get, false, &mut remarks),
        };
        let target = (wanted && !disabled).then(|| speaks(&get, &mut remarks)).flatten();
        let target = target.map(|protocol| Target::read(Signal::Traces, protocol, &get, &mut remarks));
        Self {
            target,
            sampler: sampler(&get, &mut remarks),
            propagates: propagates(&get, &mut remarks),
            queue: Queue::read(&get, &mut remarks),
            remarks: if wanted && !disabled { remarks } else { Vec::new() },
        }
    }
}

/// Whether an exporter is wanted that there is.
fn exporter(
    get: &impl Fn(&str) -> Option<String>,
    without_endpoint: bool,
    remarks: &mut Vec<String>,
) -> bool {
    let endpoint = || {
        ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]
            .iter()
            .any(|name| get(name).is_some())
    };
    match get("OTEL_TRACES_EXPORTER") {
        None => without_endpoint || endpoint(),
        Some(names) if names.split(',').any(|name| name.trim() == "otlp") => true,
        Some(name) if name == "none" => false,
        Some(name) => {
            remarks
                .push(format!("OTEL_TRACES_EXPORTER={name} is not known here, only otlp and none: no spans"));
            true
        }
    }
}

/// How they are sent, if the exporter is one that there is.
fn speaks(get: &impl Fn(&str) -> Option<String>, remarks: &mut Vec<String>) -> Option<Protocol> {
    let exporter = get("OTEL_TRACES_EXPORTER");
    if exporter.is_some_and(|names| !names.split(',').any(|name| name.trim() == "otlp")) {
        return None;
    }
    Protocol::read(Signal::Traces, get, remarks)
}

fn propagates(get: &impl Fn(&str) -> Option<String>, remarks: &mut Vec<String>) -> bool {
    let Some(names) = get("OTEL_PROPAGATORS") else { return true };
    let mut found = false;
    for name in names.split(',').map(str::trim) {
        match name {
            "tracecontext" => found = true,
            // Baggage is passed on as any header is, and never read.
            "baggage" | "none" | "" => {}
            other => remarks.push(format!("OTEL_PROPAGATORS: {other} is not known here, only tracecontext")),
        }
    }
    found
}

fn sampler(get: &impl Fn(&str) -> Option<String>, remarks: &mut Vec<String>) -> Sampler {
    let Some(name) = get("OTEL_TRACES_SAMPLER") else { return Sampler::default() };
    let mut ratio = || {
        let argument = get("OTEL_TRACES_SAMPLER_ARG");
        let ratio = argument.as_ref().and_then(|text| text.parse::<f64>().ok());
        ratio.filter(|ratio| (0.0..=1.0).contains(ratio)).unwrap_or_else(|| {
            remarks.push(format!(
                "OTEL_TRACES_SAMPLER_ARG={}: not from 0 to 1, so 1",
                argument.unwrap_or_default()
            ));
            1.0
        })
    };
    match name.as_str() {
        "always_on" => Sampler::new(false, 1.0),
        "always_off" => Sampler::new(false, 0.0),
        "traceidratio" => Sampler::new(false, ratio()),
        "parentbased_always_on" => Sampler::new(true, 1.0),
        "parentbased_always_off" => Sampler::new(true, 0.0),
        "parentbased_traceidratio" => Sampler::new(true, ratio()),
        other => {
            remarks.push(format!("OTEL_TRACES_SAMPLER={other} is not known here, so parentbased_always_on"));
            Sampler::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(switch: Switch, variables: &[(&str, &str)]) -> Environment {
        let find = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        Environment::read(switch, find)
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");

    #[test]
    fn spans_are_made_when_there_is_a_place_for_them() {
        assert!(read(Switch::Auto, &[]).target.is_none());
        assert!(read(Switch::Auto, &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]).target.is_none());
        assert!(read(Switch::Auto, &[ENDPOINT]).target.is_some());
        assert!(
            read(Switch::Auto, &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://x/v1/traces")])
                .target
                .is_some()
        );
        assert!(read(Switch::Auto, &[("OTEL_TRACES_EXPORTER", "otlp")]).target.is_some());
        assert!(read(Switch::On, &[]).target.is_some());
        assert!(read(Switch::Off, &[ENDPOINT]).target.is_none());
        for switch in [Switch::Auto, Switch::On] {
            assert!(read(switch, &[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")]).target.is_none());
            assert!(read(switch, &[ENDPOINT, ("OTEL_SDK_DISABLED", "no")]).target.is_some());
            assert!(read(switch, &[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")]).target.is_none());
            for unknown in [("OTEL_TRACES_EXPORTER", "console"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")]
            {
                let read = read(switch, &[ENDPOINT, unknown]);
                assert!(read.target.is_none() && read.remarks.len() == 1, "{read:?}");
                assert!(read.remarks[0].contains(unknown.1), "{read:?}");
            }
        }
    }

    #[test]
    fn what_does_not_concern_anybody_is_not_remarked_on() {
        let odd = [("OTEL_PROPAGATORS", "b3"), ("OTEL_TRACES_SAMPLER", "xray")];
        assert!(read(Switch::Auto, &odd).remarks.is_empty());
        let disabled = [ENDPOINT, odd[0], ("OTEL_SDK_DISABLED", "true")];
        assert!(read(Switch::Auto, &disabled).remarks.is_empty());
        assert_eq!(read(Switch::Auto, &[ENDPOINT, odd[0], odd[1]]).remarks.len(), 2);
    }

    /// Guarantee: no value of `OTEL_BSP_*` makes the SDK spin or take memory without a bound; what is not done as it is wanted is told.
    #[test]
    fn a_queue_is_bounded() {
        let of = |name: &str, value| read(Switch::On, &[(name, value)]);
        let (size, batch, delay) =
            ("OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "OTEL_BSP_SCHEDULE_DELAY");
        for (value, spans, told) in [
            ("10", 10, None),
            ("16384", 16_384, None),
            (
                "0",
                2_048,
                Some("OTEL_BSP_MAX_QUEUE_SIZE=0: 0 is of no use, so 2048 (1 to 16384 are possible)"),
            ),
            ("16385", 16_384, Some("OTEL_BSP_MAX_QUEUE_SIZE=16385: too large, so 16384")),
            ("99999999999999999999999", 16_384, Some("too large")),
            ("-1", 2_048, Some("not a number")),
        ] {
            let read = of(size, value);
            assert_eq!(read.queue.spans, spans, "{value}");
            assert_eq!(read.remarks.len(), usize::from(told.is_some()), "{read:?}");
            assert!(told.is_none_or(|told| read.remarks[0].contains(told)), "{read:?}");
        }
        assert_eq!(of(size, "10").queue.batch, 10);
        assert_eq!((of(batch, "7").queue.batch, of(batch, "0").queue.batch), (7, 512));
        for (value, ms) in [("0", 5_000), ("1", 10), ("200", 200), ("18446744073709551615", 3_600_000)] {
            assert_eq!(of(delay, value).queue.delay, Duration::from_millis(ms), "{value}");
        }
        assert_eq!(of("OTEL_BSP_EXPORT_TIMEOUT", "5").remarks.len(), 1);
    }

    #[test]
    fn variables_are_read() {
        let plain = read(Switch::On, &[]);
        assert_eq!((plain.sampler, plain.propagates), (Sampler::new(true, 1.0), true));
        assert_eq!(plain.queue, Queue::default());
        for (names, wanted) in
            [("none", false), ("baggage", false), ("b3, tracecontext", true), ("tracecontext,baggage", true)]
        {
            assert_eq!(read(Switch::On, &[("OTEL_PROPAGATORS", names)]).propagates, wanted, "{names}");
        }
        let ratio = ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio");
        let of = |argument| read(Switch::On, &[ratio, ("OTEL_TRACES_SAMPLER_ARG", argument)]);
        assert_eq!(of("0.01").sampler, Sampler::new(true, 0.01));
        for odd in ["7", "-1", "NaN", "x"] {
            assert_eq!((of(odd).sampler, of(odd).remarks.len()), (Sampler::new(true, 1.0), 1), "{odd}");
        }
    }
}
