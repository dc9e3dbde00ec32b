//! `longshore dlq trim`: deletes the letters below the first open one of each partition, to make room.

use std::collections::BTreeMap;

use longshore_core::journal::{Marks, RunKind, RunState};
use longshore_kafka::Admin;
use serde::Serialize;

use super::replay::refuse_while_open;
use super::scan::scan;
use super::scope::Scope;
use crate::cli::dlq::{LetterFilter, Trim};
use crate::commands::common::answer::runtime;
use crate::commands::common::ask::{Answer, ask};
use crate::commands::common::choose::Choice;
use crate::commands::common::found::State;
use crate::commands::common::run::{new_run, places};
use crate::commands::common::writer::{Which, Writer};
use crate::exit::End;
use crate::output::{Output, counted, grouped};

/// What would be deleted of one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Cut {
    topic: String,
    partition: i32,
    /// The first letter there is.
    start: i64,
    /// The first letter that stays.
    below: i64,
    /// The end of the partition when the plan was made.
    end: i64,
}

impl Cut {
    fn offsets(&self) -> u64 {
        u64::try_from(self.below - self.start).unwrap_or(0)
    }
}

pub(super) fn run(arguments: &Trim, output: &Output) -> Result<(), End> {
    let scope = Scope::of(&arguments.topics, output)?;
    scope.pipeline()?;
    let journal = scope.journal(output)?;
    refuse_while_open(&journal, &scope, Some(&arguments.topics.connection))?;
    let admin = Admin::new(&scope.options)?;
    let (cuts, copies) = plan(&scope, &admin, &journal.all_handled(), output)?;
    output.rows(&["TOPIC", "PARTITION", "START", "FIRST KEPT", "END"], &cuts, |cut| {
        let number = |number: i64| number.to_string();
        vec![
            cut.topic.clone(),
            number(i64::from(cut.partition)),
            number(cut.start),
            number(cut.below),
            number(cut.end),
        ]
    })?;
    let offsets: u64 = cuts.iter().map(Cut::offsets).sum();
    if offsets == 0 {
        output.note("nothing to delete: the first letter of every partition is open");
        return Ok(());
    }
    output.note(format_args!("{} are deleted for good", counted(offsets, "offset")));
    if ask(arguments.consent, &format!("Delete {}?", counted(offsets, "offset")))? == Answer::Leave {
        output.note("nothing was deleted");
        return Ok(());
    }
    let runtime = runtime()?;
    let writer = Writer::open(&scope.options, &scope.journal_topic().unwrap_or_default())?;
    let choice = Choice::of(&LetterFilter::default(), &[])?;
    let mut run = new_run(RunKind::Trim, choice.filter(), &scope.topics, Default::default());
    run.counts.selected = offsets;
    writer.run(&runtime, &mut run)?;
    // A copy is known by the letter before it; once that is gone, only this mark tells.
    writer.blocks(&runtime, &run.id, Which::Handled, &copies, &places(&copies))?;
    let mut by_topic: BTreeMap<&str, Vec<(i32, i64)>> = BTreeMap::new();
    for cut in cuts.iter().filter(|cut| cut.offsets() > 0) {
        by_topic.entry(&cut.topic).or_default().push((cut.partition, cut.below));
    }
    for (topic, below) in by_topic {
        admin.delete_records_below(topic, &below)?;
    }
    let starts: BTreeMap<(&str, i32), i64> =
        cuts.iter().map(|cut| ((cut.topic.as_str(), cut.partition), cut.below)).collect();
    let gone = journal.outlived(|topic, partition| starts.get(&(topic, partition)).copied());
    writer.forget(&runtime, &gone)?;
    run.state = RunState::Done;
    run.counts.handled = offsets;
    writer.run(&runtime, &mut run)?;
    output.note(format_args!("trim {}: {} deleted", run.id, grouped(offsets)));
    Ok(())
}

/// Where each partition is cut, and the copies that stay behind the cut.
fn plan(scope: &Scope, admin: &Admin, handled: &Marks, output: &Output) -> Result<(Vec<Cut>, Marks), End> {
    let mut cuts = Vec::new();
    for topic in &scope.topics {
        // Taken before the pass: what arrives meanwhile lies behind these ends and stays.
        for place in admin.offsets(topic)? {
            let (topic, end) = (topic.clone(), place.end);
            cuts.push(Cut { topic, partition: place.partition, start: place.start, below: end, end });
        }
    }
    let mut copies = Marks::default();
    scan(scope, handled, output, &mut |found| {
        let (partition, offset) = (found.record.partition(), found.record.offset());
        match found.state {
            State::Open => {
                let same = |cut: &&mut Cut| cut.partition == partition && cut.topic == found.topic;
                if let Some(cut) = cuts.iter_mut().find(same) {
                    cut.below = cut.below.min(offset);
                }
            }
            State::Copy => {
                copies.insert(found.topic, partition, offset);
            }
            State::Handled => {}
        }
        Ok(())
    })?;
    Ok((cuts, copies))
}
