//! What a replay or a discard would do, found out by a pass over all letters before anything is done.

use std::collections::BTreeMap;

use longshore_conditions::Transform;
use longshore_core::journal::{Counts, Marks, Target};
use longshore_core::letter::Place;
use longshore_kafka::{Admin, retry_topic};

use super::held::Held;
use super::ls::{NONE, OTHERS};
use super::scan::scan;
use super::scope::Scope;
use crate::commands::common::choose::{Choice, LetterItem};
use crate::commands::common::found::{Found, State};
use crate::commands::common::words;
use crate::exit::{End, Exit};
use crate::output::Output;

/// The most reasons that are told apart: another tool's may be as many as its letters.
const REASONS_MAX: usize = 1_000;
/// The most runs of neighbouring letters that a worker plans with (I5): 2 MiB, and as much again while they are sent.
const WORKER_RUNS: usize = 1 << 17;
/// How many letters are taken before the runs are counted again.
const LETTERS_A_LOOK: u64 = 1_024;
/// How many failures of a transform or a condition are spelled out.
const FAILURES_SHOWN: usize = 20;

/// What is known about the pipeline before letters are judged.
pub(super) struct Rules<'a> {
    pub(super) choice: &'a Choice,
    /// None for a discard, which needs no target and refuses nothing.
    pub(super) sending: Option<Sending<'a>>,
}

/// What a replay asks of a letter.
pub(super) struct Sending<'a> {
    pub(super) target: &'a Target,
    pub(super) transform: Option<&'a Transform>,
    pub(super) max_replays: u32,
    pub(super) inputs: Inputs,
    pub(super) held: Option<Held>,
}

/// The pipeline's input topics with the ends of their partitions.
pub(super) struct Inputs {
    ends: BTreeMap<String, Vec<i64>>,
    /// The retry topic of each.
    copies: BTreeMap<String, String>,
}

impl Inputs {
    pub(super) fn of(scope: &Scope) -> Result<Self, End> {
        let pipeline = scope.pipeline()?;
        let admin = Admin::new(&scope.options)?;
        let mut ends = BTreeMap::new();
        for topic in &pipeline.input.topics {
            // An input topic that is gone has no places; its letters say so.
            if admin.topic(topic)?.is_some() {
                let places = admin.offsets(topic)?;
                ends.insert(topic.clone(), places.iter().map(|place| place.end).collect());
            }
        }
        Ok(Self::new(&pipeline.pipeline, ends))
    }

    fn new(pipeline: &str, ends: BTreeMap<String, Vec<i64>>) -> Self {
        let copies = ends.keys().map(|topic| (topic.clone(), retry_topic(topic, pipeline))).collect();
        Self { ends, copies }
    }

    /// Whether a record can have stood there: a header may be forged, or name a topic that is not read or is gone.
    fn holds(&self, place: Place<'_>) -> bool {
        let end = self
            .ends
            .get(place.topic)
            .zip(usize::try_from(place.partition).ok())
            .and_then(|(ends, partition)| ends.get(partition));
        end.is_some_and(|end| place.offset < *end)
    }

    /// The topic that a letter goes to; none when its origin is no place of ours and so cannot tell.
    pub(super) fn target<'t>(&'t self, target: &'t Target, place: Option<Place<'_>>) -> Option<&'t str> {
        let own = place.filter(|place| self.holds(*place));
        match target {
            Target::Retry => own.and_then(|place| self.copies.get(place.topic)).map(String::as_str),
            Target::Input => match own {
                Some(place) => self.ends.get_key_value(place.topic).map(|(topic, _)| topic.as_str()),
                // Another tool's letters: with one input there is no doubt.
                None if self.ends.len() == 1 => self.ends.keys().next().map(String::as_str),
                None => None,
            },
            Target::Topic(topic) => Some(topic),
        }
    }
}

/// What would be done.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) selected: Marks,
    /// Chosen, but the ledger holds them already.
    pub(super) held: Marks,
    pub(super) counts: Counts,
    /// Letters by the topic they go to.
    pub(super) targets: BTreeMap<String, u64>,
    /// The letters that the transform fails on, those that are spelled out.
    pub(super) transform_failures: Vec<String>,
    /// Letters that the condition could not be evaluated for; they are not chosen.
    pub(super) condition_failed: u64,
    pub(super) condition_failures: Vec<String>,
    /// All open letters, chosen or not.
    pub(super) open: u64,
}

impl Plan {
    /// Goes over all letters.
    pub(super) fn make(
        scope: &Scope,
        handled: &Marks,
        rules: &Rules<'_>,
        output: &Output,
    ) -> Result<Self, End> {
        let mut plan = Self::default();
        let mut letters = 0_u64;
        let totals = scan(scope, handled, output, &mut |found| {
            plan.take(found, rules);
            letters += 1;
            if output.in_worker() && letters.is_multiple_of(LETTERS_A_LOOK) { plan.fits() } else { Ok(()) }
        })?;
        plan.open = totals.open;
        Ok(plan)
    }

