//! Retry, the flood breaker, and the deadlines of a stop.

use longshore_core::human::Span;
use longshore_core::pair::Order;

use super::{Context, at};
use crate::model::{Deadline, RetryOptions};
use crate::path::Path;
use crate::report::Code;

/// The longest stand-still of all partitions of a worker: `limits.revoke` beyond this makes others time out.
const REVOKE_MAX: Span = Span::seconds(10);

/// The longest wait of a retry. The retry topic has to keep a record for so long, and a day more.
const CAP_MAX: Span = Span::seconds(30 * 86_400);

pub(crate) fn check(context: &mut Context<'_>) {
    retry(context);
    flood(context);
    deadlines(context);
}

fn retry(context: &mut Context<'_>) {
    let parts = context.parts;
    let Some(failure) = &parts.failure else { return };
    waits(context, &failure.retry);
    let (Some(order), Some(input)) = (failure.retry.order, &parts.input) else { return };
    let kept = match (order, input.order) {
        // Unordered retry gives up what the input kept, which is for the file to say.
        (Order::None, _) | (Order::Key, Order::Key) | (Order::Partition, Order::Partition) => true,
        (Order::Key, Order::None | Order::Partition) | (Order::Partition, Order::None | Order::Key) => false,
    };
    if !kept {
        let path = at(["failure", "retry", "order"]);
        let message = format!("ordered retry needs `input.order: {}`", order_word(order));
        let finding = context.find(Code::Conflict, &path, message);
        let input_order = at(["input", "order"]);
        let place = context.sources.value(&input_order);
        context.push(finding.context(place, format!("`input.order` is `{}`", order_word(input.order))));
    }
}

/// Spans of time that have to fit each other.
fn waits(context: &mut Context<'_>, retry: &RetryOptions) {
    let here = at(["failure", "retry"]);
    positive(context, retry.first, &here.key("first"));
    if retry.first > retry.cap {
        let message =
            format!("the first wait ({}) is longer than the longest one, `cap` ({})", retry.first, retry.cap);
        conflict(context, &here, ["cap", "first"], message);
    }
    if retry.cap > CAP_MAX {
        let message = format!("expected at most {CAP_MAX}: dead letters are kept no longer either");
        let finding = context.find(Code::Value, &here.key("cap"), message);
        context.push(finding);
    }
    if let Some(floor) = retry.floor {
        positive(context, floor, &here.key("floor"));
        if floor > retry.cap {
            let message =
                format!("the shortest wait ({floor}) is longer than the longest one, `cap` ({})", retry.cap);
            conflict(context, &here, ["cap", "floor"], message);
        }
    }
    if let Some(age) = retry.max_age
        && age <= retry.first
    {
        let message = format!(
            "a record would be a dead letter at {age}, before the first wait (up to {}) is over",
            retry.first
        );
        conflict(context, &here, ["first", "max_age"], message);
    }
}

/// A finding about two fields that contradict each other, at the first of them that the file has written.
fn conflict(context: &mut Context<'_>, section: &Path, fields: [&str; 2], message: String) {
    let [first, second] = fields.map(|field| section.key(field));
    let path = if context.is_written(&first) { first } else { second };
    let finding = context.find(Code::Conflict, &path, message);
    context.push(finding);
}

fn order_word(order: Order) -> &'static str {
    match order {
        Order::None => "none",
        Order::Key => "key",
        Order::Partition => "partition",
    }
}

fn flood(context: &mut Context<'_>) {
    let Some(failure) = &context.parts.failure else { return };
    let here = at(["failure", "flood"]);
    positive(context, failure.flood.window, &here.key("window"));
    if failure.flood.ratio <= 0.0 {
        let finding = context.find(Code::Value, &here.key("ratio"), "expected a share above 0 and at most 1");
        context.push(finding);
    }
}

fn deadlines(context: &mut Context<'_>) {
    let Some(limits) = &context.parts.limits else { return };
    let here = at(["limits"]);
    positive(context, limits.revoke, &here.key("revoke"));
    positive(context, limits.halt, &here.key("halt"));
    if let Deadline::After(span) = limits.step {
        positive(context, span, &here.key("step"));
    }
    if limits.revoke >= limits.drain {
        let drain = here.key("drain");
        let path = if context.is_written(&drain) { drain } else { here.key("revoke") };
        let message = format!("`revoke` ({}) must be shorter than `drain` ({})", limits.revoke, limits.drain);
        let finding = context.find(Code::Conflict, &path, message);
        context.push(finding.help("a hand-over stops all partitions of a worker, a drain only its own end"));
    } else if limits.revoke > REVOKE_MAX {
        let message =
            format!("expected at most {REVOKE_MAX}: meanwhile all partitions of the worker stand still");
        let finding = context.find(Code::Value, &here.key("revoke"), message);
        context.push(finding);
    }
}

pub(super) fn positive(context: &mut Context<'_>, span: Span, path: &Path) {
    if span.get().is_zero() {
        let finding = context.find(Code::Value, path, "expected a span of time above zero");
        context.push(finding);
    }
}
