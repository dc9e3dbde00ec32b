//! The rehearsal step `delay`: waits, as a call to a model or a service would.

use std::time::Duration;

use longshore_conditions::Condition;
use longshore_core::item::{Flow, Item, WaitingStep};
use longshore_core::{BoxFuture, Failure};

use super::alarm;

/// Waits for a span, for the records that a condition names or for all.
pub(crate) struct Delay {
    span: Duration,
    when: Option<Condition>,
}

impl Delay {
    pub(crate) fn new(span: Duration, when: Option<Condition>) -> Self {
        Self { span, when }
    }
}

impl WaitingStep for Delay {
    fn name(&self) -> &str {
        "delay"
    }

    fn apply<'a>(&'a self, item: &'a mut Item) -> BoxFuture<'a, Result<Flow, Failure>> {
        Box::pin(async move {
            let wanted = match &self.when {
                Some(when) => when.matches(item)?,
                None => true,
            };
            if wanted {
                alarm::sleep(self.span).await;
            }
            Ok(Flow::Keep)
        })
    }
}
