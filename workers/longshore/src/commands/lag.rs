//! `longshore lag`: how far a group is behind, per partition.

use longshore_kafka::{Admin, LagRow};

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
    let rows = Admin::new(&target.options)?.lag(&group, &topics)?;
    output.rows(&["TOPIC", "PARTITION", "COMMITTED", "END", "LAG"], &rows, cells)?;
    output.note(total(&group, &rows));
    Ok(())
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
