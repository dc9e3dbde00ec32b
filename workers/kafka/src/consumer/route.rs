//! Records from a poll to their pairs: one chunk for each pair and poll.

use longshore_core::record::LARGE_RECORD_BYTES;
use longshore_core::source::SourceEvent;
use longshore_core::{Charge, ChunkBuilder, Failure, Lane, Offset, PairId, Reason};

use std::time::Instant;

use super::damage::is_damage;
use super::gate::{Waiting, footprint};
use super::pairs::{Pair, State};
use super::poll::Poll;
use crate::errors::{Meaning, failure, meaning};
use crate::ffi::{Code, MessageView, Messages, OK};

/// Where no record stands, so that the next one's pair is looked up.
const NOWHERE: (usize, i32) = (0, i32::MIN);

/// What a record costs beside its bytes: its entry in the chunk, and its places in tracker and scheduler.
const RECORD_OVERHEAD_BYTES: u64 = 64;

/// A chunk in the making.
struct Filling {
    topic: usize,
    partition: i32,
    builder: ChunkBuilder,
}

impl Poll<'_> {
    /// Hands a batch out. Records of one partition mostly stand together, so the pair is looked up when it changes.
    pub(super) fn route(&mut self, messages: &Messages) {
        let mut filling: Vec<Filling> = Vec::new();
        let mut topics: Vec<(usize, Option<usize>)> = Vec::new();
        let mut current = usize::MAX;
        let mut mark = NOWHERE;
        let mut received = false;
        let mut ahead = messages.iter();
        while let Some(message) = ahead.next() {
            if message.code() != OK {
                self.consumer_error(&message);
                // The pair may take nothing more.
                mark = NOWHERE;
                continue;
            }
            received = true;
            let here = (message.topic_mark(), message.partition());
            if here != mark {
                mark = here;
                let topic = self.topic_of(&message, &mut topics);
                current = self.filling_of(topic, here.1, &mut filling);
                if let Some(fill) = filling.get_mut(current) {
                    reserve(&message, ahead.clone(), &mut fill.builder);
                }
            }
            let Some(fill) = filling.get_mut(current) else { continue };
            let Some(pair) = self.pairs.at(fill.topic, fill.partition) else { continue };
            let offset = Offset(message.offset());
            // What librdkafka hands out again after a pause was handed over already.
            if offset < pair.next {
                continue;
            }
            if !pair.begins_at(offset) {
                (mark, current) = (NOWHERE, usize::MAX);
                continue;
            }
            let may_leave = pair.lane == Lane::Retry && pair.wanted != Some(offset);
            if may_leave && self.gate.is_large(message.value().map_or(0, <[u8]>::len)) {
                pair.next = offset.next();
                leave_value(&message, &mut fill.builder);
                continue;
            }
            if message.bytes() > LARGE_RECORD_BYTES {
                if !self.route_large(&message, fill) {
                    // What was fetched behind it comes again as well.
                    (mark, current) = (NOWHERE, usize::MAX);
                }
                continue;
            }
            pair.next = offset.next();
            copy(&message, &mut fill.builder);
            copy_run(pair, here, &mut ahead, &mut fill.builder);
        }
        for mut fill in filling {
            self.flush(&mut fill);
        }
        if received {
            self.all_well();
        }
    }

    /// A record that gets a chunk of its own, so that it pins only itself. False when there is no room for it and it was let
    /// go of.
    fn route_large(&mut self, message: &MessageView<'_>, fill: &mut Filling) -> bool {
        self.flush(fill);
        let Some(charge) = self.room_for(message, fill) else { return false };
        let Some(pair) = self.pairs.at(fill.topic, fill.partition) else { return false };
        pair.next = Offset(message.offset()).next();
        let mut headers = 0;
        message.headers(|name, value| headers += name.len() + value.map_or(0, <[u8]>::len));
        fill.builder.reserve(1, message.bytes() + headers);
        copy(message, &mut fill.builder);
        fill.builder.polled(self.asked.elapsed());
        let event = hand_over(pair, &mut fill.builder, charge);
        event.into_iter().for_each(|event| self.say(event));
        true
    }

    /// Room for a record with a chunk of its own; a very large one has to pass the gate for it.
    fn room_for(&mut self, message: &MessageView<'_>, fill: &Filling) -> Option<Charge> {
        let (offset, bytes) = (Offset(message.offset()), message.bytes());
        let pair = self.pairs.at(fill.topic, fill.partition)?;
        if !self.gate.is_large(bytes) || !pair.stands_in_line(offset) {
            return Some(match pair.lane {
                Lane::Input => self.options.budget.charge(footprint(bytes)),
                Lane::Retry => self.options.budget.charge_waiting(bytes as u64),
            });
        }
        self.thrift.large(Instant::now());
        if !pair.comes_to_the_gate(offset) {
            self.set_flow();
            return None;
        }
        let charge = self.gate.enter(pair.room.take().map(|(room, _)| room), bytes);
        if charge.is_none() {
            pair.state = State::InLine;
            let (pair, epoch, lane) = (pair.id.clone(), pair.epoch, pair.lane);
            self.gate.wait(Waiting { pair, epoch, lane, offset, bytes }, Instant::now());
        }
        // Before the copy, which takes a while: until then librdkafka may ask for another one.
        self.set_flow();
        charge
    }

    /// Hands over what was gathered so far.
    fn flush(&mut self, fill: &mut Filling) {
        if fill.builder.is_empty() {
            return;
        }
        if let Some(pair) = self.pairs.at(fill.topic, fill.partition) {
            // The large record that room was kept for is gone from the log.
            pair.room = None;
            let bytes =
                fill.builder.memory_bytes() as u64 + fill.builder.len() as u64 * RECORD_OVERHEAD_BYTES;
            let charge = match pair.lane {
                Lane::Input => self.options.budget.charge(bytes),
                Lane::Retry => self.options.budget.charge_waiting(bytes),
            };
            fill.builder.polled(self.asked.elapsed());
            let event = hand_over(pair, &mut fill.builder, charge);
            event.into_iter().for_each(|event| self.say(event));
        }
    }

    fn topic_of(&self, message: &MessageView<'_>, topics: &mut Vec<(usize, Option<usize>)>) -> Option<usize> {
        let mark = message.topic_mark();
        if let Some((_, known)) = topics.iter().find(|(seen, _)| *seen == mark) {
            return *known;
        }
        let found = self.pairs.topic_index(&message.topic());
        topics.push((mark, found));
        found
    }

    /// The place of the pair's chunk; a place that does not exist for a pair that takes nothing.
    fn filling_of(&mut self, topic: Option<usize>, partition: i32, filling: &mut Vec<Filling>) -> usize {
        let Some(topic) = topic else { return usize::MAX };
        let Some(pair) = self.pairs.at(topic, partition).filter(|pair| pair.state == State::Flowing) else {
            return usize::MAX;
        };
        if let Some(place) =
            filling.iter().position(|fill| fill.topic == topic && fill.partition == partition)
        {
            return place;
        }
        let builder = ChunkBuilder::new(pair.id.clone(), pair.lane, pair.epoch);
        filling.push(Filling { topic, partition, builder });
        filling.len() - 1
    }

    /// An error in a record's clothes: of a partition, a topic, or the group.
    fn consumer_error(&mut self, message: &MessageView<'_>) {
        let code = message.code();
        let topic = message.topic();
        if let Some(pair) = self.pairs.find(&topic, message.partition()) {
            // Librdkafka's position is that of the event and one too far, so it tells nothing until the next seek.
            pair.doubtful = true;
        }
        tracing::debug!(?code, topic, partition = message.partition(), "{}", message.error_text());
        match (code, meaning(code)) {
            (Code::RD_KAFKA_RESP_ERR__FATAL, _) => self.fatal(),
            _ if is_damage(code) && message.partition() >= 0 => {
                self.damaged(&topic, message.partition(), code);
            }
            (_, Meaning::Control) => {}
            // The group noticed that we are gone; a revoke as lost follows.
            (_, Meaning::Fenced) => tracing::warn!(?code, "the group counts us as gone"),
            (_, Meaning::Error(_, Reason::OffsetOutOfRange)) => {
                let id = PairId::new(&topic, message.partition());
                // Before `Start` has sought, it is the placeholder's offset that is gone.
                let flows = |pair: &mut super::pairs::Pair| pair.state == super::pairs::State::Flowing;
                if !self.pairs.find(&topic, message.partition()).is_some_and(flows) {
                    return;
                }
                let lane = self.pairs.find(&topic, message.partition()).map(|pair| pair.lane);
                if lane == Some(Lane::Retry) {
                    return self.retry_begins_anew(&topic, message.partition());
                }
                let detail = format!("{id}: the broker no longer has the offset to read next; see rewind");
                self.suspect(&id, Failure::halt(Reason::OffsetOutOfRange, detail));
            }
            (Code::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, _) => {
                self.group_trouble(failure(code, "consumer group"));
            }
            (_, Meaning::Error(..)) => {
                if let Some(lane) = self.pairs.find(&topic, message.partition()) {
                    lane.fetch_refused(message.error_text());
                }
                let what = if topic.is_empty() { "consumer".to_owned() } else { format!("topic {topic}") };
                self.trouble(failure(code, &what));
            }
        }
    }
}

