//! Spans of time that have to fit each other: session, polls, a revoke, a drain, and the patience of whoever ends the worker.

use std::time::Duration;

use longshore_kafka::{GroupProtocol, SESSION_MS, heartbeat_ms};
use longshore_settings::LimitOptions;

use super::crew::Crew;
use super::finding::{Check, Finding, Next};
use crate::commands::deploy::GRACE_MARGIN;
use crate::worker::stop_within;

/// What a revoke takes beside `limits.revoke`: the commit.
const REVOKE_COMMIT: Duration = Duration::from_secs(2);

pub(super) fn looks(crew: &mut Crew) {
    crew.look(Check::Timing, "limits", |case| {
        let ms =
            |name: &str, default: u64| Duration::from_millis(case.client_setting(name).unwrap_or(default));
        let session = case.client_setting("session.timeout.ms").unwrap_or(SESSION_MS);
        let times = Times {
            session: Duration::from_millis(session),
            heartbeat: ms("heartbeat.interval.ms", heartbeat_ms(session)),
            poll: ms("max.poll.interval.ms", 300_000),
            stop: stop_within(case.pipeline()),
            classic: case.options.group_protocol == GroupProtocol::Classic,
        };
        judged(&times, &case.pipeline().limits)
    });
}

/// As they are in force.
struct Times {
    session: Duration,
    heartbeat: Duration,
    poll: Duration,
    /// From SIGTERM to the end.
    stop: Duration,
    /// With the other protocol session and heartbeat are the broker's.
    classic: bool,
}

fn judged(times: &Times, limits: &LimitOptions) -> Vec<Finding> {
    let mut findings = Vec::new();
    let client = |name: &str, value: u128| Next::Setting(format!("kafka.client.{name}: {value}"));
    let (session, poll, stop) = (times.session, times.poll, times.stop);
    let revoke = limits.revoke.get() + REVOKE_COMMIT;
    if poll <= revoke {
        let found = format!(
            "max.poll.interval.ms is {poll:?}, and a worker may stand still for {revoke:?} when partitions are taken from it: the group would put it out"
        );
        findings.push(Finding::error(
            Check::Timing,
            "polls",
            found,
            client("max.poll.interval.ms", (10 * revoke).as_millis()),
        ));
    } else if poll <= stop {
        let found = format!(
            "max.poll.interval.ms is {poll:?}, and a drain may take {stop:?}: the group may put a worker out that is draining"
        );
        findings.push(Finding::warn(
            Check::Timing,
            "polls",
            found,
            client("max.poll.interval.ms", (2 * stop).as_millis()),
        ));
    }
    if times.classic && times.heartbeat * 3 > session {
        let found = format!(
            "session.timeout.ms is {session:?} with a heartbeat each {:?}: two late ones put a worker out",
            times.heartbeat
        );
        findings.push(Finding::warn(
            Check::Timing,
            "session",
            found,
            client("heartbeat.interval.ms", session.as_millis() / 4),
        ));
    }
    if times.classic && session > stop {
        let found = format!(
            "session.timeout.ms is {session:?}: a worker that is killed holds its partitions longer than one that drains ({stop:?} at most)"
        );
        findings.push(Finding::warn(Check::Timing, "session", found, client("session.timeout.ms", 10_000)));
    }
    if findings.is_empty() {
        let session = if times.classic { format!("session {session:?}, ") } else { String::new() };
        let revoke = limits.revoke.get();
        findings.push(Finding::ok(
            Check::Timing,
            "session",
            format!("{session}polls {poll:?}, revoke {revoke:?}"),
        ));
    }
    let grace = (stop + GRACE_MARGIN).as_secs_f64().ceil();
    let found = format!(
        "SIGTERM ends a worker within {stop:?}: give it {grace} s (terminationGracePeriodSeconds, TimeoutStopSec, stop_grace_period)"
    );
    findings.push(Finding::ok(Check::Timing, "drain", found));
    findings
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn levels(session: u64, heartbeat: u64, poll: u64) -> Vec<(String, Level)> {
        let times = Times {
            session: Duration::from_secs(session),
            heartbeat: Duration::from_secs(heartbeat),
            poll: Duration::from_secs(poll),
            stop: Duration::from_millis(23_500),
            classic: true,
        };
        let found = judged(&times, &LimitOptions::default());
        found.into_iter().map(|finding| (finding.about, finding.level)).collect()
    }

    /// Guarantee: spans that fit give no warning, each that does not gives its own.
    #[test]
    fn spans_that_do_not_fit_are_told() {
        let drain = ("drain".to_owned(), Level::Ok);
        let told = |about: &str, level| vec![(about.to_owned(), level), drain.clone()];
        assert_eq!(levels(10, 3, 300), told("session", Level::Ok));
        assert_eq!(levels(45, 3, 300), told("session", Level::Warn));
        assert_eq!(levels(10, 5, 300), told("session", Level::Warn));
        assert_eq!(levels(10, 3, 20), told("polls", Level::Warn));
        assert_eq!(levels(10, 3, 3), told("polls", Level::Error));
    }
}
