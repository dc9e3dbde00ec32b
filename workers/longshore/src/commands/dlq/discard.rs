//! `longshore dlq discard`: letters given up for good. They stay where they are until retention or `dlq trim` takes them;
//! the journal says who gave them up and why.

use longshore_core::journal::{RunKind, RunState};

use super::plan::{Plan, Rules};
use super::replay::refuse_while_open;
use super::scope::Scope;
use crate::cli::Format;
use crate::cli::dlq::Discard;
use crate::commands::common::answer::runtime;
use crate::commands::common::ask::{Answer, ask};
use crate::commands::common::choose::Choice;
use crate::commands::common::run::{new_run, places};
use crate::commands::common::writer::{Which, Writer};
use crate::exit::{End, Exit};
use crate::output::{Output, counted, grouped};

/// The longest reason that is kept, bytes.
const WORDS_BYTES: usize = 1024;

pub(super) fn run(arguments: &Discard, output: &Output) -> Result<(), End> {
    let words = arguments.reason.trim();
    if words.is_empty() || words.len() > WORDS_BYTES {
        return Err(End::new(Exit::Usage, format!("--reason: say why, in at most {WORDS_BYTES} bytes")));
    }
    let choice = Choice::of(&arguments.filter, &arguments.code)?;
    let scope = Scope::of(&arguments.topics, output)?;
    scope.pipeline()?;
    let journal = scope.journal(output)?;
    refuse_while_open(&journal, &scope, Some(&arguments.topics.connection))?;
    let rules = Rules { choice: &choice, sending: None };
    let plan = Plan::make(&scope, &journal.all_handled(), &rules, output)?;
    if output.format() == Format::Table {
        let letters = counted(plan.counts.selected, "letter");
        output.line(format_args!(
            "discard {letters} of {} open in {}",
            grouped(plan.open),
            scope.topics.join(", ")
        ));
        for (reason, count) in &plan.counts.by_reason {
            output.line(format_args!("  {:>10}  {reason}", grouped(*count)));
        }
        output.line("none of them will be sent again; they stay in the topic until `dlq trim` or retention");
    } else if arguments.consent.dry_run {
        output.json(&plan.counts)?;
    }
    for failure in &plan.condition_failures {
        output.note(format_args!("--where: {failure}"));
    }
    if plan.selected.is_empty() {
        output.note("nothing to discard");
        return Ok(());
    }
    if ask(arguments.consent, &format!("Discard {}?", counted(plan.counts.selected, "letter")))?
        == Answer::Leave
    {
        output.note("nothing was discarded");
        return Ok(());
    }
    let runtime = runtime()?;
    let writer = Writer::open(&scope.options, &scope.journal_topic().unwrap_or_default())?;
    let mut run = new_run(RunKind::Discard, choice.filter(), &scope.topics, plan.counts);
    run.words = Some(words.to_owned());
    // Noted before and after: an audit never misses who discarded what, and marks that are half there are his.
    writer.run(&runtime, &mut run)?;
    writer.blocks(&runtime, &run.id, Which::Handled, &plan.selected, &places(&plan.selected))?;
    run.state = RunState::Done;
    run.counts.handled = run.counts.selected;
    writer.run(&runtime, &mut run)?;
    if output.format() != Format::Table {
        output.json(&run)?;
    }
    output.note(format_args!("discard {}: {}", run.id, counted(run.counts.handled, "letter")));
    Ok(())
}
