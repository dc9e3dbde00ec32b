//! The task that drives the futures of many records.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use longshore_core::pair::{Unit, UnitEntry};
use longshore_core::{Failure, UnitId};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::CrewOptions;
use super::slot::{Ready, Slot};
use super::steps;
use crate::execute::{Output, RecordWork, panicked};
use crate::mailbox::Input;
use crate::pool::block_bytes;
use crate::stories::{AtWork, Traced};

/// A runner that has worked so long tells what is ready and lets other tasks have its thread.
const TURN: Duration = Duration::from_millis(2);
/// Rows are told when they are so large, so that they are charged and written while others are made.
const ROWS_BYTES: usize = 256 * 1024;
/// An idle runner keeps room for so many records.
const IDLE_PLACES: usize = 64;

type Steps = Pin<Box<dyn Future<Output = (RecordWork, Result<(), Failure>)> + Send>>;

/// A record under way.
struct UnderWay {
    unit: UnitId,
    entry: UnitEntry,
    began: Instant,
    traced: Option<Box<AtWork>>,
    steps: Steps,
}

struct Place {
    slot: Arc<Slot>,
    waker: Waker,
    record: Option<UnderWay>,
}

/// Deadlines of steps, kept to a sixteenth (at most a second late): one timer for all records.
struct Deadlines {
    ticks: Interval,
    most: u64,
}

impl Deadlines {
    fn new(deadline: Duration) -> Self {
        let period = (deadline / 16).clamp(Duration::from_millis(1), Duration::from_secs(1));
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { ticks, most: deadline.as_nanos().div_ceil(period.as_nanos()) as u64 }
    }
}

/// Drives records until it is dropped.
pub(super) struct Runner {
    options: CrewOptions,
    inbox: UnboundedReceiver<Vec<Unit>>,
    ready: Arc<Ready>,
    places: Vec<Place>,
    free: Vec<usize>,
    /// Records to be polled now.
    woken: Vec<usize>,
    spare: Vec<RecordWork>,
    marks: Vec<(usize, usize)>,
    deadlines: Option<Deadlines>,
    /// Told to whoever hands units over: there is more to do than one turn got done.
    behind: Arc<AtomicBool>,
}

impl Runner {
    pub(super) fn new(
        options: CrewOptions,
        inbox: UnboundedReceiver<Vec<Unit>>,
        behind: Arc<AtomicBool>,
    ) -> Self {
        let deadlines = options.plan.step_deadline.map(Deadlines::new);
        Self {
            options,
            inbox,
            ready: Arc::default(),
            places: Vec::new(),
            free: Vec::new(),
            woken: Vec::new(),
            spare: Vec::new(),
            marks: Vec::new(),
            deadlines,
            behind,
        }
    }

