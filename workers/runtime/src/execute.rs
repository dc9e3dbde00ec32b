//! One unit through the pure steps and the encoders: a verdict for each record, a block for each sink.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use longshore_core::item::{FilterReason, Flow, Step};
use longshore_core::pair::{Order, Unit, UnitEntry, UnitResult, Verdict};
use longshore_core::{
    Block, Class, Failure, Item, KeyHash, Reason, RecordRef, SinkIndex, SinkMask, TraceContext, UnitId,
};

use crate::plan::{AnyStep, Plan};
use crate::stories::Watch;

/// Why a record without children ends, when a step split it into none.
const SPLIT_EMPTY: &str = "split.empty";

/// The most room a block gets ahead of its rows, so that one huge unit does not swell all later ones.
const RESERVE_BYTES: usize = 256 * 1024;

/// One record on its way: itself, or the children it was split into. Kept from record to record for its memory.
#[derive(Default)]
pub(crate) struct RecordWork {
    items: Vec<Item>,
    spare: Vec<Item>,
    filtered: Vec<FilterReason>,
    children: u32,
}

impl RecordWork {
    /// Puts a record at the start of its way, with the trace that it is to name; forgets what was left of the one before.
    pub(crate) fn begin(&mut self, entry: &UnitEntry, trace: Option<Box<TraceContext>>) {
        self.clear();
        self.items.push(Item { attempt: entry.attempt, trace, ..Item::new(entry.record.clone()) });
    }

    /// Forgets the record, so that its chunk is not held until the next one comes.
    pub(crate) fn clear(&mut self) {
        self.items.clear();
        self.spare.clear();
        self.filtered.clear();
        self.children = 0;
    }

    /// Applies one step to the record or all its children.
    pub(crate) fn apply(&mut self, step: &dyn Step) -> Result<(), Failure> {
        if let Some(item) = self.only_item() {
            let flow = step.apply(item)?;
            self.follow_only(flow);
            return Ok(());
        }
        for mut item in self.take() {
            let flow = step.apply(&mut item)?;
            self.follow(item, flow);
        }
        self.arrive();
        Ok(())
    }

    /// The item of a record that is still one, as nearly every record is: to be followed without a move.
    pub(crate) fn only_item(&mut self) -> Option<&mut Item> {
        match &mut self.items[..] {
            [item] => Some(item),
            _ => None,
        }
    }

    /// Does what a step decided about [`Self::only_item`].
    pub(crate) fn follow_only(&mut self, flow: Flow) {
        if !matches!(flow, Flow::Keep)
            && let Some(item) = self.items.pop()
        {
            self.follow(item, flow);
            std::mem::swap(&mut self.items, &mut self.spare);
        }
    }

    /// The items, to be followed one by one and then [`Self::arrive`]d.
    pub(crate) fn take(&mut self) -> Vec<Item> {
        std::mem::take(&mut self.items)
    }

    /// Does what a step decided about one of the taken items.
    pub(crate) fn follow(&mut self, item: Item, flow: Flow) {
        match flow {
            Flow::Keep => self.spare.push(item),
            Flow::Drop(reason) => self.filtered.push(reason),
            Flow::Split(children) => {
                if children.is_empty() {
                    self.filtered.push(FilterReason::new(SPLIT_EMPTY));
                }
                // One count over the whole record, so that a child's place is unique also when children are split again.
                for mut child in children {
                    child.index = self.children;
                    if item.trace.is_some() {
                        child.trace.clone_from(&item.trace);
                    }
                    self.children = self.children.saturating_add(1);
                    self.spare.push(child);
                }
            }
        }
    }

    /// What was followed is what goes on.
    pub(crate) fn arrive(&mut self) {
        self.items = std::mem::take(&mut self.spare);
    }

    /// Whether every child was filtered.
    pub(crate) fn is_over(&self) -> bool {
        self.items.is_empty()
    }
}

/// Which later records of a unit a failed one holds back.
pub(crate) enum Behind {
    Nobody,
    Keys(Vec<KeyHash>),
    All,
}

impl Behind {
    /// Whether this record must not overtake a failed one.
    pub(crate) fn holds(&self, record: &RecordRef) -> bool {
        match self {
            Self::Nobody => false,
            Self::Keys(keys) => record.key().is_some_and(|key| keys.contains(&KeyHash::of(key))),
            Self::All => true,
        }
    }

