//! The retry lane of a pair: copies of failed records that wait in the retry partition for their next try.
//!
//! The lane reads to its end always and keeps an index of what waits, so that any mix of delays needs one topic and nothing
//! stands at the head of a line. The topic is the truth: everything here is built anew at every assignment.
//!
//! What is settled, and when: a **copy** (an offset of the retry partition) settles when its record reached a final place,
//! when its next copy is acknowledged, or when another copy of its record outranks it. Its offset is *committed* only after
//! an acknowledged input commit has passed its origin; otherwise a crash would bring the record back from the input after
//! its retry is finished and forgotten (design section 4, the retry lane, rule 5).

use std::collections::{BTreeMap, BTreeSet};

use crate::metadata::Metadata;
use crate::rules::Rule;
use crate::source::RetryAssignment;
use crate::tracker::{Ticket, Tracker};
use crate::{Epoch, Moment, Offset, RunSet};

use super::commit::Commits;
use super::intake::Grants;
use super::{Action, Pair, Phase};

mod carry;
mod copies;
mod fetch;
mod handover;
mod index;
mod later;
mod leaves;
mod parking;
mod payloads;
mod staying;
mod strays;
mod tries;

use fetch::Fetches;
pub(super) use index::{Copy, CopyState, Index};
use later::Later;
pub(super) use parking::Parking;
use payloads::Payloads;
use staying::Staying;
pub(super) use strays::Strays;

/// The retry lane is granted so many bytes at once, where half of the window has room for them.
const LEAST_GRANT: u64 = 256 * 1024;

/// The retry lane under one ownership.
#[derive(Debug)]
pub(super) struct RetryLane {
    /// The input lane begins when this lane was read up to here: what waits must be known first.
    pub(super) end: Offset,
    pub(super) tracker: Tracker,
    /// Copies that are not settled.
    pub(super) open: Ticket,
    pub(super) index: Index,
    pub(super) parking: Parking,
    /// Records of the input lane that wait for the decision over a letter of their key.
    pub(super) staying: Staying,
    /// The chunks of the copies that wait, in memory or elsewhere.
    pub(super) payloads: Payloads,
    /// Copies that just came and may be tried as soon as they are due.
    due_at_once: Vec<Offset>,
    /// Payloads that are wanted and not in memory.
    pub(super) fetches: Fetches,
    pub(super) commits: Commits,
    pub(super) grants: Grants,
    /// Settled copies whose origin no acknowledged input commit has passed yet: origin, copy.
    uncovered: BTreeSet<(Offset, Offset)>,
    /// Copies that settle when their record, which waits in a segment, is published.
    pub(super) joined: BTreeMap<Offset, Vec<Offset>>,
    /// Records that run again only to tell why their letter was decided, by origin, with the replay number of their bytes.
    relettering: BTreeMap<Offset, u32>,
    /// Records whose decided letter was sent and acknowledged by this owner.
    relettered: RunSet,
    /// Copies that are not known to be their record's.
    pub(super) strays: Strays,
    /// Replays that wait for the end of what is under way of their record.
    later: Later,
    /// Records with the scheduler.
    pub(super) at_work: u64,
    /// When copies that have grown old are looked for again.
    sweep: Moment,
}

impl RetryLane {
    pub(super) fn new(epoch: Epoch, assignment: &RetryAssignment, repeats: bool) -> Self {
        let committed = assignment.committed.as_ref();
        // A commit of a newer version is refused before the lane begins (`pair/assign.rs`).
        let start = crate::retry::lane_start(committed, assignment.log_start, assignment.log_end);
        let (start, found) = start.unwrap_or((assignment.log_start, Metadata::default()));
        Self {
            end: assignment.log_end,
            commits: Commits::new(
                assignment.committed.clone().filter(|position| position.offset == start),
                start,
                &found.settled,
                repeats,
            ),
            tracker: Tracker::new(epoch, start, found.settled),
            open: Ticket::empty(epoch),
            index: Index::default(),
            parking: Parking::default(),
            staying: Staying::default(),
            payloads: Payloads::default(),
            due_at_once: Vec::new(),
            fetches: Fetches::default(),
            grants: Grants::default(),
            uncovered: BTreeSet::new(),
            joined: BTreeMap::new(),
            relettering: BTreeMap::new(),
            relettered: RunSet::default(),
            strays: Strays::inherited(if Rule::StraysInherited.holds() {
                found.strays
            } else {
                RunSet::default()
            }),
            later: Later::default(),
            at_work: 0,
            sweep: Moment::default(),
        }
    }

