//! `longshore dlq replay`: letters sent again, planned, asked about, noted, and resumable.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use longshore_conditions::Transform;
use longshore_core::Reason;
use longshore_core::journal::{Journal, Marks, Run, RunKind, RunState, Target};
use longshore_kafka as kafka;
use serde_json::json;

use super::arrived::arrived;
use super::held::Held;
use super::plan::{Inputs, Plan, Rules, Sending};
use super::scope::Scope;
use super::send::{Outcome, Sender, told};
use crate::cli::dlq::ReplayStart;
use crate::cli::{Connection, Format};
use crate::commands::common::answer::runtime;
use crate::commands::common::ask::{Answer, ask};
use crate::commands::common::choose::Choice;
use crate::commands::common::run::{new_run, places};
use crate::commands::common::traces::Spans;
use crate::commands::common::writer::{Which, Writer};
use crate::commands::common::{identity, when};
use crate::commands::connection::typed;
use crate::exit::{End, Exit};
use crate::output::{Output, counted, grouped};

pub(super) fn start(arguments: &ReplayStart, output: &Output) -> Result<(), End> {
    let wanted = Wanted::of(arguments, output)?;
    let scope = Scope::of(&arguments.topics, output)?;
    let planned = Planned::make(wanted, arguments, &scope, Some(&arguments.topics.connection), output)?;
    show(&planned, &scope, arguments, output)?;
    planned.sendable(&scope, arguments)?;
    if planned.is_empty() {
        output.note("nothing to send");
        return Ok(());
    }
    let question = format!("Send {}?", counted(planned.plan.counts.selected, "letter"));
    if ask(arguments.consent, &question)? == Answer::Leave {
        output.note("nothing was sent");
        return Ok(());
    }
    let run = planned.run(&scope, arguments);
    let sender = begin(&scope, run, planned, stop_at_signals, output)?;
    finish(sender, &arguments.topics.connection, output)
}

/// What was typed, before anything is asked of a broker.
pub(super) struct Wanted {
    choice: Choice,
    pairs: Pairs,
    transform: Option<Transform>,
}

impl Wanted {
    pub(super) fn of(arguments: &ReplayStart, output: &Output) -> Result<Self, End> {
        let choice = Choice::of(&arguments.filter, &arguments.reason)?;
        let (pairs, transform) = transform(arguments, output)?;
        Ok(Self { choice, pairs, transform })
    }
}

/// A replay that is planned; nothing is sent, and nothing noted.
pub(super) struct Planned {
    pub(super) plan: Plan,
    wanted: Wanted,
    target: Target,
    /// Whether a ledger could be asked what it holds.
    ledger_read: bool,
}

impl Planned {
    /// Goes over all letters. `connection` is how the pipeline was typed, for what is said of a replay that is not finished.
    pub(super) fn make(
        wanted: Wanted,
        arguments: &ReplayStart,
        scope: &Scope,
        connection: Option<&Connection>,
        output: &Output,
    ) -> Result<Self, End> {
        let target = target(scope, &arguments.to)?;
        let journal = scope.journal(output)?;
        refuse_while_open(&journal, scope, connection)?;
        let held = Held::of(scope.pipeline()?, output);
        let ledger_read = held.is_some();
        let sending = Sending {
            target: &target,
            transform: wanted.transform.as_ref(),
            max_replays: arguments.max_replays,
            inputs: Inputs::of(scope)?,
            held,
        };
        let rules = Rules { choice: &wanted.choice, sending: Some(sending) };
        let plan = Plan::make(scope, &journal.all_handled(), &rules, output)?;
        Ok(Self { plan, wanted, target, ledger_read })
    }

    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.plan.selected.is_empty() && self.plan.held.is_empty()
    }

    /// Whether it can be sent as it is.
    pub(super) fn sendable(&self, scope: &Scope, arguments: &ReplayStart) -> Result<(), End> {
        for topic in self.plan.targets.keys() {
            kafka::require_topic(&scope.options, topic)?;
        }
        if self.plan.counts.transform_failed > 0 && !arguments.skip_failures {
            let failed = counted(self.plan.counts.transform_failed, "letter");
            let words = format!(
                "the transform fails on {failed}; nothing was sent\n  next: mend it, or --skip-failures"
            );
            return Err(End::new(Exit::Data, words));
        }
        Ok(())
    }

    /// The run that would send it.
    pub(super) fn run(&self, scope: &Scope, arguments: &ReplayStart) -> Run {
        let filter = self.wanted.choice.filter();
        let mut run = new_run(RunKind::Replay, filter, &scope.topics, self.plan.counts.clone());
        run.sent_behind = self.plan.targets.keys().map(|topic| (topic.clone(), Vec::new())).collect();
        run.target = Some(self.target.clone());
        run.transform = self.wanted.pairs.clone();
        run.rate = arguments.rate;
        run
    }

    /// For programs.
    pub(super) fn json(&self, rate: Option<u64>) -> serde_json::Value {
        let plan = &self.plan;
        json!({
            "counts": plan.counts,
            "targets": plan.targets,
            "rate": rate,
            "idempotent": self.target == Target::Retry,
            "ledger_read": self.ledger_read,
            "transform_failures": plan.transform_failures,
            "condition_failed": plan.condition_failed,
            "condition_failures": plan.condition_failures,
        })
    }
}

