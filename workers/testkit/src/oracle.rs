//! The promises, checked from what broker, sinks and dead-letter topic hold, never from what the machine believes.

use std::collections::{HashMap, HashSet};

use longshore_core::metadata::{METADATA_BYTES, Metadata, MetadataError};
use longshore_core::pair::Position;
use longshore_core::{Epoch, Offset, SinkIndex};

use crate::plan::{Kind, Planned};
use crate::retry::{Forgery, StoredCopy};
use crate::world::World;

impl World {
    pub(crate) fn read_metadata(&self, position: &Position) -> Result<Metadata, MetadataError> {
        Metadata::decode(&position.metadata, position.offset, self.plan.end)
    }

    /// I4: whatever the commits in force call settled is final, or has a copy that they do not call settled.
    pub(crate) fn check_commits(&mut self, at: usize) {
        let Some(position) = self.committed.clone() else { return };
        let metadata = match self.read_metadata(&position) {
            Ok(metadata) => metadata,
            Err(error) => return self.broken(format!("I4 p{at} commits {}: {error}", position.offset)),
        };
        let waiting = match self.waiting_copies() {
            Ok(waiting) => waiting,
            Err(error) => return self.broken(format!("I4 p{at} commits the retry lane: {error}")),
        };
        let views: Vec<_> = self.stores.iter().map(crate::process::Store::view).collect();
        for place in 0..self.plan.log.len() {
            let record = self.plan.log[place];
            if self.gone.contains(&record.offset) {
                continue;
            }
            let claimed = record.offset < position.offset || metadata.settled.contains(record.offset);
            if claimed && !waiting.contains(&record.offset) && !self.is_final(&record, &views) {
                let offset = record.offset;
                return self.broken(format!(
                    "I4 p{at} commits {}: record {offset} is final nowhere",
                    position.offset
                ));
            }
        }
    }

    /// The records that have a copy which is not committed.
    fn waiting_copies(&self) -> Result<HashSet<Offset>, MetadataError> {
        let end = Offset(self.copies.len() as i64);
        let (from, settled) = match &self.committed_copies {
            None => (Offset(0), Metadata::default()),
            Some(position) => (position.offset, Metadata::decode(&position.metadata, position.offset, end)?),
        };
        let from = from.max(self.retained);
        let open = |place: &i64| Offset(*place) >= from && !settled.settled.contains(Offset(*place));
        let copies = (0..end.0).filter(open).map(|place| &self.copies[place as usize]);
        Ok(copies.filter(|copy| copy.forged.is_none()).map(StoredCopy::origin).collect())
    }

    /// Whether a record of any kind may be a letter: its notes allow one for crashes, or it could not be handed over, perhaps to follow its key.
    fn is_excused(&self, offset: Offset) -> bool {
        self.blamed.get(&offset).is_some_and(|tries| *tries >= 3) || self.refused_copies.contains(&offset)
    }

    /// The same with what the sinks hold now.
    pub(crate) fn is_final_now(&self, offset: Offset) -> bool {
        let views: Vec<_> = self.stores.iter().map(crate::process::Store::view).collect();
        self.is_final(self.plan.record(offset), &views)
    }

    fn is_final(&self, record: &Planned, views: &[longshore_core::ledger::LedgerView]) -> bool {
        let lettered = |name: &str| self.letters.iter().any(|(o, at)| *o == record.offset && at == name);
        // Such a letter stands for all sinks that lack the record, and names one of them.
        let excused = self.is_excused(record.offset) || record.kind == Kind::Fickle;
        let excused = excused && self.letters.iter().any(|(o, _)| *o == record.offset);
        if lettered("") || excused {
            return true;
        }
        self.passed.contains(&record.offset)
            && self.plan.options.sinks.iter().enumerate().all(|(place, spec)| {
                let routed = record.routes.contains(SinkIndex(place as u8)) && record.kind != Kind::Filter;
                let sent = || self.stores[place].sent.iter().any(|(_, _, offset)| *offset == record.offset);
                if spec.ledger {
                    views[place].holdings.holds(record.offset) || (spec.refuses && lettered(&spec.name))
                } else {
                    !routed
                        || sent()
                        || record.kind == Kind::Fickle
                        || (record.kind == Kind::Refused && lettered(&spec.name))
                }
            })
    }

