//! A topic in memory that keeps to credit, epochs and the budget as the Kafka source does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use longshore_core::pair::{CommitResult, Position};
use longshore_core::source::{Assignment, SourceCommand, SourceControl, SourceEvent};
use longshore_core::{Budget, ChunkBuilder, Epoch, Failure, Lane, Offset, PairId};
use tokio::sync::mpsc::UnboundedSender;

const CHUNK: usize = 200;

/// A record of the topic: key and value.
pub(crate) type Record = (Option<Vec<u8>>, Vec<u8>);

#[derive(Default)]
pub(crate) struct Log {
    pub(crate) records: Vec<Record>,
    pub(crate) epoch: Epoch,
    pub(crate) owned: bool,
    pub(crate) started: bool,
    pub(crate) next: usize,
    pub(crate) granted: (u64, u64),
    pub(crate) delivered: (u64, u64),
    pub(crate) committed: Option<Position>,
    pub(crate) released: u64,
    pub(crate) reassigned: u64,
}

pub(crate) struct MemorySource {
    pub(crate) logs: Mutex<BTreeMap<PairId, Log>>,
    events: UnboundedSender<SourceEvent>,
    budget: Arc<Budget>,
    pub(crate) most_used: Mutex<u64>,
    /// Refuse so many commits though the pair is ours.
    pub(crate) refusals: Mutex<u32>,
}

impl MemorySource {
    pub(crate) fn new(events: UnboundedSender<SourceEvent>, budget: &Arc<Budget>) -> Arc<Self> {
        let budget = Arc::clone(budget);
        Arc::new(Self {
            logs: Mutex::default(),
            events,
            budget,
            most_used: Mutex::new(0),
            refusals: Mutex::new(0),
        })
    }

    pub(crate) fn fill(&self, pair: &PairId, records: impl IntoIterator<Item = Record>) {
        self.logs.lock().unwrap().entry(pair.clone()).or_default().records.extend(records);
        self.pump();
    }

    pub(crate) fn assign(&self, pair: &PairId) {
        let mut logs = self.logs.lock().unwrap();
        let partitions = logs.len() as u32;
        let log = logs.get_mut(pair).unwrap();
        log.epoch = Epoch(log.epoch.0 + 1);
        log.owned = true;
        log.started = false;
        log.granted = (0, 0);
        log.delivered = (0, 0);
        let assignment = Assignment {
            pair: pair.clone(),
            epoch: log.epoch,
            committed: log.committed.clone(),
            start: Offset(0),
            log_start: Offset(0),
            log_end: Offset(log.records.len() as i64),
            cluster: "memory".into(),
            topic_id: "id".into(),
            partitions,
            retry: None,
        };
        let _ = self.events.send(SourceEvent::Assigned(assignment));
    }

    pub(crate) fn revoke(&self, pair: &PairId) {
        let epoch = self.logs.lock().unwrap()[pair].epoch;
        let _ = self.events.send(SourceEvent::Revoking { pair: pair.clone(), epoch });
    }

    pub(crate) fn lose(&self, pair: &PairId) {
        let mut logs = self.logs.lock().unwrap();
        let log = logs.get_mut(pair).unwrap();
        log.owned = false;
        let _ = self.events.send(SourceEvent::Lost { pair: pair.clone(), epoch: log.epoch });
    }

    /// Tells the fleet of something that is not one pair's.
    pub(crate) fn tell(&self, event: SourceEvent) {
        let _ = self.events.send(event);
    }

    pub(crate) fn refuse(&self, pair: &PairId, failure: Failure) {
        let _ = self.events.send(SourceEvent::Refused { pair: pair.clone(), failure });
    }

    pub(crate) fn committed(&self, pair: &PairId) -> i64 {
        self.logs.lock().unwrap()[pair].committed.as_ref().map_or(-1, |position| position.offset.0)
    }

