//! The group: who else is in it, and whether it can go on where it has committed.

use std::sync::Arc;

use longshore_core::Failure;
use longshore_kafka::{Admin, GroupLook, GroupProtocol};

use super::case::Case;
use super::crew::Crew;
use super::finding::{Check, Finding, Next};
use crate::output::{counted, grouped};
use crate::worker::topics::retry_topics;

/// How members of our kind deal partitions out in the classic protocol.
const ASSIGNOR: &str = "cooperative-sticky";

pub(super) fn looks(crew: &mut Crew, admin: &Arc<Admin>) {
    let group = crew.case().pipeline().group();
    let asked = Arc::clone(admin);
    crew.look(Check::Group, group.clone(), move |case| match asked.group_look(&case.pipeline().group()) {
        Ok(look) => vec![members(case, &look)],
        // What was refused is told with the rights.
        Err(failure) => vec![case.failed(Check::Group, &case.pipeline().group(), &failure)],
    });
    let asked = Arc::clone(admin);
    crew.look(Check::Group, group, move |case| {
        let found = place(case, &asked);
        found.unwrap_or_else(|failure| vec![case.failed(Check::Group, &case.pipeline().group(), &failure)])
    });
}

fn members(case: &Case, look: &GroupLook) -> Finding {
    let group = case.pipeline().group();
    let Some(state) = look.state else {
        return Finding::ok(Check::Group, group, "no such group yet; the first worker makes it");
    };
    let members = counted(look.members as u64, "member");
    if look.members == 0 {
        return Finding::ok(Check::Group, group, format!("{state}, {members}"));
    }
    let wanted = case.options.group_protocol;
    let other =
        Next::Setting(format!("input.group: a name that nobody else uses; {group} is somebody else's"));
    match look.protocol {
        Some(protocol) if protocol != wanted => {
            let (theirs, ours) = (word(protocol), word(wanted));
            let found = format!(
                "{state}, {members} speak the protocol `{theirs}`, and this pipeline file says `{ours}`"
            );
            Finding::error(
                Check::Group,
                group,
                found,
                Next::Setting(format!("kafka.group_protocol: {theirs}")),
            )
        }
        Some(GroupProtocol::Classic) if !look.assignor.is_empty() && look.assignor != ASSIGNOR => {
            let found = format!(
                "{members} deal partitions out by `{}`: another application is in this group",
                look.assignor
            );
            Finding::error(Check::Group, group, found, other)
        }
        _ => Finding::ok(Check::Group, group, format!("{state}, {members}")),
    }
}

fn word(protocol: GroupProtocol) -> &'static str {
    match protocol {
        GroupProtocol::Classic => "classic",
        GroupProtocol::Consumer => "consumer",
    }
}

/// Whether the log still has what comes next.
fn place(case: &Case, admin: &Admin) -> Result<Vec<Finding>, Failure> {
    let inputs = &case.pipeline().input.topics;
    let mut retries = retry_topics(case.pipeline());
    let topics: Vec<_> = inputs.iter().map(|input| (input.clone(), retries.remove(input))).collect();
    let group = case.pipeline().group();
    let mut findings = Vec::new();
    for row in admin.lag(&group, inputs)? {
        let (topic, partition, start) = (&row.topic, row.partition, row.start);
        let Some(committed) = row.committed.filter(|committed| *committed < start) else { continue };
        let found =
            format!("{topic}/{partition}: committed offset {committed} is gone, the log begins at {start}");
        let next = Next::Command(format!(
            "{} --alter --topic {topic} --add-config retention.ms=MILLISECONDS, then input.group and input.start for where to begin",
            case.tool("kafka-configs")
        ));
        findings.push(Finding::error(Check::Group, &group, found, next));
    }
    // The look of the scaler knows commits beyond the end, and what waits for its retry.
    let look = admin.fleet(&group, &topics)?;
    let sum =
        |of: fn(&longshore_core::scale::PartitionLook) -> u64| look.partitions.iter().map(of).sum::<u64>();
    let (backlog, waiting) = (sum(|partition| partition.backlog), sum(|partition| partition.waiting));
    let held = look.partitions.iter().filter(|partition| partition.held).count();
    let partitions = counted(look.partitions.len() as u64, "partition");
    let found =
        format!("{} records to do and {} waiting in {partitions}", grouped(backlog), grouped(waiting));
    findings.push(if held == 0 {
        Finding::ok(Check::Group, &group, found)
    } else {
        let found = format!(
            "{found}; {} held by a sink or target that is away, or by the flood breaker",
            counted(held as u64, "partition")
        );
        Finding::warn(Check::Group, &group, found, case.command("top --once --filter held -c"))
    });
    Ok(findings)
}
