//! The retry partition of the simulated broker, and the person who replays letters.

use std::time::Duration;

use longshore_core::headers::LetterHeaders;
use longshore_core::pair::{Destination, Event, Letter};
use longshore_core::source::RetryAssignment;
use longshore_core::{ChunkBuilder, Failure, Lane, Offset, Origin, Partition, Reason, RecordRef, TopicName};

use crate::case::Chance;
use crate::coverage::Fault;
use crate::sabotage::Sabotage;
use crate::world::World;

/// The simulated clock on the wall begins here, so that headers and moments are not mistaken for each other.
const WALL_BEGIN_MS: i64 = 1_700_000_000_000;

/// One record of the retry partition.
#[derive(Clone, Debug)]
pub(crate) struct StoredCopy {
    pub(crate) headers: LetterHeaders,
    pub(crate) key: Option<u8>,
    pub(crate) landed_ms: i64,
    /// It is no copy of anything.
    pub(crate) forged: Option<Forgery>,
    /// Its key as its forger wrote it.
    pub(crate) forged_key: Option<u8>,
}

/// What a foreign record in the retry topic says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forgery {
    /// A copy of a record that is not written yet, and perhaps never will be.
    ToCome,
    /// A copy of a record of another partition or topic, or of a child.
    Elsewhere,
    /// Nothing: it has no headers of ours.
    Bare,
}

/// What the records of the input hold, and what a forger writes. Of values that are left in the topic only the length is compared.
const VALUE: &[u8] = b"v";
const FORGED: &[u8] = b"ff";

/// So often a person sends a record again at most.
const MOST_REPLAYS: u32 = 3;

/// Whether a record is a forger's.
pub(crate) fn is_forged(record: &RecordRef) -> bool {
    record.value() == Some(FORGED)
}

impl StoredCopy {
    pub(crate) fn origin(&self) -> Offset {
        self.headers.origin.offset
    }
}

impl World {
    pub(crate) fn wall_ms(&self) -> i64 {
        WALL_BEGIN_MS + self.now.0.as_millis() as i64
    }

    pub(crate) fn retry_assignment(&self) -> RetryAssignment {
        RetryAssignment {
            topic: TopicName::new("sim.retry"),
            committed: self.committed_copies.clone(),
            log_start: self.retained,
            log_end: Offset(self.copies.len() as i64),
        }
    }

    /// A letter arrives at the topic that it is for.
    pub(crate) fn store_letter(&mut self, at: usize, letter: &Letter) {
        let origin = match letter.origin {
            None if is_forged(&letter.record) => {
                self.note(format_args!("   broker: stray {} from p{at}", letter.record.lane_offset()));
                self.strays.insert(letter.record.lane_offset());
                return;
            }
            Some(origin) if !is_forged(&letter.record) => origin,
            Some(origin) => {
                return self.broken(format!("I1 p{at} takes a forged copy for record {origin}"));
            }
            None => return self.broken(format!("p{at} takes a copy for a stray: {}", letter.failure)),
        };
        if letter.record.is_left() {
            self.broken(format!("the letter of {origin} has lost its value"));
        }
        let own = self.replays_of(letter);
        if own != letter.replays {
            let number = letter.replays;
            self.broken(format!(
                "I7 p{at} sends record {origin} as replay {number}, with the bytes of replay {own}"
            ));
        }
        match letter.to {
            Destination::DeadLetters => {
                self.note(format_args!("   broker: letter {origin} replay {own} from p{at}"));
                let highest = self.letter_replays.entry(origin).or_default();
                *highest = own.max(*highest);
                self.letters.push((origin, letter.failure.at.clone()));
            }
            Destination::Retry { delay } => {
                let headers = self.copy_headers(origin, letter, delay);
                self.store_copy(headers);
            }
            Destination::Tail => {
                let own = letter.record.headers().map(|header| (header.name, header.value));
                match LetterHeaders::decode(own) {
                    Ok(Some(headers)) => self.store_copy(headers),
                    other => self.broken(format!("a copy is carried forward without its headers: {other:?}")),
                }
            }
        }
    }

    /// Which replay a letter's bytes are of, as they came.
    fn replays_of(&self, letter: &Letter) -> u32 {
        if letter.record.chunk().lane() == Lane::Input {
            return 0;
        }
        let own = letter.record.headers().map(|header| (header.name, header.value));
        LetterHeaders::decode(own).ok().flatten().map_or(0, |headers| headers.replays)
    }

    fn origin_of(&self, offset: Offset) -> Origin {
        let (topic, partition) = (self.pair.topic.clone(), self.pair.partition);
        Origin { topic, partition, offset, index: 0 }
    }