    /// A record failed: unless it leaves the order (a dead letter does), what is behind it waits.
    pub(crate) fn note(&mut self, order: Order, record: &RecordRef, failure: &Failure) {
        match failure.class {
            Class::Reject => return,
            Class::Retry { .. } | Class::Halt => {}
        }
        match (order, record.key()) {
            (Order::None, _) | (Order::Key, None) => {}
            (Order::Key, Some(key)) => match self {
                Self::Keys(keys) => keys.push(KeyHash::of(key)),
                Self::Nobody => *self = Self::Keys(vec![KeyHash::of(key)]),
                Self::All => {}
            },
            (Order::Partition, _) => *self = Self::All,
        }
    }
}

/// What a unit gave so far.
pub(crate) struct Output<'a> {
    plan: &'a Plan,
    verdicts: Vec<Verdict>,
    blocks: Vec<Block>,
    children_filtered: Vec<(FilterReason, u64)>,
    pub(crate) behind: Behind,
}

impl<'a> Output<'a> {
    /// Nothing yet.
    pub(crate) fn new(plan: &'a Plan, records: usize) -> Self {
        let blocks = plan.routes.iter().map(|_| Block::default()).collect();
        let verdicts = Vec::with_capacity(records);
        Self { plan, verdicts, blocks, children_filtered: Vec::new(), behind: Behind::Nobody }
    }

    /// Makes room for rows of the size the last unit had, so that blocks do not grow step by step.
    fn reserve(&mut self, bytes: &[usize], records: usize) {
        for (block, bytes) in self.blocks.iter_mut().zip(bytes) {
            if *bytes > 0 {
                block.bytes.reserve(*bytes);
                block.rows.reserve(records);
            }
        }
    }

    /// Routes and encodes what came through the steps, as a whole or not at all.
    pub(crate) fn route(&mut self, work: &mut RecordWork, held: SinkMask) -> Result<Verdict, Failure> {
        if work.is_over() {
            let reason = work.filtered.first().cloned().unwrap_or_else(|| FilterReason::new(SPLIT_EMPTY));
            return Ok(Verdict::Filtered(reason));
        }
        let mut sinks = SinkMask::NONE;
        for (at, route) in self.plan.routes.iter().enumerate() {
            let sink = SinkIndex(at as u8);
            if held.contains(sink) {
                continue;
            }
            for item in &work.items {
                let place = |failure: Failure| located(failure, route.sink.name());
                if let Some(when) = &route.when
                    && !when.matches(item).map_err(place)?
                {
                    continue;
                }
                let block = &mut self.blocks[at];
                if work.items.len() == 1 {
                    make_room(block, item);
                }
                self.plan.encoders[at].encode(item, block).map_err(place)?;
                sinks.insert(sink);
            }
        }
        for reason in work.filtered.drain(..) {
            match self.children_filtered.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, count)) => *count += 1,
                None => self.children_filtered.push((reason, 1)),
            }
        }
        Ok(Verdict::Routed { sinks })
    }

    /// Notes a record's outcome. `route` may have left rows behind: give it the marks from before.
    pub(crate) fn settle(
        &mut self,
        entry: &UnitEntry,
        outcome: Result<Verdict, Failure>,
        marks: &[(usize, usize)],
    ) {
        let verdict = outcome.unwrap_or_else(|failure| {
            for (block, mark) in self.blocks.iter_mut().zip(marks) {
                block.rewind(*mark);
            }
            self.behind.note(self.plan.order, &entry.record, &failure);
            Verdict::Failed(Box::new(failure))
        });
        self.verdicts.push(verdict);
    }

    /// What became of the record that was settled last.
    pub(crate) fn last(&self) -> Option<&Verdict> {
        self.verdicts.last()
    }

    /// The record was not tried.
    pub(crate) fn defer(&mut self) {
        self.verdicts.push(Verdict::Deferred);
    }

    /// Where the blocks end now.
    pub(crate) fn marks(&self, marks: &mut Vec<(usize, usize)>) {
        marks.clear();
        marks.extend(self.blocks.iter().map(Block::mark));
    }

    /// The bytes of all rows so far.
    pub(crate) fn bytes(&self) -> usize {
        self.blocks.iter().map(|block| block.bytes.len()).sum()
    }

    /// The result of these units, whose records were told in this order.
    pub(crate) fn finish(self, units: Vec<UnitId>) -> UnitResult {
        let blocks = self.blocks.into_iter().enumerate().filter(|(_, block)| !block.is_empty());
        let blocks = blocks.map(|(at, block)| (SinkIndex(at as u8), without_slack(block))).collect();
        UnitResult {
            units,
            verdicts: self.verdicts,
            blocks,
            children_filtered: self.children_filtered,
            took: Duration::ZERO,
        }
    }
}