    /// What one owner sent to a sink without a ledger, and no commit covers, stays within the cap. Records that were tried
    /// several times do not count: one of them may go at any time, since others may wait for it. Where commits have no room for what is
    /// settled, records that the last one covered are covered no more, and one record at a time goes on nevertheless.
    pub(crate) fn check_repeats(&mut self, sink: SinkIndex, incarnation: u64, epoch: Epoch) {
        if self.plan.options.commit.metadata_bytes < METADATA_BYTES {
            return;
        }
        let committed = self.committed.clone();
        let covered =
            committed.as_ref().and_then(|committed| self.read_metadata(committed).ok()).unwrap_or_default();
        let below = committed.map_or(Offset(0), |committed| committed.offset);
        let store = &self.stores[usize::from(sink.0)];
        let own = store.sent.iter().filter(|(by, under, _)| (*by, *under) == (incarnation, epoch));
        let counted = own.filter(|(_, _, offset)| {
            !self.plan.record(*offset).kind.is_flaky()
                && *offset >= below
                && !covered.settled.contains(*offset)
        });
        let counted: HashSet<Offset> = counted.map(|(_, _, offset)| *offset).collect();
        let (count, cap) = (counted.len() as u64, self.plan.options.commit.uncommitted_cap);
        if count > cap {
            self.broken(format!("sink {} may get {count} records twice, more than the cap of {cap}", sink.0));
        }
    }

    /// Everything at the end: each record in its one place, once, in order, and all of it committed.
    pub(crate) fn check_end(&mut self) {
        let committed = self.committed.as_ref().map_or(Offset(0), |position| position.offset);
        if committed != self.plan.end {
            return self.broken(format!("stuck: {committed} of {} are committed", self.plan.end));
        }
        let copies = self.committed_copies.as_ref().map_or(Offset(0), |position| position.offset);
        // Behind retention a commit stays until there is something new to commit.
        if copies >= self.retained && copies.0 != self.copies.len() as i64 {
            return self.broken(format!("stuck: {copies} of {} copies are committed", self.copies.len()));
        }
        let process = &self.processes[self.owner];
        if process.spool.epoch == process.pair.epoch() && !process.spool.chunks.is_empty() {
            let left = process.spool.chunks.len();
            return self.broken(format!("{left} chunks stay in the spool, and nothing waits"));
        }
        for place in 0..self.stores.len() {
            if self.plan.options.sinks[place].ledger {
                self.check_ledger_sink(place);
            } else {
                self.check_plain_sink(place);
            }
        }
        self.check_letters();
        self.check_replays();
        self.check_strays();
    }

    /// A forged copy of what was never written is found among the letters. One whose record came to be written may have been
    /// read after that record, which needed no copy.
    fn check_strays(&mut self) {
        let forged =
            (0..).map(Offset).zip(&self.copies).filter_map(|(place, copy)| Some((place, copy, copy.forged?)));
        let never =
            forged.filter(|(_, copy, forged)| *forged != Forgery::ToCome || copy.origin() >= self.plan.end);
        let lost = |place: &Offset| *place >= self.retained && !self.strays.contains(place);
        if let Some(place) = never.map(|(place, ..)| place).find(lost) {
            self.broken(format!("I1 the forged copy {place} is no letter"));
        }
    }

    /// I7: what a person sends again is tried. Without a ledger the record may come from the input again before its replay, and pass.
    fn check_replays(&mut self) {
        let decider = self.plan.options.sinks.iter().position(|spec| spec.ledger);
        let Some(held) = decider.map(|sink| self.stores[sink].view().holdings) else { return };
        let runs =
            |offset: &Offset| self.runs[self.plan.log.partition_point(|record| record.offset < *offset)];
        let answered = |offset: &Offset| self.letter_replays.get(offset) >= self.last_replays.get(offset);
        let untried = |(offset, after): &(&Offset, &u32)| {
            // Of a record that compaction took the ledger may say that it is a gap, and held.
            let gone = self.gone.contains(*offset);
            !held.holds(**offset) && runs(offset) == **after && !answered(offset) && !gone
        };
        if let Some((offset, _)) = self.replayed_after.iter().filter(untried).min() {
            self.broken(format!("I7 the replay of record {offset} was never tried"));
        }
    }

