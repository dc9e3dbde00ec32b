//! One record through all steps, as a future: pure steps run in between on the spot. Dropping the future cancels it and
//! leaves nothing behind but what a step did outside, and steps promise to bear that.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use longshore_core::item::{Flow, WaitingStep};
use longshore_core::{Failure, Item, Reason};

use super::slot::Slot;
use crate::execute::{RecordWork, located};
use crate::plan::{AnyStep, Plan};

/// Gives the work back, for its memory and for the sinks.
pub(super) async fn run(
    plan: Arc<Plan>,
    mut work: RecordWork,
    slot: Arc<Slot>,
) -> (RecordWork, Result<(), Failure>) {
    let outcome = all(&plan, &mut work, &slot).await;
    (work, outcome)
}

async fn all(plan: &Plan, work: &mut RecordWork, slot: &Slot) -> Result<(), Failure> {
    for (at, step) in plan.steps.iter().enumerate() {
        slot.set_step(at);
        let applied = match step {
            AnyStep::Pure(step) => work.apply(step.as_ref()),
            AnyStep::Waiting(step) => wait(work, step.as_ref(), slot, plan.step_deadline).await,
        };
        applied.map_err(|failure| located(failure, step.name()))?;
        if work.is_over() {
            break;
        }
    }
    Ok(())
}

async fn wait(
    work: &mut RecordWork,
    step: &dyn WaitingStep,
    slot: &Slot,
    deadline: Option<Duration>,
) -> Result<(), Failure> {
    if let Some(item) = work.only_item() {
        let flow = answer(step, item, slot, deadline).await?;
        work.follow_only(flow);
        return Ok(());
    }
    for mut item in work.take() {
        let flow = answer(step, &mut item, slot, deadline).await?;
        work.follow(item, flow);
    }
    work.arrive();
    Ok(())
}

/// The step's answer; the runner ends the wait when it is overdue.
async fn answer(
    step: &dyn WaitingStep,
    item: &mut Item,
    slot: &Slot,
    deadline: Option<Duration>,
) -> Result<Flow, Failure> {
    let mut call = step.apply(item);
    let answer = poll_fn(|context| match call.as_mut().poll(context) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending if slot.is_overdue() => Poll::Ready(None),
        Poll::Pending => {
            slot.wait();
            Poll::Pending
        }
    });
    let answer = answer.await;
    slot.rest();
    answer.unwrap_or_else(|| Err(overdue(deadline.unwrap_or_default())))
}

fn overdue(deadline: Duration) -> Failure {
    Failure::retry(Reason::StepDeadline, format_args!("no answer within {} ms", deadline.as_millis()))
}
