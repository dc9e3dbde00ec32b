//! Retry, the flood breaker, and the deadlines of a stop.

use longshore_core::human::Span;
use longshore_core::pair::Order;

use super::{Context, at};
use crate::model::Deadline;
use crate::path::Path;
use crate::report::Code;

/// The longest stand-still of all partitions of a worker: `limits.revoke` beyond this makes others time out.
const REVOKE_MAX: Span = Span::seconds(10);

pub(crate) fn check(context: &mut Context<'_>) {
    retry(context);
    flood(context);
    deadlines(context);
}

fn retry(context: &mut Context<'_>) {
    let parts = context.parts;
    let Some(failure) = &parts.failure else { return };
    let retry = &failure.retry;
    let here = at(["failure", "retry"]);
    positive(context, retry.first, &here.key("first"));
    if retry.first > retry.cap {
        // Point at the one that was written.
        let cap = here.key("cap");
        let path = if context.is_written(&cap) { cap } else { here.key("first") };
        let message =
            format!("the first wait ({}) is longer than the longest one, `cap` ({})", retry.first, retry.cap);
        let finding = context.find(Code::Conflict, &path, message);
        context.push(finding);
    }
    let (Some(order), Some(input)) = (retry.order, &parts.input) else { return };
    let kept = match (order, input.order) {
        (Order::None, _) => true,
        (Order::Key, Order::Key | Order::Partition) | (Order::Partition, Order::Partition) => true,
        (Order::Key, Order::None) | (Order::Partition, Order::None | Order::Key) => false,
    };
    if !kept {
        let path = here.key("order");
        let message = format!("ordered retry needs `input.order: {}`", order_word(order));
        let finding = context.find(Code::Conflict, &path, message);
        let input_order = at(["input", "order"]);
        let place = context.sources.value(&input_order);
        context.push(finding.context(place, format!("`input.order` is `{}`", order_word(input.order))));
    }
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

fn positive(context: &mut Context<'_>, span: Span, path: &Path) {
    if span.get().is_zero() {
        let finding = context.find(Code::Value, path, "expected a span of time above zero");
        context.push(finding);
    }
}
