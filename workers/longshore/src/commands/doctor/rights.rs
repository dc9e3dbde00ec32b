//! What we may do with each topic and the group, beside what a worker and the commands do with them.

use std::sync::Arc;

use longshore_core::{Failure, Reason};
use longshore_kafka::{Admin, Right, Rights, dead_letter_topic, journal_topic, retry_topic};
use longshore_settings::{Pipeline, SinkKind};

use super::case::Case;
use super::crew::Crew;
use super::finding::{Check, Finding};

/// A topic or group, and the rights to it that are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Need {
    /// The word of Kafka's tools.
    kind: &'static str,
    name: String,
    /// Without these a worker does not start, or stops.
    must: &'static [Right],
    /// Without these something else does not work.
    may: &'static [Right],
    /// What that is.
    why: &'static str,
}

pub(super) fn looks(crew: &mut Crew, admin: &Arc<Admin>) {
    for need in needs(crew.case().pipeline()) {
        let admin = Arc::clone(admin);
        crew.look(Check::Rights, need.name.clone(), move |case| {
            let told = match need.kind {
                "group" => admin.group_look(&need.name).map(|look| look.rights),
                _ => admin.topic_rights(&need.name),
            };
            judged(case, &need, told)
        });
    }
}

fn needs(pipeline: &Pipeline) -> Vec<Need> {
    use Right::{Describe, DescribeConfigs, Read, Write};
    let topic = |name: String, must, may, why| Need { kind: "topic", name, must, may, why };
    let name = &pipeline.pipeline;
    let mut needs = Vec::new();
    for input in &pipeline.input.topics {
        let why = "without it nobody knows how large its records may be, so 1 MiB is assumed";
        needs.push(topic(input.clone(), &[Read, Describe], &[DescribeConfigs], why));
        if pipeline.has_retry_topics() {
            needs.push(topic(retry_topic(input, name), &[Read, Write, Describe, DescribeConfigs], &[], ""));
        }
        let why = "`longshore dlq` and `longshore why` read letters";
        needs.push(topic(dead_letter_topic(input, name), &[Write, Describe, DescribeConfigs], &[Read], why));
    }
    let why = "`longshore dlq` notes there what was done with letters";
    needs.push(topic(journal_topic(name), &[Describe, DescribeConfigs], &[Read, Write], why));
    for sink in &pipeline.sinks {
        if let SinkKind::Topic(options) = &sink.kind {
            needs.push(topic(options.name.clone(), &[Write, Describe], &[], ""));
        }
    }
    needs.push(Need { kind: "group", name: pipeline.group(), must: &[Read, Describe], may: &[], why: "" });
    needs
}

fn judged(case: &Case, need: &Need, told: Result<Rights, Failure>) -> Vec<Finding> {
    let Need { kind, name, must, may, why } = need;
    let words = |rights: &[Right]| rights.iter().map(|right| right.word()).collect::<Vec<_>>().join(", ");
    let (must_words, principal) = (words(must), case.principal());
    let has = match told {
        Ok(Rights::These(has)) => has,
        Ok(Rights::Refused) => Vec::new(),
        Ok(Rights::Untold) => {
            let found = if *kind == "group" {
                "no such group yet, so the brokers do not tell what we may do with it"
            } else {
                "these brokers do not tell what we may do with it"
            };
            return vec![Finding::ok(Check::Rights, name, found)];
        }
        // That it is missing is told with the topics.
        Err(failure) if failure.reason == Reason::BrokerTopicMissing => return Vec::new(),
        Err(failure) => return vec![case.failed(Check::Rights, name, &failure)],
    };
    let lacking = |wanted: &[Right]| -> Vec<Right> {
        wanted.iter().copied().filter(|right| !has.contains(right)).collect()
    };
    let (lacks, misses) = (lacking(must), lacking(may));
    let mut findings = Vec::new();
    if lacks.is_empty() {
        findings.push(Finding::ok(Check::Rights, name, format!("{must_words} on the {kind}")));
    } else {
        let found = format!("{principal} lacks {} on the {kind}; a worker needs {must_words}", words(&lacks));
        findings.push(Finding::error(Check::Rights, name, found, case.grant(&[(kind, name)], &lacks)));
    }
    if lacks.is_empty() && !misses.is_empty() {
        let found = format!("{principal} lacks {} on the {kind}: {why}", words(&misses));
        findings.push(Finding::warn(Check::Rights, name, found, case.grant(&[(kind, name)], &misses)));
    }
    findings
}
