//! `longshore topics plan|apply`: the topics that a pipeline needs, and those that are there.

mod wanted;

use std::time::{Duration, Instant};

use longshore_core::Failure;
use longshore_kafka::{Admin, Difference, Mend, NewTopic, TopicState};
use longshore_settings::Pipeline;
use serde::Serialize;

pub(crate) use self::wanted::own_topics;
use self::wanted::{Topic, Whose};
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

/// How long the brokers may take to show what the controller has changed.
const SHOWN_DEADLINE: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

const MISSING: &str = "missing";
const DIFFERS: &str = "differs";

pub(crate) fn run(arguments: &Topics, output: &Output) -> Result<(), End> {
    match &arguments.action {
        TopicsAction::Plan(arguments) => plan(arguments, output),
        TopicsAction::Apply(arguments) => apply(arguments, output),
    }
}

fn plan(arguments: &TopicsArguments, output: &Output) -> Result<(), End> {
    let (pipeline, admin) = open(arguments, output)?;
    let topics = look(&admin, &pipeline, arguments)?;
    untold(&topics, output);
    let rows: Vec<Row> = topics.iter().map(|topic| row(topic, None)).collect();
    show(&rows, output)?;
    let count = |state: &str| rows.iter().filter(|row| row.state == state).count();
    let (missing, differing) = (count(MISSING), count(DIFFERS));
    if missing + differing == 0 {
        return Ok(());
    }
    let next = format!("longshore topics apply {}", arguments.pipeline.display());
    let words = format!("topics missing: {missing}, differing: {differing}\n  next: {next}");
    Err(End::new(Exit::Failed, words))
}

fn apply(arguments: &TopicsArguments, output: &Output) -> Result<(), End> {
    let (pipeline, admin) = open(arguments, output)?;
    // Inputs and sinks first: partitions, copies and sizes of the pipeline's own follow the inputs that are there then.
    let first = look(&admin, &pipeline, arguments)?;
    let mut changed = make(&admin, first.iter().filter(|topic| !topic.is_own()), arguments)?;
    let second = look(&admin, &pipeline, arguments)?;
    changed.extend(make(&admin, second.iter().filter(|topic| topic.is_own()), arguments)?);
    // The pipeline's own stand first, so a retry topic grows before its input does.
    for topic in &second {
        mend(&admin, topic, &mut changed)?;
    }
    let last = until_shown(|| look(&admin, &pipeline, arguments))?;
    untold(&last, output);
    let state = |topic: &Topic| {
        let found = changed.iter().find(|(name, _)| *name == topic.name);
        found.map(|(_, state)| *state).filter(|_| !differs(topic))
    };
    let rows: Vec<Row> = last.iter().map(|topic| row(topic, state(topic))).collect();
    show(&rows, output)?;
    if rows.iter().any(|row| row.state == DIFFERS) {
        let words = "the broker took the orders, and topics still differ; ask again with `topics plan`";
        return Err(End::new(Exit::Failed, words));
    }
    Ok(())
}

fn open(arguments: &TopicsArguments, output: &Output) -> Result<(Pipeline, Admin), End> {
    let pipeline = check::load(&arguments.pipeline, &arguments.overrides, output)?.pipeline;
    let admin = Admin::new(&connect::options(&pipeline.kafka))?;
    Ok((pipeline, admin))
}

fn look(admin: &Admin, pipeline: &Pipeline, arguments: &TopicsArguments) -> Result<Vec<Topic>, End> {
    wanted::of(pipeline, arguments.partitions, arguments.grow, |name, whose| Ok(find(admin, name, whose)?))
}

fn find(admin: &Admin, name: &str, whose: Whose) -> Result<Option<TopicState>, Failure> {
    match whose {
        Whose::Own => admin.topic_state(name),
        Whose::Theirs => admin.input_state(name),
    }
}