    fn copy_headers(&self, offset: Offset, letter: &Letter, delay: Duration) -> LetterHeaders {
        let origin = self.origin_of(offset);
        let mut headers = LetterHeaders::failed(origin, 0, &letter.failure, "sim", self.wall_ms());
        headers.attempt = if self.sabotage == Some(Sabotage::AttemptForgotten) { 0 } else { letter.attempts };
        headers.replays = if self.sabotage == Some(Sabotage::ReplayForgotten) { 0 } else { letter.replays };
        headers.not_before_ms = Some(self.wall_ms() + delay.as_millis() as i64);
        headers
    }

    fn store_copy(&mut self, headers: LetterHeaders) {
        let (place, origin) = (self.copies.len(), headers.origin.offset);
        self.note(format_args!(
            "   broker: retry[{place}] = {origin} attempt {} replay {}",
            headers.attempt, headers.replays
        ));
        let (key, landed_ms) = (self.plan.record(origin).key, self.wall_ms());
        self.copies.push(StoredCopy { headers, key, landed_ms, forged: None, forged_key: None });
    }

    /// Somebody writes what is nobody's copy.
    pub(crate) fn forge(&mut self) {
        let to_come = self.plan.log[self.visible..].iter().map(|record| record.offset);
        // Of an offset that never has a record nobody can tell that compaction did not take it.
        let offsets: Vec<Offset> = to_come.chain([Offset(self.plan.end.0 + 3)]).collect();
        let kinds = [Forgery::ToCome, Forgery::ToCome, Forgery::ToCome, Forgery::Elsewhere, Forgery::Bare];
        let (mut offset, forgery) = (self.random.pick(&offsets), self.random.pick(&kinds));
        if forgery != Forgery::ToCome {
            // Perhaps one that has a record here.
            offset = Offset(self.random.below(self.plan.end.0 as usize + 3) as i64);
        }
        let mut origin = self.origin_of(offset);
        if forgery == Forgery::Elsewhere {
            match self.random.below(3) {
                0 => origin.partition = Partition(origin.partition.0 + 1),
                1 => origin.topic = TopicName::new("another"),
                _ => origin.index = 1,
            }
        }
        let failure = Failure::retry(Reason::StepFailed, "forged");
        let mut headers = LetterHeaders::failed(origin, 0, &failure, "sim", self.wall_ms());
        headers.attempt = self.random.below(3) as u32;
        if forgery != Forgery::ToCome || offset >= self.plan.end {
            // Once the input lane has passed a record, a replay of it is believed, whatever it holds.
            headers.replays = self.random.below(2) as u32;
        }
        self.seen.fault(Fault::Forgery);
        self.note(format_args!("   forger: retry[{}] = {offset}, {forgery:?}", self.copies.len()));
        let (key, landed_ms) =
            ((!self.random.percent(15)).then(|| self.random.below(3) as u8), self.wall_ms());
        self.copies.push(StoredCopy { headers, key, landed_ms, forged: Some(forgery), forged_key: key });
    }

    /// A record was written. Of the forged copies that name it, those that somebody who reads the retry lane has not read yet become
    /// honest ones, as a zombie writes them: a copy that is read after its record was handed over is believed by the next owner.
    pub(crate) fn spare_forgeries(&mut self, offset: Offset) {
        let reading = self.processes.iter().filter_map(|process| process.copies.as_ref());
        let Some(unread) = reading.map(|source| source.reached.0 as usize).min() else { return };
        let key = self.plan.record(offset).key;
        let named = |copy: &&mut StoredCopy| {
            copy.forged == Some(Forgery::ToCome) && copy.headers.origin.offset == offset
        };
        for copy in self.copies.iter_mut().skip(unread).filter(named) {
            (copy.forged, copy.key) = (None, key);
            self.spared.insert(offset);
        }
    }

    /// Retention takes copies from the beginning of the retry partition, as many of them as nobody needs.
    pub(crate) fn retain(&mut self) {
        let committed = self.committed_copies.as_ref().map_or(0, |position| position.offset.0);
        let (first, most) = (self.retained.0, 1 + self.random.below(6) as i64);
        let last = (first + most).min(self.copies.len() as i64);
        let needed = |place: &i64| *place >= committed && self.is_needed(*place);
        let end = (first..last).find(needed).unwrap_or(last);
        if end > first {
            self.seen.fault(Fault::Retention);
            self.note(format_args!("   broker: retention takes the copies before {end}"));
            self.retained = Offset(end);
        }
    }

    /// Whether a copy is the one that its record has to come back by.
    fn is_needed(&self, place: i64) -> bool {
        let copy = &self.copies[place as usize];
        if copy.headers.replays > 0 && copy.forged.is_none() {
            return true;
        }
        if copy.forged.is_some() {
            return !self.strays.contains(&Offset(place));
        }
        let rank = |copy: &StoredCopy| (copy.headers.replays, copy.headers.attempt);
        let mut later = self.copies[place as usize + 1..].iter();
        let outranks = |other: &StoredCopy| {
            other.forged.is_none() && other.origin() == copy.origin() && rank(other) >= rank(copy)
        };
        !later.any(outranks) && !self.is_final_now(copy.origin())
    }