    fn check_ledger_sink(&mut self, place: usize) {
        let store = self.stores[place].clone();
        let view = store.view();
        let rows: Vec<Offset> =
            store.segments.iter().flat_map(|stored| stored.rows.iter().copied()).collect();
        let lettered = self.lettered();
        let decides = self.plan.options.sinks.iter().position(|spec| spec.ledger) == Some(place);
        let (mut held, mut entries) = (0, 0);
        for record in self.plan.log.clone() {
            let offset = record.offset;
            let copies = rows.iter().filter(|row| **row == offset).count();
            let is_held = view.holdings.holds(offset);
            held += u64::from(is_held);
            entries += if copies > 0 { copies as u64 } else { u64::from(is_held) };
            let wanted = record.routes.contains(SinkIndex(place as u8)) && record.kind != Kind::Filter;
            if copies > record.children {
                self.broken(format!("I2 record {offset} is {copies} times in sink {place}"));
            }
            if copies > 0 && copies < record.children {
                self.broken(format!(
                    "I1 {copies} of the {} rows of record {offset} are in sink {place}",
                    record.children
                ));
            }
            let filtered = record.kind == Kind::Fickle || self.gone.contains(&offset);
            if is_held && wanted && copies == 0 && !filtered {
                self.broken(format!(
                    "I1 the ledger of sink {place} claims record {offset}, but it has no row: lost"
                ));
            }
            if copies > 0 && (!is_held || !wanted || record.kind.is_doomed()) {
                self.broken(format!("I1 record {offset} has a row in sink {place} that it should not have"));
            }
            if copies > 0 && record.kind == Kind::Refused && self.plan.options.sinks[place].refuses {
                self.broken(format!("record {offset} has a row in sink {place}, which refused it"));
            }
            if self.gone.contains(&offset) {
                continue;
            }
            let to_letter = record.kind.is_doomed() || lettered.contains(&offset);
            if !is_held && !to_letter {
                self.broken(format!("I1 record {offset} is in no final place of sink {place}"));
            }
            if is_held
                && decides
                && view.holdings.letter(offset).is_some()
                && !self.replayed.contains(&offset)
            {
                self.broken(format!("I1 record {offset} is held by sink {place} and decided to be a letter"));
            }
        }
        let counted: u64 =
            store.segments.iter().map(|s| s.trailer.rows + s.trailer.filtered.values().sum::<u64>()).sum();
        if counted != entries && self.gone.is_empty() {
            self.broken(format!(
                "I1 sink {place} holds {entries} rows and filtered of {held} records, its trailers count {counted}"
            ));
        }
        self.check_order(place, &rows);
    }

    fn check_plain_sink(&mut self, place: usize) {
        let sent = self.stores[place].sent.clone();
        for record in self.plan.log.clone() {
            let offset = record.offset;
            let wanted = record.routes.contains(SinkIndex(place as u8));
            let arrived = sent.iter().any(|(_, _, other)| *other == offset);
            let passes = !record.kind.is_doomed() && !matches!(record.kind, Kind::Filter | Kind::Refused);
            let sure = passes && record.kind != Kind::Fickle && !self.gone.contains(&offset);
            if wanted && sure && !arrived && !self.lettered().contains(&offset) {
                self.broken(format!("I1 record {offset} never came to sink {place}"));
            }
            if arrived && (!wanted || !passes) {
                self.broken(format!("I1 record {offset} came to sink {place}, which it should not"));
            }
        }
        // Repeats are allowed after a restart, never within one ownership.
        let mut by_owner: HashMap<(u64, Epoch), Vec<Offset>> = HashMap::new();
        for (incarnation, epoch, offset) in sent {
            by_owner.entry((incarnation, epoch)).or_default().push(offset);
        }
        for mut rows in by_owner.into_values() {
            // A copy that landed twice is tried twice, since no ledger tells that it is done; one of a former owner may also
            // come late.
            let copied = |offset: &Offset| {
                self.copies.iter().any(|copy| copy.forged.is_none() && copy.origin() == *offset)
            };
            let mut seen = HashSet::new();
            rows.retain(|offset| !copied(offset) || (!self.plan.faulty && seen.insert(*offset)));
            self.check_order(place, &rows);
        }
    }

