//! One worker process: a real [`Pair`] and the little runtime around it, as far as a schedule can tell them apart.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use longshore_core::ledger::Trailer;
use longshore_core::pair::{Pair, SpoolId, SpoolRead, Unit};
use longshore_core::{Block, Chunk, Epoch, Failure, Offset, PairId, RunSet, Sequence, SinkIndex};

use crate::plan::Plan;

/// A process and what it holds.
#[derive(Debug)]
pub(crate) struct Process {
    /// Rises whenever the process starts again.
    pub(crate) incarnation: u64,
    pub(crate) pair: Pair,
    /// The group generation under which it was given the pair.
    pub(crate) generation: u64,
    pub(crate) epoch: u64,
    /// It is to be told of an assignment of this generation, with the end of the log as it was asked for.
    pub(crate) to_assign: Option<(u64, Offset)>,
    pub(crate) leaving: Option<Leaving>,
    /// Something happened that only a person can mend, so it may halt.
    pub(crate) may_halt: bool,
    /// The ownership that the broker refused or took: nothing may be committed for it.
    pub(crate) forbidden: Option<Epoch>,
    pub(crate) source: Option<Source>,
    /// Where it reads in the retry partition.
    pub(crate) copies: Option<Source>,
    pub(crate) units: Vec<Unit>,
    pub(crate) spool: Spool,
    pub(crate) writers: Vec<Writer>,
    /// The runs of the metadata it began with.
    pub(crate) skipped: RunSet,
    /// The metadata of its last commit.
    pub(crate) last_metadata: Option<String>,
}

/// How a pair is being given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaving {
    Revoked,
    Drained,
}

/// Where the process reads.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) epoch: Epoch,
    pub(crate) next: Offset,
    pub(crate) given: u64,
    pub(crate) granted: u64,
    /// The first offset that it has never come to; `next` goes back.
    pub(crate) reached: Offset,
    /// Copies that it has read as forged ones: what it reads again is the same.
    pub(crate) forgeries: BTreeSet<i64>,
    /// Where it was sent back to: the value there is not left out.
    pub(crate) whole: Option<Offset>,
}

/// The process's spool, for one ownership.
#[derive(Debug, Default)]
pub(crate) struct Spool {
    pub(crate) epoch: Epoch,
    pub(crate) chunks: HashMap<SpoolId, Arc<Chunk>>,
    pub(crate) asked: VecDeque<SpoolAsk>,
}

/// What the pair asked the spool to do, in order.
#[derive(Debug)]
pub(crate) enum SpoolAsk {
    Take(SpoolId, Arc<Chunk>),
    Give(Vec<SpoolRead>),
    Forget(Vec<SpoolId>),
}

/// One sink's writer for one ownership.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) epoch: Epoch,
    pub(crate) asked: VecDeque<Ask>,
    /// Rows of the open segment (without a ledger: not yet sent).
    pub(crate) rows: Vec<Offset>,
    /// Rows of the open segment that the sink refused.
    pub(crate) refused: Vec<(Offset, Failure)>,
    /// The segment being put.
    pub(crate) putting: Option<Sequence>,
    pub(crate) held: bool,
}

/// What the pair asked a writer to do, in order.
#[derive(Debug)]
pub(crate) enum Ask {
    Recover,
    Append(Block),
    Publish(Box<Trailer>),
}

impl Process {
    pub(crate) fn new(incarnation: u64, plan: &Plan, id: &PairId) -> Self {
        let pair = Pair::new(plan.options.clone(), id.clone());
        Self {
            incarnation,
            pair,
            generation: 0,
            epoch: 0,
            to_assign: None,
            leaving: None,
            may_halt: false,
            forbidden: None,
            source: None,
            copies: None,
            units: Vec::new(),
            spool: Spool::default(),
            writers: Vec::new(),
            skipped: RunSet::default(),
            last_metadata: None,
        }
    }

    pub(crate) fn writer(&mut self, sink: SinkIndex) -> Option<&mut Writer> {
        self.writers.get_mut(usize::from(sink.0))
    }
}

impl Writer {
    pub(crate) fn new(epoch: Epoch) -> Self {
        let asked = VecDeque::from([Ask::Recover]);
        Self { epoch, asked, rows: Vec::new(), refused: Vec::new(), putting: None, held: false }
    }

    /// Whether it can do its next work now.
    pub(crate) fn is_ready(&self) -> bool {
        let blocked = self.putting.is_some() && matches!(self.asked.front(), Some(Ask::Publish(_)));
        !self.held && !self.asked.is_empty() && !blocked
    }
}

/// What is in the sink of a stored segment.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) trailer: Trailer,
    pub(crate) rows: Vec<Offset>,
    /// Records whose rows were refused.
    pub(crate) refused: Vec<Offset>,
}

/// A sink's memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    pub(crate) segments: Vec<Stored>,
    /// How often rows of these records were refused, by put segments.
    pub(crate) refusals: HashMap<Offset, u32>,
    /// Rows that a sink without a ledger got: by whom, under which ownership, which record.
    pub(crate) sent: Vec<(u64, Epoch, Offset)>,
}

impl Store {
    pub(crate) fn view(&self) -> longshore_core::ledger::LedgerView {
        let mut view = longshore_core::ledger::LedgerView::default();
        self.segments.iter().for_each(|stored| view.fold(&stored.trailer));
        view
    }
}