    /// Compaction takes a record of the input: one of its key came later. Not one that a forged copy names, since then that would be
    /// believed (ADR 0012).
    pub(crate) fn compact(&mut self) {
        let named = |offset: Offset| {
            self.spared.contains(&offset)
                || self.copies.iter().any(|copy| copy.forged.is_some() && copy.origin() == offset)
        };
        let place = self.random.below(self.visible);
        let offset = self.plan.log[place].offset;
        if place + 1 < self.visible && !named(offset) && self.gone.insert(offset) {
            self.seen.fault(Fault::Compaction);
            self.note(format_args!("   broker: compaction takes {offset}"));
        }
    }

    pub(crate) fn can_read_copies(&self, at: usize) -> bool {
        let source = self.processes[at].copies.as_ref();
        source.is_some_and(|source| source.given < source.granted && source.next.0 < self.copies.len() as i64)
    }

    /// Reads the next one to four copies, sometimes some that were read before.
    pub(crate) fn read_copies(&mut self, at: usize) {
        let again = self.unlucky(5);
        let want = 1 + self.random.below(4) as i64;
        let Some(source) = &mut self.processes[at].copies else { return };
        if source.next < self.retained {
            return self.take_again(at);
        }
        if again {
            self.seen.fault(Fault::Redelivery);
        }
        let from = if again { (source.next.0 - 2).max(self.retained.0) } else { source.next.0 };
        let mut chunk = ChunkBuilder::new(self.pair.clone(), Lane::Retry, source.epoch);
        for place in from..(from + want).min(self.copies.len() as i64) {
            let copy = &self.copies[place as usize];
            let forged = copy.forged.is_some() || source.forgeries.contains(&place);
            if forged {
                source.forgeries.insert(place);
            }
            let key = if forged { copy.forged_key } else { copy.key }.map(|key| [key]);
            let (offset, key) = (Offset(place), key.as_ref().map(<[u8; 1]>::as_slice));
            let value = if forged { FORGED } else { VALUE };
            if self.plan.is_large(copy.origin()) && source.whole != Some(offset) {
                chunk.without_value(offset, copy.landed_ms, key, value.len());
            } else {
                chunk.record(offset, copy.landed_ms, key, Some(value));
            }
            let headers = (copy.forged != Some(Forgery::Bare)).then(|| copy.headers.encode());
            for (name, value) in headers.into_iter().flatten() {
                chunk.header(name.as_bytes(), Some(value.as_bytes()));
            }
            source.next = source.next.max(Offset(place).next());
            source.reached = source.reached.max(source.next);
            source.given += 1;
        }
        let wall_ms = self.wall_ms();
        if !chunk.is_empty() {
            self.tell(at, Event::CopiesRead { chunk: chunk.build(None), wall_ms });
        }
    }

    /// A person sends a letter again; one that the deciding ledger holds is not open, nor one that was sent again already.
    pub(crate) fn replay(&mut self) -> bool {
        if !self.plan.has_retries() || !self.plan.may(Chance::Replays) {
            return false;
        }
        let decider = self.plan.options.sinks.iter().position(|spec| spec.ledger);
        let held = decider.map(|sink| self.stores[sink].view().holdings).unwrap_or_default();
        let name = decider.map_or("", |sink| self.plan.options.sinks[sink].name.as_str());
        let open: Vec<Offset> = self
            .letters
            .iter()
            .filter(|(offset, at)| {
                let letter = self.letter_replays.get(offset).copied().unwrap_or(0);
                let last = self.last_replays.get(offset).copied();
                let sent = last.is_some_and(|last| last > letter || last >= MOST_REPLAYS);
                (at.is_empty() || at == name)
                    && !held.holds(*offset)
                    && !sent
                    && !self.plan.record(*offset).unwelcome
            })
            .map(|(offset, _)| *offset)
            .collect();
        if open.is_empty() {
            return false;
        }
        let offset = self.random.pick(&open);
        let replays = self.letter_replays.get(&offset).copied().unwrap_or(0) + 1;
        self.seen.fault(Fault::Replay);
        self.replayed.insert(offset);
        self.last_replays.insert(offset, replays);
        let runs = self.runs[self.plan.log.partition_point(|record| record.offset < offset)];
        self.replayed_after.insert(offset, runs);
        self.note(format_args!("   person: replays {offset}, number {replays}"));
        let origin = self.origin_of(offset);
        let failure = Failure::reject(Reason::StepFailed, "replayed");
        let mut headers = LetterHeaders::failed(origin, 0, &failure, "sim", self.wall_ms());
        (headers.attempt, headers.replays) = (0, replays);
        self.store_copy(headers);
        true
    }
}