/// Notes the run and its letters before the first is sent.
pub(super) fn begin<'a>(
    scope: &'a Scope,
    mut run: Run,
    planned: Planned,
    stop: impl FnOnce() -> Result<Arc<AtomicBool>, End>,
    output: &'a Output,
) -> Result<Sender<'a>, End> {
    let Planned { plan, wanted, .. } = planned;
    let runtime = runtime()?;
    let writer = Writer::open(&scope.options, &scope.journal_topic().unwrap_or_default())?;
    let inputs = Inputs::of(scope)?;
    writer.run(&runtime, &mut run)?;
    writer.blocks(&runtime, &run.id, Which::Selected, &plan.selected, &places(&plan.selected))?;
    writer.blocks(&runtime, &run.id, Which::Handled, &plan.held, &places(&plan.held))?;
    run.state = RunState::Running;
    writer.run(&runtime, &mut run)?;
    yield_to_others(scope, &writer, &runtime, &mut run, output)?;
    Ok(Sender {
        options: &scope.options,
        inputs,
        transform: wanted.transform,
        writer,
        runtime,
        run,
        selected: plan.selected,
        handled: plan.held,
        stop: stop()?,
        spans: Spans::start(&scope.options, output),
        output,
    })
}

/// Another run may have begun while this one was planned, from the same letters. Each looks when its own beginning stands in
/// the journal, so at least one of two sees the other; both may give way, and then nothing was sent.
fn yield_to_others(
    scope: &Scope,
    writer: &Writer,
    runtime: &tokio::runtime::Runtime,
    run: &mut Run,
    output: &Output,
) -> Result<(), End> {
    let alone = scope.journal(output).and_then(|mut journal| {
        journal.runs.remove(&run.id);
        refuse_while_open(&journal, scope, None)
    });
    // Also when the journal cannot be read: nothing was sent yet, and a run that stays open would keep others from beginning.
    let Err(end) = alone else { return Ok(()) };
    run.state = RunState::Cancelled;
    writer.run(runtime, run)?;
    Err(end)
}

pub(super) fn resume(
    connection: &Connection,
    id: &str,
    rate: Option<u64>,
    output: &Output,
) -> Result<(), End> {
    let scope = Scope::of_connection(connection, output)?;
    scope.pipeline()?;
    let runtime = runtime()?;
    // Opened before the journal is read, so that whoever takes the run over afterwards is seen.
    let writer = Writer::open(&scope.options, &scope.journal_topic().unwrap_or_default())?;
    let journal = scope.journal(output)?;
    let mut run = find(&journal, id, Some(connection))?.clone();
    match run.state {
        RunState::Running | RunState::Stopped => {}
        RunState::Planning => {
            let words =
                format!("replay {id} sent nothing: it ended while it was noted\n  next: start it anew");
            return Err(End::new(Exit::Failed, words));
        }
        RunState::Done | RunState::Cancelled => {
            output.note(format_args!("replay {id} is {} already", run.state.word()));
            return Ok(());
        }
    }
    if run.kind != RunKind::Replay {
        return Err(End::new(Exit::Usage, format!("{id} is a {}, not a replay", run.kind.word())));
    }
    let crashed = run.state == RunState::Running;
    let earlier = (run.host.clone(), run.process);
    take_over(&mut run, rate);
    writer.run(&runtime, &mut run)?;
    let (selected, mut handled) = (journal.selected(id), journal.handled(id));
    if crashed {
        wait_for_the_other(&earlier);
    }
    // Also after an orderly stop: an error may have left records on their way.
    let found = arrived(&scope.options, &run)?;
    handled.union(&found);
    writer.blocks(&runtime, id, Which::Handled, &handled, &places(&found))?;
    let pairs = run.transform.iter().map(|(name, text)| (name.as_str(), text.as_str()));
    let transform = if run.transform.is_empty() { None } else { Some(compiled(pairs)?) };
    let (inputs, stop) = (Inputs::of(&scope)?, stop_at_signals()?);
    let options = &scope.options;
    let spans = Spans::start(options, output);
    let sender =
        Sender { options, inputs, transform, writer, runtime, run, selected, handled, stop, spans, output };
    finish(sender, connection, output)
}

