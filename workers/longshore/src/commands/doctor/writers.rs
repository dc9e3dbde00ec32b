//! Who else may write to the pipeline's own topics. What stands in a record's `longshore.*` headers there is believed, so only the fleet,
//! and those who replay, may write to them.

use std::sync::Arc;

use longshore_kafka::{Admin, WriteRule, Writers};

use super::case::Case;
use super::crew::Crew;
use super::finding::{Check, Finding, Next};
use crate::commands::topics::own_topics;

pub(super) fn looks(crew: &mut Crew, admin: &Arc<Admin>) {
    let own = own_topics(crew.case().pipeline());
    let inputs: Vec<_> = own.inputs.iter().map(|input| (input.clone(), None)).collect();
    for topic in own.wanted(&inputs, 1) {
        let admin = Arc::clone(admin);
        crew.look(Check::Rights, topic.name.clone(), move |case| match admin.topic_writers(&topic.name) {
            Ok(writers) => told(case, &topic.name, writers),
            Err(failure) => vec![case.failed(Check::Rights, &topic.name, &failure)],
        });
    }
}

fn told(case: &Case, topic: &str, writers: Writers) -> Vec<Finding> {
    let rules = match writers {
        Writers::These(rules) => rules,
        Writers::Everybody => {
            let found = "these brokers have no access lists: whoever reaches them may write to it";
            return vec![Finding::ok(Check::Rights, topic, found)];
        }
        Writers::Untold => {
            let found = "who else may write to it is not told (that takes Describe on the cluster)";
            return vec![Finding::ok(Check::Rights, topic, found)];
        }
    };
    let ours = case.principal();
    let others = rules.into_iter().filter(|rule| rule.principal != ours);
    let strange = |rule: WriteRule| {
        let found = format!(
            "{} may write to it, and what stands in its records' headers is believed",
            rule.principal
        );
        Finding::warn(Check::Rights, topic, found, Next::Command(removal(case, &rule)))
    };
    let findings: Vec<Finding> = others.map(strange).collect();
    if findings.is_empty() {
        return vec![Finding::ok(
            Check::Rights,
            topic,
            format!("nobody but {ours} and super users may write to it"),
        )];
    }
    findings
}

fn removal(case: &Case, rule: &WriteRule) -> String {
    let prefixed = if rule.prefixed { " --resource-pattern-type prefixed" } else { "" };
    format!(
        "{} --remove --allow-principal '{}' --operation {} --topic '{}'{prefixed}",
        case.tool("kafka-acls"),
        rule.principal,
        rule.operation,
        rule.name
    )
}