/// Takes the small records of a partition that stand right behind one that was taken, so that its lane is not looked up for each.
fn copy_run<'a>(
    pair: &mut Pair,
    here: (usize, i32),
    ahead: &mut (impl Iterator<Item = MessageView<'a>> + Clone),
    builder: &mut ChunkBuilder,
) {
    loop {
        let mut rest = ahead.clone();
        let Some(next) = rest.next() else { return };
        let offset = Offset(next.offset());
        let is_next =
            next.code() == OK && (next.topic_mark(), next.partition()) == here && offset >= pair.next;
        if !is_next || next.bytes() > LARGE_RECORD_BYTES {
            return;
        }
        pair.next = offset.next();
        copy(&next, builder);
        *ahead = rest;
    }
}

/// Makes room for a small record and the small ones of its partition that stand right behind it: an arena that grows by doubling copies
/// every byte once more, and keeps up to half of its room for nothing.
fn reserve<'a>(
    first: &MessageView<'a>,
    ahead: impl Iterator<Item = MessageView<'a>>,
    builder: &mut ChunkBuilder,
) {
    if first.bytes() > LARGE_RECORD_BYTES {
        return;
    }
    let here = (first.topic_mark(), first.partition());
    let (mut records, mut bytes) = (1, first.bytes());
    for message in ahead.take_while(|next| (next.topic_mark(), next.partition()) == here) {
        let size = message.bytes();
        // A large record gets a chunk of its own.
        if size > LARGE_RECORD_BYTES {
            break;
        }
        records += 1;
        bytes += size;
    }
    builder.reserve(records, bytes);
}

