//! What is done to every record: the steps and the sinks of one pipeline, as the binary built them.

use std::sync::Arc;
use std::time::Duration;

use longshore_core::item::{Step, WaitingStep};
use longshore_core::pair::{Grain, Order};
use longshore_core::sink::{Encode, Sink, SinkMask};
use longshore_core::{Failure, Item, Reason};

/// A condition on a record, such as a sink's `when:`.
pub trait Predicate: Send + Sync {
    /// Whether the record fulfils it.
    ///
    /// # Errors
    /// When the condition cannot be evaluated on this record.
    fn matches(&self, item: &Item) -> Result<bool, Failure>;
}

/// A step of either form.
pub enum AnyStep {
    /// Quick, without IO; runs on the CPU pool.
    Pure(Box<dyn Step>),
    /// Waits for something outside; runs as a future with a deadline.
    Waiting(Arc<dyn WaitingStep>),
}

impl AnyStep {
    /// Its name in the pipeline file.
    pub fn name(&self) -> &str {
        match self {
            Self::Pure(step) => step.name(),
            Self::Waiting(step) => step.name(),
        }
    }
}

/// A sink and the records it wants.
pub struct Route {
    /// The sink.
    pub sink: Arc<dyn Sink>,
    /// Which records it gets; all without a condition.
    pub when: Option<Box<dyn Predicate>>,
}

/// The steps and sinks of a pipeline.
pub struct Plan {
    pub(crate) steps: Vec<AnyStep>,
    pub(crate) routes: Vec<Route>,
    pub(crate) encoders: Vec<Arc<dyn Encode>>,
    pub(crate) order: Order,
    pub(crate) step_deadline: Option<Duration>,
}

impl Plan {
    /// A plan; the place of a route is its [`longshore_core::SinkIndex`]. `step_deadline` bounds each call of a waiting
    /// step; none lets it run as long as it likes (tasks).
    ///
    /// # Errors
    /// Class Halt with more than [`SinkMask::CAPACITY`] sinks.
    pub fn new(
        steps: Vec<AnyStep>,
        routes: Vec<Route>,
        order: Order,
        step_deadline: Option<Duration>,
    ) -> Result<Self, Failure> {
        if routes.len() > SinkMask::CAPACITY {
            let detail = format_args!("a pipeline has at most {} sinks", SinkMask::CAPACITY);
            return Err(Failure::halt(Reason::Internal, detail));
        }
        let encoders = routes.iter().map(|route| route.sink.encoder()).collect();
        Ok(Self { steps, routes, encoders, order, step_deadline })
    }

    /// How records are handed to the steps: one by one as soon as any of them waits.
    pub fn grain(&self) -> Grain {
        let waits = self.steps.iter().any(|step| match step {
            AnyStep::Pure(_) => false,
            AnyStep::Waiting(_) => true,
        });
        if waits { Grain::Record } else { Grain::Batch }
    }
}
