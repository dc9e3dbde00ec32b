//! The spool of a process: it keeps chunks of copies, is full now and then, and does not always find them again.

use longshore_core::pair::{Event, SpoolRead};
use longshore_core::{ChunkBuilder, Epoch, Lane, RecordRef};

use crate::coverage::Fault;
use crate::process::SpoolAsk;
use crate::world::World;

impl World {
    pub(crate) fn ask_spool(&mut self, at: usize, epoch: Epoch, ask: SpoolAsk) {
        let spool = &mut self.processes[at].spool;
        if spool.epoch != epoch {
            (spool.epoch, spool.chunks, spool.asked) = (epoch, Default::default(), Default::default());
        }
        spool.asked.push_back(ask);
    }

    pub(crate) fn is_spool_asked(&self, at: usize) -> bool {
        !self.processes[at].spool.asked.is_empty()
    }

    /// The spool does the next thing it was asked for.
    pub(crate) fn turn_spool(&mut self, at: usize) {
        let fails = self.random.percent(self.plan.spool_fails);
        if fails {
            self.seen.fault(Fault::SpoolFailed);
        }
        let spool = &mut self.processes[at].spool;
        let epoch = spool.epoch;
        match spool.asked.pop_front() {
            None => {}
            Some(SpoolAsk::Take(id, chunk)) => {
                if !fails {
                    spool.chunks.insert(id, chunk);
                }
                self.tell(at, Event::Spooled { epoch, id, taken: !fails });
            }
            Some(SpoolAsk::Forget(ids)) => {
                for id in ids {
                    if spool.chunks.remove(&id).is_none() {
                        return self.broken(format!("the spool is to forget {id:?}, which it does not have"));
                    }
                }
            }
            Some(SpoolAsk::Give(reads)) => self.give_back(at, epoch, reads, fails),
        }
    }

    fn give_back(&mut self, at: usize, epoch: Epoch, reads: Vec<SpoolRead>, fails: bool) {
        let mut builder = ChunkBuilder::new(self.pair.clone(), Lane::Retry, epoch);
        let mut lost = Vec::new();
        for read in reads {
            let chunk = self.processes[at].spool.chunks.get(&read.id);
            let record = chunk.and_then(|chunk| RecordRef::new(chunk, read.index));
            match record {
                Some(record) if record.lane_offset() != read.copy => {
                    return self.broken(format!("{read:?} of the spool is {}", record.lane_offset()));
                }
                Some(record) if !fails => builder.copy_of(&record),
                Some(_) => lost.push(read),
                None => {
                    return self.broken(format!("{read:?} is wanted of the spool, which does not have it"));
                }
            }
        }
        let chunk = (!builder.is_empty()).then(|| builder.build(None));
        let wall_ms = self.wall_ms();
        self.tell(at, Event::Fetched { epoch, chunk, lost, wall_ms });
    }
}