/// How long another process may take to see that it was relieved, and what it had under way to arrive.
const LET_GO: std::time::Duration = std::time::Duration::from_secs(5);
/// How long a request of a process that is gone may take to arrive.
const SETTLE: std::time::Duration = std::time::Duration::from_millis(500);

fn wait_for_the_other((host, process): &(String, u32)) {
    std::thread::sleep(if identity::is_gone(host, *process) { SETTLE } else { LET_GO });
}

fn take_over(run: &mut Run, rate: Option<u64>) {
    run.state = RunState::Running;
    run.writer = identity::token();
    run.host = identity::host();
    run.process = std::process::id();
    run.rate = rate.or(run.rate);
}

fn finish(mut sender: Sender<'_>, connection: &Connection, output: &Output) -> Result<(), End> {
    let resume = format!("longshore dlq replay resume{} {}", typed(connection), sender.run.id);
    let (outcome, words) = send(&mut sender, &resume)?;
    if output.format() != Format::Table {
        output.json(&sender.run)?;
    }
    match outcome {
        Outcome::Done if sender.run.counts.refused == 0 => {
            output.note(words);
            Ok(())
        }
        Outcome::Done => Err(End::new(Exit::Data, words)),
        Outcome::Stopped | Outcome::Relieved(_) => Err(End::new(Exit::Temporary, words)),
    }
}

/// Sends what is left, and says what came of it; `resume` is how one goes on.
pub(super) fn send(sender: &mut Sender<'_>, resume: &str) -> Result<(Outcome, String), End> {
    let sent = sender.send();
    let lost = std::mem::replace(&mut sender.spans, Spans::none()).finish();
    let outcome = sent.map_err(|end| {
        let code = end.code;
        End::new(code, format!("{}{lost}\n  next: {resume}", end.message))
    })?;
    if outcome == Outcome::Done {
        let keys = places(&sender.selected);
        sender.writer.blocks(&sender.runtime, &sender.run.id, Which::Selected, &Marks::default(), &keys)?;
    }
    Ok((outcome, told(&sender.run, outcome, &lost.to_string(), resume)))
}

pub(super) fn find<'a>(
    journal: &'a Journal,
    id: &str,
    connection: Option<&Connection>,
) -> Result<&'a Run, End> {
    journal.runs.get(id).ok_or_else(|| {
        let at = connection.map_or_else(|| " -c PIPELINE".to_owned(), typed);
        let words = format!("the journal knows no {id}\n  next: longshore dlq replay ls{at}");
        End::new(Exit::Failed, words)
    })
}

/// Two runs that choose from the same letters would both send them.
pub(super) fn refuse_while_open(
    journal: &Journal,
    scope: &Scope,
    connection: Option<&Connection>,
) -> Result<(), End> {
    let same =
        |run: &&Run| run.state.is_open() && run.topics.iter().any(|topic| scope.topics.contains(topic));
    let Some(run) = journal.runs.values().find(same) else { return Ok(()) };
    let (id, who, began) = (&run.id, &run.who, when::shown(run.started_ms));
    let at = connection.map_or_else(|| " -c PIPELINE".to_owned(), typed);
    Err(End::new(
        Exit::Temporary,
        format!(
            "{} {id} of {who}, begun {began}, is not finished\n  next: longshore dlq replay resume{at} {id}, or \
             longshore dlq replay cancel{at} {id}",
            run.kind.word()
        ),
    ))
}

/// Ctrl-C and SIGTERM end the run in order: what is under way is confirmed and noted.
fn stop_at_signals() -> Result<Arc<AtomicBool>, End> {
    let stop = Arc::new(AtomicBool::new(false));
    let (flag, runtime) = (Arc::clone(&stop), runtime()?);
    let wait = move || {
        runtime.block_on(async { crate::worker::signals::stop().await });
        flag.store(true, Ordering::Release);
    };
    std::thread::Builder::new().name("interrupt".to_owned()).spawn(wait)?;
    Ok(stop)
}

