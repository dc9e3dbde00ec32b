//! A page of metrics as OTLP has it (<https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/>). Names and labels
//! are those of the page, so that both ways tell the same; only the metrics of the messaging conventions have their names there with dots.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::page::{Family, Sample, read};

/// Since when counters count, and the moment of the values; nanoseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) began_ns: u64,
    pub(super) now_ns: u64,
}

/// A request with all metrics of a page.
pub(super) fn request(
    page: &str,
    resource: &[(String, String)],
    version: &str,
    times: Times,
) -> ExportMetricsServiceRequest {
    let attributes = resource.iter().map(|(name, value)| attribute(name, value)).collect();
    let families = read(page);
    let metrics = families.iter().filter(|family| !family.samples.is_empty());
    let scope = InstrumentationScope {
        name: "longshore".into(),
        version: version.into(),
        ..InstrumentationScope::default()
    };
    let scope = ScopeMetrics {
        scope: Some(scope),
        metrics: metrics.map(|family| metric(family, times)).collect(),
        schema_url: String::new(),
    };
    let resource = Resource { attributes, ..Resource::default() };
    let resource =
        ResourceMetrics { resource: Some(resource), scope_metrics: vec![scope], schema_url: String::new() };
    ExportMetricsServiceRequest { resource_metrics: vec![resource] }
}