    /// I3: of two records that must not overtake each other, the earlier one's row comes first.
    fn check_order(&mut self, place: usize, rows: &[Offset]) {
        let mut rows = rows.to_vec();
        // The rows of one record.
        rows.dedup();
        for (at, later) in rows.iter().enumerate() {
            for earlier in &rows[..at] {
                let (a, b) = (*self.plan.record(*earlier), *self.plan.record(*later));
                // A letter leaves the order, and its replay comes late; so does every retry that keeps no order.
                // A ledger that decides no letters does not remember what it refused, so after a crash it may take that late.
                let decides = self.plan.options.sinks.iter().position(|spec| spec.ledger) == Some(place);
                let late = |record: &Planned| {
                    if matches!(record.kind, Kind::Picky(_) | Kind::Fickle) && !decides {
                        return true;
                    }
                    let fails = matches!(record.kind, Kind::Transient(_) | Kind::Fickle)
                        || self.spared.contains(&record.offset);
                    let retried = !self.plan.is_retry_ordered() && fails;
                    retried || self.replayed.contains(&record.offset)
                };
                if self.plan.ordered(&a, &b) && earlier >= later && !late(&a) && !late(&b) {
                    return self.broken(format!("I3 sink {place} got {earlier} before {later}"));
                }
            }
        }
    }

    fn check_letters(&mut self) {
        let names: Vec<String> = self.plan.options.sinks.iter().map(|spec| spec.name.clone()).collect();
        let views: Vec<_> = self.stores.iter().map(crate::process::Store::view).collect();
        let decider = self.plan.options.sinks.iter().position(|spec| spec.ledger);
        for (offset, at) in self.letters.clone() {
            let record = *self.plan.record(offset);
            let allowed = match record.kind {
                // Who ends three times in careful mode while the same record is next is not told from who is taken down by it.
                // Whoever has it at work ends it after compaction took it, which the next ledger may call a gap.
                _ if self.gone.contains(&offset) => true,
                _ if (at.is_empty() || names.contains(&at)) && self.is_excused(offset) => true,
                Kind::Poison | Kind::Hopeless | Kind::Crasher => at.is_empty(),
                // Which run is the last allowed try depends on the worker, so it may pass elsewhere.
                Kind::Transient(_) => at.is_empty(),
                // Also for the sinks that lack it, where others have its row.
                Kind::Fickle => at.is_empty() || names.contains(&at),
                // What a ledger decided is told again after a crash without the sink's name.
                Kind::Refused | Kind::Picky(_) => {
                    let decided = decider.and_then(|sink| views[sink].holdings.letter(offset));
                    names.contains(&at) || (at.is_empty() && decided.is_some())
                }
                Kind::Pass | Kind::Filter | Kind::Outage(_) => false,
            };
            if !allowed {
                self.broken(format!("I1 record {offset} ({:?}) became a letter of {at:?}", record.kind));
            }
            let held = decider.is_some_and(|sink| views[sink].holdings.holds(offset));
            let decides = decider.is_some_and(|sink| at == names[sink]);
            let gone = self.gone.contains(&offset);
            if (at.is_empty() || decides) && held && !gone && !self.replayed.contains(&offset) {
                self.broken(format!("I1 record {offset} is a letter and held by the sink that decides"));
            }
        }
        let plan = self.plan.clone();
        let doomed = |record: &&Planned| record.kind.is_doomed() || plan.is_refused(record);
        let gone = self.gone.clone();
        let there = plan.log.iter().filter(|record| !gone.contains(&record.offset));
        for record in there.filter(doomed) {
            if !self.lettered().contains(&record.offset) {
                self.broken(format!("I1 record {} should be a letter", record.offset));
            }
        }
    }
}