/// What was gathered, as a chunk of its pair, unless it is held back; an empty one takes its place. All chunks are charged to the
/// memory budget, but only the input waits for it: the retry lane has to reach its end before the input begins, and what waits
/// there has to wait until the input has passed it, so a lane of copies that waited for memory would wait for ever. The machine
/// keeps no more of them in memory than its share, and has the spool take the others.
fn hand_over(pair: &mut Pair, builder: &mut ChunkBuilder, charge: Charge) -> Option<SourceEvent> {
    let charged_bytes = charge.bytes();
    builder.trim();
    let fresh = ChunkBuilder::new(pair.id.clone(), pair.lane, pair.epoch);
    let chunk = std::mem::replace(builder, fresh).build(Some(charge));
    pair.give(chunk, charged_bytes, Instant::now()).map(SourceEvent::Received)
}

/// Tells of a large copy in the retry lane, and leaves its value where it is.
fn leave_value(message: &MessageView<'_>, builder: &mut ChunkBuilder) {
    let left_bytes = message.value().map_or(0, <[u8]>::len);
    builder.without_value(Offset(message.offset()), message.timestamp_ms(), message.key(), left_bytes);
    message.headers(|name, value| builder.header(name, value));
}

/// Copies a record out of librdkafka's fetch buffer, which would otherwise stay as long as the record.
fn copy(message: &MessageView<'_>, builder: &mut ChunkBuilder) {
    builder.record(Offset(message.offset()), message.timestamp_ms(), message.key(), message.value());
    message.headers(|name, value| builder.header(name, value));
}