    /// Refuses what is too much to remember beside a worker's records.
    fn fits(&self) -> Result<(), End> {
        if self.selected.run_count() + self.held.run_count() <= WORKER_RUNS {
            return Ok(());
        }
        let words = "these letters lie too far apart for a worker to plan with; ask for fewer, or the command `longshore dlq`";
        Err(End::new(Exit::Temporary, words))
    }

    fn take(&mut self, found: &Found<'_>, rules: &Rules<'_>) {
        let limit = rules.choice.filter().limit.unwrap_or(u64::MAX);
        if found.state != State::Open || self.counts.selected >= limit {
            return;
        }
        match rules.choice.takes(found) {
            Ok(true) => {}
            Ok(false) => return,
            Err(failure) => {
                self.condition_failed += 1;
                note(&mut self.condition_failures, found, failure.detail());
                return;
            }
        }
        if let Some(sending) = &rules.sending {
            let Some(topic) = self.judged(found, sending) else { return };
            match self.targets.get_mut(topic) {
                Some(count) => *count += 1,
                None => drop(self.targets.insert(topic.to_owned(), 1)),
            }
        }
        self.counts.selected += 1;
        let reason = words(found.letter.reason(), 128);
        let reason = if reason.is_empty() { NONE.to_owned() } else { reason };
        let reasons = &mut self.counts.by_reason;
        let full = reasons.len() >= REASONS_MAX && !reasons.contains_key(&reason);
        *reasons.entry(if full { OTHERS.to_owned() } else { reason }).or_default() += 1;
        self.selected.insert(found.topic, found.record.partition(), found.record.offset());
    }

    /// The topic that the letter goes to, none when it is not sent.
    fn judged<'s>(&mut self, found: &Found<'_>, sending: &'s Sending<'_>) -> Option<&'s str> {
        if found.all_replays() >= sending.max_replays {
            self.counts.too_often += 1;
            return None;
        }
        if found.letter.is_without_payload() {
            self.counts.without_payload += 1;
            return None;
        }
        let Some(topic) = sending.inputs.target(sending.target, found.place) else {
            self.counts.no_origin += 1;
            return None;
        };
        if let (Some(held), Some(place)) = (&sending.held, found.place)
            && held.contains(place)
        {
            self.counts.already_held += 1;
            self.held.insert(found.topic, found.record.partition(), found.record.offset());
            return None;
        }
        if let Some(transform) = sending.transform {
            let mut letter = LetterItem::of(found);
            let (item, values) = letter.parts();
            if let Err(failure) = transform.apply(item, values) {
                self.counts.transform_failed += 1;
                note(&mut self.transform_failures, found, failure.detail());
                return None;
            }
        }
        Some(topic)
    }
}

fn note(list: &mut Vec<String>, found: &Found<'_>, what: &str) {
    if list.len() < FAILURES_SHOWN {
        let place = format!("{}/{}/{}", found.topic, found.record.partition(), found.record.offset());
        list.push(format!("{place}: {what}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(topics: &[&str]) -> Inputs {
        let ends = topics.iter().map(|topic| ((*topic).to_owned(), vec![10, 0])).collect();
        Inputs::new("p", ends)
    }

    fn place(topic: &str, partition: i32, offset: i64) -> Option<Place<'_>> {
        Some(Place { topic, partition, offset, index: 0 })
    }

    /// Bad input: origins that are no place of the pipeline's input. Guarantee: they never go to the retry topic, where they
    /// would count as an identity.
    #[test]
    fn only_places_of_the_input_are_retried() {
        let inputs = inputs(&["in", "other"]);
        assert_eq!(inputs.target(&Target::Retry, place("in", 0, 9)), Some("in.p.retry"));
        for wrong in [None, place("gone", 0, 1), place("in", 2, 1), place("in", 1, 0), place("in", 0, 10)] {
            assert_eq!(inputs.target(&Target::Retry, wrong), None, "{wrong:?}");
            assert_eq!(inputs.target(&Target::Input, wrong), None, "{wrong:?}");
            let topic = Target::Topic("t".to_owned());
            assert_eq!(inputs.target(&topic, wrong), Some("t"), "{wrong:?}");
        }
        assert_eq!(inputs.target(&Target::Input, place("other", 0, 1)), Some("other"));
    }

    /// Bad input: letters of which every second one is meant. Guarantee: a worker remembers no more runs of them than its bound (I5).
    #[test]
    fn a_plan_of_too_many_runs_is_refused() {
        let mut plan = Plan::default();
        for run in 0..WORKER_RUNS as i64 {
            plan.selected.insert("t", 0, 2 * run);
        }
        assert!(plan.fits().is_ok());
        plan.held.insert("t", 0, 1);
        assert_eq!(plan.fits().map_err(|end| end.code), Err(Exit::Temporary));
    }

    #[test]
    fn with_one_input_there_is_no_doubt_where_a_new_record_goes() {
        assert_eq!(inputs(&["in"]).target(&Target::Input, place("orders", 0, 1)), Some("in"));
        assert_eq!(inputs(&["in"]).target(&Target::Retry, place("orders", 0, 1)), None);
    }
}
