//! `longshore lag`: how far a group is behind, per partition, and how fast it catches up.

mod pace;

use std::time::{Duration, Instant};

use longshore_core::Failure;
use longshore_kafka::{Admin, LagRow, Unseen};
use serde::Serialize;

use self::pace::{Pace, Paced};
use super::common::when;
use super::connection;
use crate::cli::Lag;
use crate::exit::{End, Exit};
use crate::output::{Output, counted, grouped};

/// A partition as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Row {
    topic: String,
    partition: i32,
    start: Option<i64>,
    committed: Option<i64>,
    /// As `start` and `lag`, none where the leader of the partition did not answer.
    end: Option<i64>,
    lag: Option<u64>,
    /// Why not.
    error: Option<String>,
}

impl From<&Result<LagRow, Unseen>> for Row {
    fn from(found: &Result<LagRow, Unseen>) -> Self {
        match found {
            Ok(row) => Self {
                topic: row.topic.clone(),
                partition: row.partition,
                start: Some(row.start),
                committed: row.committed,
                end: Some(row.end),
                lag: Some(row.lag),
                error: None,
            },
            Err(unseen) => Self {
                topic: unseen.topic.clone(),
                partition: unseen.partition,
                start: None,
                committed: unseen.committed,
                end: None,
                lag: None,
                error: Some(unseen.failure.to_string()),
            },
        }
    }
}

/// One look at a group: all of its partitions, and the first failure of a leader that did not answer.
fn look(admin: &Admin, group: &str, topics: &[String]) -> Result<(Vec<Row>, Option<Failure>), Failure> {
    let found = admin.lag_each(group, topics)?;
    let rows = found.iter().map(Row::from).collect();
    Ok((rows, found.into_iter().find_map(|row| row.err().map(|unseen| unseen.failure))))
}

pub(crate) fn run(arguments: &Lag, output: &Output) -> Result<(), End> {
    let target = connection::target(&arguments.connection, output)?;
    let group = arguments.group.clone().or_else(|| target.group.clone());
    let group =
        group.ok_or_else(|| End::new(Exit::Usage, "name a group: --group NAME, or a pipeline with -c"))?;
    let topics = match &arguments.topic {
        Some(topic) => vec![topic.clone()],
        None if target.inputs.is_empty() => vec![target.topic(None)?],
        None => target.inputs.clone(),
    };
    let admin = Admin::new(&target.options)?;
    if let Some(seconds) = arguments.watch {
        return watch(&admin, &group, &topics, Duration::from_secs(seconds), output);
    }
    let (rows, failure) = look(&admin, &group, &topics)?;
    output.rows(&["TOPIC", "PARTITION", "COMMITTED", "END", "LAG"], &rows, cells)?;
    output.note(total(&group, &rows));
    // A script must not take what is known of some partitions for the whole.
    failure.map_or(Ok(()), |failure| Err(failure.into()))
}

/// Looks again and again, until it is interrupted or nobody reads any more. A broker that is away for a while is told and waited for.
fn watch(admin: &Admin, group: &str, topics: &[String], pause: Duration, output: &Output) -> Result<(), End> {
    let mut pace = Pace::default();
    let mut seen = look(admin, group, topics)?;
    loop {
        let (rows, failure) = seen;
        let rows = pace.look(Instant::now(), rows);
        output.begin_screen();
        output.rows(
            &["TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "RATE", "DRAIN"],
            &rows,
            paced_cells,
        )?;
        output.note(paced_total(group, &rows));
        if let Some(failure) = failure {
            output.note(format_args!("not seen: {failure}"));
        }
        if output.closed() {
            return Ok(());
        }
        // What was seen before is not printed again as if it were news.
        seen = loop {
            // The pause between two looks, as it was asked for.
            std::thread::sleep(pause);
            match look(admin, group, topics) {
                Ok(seen) => break seen,
                Err(failure) => output.note(format_args!("not seen: {failure}")),
            }
        };
    }
}

fn paced_cells(row: &Paced) -> Vec<String> {
    let rate = row.rate.map_or_else(|| "-".to_owned(), |rate| format!("{}/s", grouped(rate.round() as u64)));
    let drain = row.drain_seconds.map_or_else(|| "-".to_owned(), span);
    [cells(&row.row), vec![rate, drain]].concat()
}

fn paced_total(group: &str, rows: &[Paced]) -> String {
    let plain: Vec<Row> = rows.iter().map(|row| row.row.clone()).collect();
    let total = total(group, &plain);
    match pace::whole(rows) {
        (Some(rate), Some(drain)) if drain > 0.0 => {
            format!("{total}, at {}/s done in {}", grouped(rate.round() as u64), span(drain))
        }
        (Some(_), None) if plain.iter().all(|row| row.lag.is_some()) => format!("{total}, nothing moves"),
        _ => total,
    }
}

fn span(seconds: f64) -> String {
    when::span((seconds * 1_000.0) as i64)
}

fn cells(row: &Row) -> Vec<String> {
    let known = |offset: Option<i64>| offset.map_or_else(|| "-".to_owned(), |offset| offset.to_string());
    let lag = row.lag.map_or_else(|| "?".to_owned(), |lag| lag.to_string());
    vec![row.topic.clone(), row.partition.to_string(), known(row.committed), known(row.end), lag]
}

fn total(group: &str, rows: &[Row]) -> String {
    let (known, unknown): (Vec<&Row>, Vec<_>) = rows.iter().partition(|row| row.lag.is_some());
    let lag = grouped(known.iter().filter_map(|row| row.lag).sum());
    // A misspelt group looks like one that has not begun.
    let hint =
        if rows.iter().all(|row| row.committed.is_none()) { "; it has committed nothing yet" } else { "" };
    let unseen = match unknown.len() {
        0 => String::new(),
        count => format!("; {} unknown, as the leader does not answer", counted(count as u64, "partition")),
    };
    format!("lag of {group}: {lag} in {}{unseen}{hint}", counted(known.len() as u64, "partition"))
}

#[cfg(test)]
mod tests {
    use longshore_core::Reason;

    use super::*;

    fn seen(committed: Option<i64>, lag: u64) -> Row {
        Row::from(&Ok(LagRow { topic: "in".into(), partition: 0, start: 0, committed, end: 1500, lag }))
    }

    #[test]
    fn a_group_without_commits_is_told() {
        let row = seen(None, 1500);
        assert_eq!(cells(&row), ["in", "0", "-", "1500", "1500"]);
        let words = total("g", &[row]);
        assert_eq!(words, "lag of g: 1,500 in 1 partition; it has committed nothing yet");
        assert_eq!(total("g", &[seen(Some(1500), 0)]), "lag of g: 0 in 1 partition");
    }

    #[test]
    fn a_partition_that_was_not_seen_is_not_counted_as_none() {
        let failure = Failure::target(Reason::BrokerUnavailable, "offsets of in/1");
        let unseen = Unseen { topic: "in".into(), partition: 1, committed: Some(7), failure };
        let rows = [seen(Some(1490), 10), Row::from(&Err(unseen))];
        assert_eq!(cells(&rows[1]), ["in", "1", "7", "-", "?"]);
        assert!(rows[1].error.as_deref().is_some_and(|error| error.starts_with("broker.unavailable")));
        let words = total("g", &rows);
        assert_eq!(words, "lag of g: 10 in 1 partition; 1 partition unknown, as the leader does not answer");
    }
}