/// Where letters go. A letter sent to where letters lie would be read as a letter again, without end.
fn target(scope: &Scope, to: &str) -> Result<Target, End> {
    let pipeline = scope.pipeline()?;
    let topic = match to {
        "retry" => return Ok(Target::Retry),
        "input" => return Ok(Target::Input),
        topic => topic,
    };
    let name = &pipeline.pipeline;
    let own = pipeline
        .input
        .topics
        .iter()
        .flat_map(|input| [kafka::dead_letter_topic(input, name), kafka::retry_topic(input, name)]);
    let ours: Vec<String> = own.chain([kafka::journal_topic(name)]).collect();
    if scope.topics.iter().chain(&ours).any(|known| known == topic) {
        let words = format!(
            "--to {topic}: letters are read from there, or it is the pipeline's own; nothing was sent"
        );
        return Err(End::new(Exit::Usage, words));
    }
    kafka::require_topic(&scope.options, topic).map_err(|failure| {
        let missing = failure.reason == Reason::BrokerTopicMissing;
        let words = format!("{failure}\n  next: make it, or name another");
        if missing { End::new(Exit::Configuration, words) } else { failure.into() }
    })?;
    Ok(Target::Topic(topic.to_owned()))
}

type Pairs = Vec<(String, String)>;

fn transform(arguments: &ReplayStart, output: &Output) -> Result<(Pairs, Option<Transform>), End> {
    let Some(path) = &arguments.transform else { return Ok((Vec::new(), None)) };
    let pairs = longshore_settings::expressions(path).map_err(|report| {
        output.note(report.render(output.colour()));
        End::new(Exit::Usage, format!("{}: no transform", path.display()))
    })?;
    let compiled = compiled(pairs.iter().map(|(name, text)| (name.as_str(), text.as_str())));
    let compiled =
        compiled.map_err(|end| End::new(end.code, format!("{}: {}", path.display(), end.message)))?;
    Ok((pairs, Some(compiled)))
}

fn compiled<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Transform, End> {
    Transform::compile(pairs).map_err(|error| End::new(Exit::Usage, format!("transform: {error}")))
}

/// The plan, for people on standard output; as one JSON document for programs that only want to know.
fn show(planned: &Planned, scope: &Scope, arguments: &ReplayStart, output: &Output) -> Result<(), End> {
    let plan = &planned.plan;
    if output.format() != Format::Table {
        if arguments.consent.dry_run {
            output.json(&planned.json(arguments.rate))?;
        }
        return Ok(());
    }
    let selected = counted(plan.counts.selected, "letter");
    output.line(format_args!(
        "replay {selected} of {} open in {}",
        grouped(plan.open),
        scope.topics.join(", ")
    ));
    for (reason, count) in &plan.counts.by_reason {
        output.line(format_args!("  {:>10}  {reason}", grouped(*count)));
    }
    let line = |name: &str, text: String| output.line(format_args!("{name:<10} {text}"));
    for (topic, count) in &plan.targets {
        line("to", format!("{topic}: {}", counted(*count, "record")));
    }
    match arguments.rate {
        Some(rate) => {
            let seconds = plan.counts.selected.div_ceil(rate.max(1));
            line("rate", format!("{} a second, so about {seconds} s", grouped(rate)));
        }
        None => line("rate", "as fast as the broker takes them".to_owned()),
    }
    told_refused(plan, arguments, line);
    if planned.ledger_read {
        let held = grouped(plan.counts.already_held);
        line("ledger", format!("already held: {held} (not sent, noted as handled)"));
    } else {
        line("ledger", "cannot be read from here: what is already held is not known".to_owned());
    }
    if planned.target == Target::Retry {
        line("repeats", "the same records again: what the ledger holds is dropped".to_owned());
    } else {
        line("repeats", "NOT idempotent: each becomes a new record with an origin of its own,".to_owned());
        line("", "which no ledger knows; only --max-replays bounds how often".to_owned());
    }
    for failure in &plan.transform_failures {
        output.note(format_args!("transform: {failure}"));
    }
    for failure in &plan.condition_failures {
        output.note(format_args!("--where: {failure}"));
    }
    Ok(())
}

fn told_refused(plan: &Plan, arguments: &ReplayStart, line: impl Fn(&str, String)) {
    let most = arguments.max_replays;
    for (count, why) in [
        (plan.counts.too_often, format!("replayed {most} times or more already (--max-replays)")),
        (plan.counts.without_payload, "without their payload, which was too large for this topic".to_owned()),
        (
            plan.counts.no_origin,
            "whose origin is no place of the pipeline's input (--to TOPIC sends them)".to_owned(),
        ),
        (plan.counts.transform_failed, "that the transform fails on".to_owned()),
        (plan.condition_failed, "that --where cannot be evaluated for".to_owned()),
    ] {
        if count > 0 {
            line("not sent", format!("{} {why}", grouped(count)));
        }
    }
}