    /// Records that are at work, or are to be as soon as their payloads are here.
    pub(super) fn busy(&self) -> u64 {
        self.at_work + self.fetches.len()
    }

    /// Records that wait, those included whose first copy was not read yet.
    pub(super) fn waiting(&self) -> u64 {
        self.index.len() + self.strays.handed_over()
    }

    /// What the entries of copies that wait take in memory.
    pub(super) fn entries_bytes(&self) -> u64 {
        (self.index.len() + self.strays.waiting() + self.later.len()) * Index::ENTRY_BYTES
    }

    /// Whether everything that was there when the pair became ours was read.
    pub(super) fn is_caught_up(&self) -> bool {
        self.tracker.position() >= self.end || !Rule::ReadToEnd.holds()
    }

    /// Whether this lane has a record: it waits, or its decided letter is sent again.
    pub(super) fn has(&self, origin: Offset) -> bool {
        self.index.get(origin).is_some() || self.relettering.contains_key(&origin)
    }

    /// The records from `first` to before `end` that this lane has, rising, each once.
    pub(super) fn waiting_in(&self, first: Offset, end: Offset) -> Vec<Offset> {
        let waiting =
            self.index.iter_from(first).map(|(origin, _)| origin).take_while(|origin| *origin < end);
        let mut origins: Vec<Offset> =
            waiting.chain(self.relettering.range(first..end).map(|(origin, _)| *origin)).collect();
        origins.sort_unstable();
        origins.dedup();
        origins
    }

    /// Whether a commit of this lane is under way, or a stray is fetched whose letter the input's commit waits for.
    pub(super) fn is_committing(&self) -> bool {
        self.commits.is_under_way() || self.fetches.awaits_strays()
    }

    /// Settles a copy, now or as soon as an acknowledged input commit (`covered`) has passed its origin.
    pub(super) fn settle(&mut self, origin: Offset, copy: Offset, covered: Offset) {
        if origin < covered || !Rule::CoverOrigin.holds() {
            self.settle_now(copy);
        } else {
            self.uncovered.insert((origin, copy));
        }
    }

    /// The settled copies of a record that wait for an input commit; they are forgotten here.
    fn take_uncovered(&mut self, origin: Offset) -> Vec<Offset> {
        let lowest = Offset(i64::MIN);
        let of_it = self.uncovered.range((origin, lowest)..(origin.next(), lowest));
        let copies: Vec<Offset> = of_it.map(|(_, copy)| *copy).collect();
        copies.iter().for_each(|copy| {
            self.uncovered.remove(&(origin, *copy));
        });
        copies
    }

    /// Settles a copy that no input commit has to cover.
    pub(super) fn settle_now(&mut self, copy: Offset) {
        self.settle_all(&RunSet::of(copy, copy.next()));
    }

    /// Settles copies that no input commit has to cover.
    fn settle_all(&mut self, copies: &RunSet) {
        if !copies.is_empty() {
            let ticket = self.open.split(copies);
            let settled = self.tracker.settle(ticket);
            self.commits.note_settled(settled);
        }
    }

    /// An input commit was acknowledged, or is about to be: copies of what lies below it may be committed.
    pub(super) fn cover(&mut self, covered: Offset) {
        let mut copies = Vec::new();
        while let Some(&(origin, copy)) = self.uncovered.first()
            && origin < covered
        {
            self.uncovered.pop_first();
            copies.push((copy.0, copy.next().0));
        }
        self.settle_all(&RunSet::collect(copies));
    }

