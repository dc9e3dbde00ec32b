//! `longshore topics plan|apply`: the topics that a pipeline needs, and those that are there.

mod judge;
mod wanted;

use longshore_kafka::{Admin, NewTopic};
use longshore_settings::Pipeline;
use serde::Serialize;

use self::judge::{Found, Verdict, judge};
use self::wanted::Wanted;
use super::check;
use crate::cli::{Topics, TopicsAction, TopicsArguments};
use crate::exit::{End, Exit};
use crate::output::Output;
use crate::worker::connect;

/// One topic, as the command shows it.
#[derive(Debug, Serialize)]
struct Row {
    topic: String,
    purpose: &'static str,
    partitions: u32,
    state: &'static str,
    differs: Vec<String>,
}

pub(crate) fn run(arguments: &Topics, output: &Output) -> Result<(), End> {
    match &arguments.action {
        TopicsAction::Plan(arguments) => plan(arguments, output),
        TopicsAction::Apply(arguments) => apply(arguments, output),
    }
}

fn plan(arguments: &TopicsArguments, output: &Output) -> Result<(), End> {
    let (pipeline, admin) = open(arguments, output)?;
    let rows = look(&admin, &pipeline, arguments, output)?.iter().map(|topic| topic.row(None)).collect();
    show(rows, arguments, output, Exit::Failed)
}

fn apply(arguments: &TopicsArguments, output: &Output) -> Result<(), End> {
    let (pipeline, admin) = open(arguments, output)?;
    // Inputs first: partitions and sizes of the dead letters follow the inputs that are there then.
    let first = look(&admin, &pipeline, arguments, output)?;
    let mut made = make(&admin, first.iter().filter(|topic| !topic.wanted.is_letters()), arguments)?;
    let second = look(&admin, &pipeline, arguments, output)?;
    made.extend(make(&admin, second.iter().filter(|topic| topic.wanted.is_letters()), arguments)?);
    let row = |topic: &Topic| topic.row(made.contains(&topic.wanted.name).then_some("made"));
    show(second.iter().map(row).collect(), arguments, output, Exit::Ok)
}

fn open(arguments: &TopicsArguments, output: &Output) -> Result<(Pipeline, Admin), End> {
    let pipeline = check::load(&arguments.pipeline, &arguments.overrides, output)?.pipeline;
    let admin = Admin::new(&connect::options(&pipeline.kafka))?;
    Ok((pipeline, admin))
}

/// A topic that is needed, and what was found.
struct Topic {
    wanted: Wanted,
    verdict: Verdict,
}

impl Topic {
    fn row(&self, state: Option<&'static str>) -> Row {
        let differs = match &self.verdict {
            Verdict::Differs(differences) => differences.clone(),
            Verdict::Missing | Verdict::Ok => Vec::new(),
        };
        Row {
            topic: self.wanted.name.clone(),
            purpose: self.wanted.purpose.word(),
            partitions: self.wanted.partitions,
            state: state.unwrap_or(self.verdict.word()),
            differs,
        }
    }
}

fn look(
    admin: &Admin,
    pipeline: &Pipeline,
    arguments: &TopicsArguments,
    output: &Output,
) -> Result<Vec<Topic>, End> {
    let mut inputs = Vec::new();
    for name in &pipeline.input.topics {
        inputs.push((name.clone(), find(admin, name)?));
    }
    let mut topics = Vec::new();
    for wanted in wanted::of(pipeline, &inputs, arguments.partitions) {
        let known = inputs.iter().find(|(name, _)| *name == wanted.name).map(|(_, found)| found.clone());
        let found = match known {
            Some(found) => found,
            None => find(admin, &wanted.name)?,
        };
        if found.as_ref().is_some_and(|found| found.settings.is_none()) && wanted.is_letters() {
            output.note(format_args!("{}: this broker cannot tell a topic's settings", wanted.name));
        }
        let verdict = judge(&wanted, found.as_ref());
        topics.push(Topic { wanted, verdict });
    }
    Ok(topics)
}

fn find(admin: &Admin, name: &str) -> Result<Option<Found>, End> {
    let Some(topic) = admin.topic(name)? else { return Ok(None) };
    let partitions = u32::try_from(topic.partitions).unwrap_or(0);
    Ok(Some(Found { partitions, settings: admin.describe_topic_settings(name)? }))
}

/// Makes those that are missing and returns their names.
fn make<'a>(
    admin: &Admin,
    topics: impl Iterator<Item = &'a Topic>,
    arguments: &TopicsArguments,
) -> Result<Vec<String>, End> {
    let missing = topics.filter(|topic| topic.verdict == Verdict::Missing).map(|topic| NewTopic {
        name: topic.wanted.name.clone(),
        partitions: topic.wanted.partitions,
        replicas: arguments.replicas,
        settings: topic.wanted.settings(),
    });
    let missing: Vec<NewTopic> = missing.collect();
    admin.create_topics(&missing)?;
    Ok(missing.into_iter().map(|topic| topic.name).collect())
}

/// Prints the rows; `unready` is how it ends when a topic is missing or differs.
fn show(rows: Vec<Row>, arguments: &TopicsArguments, output: &Output, unready: Exit) -> Result<(), End> {
    output.rows(&["TOPIC", "FOR", "PARTITIONS", "STATE"], &rows, |row| {
        vec![row.topic.clone(), row.purpose.to_owned(), row.partitions.to_string(), row.state.to_owned()]
    })?;
    for row in &rows {
        for difference in &row.differs {
            output.note(format_args!("{}: {difference}", row.topic));
        }
    }
    let count = |state: &str| rows.iter().filter(|row| row.state == state).count();
    let (missing, differing) =
        (count(Verdict::Missing.word()), rows.iter().filter(|row| !row.differs.is_empty()).count());
    if missing + differing == 0 || unready == Exit::Ok {
        return Ok(());
    }
    let mut words = format!("topics missing: {missing}, differing: {differing}");
    if missing > 0 {
        words.push_str(&format!("\n  next: longshore topics apply {}", arguments.pipeline.display()));
    }
    Err(End::new(unready, words))
}
