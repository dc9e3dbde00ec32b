//! `longshore dlq` for whoever asks a worker over HTTP: the same passes, plans and replays, with answers instead of prints. All of it
//! is bounded in records and bytes, and ends when the time of its [`Output`] is up.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use longshore_core::Reason;
use longshore_core::journal::{Marks, Run};
use longshore_kafka::KafkaOptions;
use longshore_settings::Pipeline;
use serde_json::{Value, json};

use super::ls;
use super::replay::{self, Planned, Wanted};
use super::scan::{Totals, scan};
use super::scope::Scope;
use super::send::Outcome;
use super::show::{self, Id, Room};
use crate::cli::dlq::{By, ReplayStart};
use crate::commands::common::found::State;
use crate::commands::common::value::View;
use crate::commands::common::{identity, words};
use crate::exit::{End, Exit};
use crate::output::{Output, STOPPING};

/// Why nothing is sent of a plan that took too long.
const LATE: &str = "the plan took too long; ask the command `longshore`, which takes its time";
/// The most groups of one answer.
const GROUPS_SHOWN: usize = 200;
/// The most letters of one list.
const LETTERS_SHOWN: usize = 100;
/// The most runs of one list.
const RUNS_SHOWN: usize = 20;
/// What is shown of one letter.
const ROOM: Room = Room { payload: 256 * 1024, small: 4 * 1024, headers: 100, words: false };

/// What a replay that was asked for came to.
pub(crate) enum Started {
    /// The letters are not those of the plan that was read; this is the plan now.
    Changed(Value),
    /// There is nothing to send.
    Nothing,
    /// It is under way.
    Run(Box<Run>),
}

/// The letters of one pipeline, asked about from inside a worker.
pub(crate) struct Letters {
    scope: Scope,
}

impl Letters {
    pub(crate) fn of(pipeline: &Pipeline, options: &KafkaOptions) -> Self {
        Self { scope: Scope::in_worker(pipeline, options) }
    }

    /// Open letters counted by their reason or something else.
    pub(crate) fn groups(&self, by: By, output: &Output) -> Result<Value, End> {
        let handled = self.scope.handled(output)?;
        let (mut rows, totals) = ls::groups(&self.scope, &handled, by, output)?;
        let left_out = rows.len().saturating_sub(GROUPS_SHOWN);
        rows.truncate(GROUPS_SHOWN);
        let mut groups = Vec::with_capacity(rows.len());
        for row in rows {
            let code = Reason::from_code(&row.value).filter(|_| by == By::Reason);
            let mut group = serde_json::to_value(&row).map_err(|error| End::new(Exit::Internal, error))?;
            group["words"] = json!(code.map(Reason::words));
            groups.push(group);
        }
        let mut answer = self.counted(totals, output);
        answer["groups"] = json!(groups);
        answer["groups_left_out"] = json!(left_out);
        Ok(answer)
    }

    /// The newest open letters with this reason, as [`Self::groups`] names it.
    pub(crate) fn newest(&self, reason: &str, output: &Output) -> Result<Value, End> {
        let handled = self.scope.handled(output)?;
        let mut newest = VecDeque::with_capacity(LETTERS_SHOWN);
        let mut count = 0_u64;
        let totals = scan(&self.scope, &handled, output, &mut |found| {
            let own = words(found.letter.reason(), 128);
            let same = if own.is_empty() { reason == ls::NONE } else { own == reason };
            if found.state == State::Open && same {
                count += 1;
                if newest.len() == LETTERS_SHOWN {
                    newest.pop_front();
                }
                newest.push_back(ls::line(found));
            }
            Ok(())
        })?;
        newest.make_contiguous().sort_by_key(|line| std::cmp::Reverse(line["time_ms"].as_i64()));
        let mut answer = self.counted(totals, output);
        answer["reason"] = json!(reason);
        answer["letters"] = json!(newest);
        answer["of"] = json!(count);
        Ok(answer)
    }