    pub(super) async fn run(mut self) {
        self.ready.tick();
        poll_fn(|context| self.poll(context)).await;
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.ready.register(context.waker());
        if self.woken.is_empty() {
            self.ready.take(&mut self.woken);
        }
        let began = Instant::now();
        while let Poll::Ready(units) = self.inbox.poll_recv(context) {
            match units {
                Some(units) => units.into_iter().for_each(|unit| self.begin(unit, began)),
                None => return Poll::Ready(()),
            }
        }
        self.go_on(began);
        self.behind.store(!self.woken.is_empty(), Ordering::Relaxed);
        // At the end, when records that have just begun to wait are known: else nothing would set the timer for them.
        self.expire(context);
        if self.free.len() == self.places.len() && self.places.len() > IDLE_PLACES {
            self.places.truncate(IDLE_PLACES);
            self.free.retain(|place| *place < IDLE_PLACES);
            self.spare.truncate(IDLE_PLACES);
        }
        if !self.woken.is_empty() {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Polls who is to be polled, until the turn is over.
    fn go_on(&mut self, began: Instant) {
        let plan = Arc::clone(&self.options.plan);
        let mut batch = Batch::new(&plan);
        while let Some(place) = self.woken.pop() {
            let Some((record, work, outcome)) = self.advance(place) else { continue };
            let now = Instant::now();
            let work = batch.take(record, work, outcome, now, &mut self.marks, &self.options);
            self.spare.push(work);
            if batch.output.bytes() >= ROWS_BYTES {
                let full = std::mem::replace(&mut batch, Batch::new(&plan));
                full.tell(&self.options);
            }
            if now.duration_since(began) >= TURN {
                break;
            }
        }
        batch.tell(&self.options);
    }

    /// Looks for steps that wait too long; they are polled and see it.
    fn expire(&mut self, context: &mut Context<'_>) {
        let Some(deadlines) = &mut self.deadlines else { return };
        while self.free.len() < self.places.len() && deadlines.ticks.poll_tick(context).is_ready() {
            let now = self.ready.tick();
            let waiting = self.places.iter().enumerate().filter(|(_, place)| place.record.is_some());
            let late = waiting.filter(|(_, place)| place.slot.expire(now, deadlines.most));
            self.woken.extend(late.map(|(at, _)| at));
        }
    }

    fn begin(&mut self, unit: Unit, now: Instant) {
        let Ok([entry]) = <[UnitEntry; 1]>::try_from(unit.entries) else {
            // No verdicts: the machine takes it as the defect it is.
            return Batch::new(&self.options.plan).with(unit.id).tell(&self.options);
        };
        let at = self.free.pop().unwrap_or_else(|| {
            let slot = Slot::new(&self.ready, self.places.len());
            let waker = Waker::from(Arc::clone(&slot));
            self.places.push(Place { slot, waker, record: None });
            self.places.len() - 1
        });
        let place = &mut self.places[at];
        let mut work = self.spare.pop().unwrap_or_default();
        let traced =
            self.options.tracer.as_ref().and_then(|tracer| AtWork::begin(tracer, &entry)).map(Box::new);
        work.begin(&entry, traced.as_ref().and_then(|traced| traced.header()));
        let steps = Box::pin(steps::run(Arc::clone(&self.options.plan), work, Arc::clone(&place.slot)));
        place.slot.rest();
        place.record = Some(UnderWay { unit: unit.id, entry, began: now, traced, steps });
        self.woken.push(at);
    }

    /// Polls one record; what became of it when it is through the steps. A waker that outlived its record may name a place
    /// that is free, or another record's, which is polled for nothing.
    fn advance(&mut self, at: usize) -> Option<(UnderWay, RecordWork, Result<(), Failure>)> {
        let place = self.places.get_mut(at)?;
        place.slot.polled();
        let record = place.record.as_mut()?;
        let mut context = Context::from_waker(&place.waker);
        let _named = record.traced.as_ref().map(|traced| traced.name());
        let polled = catch_unwind(AssertUnwindSafe(|| record.steps.as_mut().poll(&mut context)));
        let (work, outcome) = match polled {
            Ok(Poll::Pending) => return None,
            Ok(Poll::Ready(done)) => done,
            Err(_) => {
                let step = self.options.plan.steps.get(place.slot.step());
                let name = step.map_or("", |step| step.name());
                (RecordWork::default(), Err(panicked(record.entry.attempt, name)))
            }
        };
        self.free.push(at);
        Some((place.record.take()?, work, outcome))
    }
}

/// Records that are through, on their way back.
struct Batch<'a> {
    units: Vec<UnitId>,
    took: Vec<Duration>,
    traced: Vec<Traced>,
    output: Output<'a>,
}

impl<'a> Batch<'a> {
    fn new(plan: &'a crate::plan::Plan) -> Self {
        Self { units: Vec::new(), took: Vec::new(), traced: Vec::new(), output: Output::new(plan, 0) }
    }

    fn with(mut self, unit: UnitId) -> Self {
        self.units.push(unit);
        self
    }

    /// Routes and encodes what came through the steps; gives the work back for its memory.
    fn take(
        &mut self,
        record: UnderWay,
        mut work: RecordWork,
        outcome: Result<(), Failure>,
        now: Instant,
        marks: &mut Vec<(usize, usize)>,
        options: &CrewOptions,
    ) -> RecordWork {
        let UnderWay { unit, entry, began, traced, .. } = record;
        let output = &mut self.output;
        let named = traced.as_ref().map(|traced| traced.name());
        output.marks(marks);
        // After a panic the blocks are rewound and `work` is cleared, so nothing half-made is seen.
        let outcome = outcome.and_then(|()| {
            catch_unwind(AssertUnwindSafe(|| output.route(&mut work, entry.held)))
                .unwrap_or_else(|_| Err(panicked(entry.attempt, "sinks")))
        });
        output.settle(&entry, outcome, marks);
        drop(named);
        if let (Some(traced), Some(tracer)) = (traced, &options.tracer) {
            self.traced.extend(traced.end(tracer, &entry, output.last()));
        }
        self.units.push(unit);
        self.took.push(now.duration_since(began));
        work.clear();
        work
    }

    fn tell(self, options: &CrewOptions) {
        if self.units.is_empty() {
            return;
        }
        let result = self.output.finish(self.units);
        let charge = options.budget.charge(block_bytes(&result));
        let (flight, took, traced) = (options.flight, self.took, self.traced);
        // A closed mailbox means that the pair is gone.
        let _ = options.mailbox.send(Input::Waited { flight, result, traced, took, charge });
    }
}
