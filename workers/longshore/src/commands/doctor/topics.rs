//! Partitions and settings of the pipeline's topics: the same judgement as that of `topics plan` and of a worker's start.

use std::sync::Arc;

use longshore_kafka::{Admin, Mend};

use super::case::Case;
use super::crew::Crew;
use super::finding::{Check, Finding, Next};
use crate::commands::topics::{Judged, judge};
use crate::output::counted;

pub(super) fn looks(crew: &mut Crew, admin: &Arc<Admin>) {
    let admin = Arc::clone(admin);
    let about = format!("of pipeline {}", crew.case().pipeline().pipeline);
    crew.look(Check::Topic, about.clone(), move |case| match judge(&admin, case.pipeline()) {
        Ok(topics) => topics.iter().flat_map(|topic| told(case, topic)).collect(),
        Err(failure) => vec![case.failed(Check::Topic, &about, &failure)],
    });
}

fn told(case: &Case, topic: &Judged) -> Vec<Finding> {
    let (name, purpose) = (&topic.name, topic.purpose);
    let Some(partitions) = topic.partitions else {
        let found = format!("this {purpose} topic does not exist");
        return vec![Finding::error(Check::Topic, name, found, case.command("topics apply"))];
    };
    let mut findings: Vec<Finding> = topic
        .differences
        .iter()
        .map(|difference| {
            let next = match &difference.mend {
                Mend::Grow(_) | Mend::Set { .. } => case.command("topics apply"),
                Mend::Nothing => Next::Command(format!(
                    "{} --execute --reassignment-json-file FILE",
                    case.tool("kafka-reassign-partitions")
                )),
            };
            let finding = if difference.refused { Finding::error } else { Finding::warn };
            finding(Check::Topic, name, difference.words.clone(), next)
        })
        .collect();
    if findings.is_empty() {
        let settings = if topic.untold { "; its settings are not told" } else { "" };
        let found = format!("{purpose}, {}{settings}", counted(u64::from(partitions), "partition"));
        findings.push(Finding::ok(Check::Topic, name, found));
    }
    findings
}
