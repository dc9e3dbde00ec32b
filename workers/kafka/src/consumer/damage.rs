//! Batches that cannot be read: a wrong checksum, a broken compression, an unknown format.
//!
//! Librdkafka 2.12.1 tells of such a batch by an error event in the partition's place and reads on behind it, as far as it
//! can: after a wrong checksum it does not even stand at the next batch's first byte (`rd_kafka_msgset_reader_v2` skips to a
//! wrong place), so that what follows may be garbage, and its next fetch may begin behind records that nobody has read. So
//! nothing that comes behind such an event is taken (I1, I9). The partition is read again from the last record that was
//! whole, since bytes may have been turned over on their way; a batch that cannot be read several times in a row lies in
//! the log as it is, and the pair halts. It is no dead letter: which records are lost with the batch nobody can tell.

use longshore_core::source::SourceEvent;
use longshore_core::{Failure, Offset, Reason};

use super::pairs::State;
use super::poll::Poll;
use crate::ffi::{Code, describe};

/// So many readings in a row find the same damage before the pair halts.
const READINGS: u32 = 4;

/// How often what stands behind an offset could not be read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Damage {
    from: Offset,
    times: u32,
}

impl Damage {
    /// Notes one more reading that failed behind `from`; gives how many there were since something was read.
    fn note(&mut self, from: Offset) -> u32 {
        self.times = if self.from == from { self.times + 1 } else { 1 };
        self.from = from;
        self.times
    }
}

/// Whether an error of a partition says that what stands in its log cannot be read.
pub(super) fn is_damage(code: Code) -> bool {
    matches!(
        code,
        Code::RD_KAFKA_RESP_ERR__BAD_MSG
            | Code::RD_KAFKA_RESP_ERR__BAD_COMPRESSION
            | Code::RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED
            | Code::RD_KAFKA_RESP_ERR__UNDERFLOW
            | Code::RD_KAFKA_RESP_ERR_INVALID_MSG
            | Code::RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE
            | Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE
            | Code::RD_KAFKA_RESP_ERR_UNSUPPORTED_COMPRESSION_TYPE
    )
}

impl Poll<'_> {
    /// Reads the pair again from the last whole record, or halts it. Until the seek nothing of it is taken.
    pub(super) fn damaged(&mut self, topic: &str, partition: i32, code: Code) {
        let Some(pair) = self.pairs.find(topic, partition).filter(|pair| pair.state == State::Flowing) else {
            return;
        };
        let (id, epoch, from) = (pair.id.clone(), pair.epoch, pair.next);
        let times = pair.damage.note(from);
        if times < READINGS {
            pair.state = State::Starting(from);
            tracing::warn!(pair = %id, topic, from = from.0, ?code, times, "a batch cannot be read; reading it again");
            return;
        }
        self.pairs.both(&id, epoch, |lane| {
            lane.state = State::Resting;
            lane.told = true;
        });
        let detail = format!(
            "{topic}/{partition}: what stands in the log at offset {from} or next behind it cannot be read, {times} times in a row ({})",
            describe(code)
        );
        self.say(SourceEvent::Refused { pair: id, failure: Failure::halt(Reason::BrokerDamaged, detail) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_readings_without_progress_between_them_count() {
        let mut damage = Damage::default();
        assert_eq!([damage.note(Offset(5)), damage.note(Offset(5)), damage.note(Offset(5))], [1, 2, 3]);
        assert_eq!([damage.note(Offset(6)), damage.note(Offset(5))], [1, 1]);
    }
}
