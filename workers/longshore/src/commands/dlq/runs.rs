//! `longshore dlq replay ls|status|cancel`: what was done with letters, by whom.

use longshore_core::journal::{Marks, Run, RunKind, RunState, Target};

use super::arrived::arrived;
use super::replay::find;
use super::scope::Scope;
use crate::cli::{Connection, Format};
use crate::commands::common::answer::runtime;
use crate::commands::common::run::places;
use crate::commands::common::when;
use crate::commands::common::writer::{Which, Writer};
use crate::exit::{End, Exit};
use crate::output::{Output, counted, grouped};

pub(super) fn ls(connection: &Connection, output: &Output) -> Result<(), End> {
    let scope = Scope::of_connection(connection, output)?;
    scope.pipeline()?;
    let journal = scope.journal(output)?;
    let mut runs: Vec<&Run> = journal.runs.values().collect();
    // Newest first; an id tells the second alone.
    runs.sort_by_key(|run| std::cmp::Reverse(run.started_ms));
    output.rows(&["ID", "WHAT", "STATE", "HANDLED", "OF", "WHO"], &runs, |run| {
        vec![
            run.id.clone(),
            run.kind.word().to_owned(),
            run.state.word().to_owned(),
            run.counts.handled.to_string(),
            run.counts.selected.to_string(),
            run.who.chars().take(24).collect(),
        ]
    })?;
    let open = runs.iter().filter(|run| run.state.is_open()).count() as u64;
    if open > 0 {
        output.note(format_args!("not finished: {}", grouped(open)));
    }
    Ok(())
}

pub(super) fn status(connection: &Connection, id: &str, output: &Output) -> Result<(), End> {
    let scope = Scope::of_connection(connection, output)?;
    scope.pipeline()?;
    let journal = scope.journal(output)?;
    let run = find(&journal, id, Some(connection))?;
    match output.format() {
        Format::Table => print(run, output),
        Format::Json => output.json(run)?,
        Format::Ndjson => {
            output.line(serde_json::to_string(run).map_err(|error| End::new(Exit::Internal, error))?);
        }
    }
    Ok(())
}

fn print(run: &Run, output: &Output) {
    let line = |name: &str, text: String| output.line(format_args!("{name:<10} {text}"));
    let noun = if run.kind == RunKind::RetryNow { "record" } else { "letter" };
    line(run.kind.word(), run.id.clone());
    line("state", format!("{} ({})", run.state.word(), when::shown(run.updated_ms)));
    line("who", format!("{}, begun {}", run.who, when::shown(run.started_ms)));
    line(if run.kind == RunKind::RetryNow { "waited in" } else { "letters" }, run.topics.join(", "));
    if let Some(target) = &run.target {
        line(
            "to",
            match target {
                Target::Retry => "retry".to_owned(),
                Target::Input => "input".to_owned(),
                Target::Topic(topic) => topic.clone(),
            },
        );
    }
    let filter = &run.filter;
    for (name, value) in [
        ("where", filter.condition.clone()),
        ("since", filter.since_ms.map(when::shown)),
        ("until", filter.until_ms.map(when::shown)),
        ("reason", (!filter.reasons.is_empty()).then(|| filter.reasons.join(", "))),
        ("limit", filter.limit.map(grouped)),
        ("rate", run.rate.map(|rate| format!("{} a second", grouped(rate)))),
        ("why", run.words.clone()),
    ] {
        if let Some(value) = value {
            line(name, value);
        }
    }
    for (place, expression) in &run.transform {
        line("transform", format!("{place}: {expression}"));
    }
    line("handled", format!("{} of {}", grouped(run.counts.handled), counted(run.counts.selected, noun)));
    for (reason, count) in &run.counts.by_reason {
        line("", format!("{:>10}  {reason}", grouped(*count)));
    }
    for (count, words) in [
        (run.counts.already_held, "already held by the ledger"),
        (run.counts.too_often, "not sent: replayed too often"),
        (run.counts.without_payload, "not sent: without payload"),
        (run.counts.no_origin, "not sent: no origin of the pipeline's"),
        (run.counts.transform_failed, "not sent: the transform fails on them"),
        (run.counts.refused, "refused by the broker"),
        (run.counts.gone, "gone from the topic meanwhile"),
    ] {
        if count > 0 {
            line("", format!("{:>10}  {words}", grouped(count)));
        }
    }
}

pub(super) fn cancel(connection: &Connection, id: &str, output: &Output) -> Result<(), End> {
    let scope = Scope::of_connection(connection, output)?;
    scope.pipeline()?;
    let runtime = runtime()?;
    let writer = Writer::open(&scope.options, &scope.journal_topic().unwrap_or_default())?;
    let journal = scope.journal(output)?;
    let mut run = find(&journal, id, Some(connection))?.clone();
    match run.state {
        RunState::Done | RunState::Cancelled => {
            return Err(End::new(
                Exit::Failed,
                format!("{} {id} is {} already", run.kind.word(), run.state.word()),
            ));
        }
        RunState::Planning | RunState::Running | RunState::Stopped => {}
    }
    let crashed = run.state == RunState::Running && run.kind == RunKind::Replay;
    run.state = RunState::Cancelled;
    writer.run(&runtime, &mut run)?;
    if crashed {
        // What was sent and not noted is handled nevertheless, or the next replay would double it.
        let mut handled = journal.handled(id);
        let found = arrived(&scope.options, &run)?;
        handled.union(&found);
        writer.blocks(&runtime, id, Which::Handled, &handled, &places(&found))?;
        let mut of_these = journal.selected(id);
        let all = of_these.len();
        of_these.subtract(&handled);
        run.counts.handled = all - of_these.len();
        writer.run(&runtime, &mut run)?;
    }
    let selected = places(&journal.selected(id));
    writer.blocks(&runtime, id, Which::Selected, &Marks::default(), &selected)?;
    let (handled, all) = (grouped(run.counts.handled), counted(run.counts.selected, "letter"));
    output.note(format_args!(
        "{} {id} cancelled: {handled} of {all} handled, the others stay open",
        run.kind.word()
    ));
    Ok(())
}
