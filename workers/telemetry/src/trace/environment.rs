//! What the standard variables say
//! (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>). The SDK reads `OTEL_BSP_*`,
//! `OTEL_EXPORTER_OTLP_*`, `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` by itself; what it does not read, or what has to be known before
//! there is an SDK, is read here.

use super::sampler::Sampler;

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
    /// Whether spans are made.
    pub(super) on: bool,
    pub(super) sampler: Sampler,
    /// Whether contexts are read from headers and written to them.
    pub(super) propagates: bool,
    /// Whether the service's name is told.
    pub(super) names_service: bool,
    /// The most spans that wait to be sent.
    pub(super) queue: usize,
    /// What is not done as a variable wants it, for a log line each.
    pub(super) remarks: Vec<String>,
}

/// The SDK's default for `OTEL_BSP_MAX_QUEUE_SIZE`.
const QUEUE: usize = 2048;

impl Environment {
    pub(super) fn read(switch: Switch, get: impl Fn(&str) -> Option<String>) -> Self {
        // An empty variable is an unset one, by the specification.
        let get =
            |name: &str| get(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let mut remarks = Vec::new();
        let disabled = get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let wanted = match switch {
            Switch::Off => false,
            Switch::On => exporter(&get, true, &mut remarks),
            Switch::Auto => exporter(&get, false, &mut remarks),
        };
        let on = wanted && !disabled && speaks(&get, &mut remarks);
        let attributes = get("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
        let named = attributes.split(',').any(|entry| entry.trim().starts_with("service.name="));
        let queue = get("OTEL_BSP_MAX_QUEUE_SIZE").and_then(|size| size.parse().ok());
        Self {
            on,
            sampler: sampler(&get, &mut remarks),
            propagates: propagates(&get, &mut remarks),
            names_service: get("OTEL_SERVICE_NAME").is_some() || named,
            queue: queue.filter(|size| *size > 0).unwrap_or(QUEUE),
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

/// Whether the protocol is one that there is; sent to another's port by the wrong one, no span would arrive.
fn speaks(get: &impl Fn(&str) -> Option<String>, remarks: &mut Vec<String>) -> bool {
    let exporter = get("OTEL_TRACES_EXPORTER");
    if exporter.is_some_and(|names| !names.split(',').any(|name| name.trim() == "otlp")) {
        return false;
    }
    let names = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
    match names.iter().find_map(|name| get(name)) {
        None => true,
        Some(protocol) if protocol == "http/protobuf" => true,
        Some(protocol) => {
            remarks.push(format!(
                "OTEL_EXPORTER_OTLP_PROTOCOL={protocol} is not known here, only http/protobuf (port 4318): no spans"
            ));
            false
        }
    }
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
        assert!(!read(Switch::Auto, &[]).on);
        assert!(!read(Switch::Auto, &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]).on);
        assert!(read(Switch::Auto, &[ENDPOINT]).on);
        assert!(read(Switch::Auto, &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://x/v1/traces")]).on);
        assert!(read(Switch::Auto, &[("OTEL_TRACES_EXPORTER", "otlp")]).on);
        assert!(read(Switch::On, &[]).on);
        assert!(!read(Switch::Off, &[ENDPOINT]).on);
        for switch in [Switch::Auto, Switch::On] {
            assert!(!read(switch, &[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")]).on);
            assert!(read(switch, &[ENDPOINT, ("OTEL_SDK_DISABLED", "no")]).on);
            assert!(!read(switch, &[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")]).on);
            for unknown in [("OTEL_TRACES_EXPORTER", "console"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")] {
                let read = read(switch, &[ENDPOINT, unknown]);
                assert!(!read.on && read.remarks.len() == 1, "{read:?}");
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

    #[test]
    fn variables_are_read() {
        let plain = read(Switch::On, &[]);
        assert_eq!((plain.sampler, plain.propagates), (Sampler::new(true, 1.0), true));
        assert_eq!((plain.queue, plain.names_service), (2048, false));
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
        assert_eq!(read(Switch::On, &[("OTEL_BSP_MAX_QUEUE_SIZE", "10")]).queue, 10);
        assert_eq!(read(Switch::On, &[("OTEL_BSP_MAX_QUEUE_SIZE", "0")]).queue, 2048);
        assert!(read(Switch::On, &[("OTEL_SERVICE_NAME", "x")]).names_service);
        assert!(read(Switch::On, &[("OTEL_RESOURCE_ATTRIBUTES", "a=b, service.name=x")]).names_service);
    }
}
