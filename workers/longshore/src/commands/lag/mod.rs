//! `longshore lag`: how far a group is behind, per partition, and how fast it catches up.

mod pace;

use std::time::{Duration, Instant};

use longshore_kafka::{Admin, LagRow};

use self::pace::{Pace, Paced};
use super::common::when;
use super::connection;
use crate::cli::Lag;
use crate::exit::{End, Exit};
use crate::output::{Output, counted, grouped};

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
    let rows = admin.lag(&group, &topics)?;
    output.rows(&["TOPIC", "PARTITION", "COMMITTED", "END", "LAG"], &rows, cells)?;
    output.note(total(&group, &rows));
    Ok(())
}

/// Looks again and again, until it is interrupted or nobody reads any more. A broker that is away for a while is told and waited for.
fn watch(admin: &Admin, group: &str, topics: &[String], pause: Duration, output: &Output) -> Result<(), End> {
    let mut pace = Pace::default();
    let mut seen = admin.lag(group, topics)?;
    loop {
        let rows = pace.look(Instant::now(), seen);
        output.begin_screen();
        output.rows(
            &["TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "RATE", "DRAIN"],
            &rows,
            paced_cells,
        )?;
        output.note(paced_total(group, &rows));
        if output.closed() {
            return Ok(());
        }
        // What was seen before is not printed again as if it were news.
        seen = loop {
            // The pause between two looks, as it was asked for.
            std::thread::sleep(pause);
            match admin.lag(group, topics) {
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
    let plain: Vec<LagRow> = rows.iter().map(|row| row.row.clone()).collect();
    let total = total(group, &plain);
    match pace::whole(rows) {
        (Some(rate), Some(drain)) if drain > 0.0 => {
            format!("{total}, at {}/s done in {}", grouped(rate.round() as u64), span(drain))
        }
        (Some(_), None) => format!("{total}, nothing moves"),
        _ => total,
    }
}

fn span(seconds: f64) -> String {
    when::span((seconds * 1_000.0) as i64)
}

fn cells(row: &LagRow) -> Vec<String> {
    let committed = row.committed.map_or_else(|| "-".to_owned(), |offset| offset.to_string());
    vec![row.topic.clone(), row.partition.to_string(), committed, row.end.to_string(), row.lag.to_string()]
}

fn total(group: &str, rows: &[LagRow]) -> String {
    let lag = grouped(rows.iter().map(|row| row.lag).sum());
    // A misspelt group looks like one that has not begun.
    let hint =
        if rows.iter().all(|row| row.committed.is_none()) { "; it has committed nothing yet" } else { "" };
    format!("lag of {group}: {lag} in {}{hint}", counted(rows.len() as u64, "partition"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_without_commits_is_told() {
        let row =
            LagRow { topic: "in".into(), partition: 0, start: 0, committed: None, end: 1500, lag: 1500 };
        assert_eq!(cells(&row), ["in", "0", "-", "1500", "1500"]);
        let words = total("g", std::slice::from_ref(&row));
        assert_eq!(words, "lag of g: 1,500 in 1 partition; it has committed nothing yet");
        let begun = LagRow { committed: Some(1500), lag: 0, ..row };
        assert_eq!(total("g", &[begun]), "lag of g: 0 in 1 partition");
    }
}