/// Looks until nothing differs any more: the controller answers when it has changed a topic, and the brokers that are asked
/// learn of it a moment later.
fn until_shown(mut look: impl FnMut() -> Result<Vec<Topic>, End>) -> Result<Vec<Topic>, End> {
    let began = Instant::now();
    loop {
        let topics = look()?;
        let done = topics.iter().all(|topic| topic.found.is_some() && !differs(topic));
        if done || began.elapsed() > SHOWN_DEADLINE {
            return Ok(topics);
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Says which topics could not be judged.
fn untold(topics: &[Topic], output: &Output) {
    for topic in topics.iter().filter(|topic| topic.is_own()) {
        if topic.found.as_ref().is_some_and(|found| found.settings.is_none()) {
            output.note(format_args!("{}: this broker cannot tell a topic's settings", topic.name));
        }
    }
}

/// One topic of a pipeline, judged.
pub(crate) struct Judged {
    pub(crate) name: String,
    /// The word for what it is for.
    pub(crate) purpose: &'static str,
    /// How many partitions it has; none when it is missing.
    pub(crate) partitions: Option<u32>,
    /// What is not as it must be.
    pub(crate) differences: Vec<Difference>,
    /// Whether its settings had to be judged and could not be.
    pub(crate) untold: bool,
}

/// All topics of a pipeline as they are, judged as `plan` does it.
///
/// # Errors
/// Reasons `broker.*`.
pub(crate) fn judge(admin: &Admin, pipeline: &Pipeline) -> Result<Vec<Judged>, Failure> {
    let judged = |topic: Topic| Judged {
        purpose: topic.word(),
        partitions: topic.found.as_ref().map(|found| found.partitions),
        differences: topic.differences(),
        untold: topic.is_own() && topic.found.as_ref().is_some_and(|found| found.settings.is_none()),
        name: topic.name,
    };
    let found = wanted::of(pipeline, 1, None, |name, whose| find(admin, name, whose))?;
    Ok(found.into_iter().map(judged).collect())
}

/// All topics of a pipeline as they are made on a broker that has none of them.
pub(crate) fn all_new(pipeline: &Pipeline, partitions: u32) -> Result<Vec<NewTopic>, End> {
    let topics = wanted::of(pipeline, partitions, None, |_, _| Ok::<_, End>(None))?;
    Ok(topics.iter().map(|topic| topic.new_topic(None)).collect())
}

/// Makes those that are missing.
fn make<'a>(
    admin: &Admin,
    topics: impl Iterator<Item = &'a Topic>,
    arguments: &TopicsArguments,
) -> Result<Vec<(String, &'static str)>, End> {
    let missing = topics.filter(|topic| topic.found.is_none());
    let missing: Vec<NewTopic> = missing.map(|topic| topic.new_topic(arguments.replicas)).collect();
    admin.create_topics(&missing)?;
    Ok(missing.into_iter().map(|topic| (topic.name, "made")).collect())
}

/// Changes what can be changed of a topic that is there.
fn mend(admin: &Admin, topic: &Topic, changed: &mut Vec<(String, &'static str)>) -> Result<(), End> {
    let differences = topic.differences();
    let mut settings = Vec::new();
    for difference in &differences {
        match &difference.mend {
            Mend::Grow(partitions) => admin.grow_topic(&topic.name, *partitions)?,
            Mend::Set { name, value } => settings.push((*name, value.as_str())),
            Mend::Nothing => {}
        }
    }
    if !settings.is_empty() {
        admin.alter_topic(&topic.name, &settings)?;
    }
    if differs(topic) {
        changed.push((topic.name.clone(), "changed"));
    }
    Ok(())
}

/// Whether something is not as it must be, and `apply` could mend it or a worker would refuse it.
fn differs(topic: &Topic) -> bool {
    topic.differences().iter().any(|difference| difference.refused || difference.mend != Mend::Nothing)
}

fn row(topic: &Topic, state: Option<&'static str>) -> Row {
    let found = match &topic.found {
        None => MISSING,
        Some(_) if differs(topic) => DIFFERS,
        Some(_) => "ok",
    };
    Row {
        topic: topic.name.clone(),
        purpose: topic.word(),
        partitions: topic.partitions,
        state: state.unwrap_or(found),
        differs: topic.differences().into_iter().map(|difference| difference.words).collect(),
    }
}

fn show(rows: &[Row], output: &Output) -> Result<(), End> {
    output.rows(&["TOPIC", "FOR", "PARTITIONS", "STATE"], rows, |row| {
        vec![row.topic.clone(), row.purpose.to_owned(), row.partitions.to_string(), row.state.to_owned()]
    })?;
    for row in rows {
        for difference in &row.differs {
            output.note(format_args!("{}: {difference}", row.topic));
        }
    }
    Ok(())
}