    fn counted(&self, totals: Totals, output: &Output) -> Value {
        ls::told(&self.scope, totals, output);
        json!({
            "topics": self.scope.topics,
            "open": totals.open,
            "handled": totals.handled,
            "copies": totals.copies,
        })
    }

    /// One letter: its headers, its reason in words, and its payload laid out, masked without `raw`.
    pub(crate) fn one(&self, id: &str, raw: bool, output: &Output) -> Result<Value, End> {
        let view = if raw { View::Raw } else { View::Masked };
        let room = Room { words: raw, ..ROOM };
        let (letter, journal) = show::look(&self.scope, &Id::parse(id)?, view, room, output)?;
        Ok(letter.json(&journal))
    }

    /// What was done with letters, the newest first; `all` of it, or what anybody may see.
    pub(crate) fn runs(&self, all: bool, output: &Output) -> Result<Value, End> {
        let journal = self.scope.journal(output)?;
        let mut runs: Vec<&Run> = journal.runs.values().collect();
        runs.sort_by_key(|run| std::cmp::Reverse(run.started_ms));
        runs.truncate(RUNS_SHOWN);
        let runs: Vec<Value> = runs.into_iter().map(|run| seen(run, all)).collect();
        Ok(json!({ "runs": runs }))
    }

    /// One of these.
    pub(crate) fn run(&self, id: &str, all: bool, output: &Output) -> Result<Value, End> {
        let journal = self.scope.journal(output)?;
        Ok(seen(replay::find(&journal, id, None)?, all))
    }

    /// What a replay would do.
    pub(crate) fn plan(&self, arguments: &ReplayStart, output: &Output) -> Result<Value, End> {
        let planned = self.planned(arguments, output)?;
        planned.sendable(&self.scope, arguments)?;
        Ok(told(&planned, arguments))
    }

    fn planned(&self, arguments: &ReplayStart, output: &Output) -> Result<Planned, End> {
        let wanted = Wanted::of(arguments, output)?;
        Planned::make(wanted, arguments, &self.scope, None, output)
    }

    /// Plans anew, and when the letters are those of `plan` notes the run, tells of it and sends it to its end or until `stop`.
    /// The passes have the time of `output`, the sending none.
    pub(crate) fn replay(
        &self,
        arguments: &ReplayStart,
        plan: &str,
        stop: Arc<AtomicBool>,
        output: &Output,
        tell: impl FnOnce(Result<Started, End>),
    ) {
        let sending = Output::kept(None, Arc::clone(&stop));
        let begun = self.begin(arguments, plan, stop, output, &sending);
        let mut sender = match begun {
            Ok(Ok(sender)) => sender,
            Ok(Err(other)) => return tell(Ok(other)),
            Err(end) => return tell(Err(end)),
        };
        tell(Ok(Started::Run(Box::new(sender.run.clone()))));
        let id = sender.run.id.clone();
        let resume = format!("longshore dlq replay resume -c PIPELINE {id}");
        match replay::send(&mut sender, &resume) {
            Ok((Outcome::Done, words)) => tracing::info!("{words}"),
            Ok((Outcome::Stopped | Outcome::Relieved(_), words)) => tracing::warn!("{words}"),
            Err(end) => tracing::warn!("replay {id}: {}", end.message),
        }
        sending.notes().iter().for_each(|note| tracing::warn!(replay = id, "{note}"));
    }

    fn begin<'a>(
        &'a self,
        arguments: &ReplayStart,
        plan: &str,
        stop: Arc<AtomicBool>,
        output: &Output,
        sending: &'a Output,
    ) -> Result<Result<super::send::Sender<'a>, Started>, End> {
        let planned = self.planned(arguments, output)?;
        planned.sendable(&self.scope, arguments)?;
        if fingerprint(&planned.plan.selected, &arguments.to) != plan {
            return Ok(Err(Started::Changed(told(&planned, arguments))));
        }
        if planned.is_empty() {
            return Ok(Err(Started::Nothing));
        }
        // Whoever asked may have been told by now that nothing came.
        if output.time_is_up() {
            let why = if output.is_stopping() { STOPPING } else { LATE };
            return Err(End::new(Exit::Temporary, format!("nothing was sent: {why}")));
        }
        let mut run = planned.run(&self.scope, arguments);
        // The process has no user of its own to name.
        run.who = format!("console@{}", identity::host());
        replay::begin(&self.scope, run, planned, || Ok(stop), sending).map(Ok)
    }
}

