//! A unit with waiting steps, as a future: pure steps run in between on the spot. Dropping the future cancels it.

use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures::FutureExt;
use longshore_core::item::WaitingStep;
use longshore_core::pair::{Unit, UnitEntry, UnitResult, Verdict};
use longshore_core::{Failure, Reason};

use crate::execute::{Output, RecordWork, located, panicked};
use crate::plan::{AnyStep, Plan};

/// Runs a unit record after record; gives the time it took as well. Cancel-safe: dropped in the middle it leaves
/// nothing behind but what a step did outside, and steps promise to bear that.
pub(crate) async fn run(plan: &Plan, unit: Unit) -> (UnitResult, Duration) {
    let began = Instant::now();
    let mut output = Output::new(plan, unit.entries.len());
    let mut work = RecordWork::default();
    let mut marks = Vec::new();
    for entry in &unit.entries {
        if output.behind.holds(&entry.record) {
            output.defer();
            continue;
        }
        output.marks(&mut marks);
        let outcome = record(plan, entry, &mut work, &mut output).await;
        output.settle(entry, outcome, &marks);
    }
    (output.finish(&unit), began.elapsed())
}

async fn record(
    plan: &Plan,
    entry: &UnitEntry,
    work: &mut RecordWork,
    output: &mut Output<'_>,
) -> Result<Verdict, Failure> {
    let place = Mutex::new("");
    let at = |name| {
        if let Ok(mut place) = place.lock() {
            *place = name;
        }
    };
    let outcome = AssertUnwindSafe(async {
        work.begin(&entry.record);
        for step in &plan.steps {
            at(step.name());
            let applied = match step {
                AnyStep::Pure(step) => work.apply(step.as_ref()),
                AnyStep::Waiting(step) => wait(work, step.as_ref(), plan.step_deadline).await,
            };
            applied.map_err(|failure| located(failure, step.name()))?;
            if work.is_over() {
                break;
            }
        }
        at("sinks");
        output.route(work, entry.held)
    });
    let outcome = outcome.catch_unwind().await;
    let place = place.lock().map_or("", |place| *place);
    outcome.unwrap_or_else(|_| Err(panicked(entry.attempt, place)))
}

async fn wait(
    work: &mut RecordWork,
    step: &dyn WaitingStep,
    deadline: Option<Duration>,
) -> Result<(), Failure> {
    for mut item in work.take() {
        let flow = match deadline {
            None => step.apply(&mut item).await?,
            Some(deadline) => {
                let answer = tokio::time::timeout(deadline, step.apply(&mut item)).await;
                answer.map_err(|_| overdue(deadline))??
            }
        };
        work.follow(item, flow);
    }
    work.arrive();
    Ok(())
}

fn overdue(deadline: Duration) -> Failure {
    Failure::retry(Reason::StepDeadline, format_args!("no answer within {} ms", deadline.as_millis()))
}
