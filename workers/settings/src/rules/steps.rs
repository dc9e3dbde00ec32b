//! Steps that fit the kind of pipeline, and whose conditions and options build.

use std::sync::Arc;

use longshore_codec::Store;
use longshore_conditions::steps::{DelayOptions, FailOptions};
use longshore_conditions::{BuildError, Condition, ConditionError, Expression, steps};

use super::{Context, at};
use crate::model::{Kind, StepOptions};
use crate::parts::get;
use crate::path::Path;
use crate::report::Code;

pub(crate) fn check(context: &mut Context<'_>, store: &Arc<Store>) {
    let parts = context.parts;
    let mut read = false;
    let mut reader: Option<Path> = None;
    for (index, step) in parts.steps.iter().enumerate() {
        let Some(step) = step else {
            // It may be the one that reads.
            read = true;
            continue;
        };
        let path = at(["steps"]).index(index).key(step.word());
        if let (Some(kind), Some(only)) = (parts.kind, step.only_for())
            && kind != only
        {
            read |= step.reads();
            wrong_kind(context, step, kind, only, &path);
            continue;
        }
        if !read && needs_fields(step) {
            unread(context, step, &path);
            read = true;
        }
        if step.reads() {
            read = true;
            if let Some(earlier) = &reader {
                read_twice(context, step, earlier, &path);
            }
            reader = Some(path.clone());
        }
        builds(context, step, index + 1, store, &path);
    }
}

/// Whether the step works on fields, which only exist once a step has read the record. A worker would halt on it.
fn needs_fields(step: &StepOptions) -> bool {
    match step {
        StepOptions::Parse(_)
        | StepOptions::Accept(_)
        | StepOptions::Filter(_)
        | StepOptions::Delay(_)
        | StepOptions::Fail(_) => false,
        StepOptions::Set(options) => options.0.iter().any(|(target, _)| target != "key"),
        StepOptions::Rename(_)
        | StepOptions::Remove(_)
        | StepOptions::Normalize(_)
        | StepOptions::Length(_)
        | StepOptions::Fingerprint(_) => true,
    }
}

fn unread(context: &mut Context<'_>, step: &StepOptions, path: &Path) {
    let reader = match context.parts.kind {
        Some(Kind::Logs) => "`parse`",
        Some(Kind::Dataset) => "`accept`",
        None => "`parse` or `accept`",
    };
    let message = format!("`{}` works on fields, and no step before it has read the record", step.word());
    let mut finding = context.find(Code::Conflict, path, message);
    finding.place = context.sources.key(path);
    context.push(finding.help(format!("put {reader} before it")));
}

fn read_twice(context: &mut Context<'_>, step: &StepOptions, earlier: &Path, path: &Path) {
    let message = format!("`{}` reads a record's bytes, and a step before it has read them", step.word());
    let mut finding = context.find(Code::Conflict, path, message);
    finding.place = context.sources.key(path);
    context.push(finding.context(context.sources.key(earlier), "read here"));
}

/// Builds the step and reports what is wrong with it: every expression, then whatever else keeps it from being built.
fn builds(context: &mut Context<'_>, step: &StepOptions, number: usize, store: &Arc<Store>, path: &Path) {
    let mut broken = false;
    let mut judge = |context: &mut Context<'_>, place: Path, text: &str, error: Option<ConditionError>| {
        if let Some(error) = error {
            broken = true;
            context.inside(&place, text, Some((error.offset, error.len)), &error.message);
        }
    };
    match step {
        StepOptions::Set(options) => {
            for (target, text) in options.0.iter() {
                judge(context, path.key(target), text, Expression::compile(text).err());
            }
        }
        StepOptions::Filter(options) => {
            for (name, text) in [("drop", &options.drop), ("keep", &options.keep)] {
                let Some(text) = text else { continue };
                judge(context, path.key(name), text, Condition::compile(text).err());
            }
        }
        StepOptions::Delay(DelayOptions { when, .. }) | StepOptions::Fail(FailOptions { when, .. }) => {
            if let Some(text) = when {
                judge(context, path.key("when"), text, Condition::compile(text).err());
            }
        }
        StepOptions::Parse(_)
        | StepOptions::Accept(_)
        | StepOptions::Normalize(_)
        | StepOptions::Length(_)
        | StepOptions::Fingerprint(_)
        | StepOptions::Rename(_)
        | StepOptions::Remove(_) => {}
    }
    // Without a kind, which is reported by itself, the other kind's field names would be judged.
    let Some(kind) = context.parts.kind.filter(|_| !broken) else { return };
    if let Err(error) = build(step, kind, number, store) {
        // Without a store no subject is known; the rule of the schemas says what is missing, and what comes near.
        let said = step.avro().is_some() && error.field == "subject";
        if !said {
            report(context, step, path, &error);
        }
    }
}

fn wrong_kind(context: &mut Context<'_>, step: &StepOptions, kind: Kind, only: Kind, path: &Path) {
    let message = format!(
        "the step `{}` is for pipelines of kind `{}`, this one is `{}`",
        step.word(),
        only.word(),
        kind.word()
    );
    let mut finding = context.find(Code::Conflict, path, message);
    finding.place = context.sources.key(path);
    context.push(finding.context(context.sources.value(&at(["kind"])), "the kind"));
}

/// Builds the step as the worker would, and throws it away.
fn build(step: &StepOptions, kind: Kind, number: usize, store: &Arc<Store>) -> Result<(), BuildError> {
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
        StepOptions::Fail(options) => steps::fail(options).map(drop),
        StepOptions::Parse(options) => longshore_logs::parse(options, store).map(drop),
        StepOptions::Accept(options) => longshore_datasets::accept(options, store).map(drop),
        StepOptions::Normalize(options) => longshore_datasets::normalize(options).map(drop),
        StepOptions::Length(options) => longshore_datasets::length(options).map(drop),
        StepOptions::Fingerprint(options) => longshore_datasets::fingerprint(options).map(drop),
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