    pub(crate) fn read<T>(&self, pair: &PairId, look: impl FnOnce(&Log) -> T) -> T {
        look(&self.logs.lock().unwrap()[pair])
    }

    /// Gives every pair what its credit and the budget allow.
    pub(crate) fn pump(&self) {
        let mut logs = self.logs.lock().unwrap();
        for (pair, log) in logs.iter_mut().filter(|(_, log)| log.owned && log.started) {
            while log.next < log.records.len()
                && log.delivered.0 < log.granted.0
                && log.delivered.1 < log.granted.1
                && self.budget.available() > 0
            {
                let mut chunk = ChunkBuilder::new(pair.clone(), Lane::Input, log.epoch);
                let credit = (log.granted.0 - log.delivered.0) as usize;
                let end = log.records.len().min(log.next + CHUNK.min(credit));
                for at in log.next..end {
                    let (key, value) = &log.records[at];
                    chunk.record(Offset(at as i64), 0, key.as_deref(), Some(value));
                    if log.delivered.1 + chunk.bytes() as u64 >= log.granted.1 {
                        break;
                    }
                }
                log.next += chunk.len();
                log.delivered.0 += chunk.len() as u64;
                log.delivered.1 += chunk.bytes() as u64;
                let charge = self.budget.charge(chunk.bytes() as u64);
                let mut most = self.most_used.lock().unwrap();
                *most = (*most).max(self.budget.used());
                let _ = self.events.send(SourceEvent::Received(chunk.build(Some(charge))));
            }
        }
    }

    fn commit(&self, pair: &PairId, epoch: Epoch, position: Position) -> CommitResult {
        let mut logs = self.logs.lock().unwrap();
        let log = logs.get_mut(pair).unwrap();
        let mut refusals = self.refusals.lock().unwrap();
        if !log.owned || log.epoch != epoch || *refusals > 0 {
            *refusals = refusals.saturating_sub(1);
            return CommitResult::Refused;
        }
        let before = log.committed.as_ref().map_or(0, |known| known.offset.0);
        assert!(position.offset.0 >= before, "the committed offset fell");
        log.committed = Some(position);
        CommitResult::Done
    }
}

impl SourceControl for MemorySource {
    fn send(&self, command: SourceCommand) {
        match command {
            SourceCommand::Start { pair, epoch, offset, .. } => {
                let mut logs = self.logs.lock().unwrap();
                let log = logs.get_mut(&pair).unwrap();
                if log.epoch == epoch && log.owned {
                    log.started = true;
                    log.next = offset.0 as usize;
                }
            }
            SourceCommand::Grant { pair, epoch, records, bytes, .. } => {
                let mut logs = self.logs.lock().unwrap();
                let log = logs.get_mut(&pair).unwrap();
                if log.epoch == epoch {
                    log.granted = (records, bytes);
                }
            }
            SourceCommand::Commit { pair, epoch, position, .. } => {
                let offset = position.offset;
                let result = self.commit(&pair, epoch, position);
                let _ = self.events.send(SourceEvent::Committed {
                    pair,
                    epoch,
                    lane: Lane::Input,
                    offset,
                    result,
                });
            }
            SourceCommand::Release { pair, epoch, position, .. } => {
                if let Some(position) = position {
                    self.commit(&pair, epoch, position);
                }
                let mut logs = self.logs.lock().unwrap();
                let log = logs.get_mut(&pair).unwrap();
                if log.epoch == epoch {
                    log.owned = false;
                    log.released += 1;
                }
            }
            SourceCommand::Reassign { pair, .. } => {
                self.logs.lock().unwrap().get_mut(&pair).unwrap().reassigned += 1;
                self.assign(&pair);
            }
            SourceCommand::FindEnd { .. } => panic!("a pair without a retry lane has no copies to judge"),
            SourceCommand::Shutdown => {
                let _ = self.events.send(SourceEvent::Ended(Ok(())));
            }
        }
        self.pump();
    }
}
