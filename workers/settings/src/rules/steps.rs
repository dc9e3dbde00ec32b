//! Steps that fit the kind of pipeline, and whose conditions and options build.

use longshore_conditions::{BuildError, steps};

use super::{Context, at};
use crate::model::{Kind, StepOptions};
use crate::parts::get;
use crate::path::Path;
use crate::report::Code;

pub(crate) fn check(context: &mut Context<'_>) {
    let parts = context.parts;
    for (index, step) in parts.steps.iter().enumerate() {
        let Some(step) = step else { continue };
        let path = at(["steps"]).index(index).key(step.word());
        if let (Some(kind), Some(only)) = (parts.kind, step.only_for()) {
            if kind != only {
                wrong_kind(context, step, kind, only, &path);
                continue;
            }
        }
        // Without a kind only expressions can be judged, which are the same for both; the missing kind is reported anyway.
        let kind = parts.kind.unwrap_or(Kind::Logs);
        if let Err(error) = build(step, kind, index + 1) {
            if parts.kind.is_some() || error.span.is_some() {
                report(context, step, &path, &error);
            }
        }
    }
}

fn wrong_kind(context: &mut Context<'_>, step: &StepOptions, kind: Kind, only: Kind, path: &Path) {
    let message = format!("the step `{}` is for pipelines of kind `{}`, this one is `{}`", step.word(), only.word(), kind.word());
    let mut finding = context.find(Code::Conflict, path, message);
    finding.place = context.sources.key(path);
    context.push(finding.context(context.sources.value(&at(["kind"])), "the kind"));
}

/// Builds the step as the worker would, and throws it away.
fn build(step: &StepOptions, kind: Kind, number: usize) -> Result<(), BuildError> {
    let kind = match kind {
        Kind::Logs => steps::Kind::Log,
        Kind::Dataset => steps::Kind::Document,
    };
    match step {
        StepOptions::Set(options) => steps::set(options, kind).map(drop),
        StepOptions::Rename(options) => steps::rename(options, kind).map(drop),
        StepOptions::Remove(options) => steps::remove(options, kind).map(drop),
        StepOptions::Filter(options) => steps::filter(options, number).map(drop),
        StepOptions::Delay(options) => options.condition().map(drop),
    }
}

fn report(context: &mut Context<'_>, step: &StepOptions, path: &Path, error: &BuildError) {
    let place = match step {
        _ if error.field.is_empty() => path.clone(),
        // Their fields are free names, which may hold dots themselves.
        StepOptions::Set(_) | StepOptions::Rename(_) => path.key(&error.field),
        _ => path.join(&error.field),
    };
    let text = match get(context.document, &place).map(|value| &value.kind) {
        Some(config::ValueKind::String(text)) => text.clone(),
        _ => String::new(),
    };
    context.inside(&place, &text, error.span, &error.message);
}