/// A run; without `all` nothing that a person wrote about payloads or for colleagues (condition, transform, words), and nothing of the
/// process that is at it (I10).
fn seen(run: &Run, all: bool) -> Value {
    if all {
        return json!(run);
    }
    let filter = &run.filter;
    json!({
        "id": run.id,
        "kind": run.kind,
        "state": run.state,
        "who": run.who,
        "started_ms": run.started_ms,
        "updated_ms": run.updated_ms,
        "filter": {
            "since_ms": filter.since_ms,
            "until_ms": filter.until_ms,
            "reasons": filter.reasons,
            "limit": filter.limit,
        },
        "topics": run.topics,
        "target": run.target,
        "rate": run.rate,
        "counts": run.counts,
    })
}

fn told(planned: &Planned, arguments: &ReplayStart) -> Value {
    let mut plan = planned.json(arguments.rate);
    plan["open"] = json!(planned.plan.open);
    plan["plan"] = json!(fingerprint(&planned.plan.selected, &arguments.to));
    plan["sendable"] = json!(!planned.is_empty());
    plan
}

/// Names a set of letters and where they go, so that what is sent is what was read.
fn fingerprint(selected: &Marks, to: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(to.as_bytes());
    for topic in selected.topics() {
        for (partition, runs) in selected.partitions(topic) {
            hasher.update(format!("\n{topic}/{partition}").as_bytes());
            for (first, end) in runs.iter() {
                hasher.update(format!(" {first}-{end}").as_bytes());
            }
        }
    }
    hasher.finalize().to_hex()[..32].to_owned()
}

#[cfg(test)]
mod tests {
    use longshore_core::journal::{Counts, Filter, RunKind, Target};

    use super::*;
    use crate::commands::common::run::new_run;
    use crate::commands::dlq::show::state;

    /// Guarantee: without the token nothing is seen of a condition, a transform, a person's words, or the process (I10).
    #[test]
    fn anybody_sees_what_a_run_did_alone() {
        const SECRET: &str = "planted-secret";
        let filter = Filter { condition: Some(SECRET.to_owned()), limit: Some(7), ..Filter::default() };
        let mut run = new_run(RunKind::Replay, &filter, &["t".to_owned()], Counts::default());
        run.transform = vec![("value".to_owned(), SECRET.to_owned())];
        run.words = Some(SECRET.to_owned());
        run.writer = SECRET.to_owned();
        run.target = Some(Target::Retry);
        let (all, some) = (seen(&run, true), seen(&run, false));
        assert_eq!(all, serde_json::to_value(&run).unwrap());
        assert!(!some.to_string().contains(SECRET), "{some}");
        assert_eq!((&some["id"], &some["filter"]["limit"]), (&json!(run.id), &json!(7)));
        assert!(state(Some(&run), true).contains(SECRET) && !state(Some(&run), false).contains(SECRET));
    }

    /// Guarantee: a letter more, fewer or elsewhere is another plan.
    #[test]
    fn a_plan_is_named_by_its_letters() {
        let marks = |places: &[(&str, i32, i64)]| {
            let mut marks = Marks::default();
            for (topic, partition, offset) in places {
                marks.insert(topic, *partition, *offset);
            }
            fingerprint(&marks, "retry")
        };
        let one = marks(&[("a", 0, 1), ("a", 0, 2)]);
        assert_eq!(one, marks(&[("a", 0, 2), ("a", 0, 1)]));
        for other in [&[("a", 0, 1)][..], &[("a", 1, 1), ("a", 1, 2)], &[("b", 0, 1), ("b", 0, 2)], &[]] {
            assert_ne!(one, marks(other));
        }
        assert_ne!(fingerprint(&Marks::default(), "retry"), fingerprint(&Marks::default(), "input"));
    }
}