fn attribute(name: &str, value: &str) -> KeyValue {
    let value = any_value::Value::StringValue(value.to_owned());
    KeyValue { key: name.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// Where the conventions have dots, the page has underscores, and the unit at the end.
fn is_conventional(name: &str) -> bool {
    name.starts_with("messaging_")
}

fn name_of(family: &Family<'_>) -> String {
    if is_conventional(family.name) {
        return family.name.trim_end_matches("_seconds").replace('_', ".");
    }
    let end = match family.kind {
        "counter" => "_total",
        "info" => "_info",
        _ => "",
    };
    format!("{}{end}", family.name)
}

fn unit_of(name: &str) -> &'static str {
    match name {
        _ if name.ends_with("_seconds") => "s",
        _ if name.ends_with("_bytes") => "By",
        _ if name.ends_with("_messages") => "{message}",
        _ => "",
    }
}

fn metric(family: &Family<'_>, times: Times) -> Metric {
    let cumulative = AggregationTemporality::Cumulative as i32;
    let points = || family.samples.iter().map(|sample| point(family, sample, times)).collect();
    let data = match family.kind {
        "counter" => metric::Data::Sum(Sum {
            data_points: points(),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        "histogram" => metric::Data::Histogram(Histogram {
            data_points: histograms(family, times),
            aggregation_temporality: cumulative,
        }),
        _ => metric::Data::Gauge(Gauge { data_points: points() }),
    };
    Metric {
        name: name_of(family),
        description: family.help.to_owned(),
        unit: unit_of(family.name).to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

fn attributes(family: &Family<'_>, sample: &Sample<'_>) -> Vec<KeyValue> {
    let name = |name: &str| {
        if is_conventional(family.name) { dotted(name).to_owned() } else { name.to_owned() }
    };
    let labels = sample.labels.iter().filter(|(label, _)| *label != "le");
    // An attribute that says nothing is none.
    labels
        .filter(|(_, value)| !value.is_empty())
        .map(|(label, value)| attribute(&name(label), value))
        .collect()
}

/// The conventions' name of a label.
fn dotted(label: &str) -> &str {
    match label {
        "messaging_system" => "messaging.system",
        "messaging_operation_name" => "messaging.operation.name",
        "messaging_destination_name" => "messaging.destination.name",
        "messaging_consumer_group_name" => "messaging.consumer.group.name",
        "error_type" => "error.type",
        other => other,
    }
}

fn point(family: &Family<'_>, sample: &Sample<'_>, times: Times) -> NumberDataPoint {
    let value = match sample.value.parse() {
        Ok(whole) => number_data_point::Value::AsInt(whole),
        Err(_) => number_data_point::Value::AsDouble(sample.number()),
    };
    NumberDataPoint {
        attributes: attributes(family, sample),
        start_time_unix_nano: if family.kind == "counter" { times.began_ns } else { 0 },
        time_unix_nano: times.now_ns,
        value: Some(value),
        ..NumberDataPoint::default()
    }
}

/// The samples of a histogram stand together, `_sum` first; buckets count all that is not larger.
fn histograms(family: &Family<'_>, times: Times) -> Vec<HistogramDataPoint> {
    let mut points: Vec<HistogramDataPoint> = Vec::new();
    let mut below = 0;
    for sample in &family.samples {
        if sample.end == "_sum" {
            below = 0;
            points.push(HistogramDataPoint {
                attributes: attributes(family, sample),
                start_time_unix_nano: times.began_ns,
                time_unix_nano: times.now_ns,
                sum: Some(sample.number()),
                ..HistogramDataPoint::default()
            });
        }
        let Some(point) = points.last_mut() else { continue };
        match sample.end {
            "_count" => point.count = sample.value.parse().unwrap_or_default(),
            "_bucket" => {
                let count: u64 = sample.value.parse().unwrap_or_default();
                point.bucket_counts.push(count.saturating_sub(below));
                below = count;
                let bound = sample.labels.iter().find(|(label, _)| *label == "le");
                let bound = bound.and_then(|(_, bound)| bound.parse::<f64>().ok());
                point.explicit_bounds.extend(bound.filter(|bound| bound.is_finite()));
            }
            _ => {}
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_told_as_otlp() {
        let page = "# HELP longshore_build The version.\n# TYPE longshore_build info\nlongshore_build_info{version=\"1\"} 1\n\
                    # HELP longshore_x Count.\n# TYPE longshore_x counter\nlongshore_x_total{topic=\"in\"} 7\n\
                    # HELP longshore_idle Nothing.\n# TYPE longshore_idle counter\n\
                    # HELP messaging_process_duration_seconds Time.\n# TYPE messaging_process_duration_seconds histogram\n\
                    messaging_process_duration_seconds_sum{messaging_system=\"kafka\",error_type=\"\"} 2.5\n\
                    messaging_process_duration_seconds_count{messaging_system=\"kafka\",error_type=\"\"} 5\n\
                    messaging_process_duration_seconds_bucket{le=\"0.1\",messaging_system=\"kafka\",error_type=\"\"} 2\n\
                    messaging_process_duration_seconds_bucket{le=\"+Inf\",messaging_system=\"kafka\",error_type=\"\"} 5\n# EOF\n";
        let times = Times { began_ns: 1, now_ns: 2 };
        let request = request(page, &[("service.name".into(), "logs".into())], "1", times);
        let scope = &request.resource_metrics[0].scope_metrics[0];
        let [build, count, took] = &scope.metrics[..] else { panic!("{scope:#?}") };
        assert_eq!((build.name.as_str(), count.name.as_str()), ("longshore_build_info", "longshore_x_total"));
        let Some(metric::Data::Sum(sum)) = &count.data else { panic!("{count:?}") };
        assert!(sum.is_monotonic && sum.data_points[0].attributes == [attribute("topic", "in")], "{sum:?}");
        assert_eq!(sum.data_points[0].value, Some(number_data_point::Value::AsInt(7)));
        assert_eq!((sum.data_points[0].start_time_unix_nano, sum.data_points[0].time_unix_nano), (1, 2));
        assert_eq!((took.name.as_str(), took.unit.as_str()), ("messaging.process.duration", "s"));
        let Some(metric::Data::Histogram(took)) = &took.data else { panic!("{took:?}") };
        let point = &took.data_points[0];
        assert_eq!((point.count, point.sum, &point.bucket_counts[..]), (5, Some(2.5), &[2, 3][..]));
        assert_eq!(point.explicit_bounds, [0.1]);
        assert_eq!(point.attributes, [attribute("messaging.system", "kafka")]);
    }
}