    /// Keeps in mind that a copy settles with its record, which is finished and not published.
    pub(super) fn join(&mut self, origin: Offset, copy: Offset) {
        let copies = self.joined.entry(origin).or_default();
        if !copies.contains(&copy) {
            copies.push(copy);
        }
    }

    /// Records have rows in a sink without a ledger, which may get them twice until their copies are committed.
    pub(super) fn note_sent(&mut self, origins: &RunSet) {
        if origins.is_empty() || self.commits.repeating().is_none() {
            return;
        }
        let mut copies = RunSet::default();
        for (first, end) in origins.iter() {
            self.joined.range(first..end).flat_map(|(_, copies)| copies).for_each(|copy| {
                copies.insert(*copy);
            });
        }
        self.commits.note_sent(&copies);
    }

    /// The decided letter of a record is acknowledged: another copy of it asks for nothing more.
    pub(super) fn note_relettered(&mut self, origin: Offset) {
        self.relettered.insert(origin);
    }

    /// The copies that wait for this record's publish; they are forgotten here.
    pub(super) fn take_joined(&mut self, origin: Offset) -> Vec<Offset> {
        if self.joined.is_empty() { Vec::new() } else { self.joined.remove(&origin).unwrap_or_default() }
    }

    /// Whether any copy waits for its record.
    pub(super) fn has_joined(&self) -> bool {
        !self.joined.is_empty()
    }

    /// Takes out the records whose decided letter is about to be sent again.
    pub(super) fn subtract_relettering(&self, origins: &mut RunSet) {
        let runs = self.relettering.keys().map(|origin| (origin.0, origin.next().0));
        origins.subtract(&RunSet::collect(runs.collect()));
    }

    /// Settles the copies that joined the records of these spans.
    pub(super) fn settle_joined(&mut self, spans: &RunSet, covered: Offset) {
        let mut copies = Vec::new();
        for (first, end) in spans.iter() {
            while let Some((&origin, _)) = self.joined.range(first..end).next() {
                for copy in self.take_joined(origin) {
                    if origin < covered || !Rule::CoverOrigin.holds() {
                        copies.push((copy.0, copy.next().0));
                    } else {
                        self.uncovered.insert((origin, copy));
                    }
                }
            }
        }
        self.settle_all(&RunSet::collect(copies));
    }
}

impl Pair {
    /// The input lane begins once the retry lane was read to the end that it had when the pair became ours, and what is known
    /// of crashes is committed.
    pub(super) fn start_input(&mut self, actions: &mut Vec<Action>) {
        let own = &mut self.own;
        if self.phase != Phase::Running
            || own.input_started
            || !own.careful.is_known()
            || own.retry.as_ref().is_some_and(|lane| !lane.is_caught_up())
        {
            return;
        }
        own.input_started = true;
        actions.push(Action::Start { lane: crate::Lane::Input, offset: own.tracker.position() });
    }

    /// Grants to the retry lane: it reads to its end always, a window at a time.
    pub(super) fn grant_retry(&mut self, actions: &mut Vec<Action>) {
        let window = self.options.window;
        if self.phase != Phase::Running {
            return;
        }
        // A flood of letters waits for the broker; the copies behind it wait with it.
        let flooded = self.own.letters.count() >= window.records;
        let Some(lane) = self.own.retry.as_mut().filter(|_| !flooded) else { return };
        // What is on its way to the spool is in memory until it is there; the spool always answers. Small grants would have the
        // source pause and fetch again all the time.
        let most = (window.bytes / 8).max(LEAST_GRANT.min(window.bytes / 2));
        let bytes = most.saturating_sub(lane.payloads.asked_bytes());
        if bytes == 0 && lane.payloads.asked_bytes() > 0 {
            return;
        }
        let (records, bytes) = (window.records.max(64), bytes.max(1));
        if let Some((records, bytes)) = lane.grants.top_up(records, bytes) {
            actions.push(Action::Grant { lane: crate::Lane::Retry, records, bytes });
        }
    }
}

#[cfg(test)]
mod tests;