/// Makes room for the row of a large record, which is mostly about as large: a block that grows by doubling has three times
/// the row's size at the last step (I5).
fn make_room(block: &mut Block, item: &Item) {
    let bytes = item.source.value().map_or(0, <[u8]>::len);
    if bytes > RESERVE_BYTES {
        block.bytes.reserve(bytes + bytes / 16 + 4096);
    }
}

/// Gives back what growing by doubling left over in a large block: it may wait long for a slow sink.
fn without_slack(mut block: Block) -> Block {
    if block.bytes.capacity() > RESERVE_BYTES && block.bytes.capacity() > block.bytes.len() / 4 * 5 {
        block.bytes.shrink_to_fit();
    }
    block
}

/// The failure with the place it happened at, unless it names one itself.
pub(crate) fn located(failure: Failure, place: &str) -> Failure {
    if failure.at.is_empty() { failure.at(place) } else { failure }
}

/// A panic: one more try, then the record's fault. The panic's own message may quote the payload, so it is not kept.
pub(crate) fn panicked(attempt: u32, place: &str) -> Failure {
    let detail = "the step panicked; the log names the place in the code";
    let failure = if attempt <= 1 {
        Failure::retry(Reason::StepPanic, detail)
    } else {
        Failure::reject(Reason::StepPanic, detail)
    };
    failure.at(place)
}

/// What one CPU thread keeps from unit to unit.
#[derive(Default)]
pub(crate) struct Executor {
    work: RecordWork,
    marks: Vec<(usize, usize)>,
    block_bytes: Vec<usize>,
}

impl Executor {
    /// Runs a unit whose steps are all pure; none when it was cancelled in the middle. `watch` sees each record that is tried.
    pub(crate) fn run<W: Watch>(
        &mut self,
        plan: &Plan,
        unit: &Unit,
        cancelled: &AtomicBool,
        watch: &mut W,
    ) -> Option<UnitResult> {
        let mut output = Output::new(plan, unit.entries.len());
        output.reserve(&self.block_bytes, unit.entries.len());
        for entry in &unit.entries {
            if cancelled.load(Ordering::Relaxed) {
                return None;
            }
            if output.behind.holds(&entry.record) {
                output.defer();
                continue;
            }
            output.marks(&mut self.marks);
            let trace = watch.begins(entry);
            let outcome = self.record(plan, entry, trace, &mut output);
            output.settle(entry, outcome, &self.marks);
            watch.ended(entry, output.last());
        }
        self.work.clear();
        self.block_bytes.clear();
        self.block_bytes.extend(output.blocks.iter().map(|block| block.bytes.len().min(RESERVE_BYTES)));
        Some(output.finish(vec![unit.id]))
    }

    fn record(
        &mut self,
        plan: &Plan,
        entry: &UnitEntry,
        trace: Option<Box<TraceContext>>,
        output: &mut Output<'_>,
    ) -> Result<Verdict, Failure> {
        let place = Cell::new("");
        let work = &mut self.work;
        // After a panic `work` is begun anew and the blocks are rewound, so nothing half-made is seen.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            work.begin(entry, trace);
            for step in &plan.steps {
                let AnyStep::Pure(step) = step else { continue };
                place.set(step.name());
                work.apply(step.as_ref()).map_err(|failure| located(failure, step.name()))?;
                if work.is_over() {
                    break;
                }
            }
            place.set("sinks");
            output.route(work, entry.held)
        }));
        outcome.unwrap_or_else(|_| Err(panicked(entry.attempt, place.get())))
    }
}

#[cfg(test)]
mod tests;
