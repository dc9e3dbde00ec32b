//! How many pods.

use longshore_core::human::Span;

use super::flow::positive;
use super::{Context, at};
use crate::report::Code;

/// A way down that is shorter than a rebalance takes would follow its own pauses.
const DOWN_MIN: Span = Span::seconds(30);

pub(crate) fn check(context: &mut Context<'_>) {
    let Some(scale) = &context.parts.scale else { return };
    let here = at(["scale"]);
    positive(context, scale.drain, &here.key("drain"));
    if scale.down_after < DOWN_MIN {
        let message = format!("expected at least {DOWN_MIN}: a rebalance has to fit in");
        let finding = context.find(Code::Value, &here.key("down_after"), message);
        context.push(finding);
    }
    if scale.max.is_some_and(|max| max < scale.min) {
        let path = here.key("max");
        let message = format!("`max` is less than `min` ({})", scale.min);
        let finding = context.find(Code::Conflict, &path, message);
        context.push(finding);
    }
}
