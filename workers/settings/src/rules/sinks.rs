//! Sinks that do not get into each other's way, and whose conditions compile.

use std::path::{Component, Path as FilePath};

use longshore_conditions::Condition;
use longshore_sinks::files::OptionsError;

use super::{Context, at, names};
use crate::model::{SinkEntry, SinkKind};
use crate::path::Path;
use crate::report::Code;
use crate::source::Place;

pub(crate) fn check(context: &mut Context<'_>) {
    let parts = context.parts;
    let entries: Vec<(Path, &SinkEntry)> = parts
        .sinks
        .iter()
        .enumerate()
        .filter_map(|(index, entry)| {
            entry.as_ref().map(|entry| (at(["sinks"]).index(index).key(entry.kind.word()), entry))
        })
        .collect();
    for (position, (path, entry)) in entries.iter().enumerate() {
        if let Some(when) = &entry.when {
            condition(context, &path.key("when"), when);
        }
        kind(context, path, entry);
        for (earlier_path, earlier) in &entries[..position] {
            against(context, (path, entry), (earlier_path, earlier));
        }
    }
}

fn condition(context: &mut Context<'_>, path: &Path, text: &str) {
    if let Err(error) = Condition::compile(text) {
        context.inside(path, text, Some((error.offset, error.len)), &error.message);
    }
}

fn kind(context: &mut Context<'_>, path: &Path, entry: &SinkEntry) {
    match &entry.kind {
        SinkKind::Files(options) => {
            for mistake in options.mistakes() {
                let place = match mistake {
                    OptionsError::Path => path.key("path"),
                    OptionsError::Level(_) => path.key("level"),
                    OptionsError::Roll(field) => path.key("roll").key(field),
                };
                let finding = context.find(Code::Value, &place, mistake.to_string());
                context.push(finding);
            }
        }
        SinkKind::Topic(options) => {
            let name = path.key("name");
            names::check_topic(context, &options.name, &name);
            own_topic(context, &options.name, &name);
        }
        SinkKind::Stdout(_) => {}
    }
}

/// A sink that writes to what the pipeline reads would go round for ever.
fn own_topic(context: &mut Context<'_>, topic: &str, path: &Path) {
    let parts = context.parts;
    let Some(input) = &parts.input else { return };
    if let Some(index) = input.topics.iter().position(|input| input == topic) {
        let finding = context.find(
            Code::Conflict,
            path,
            "this topic is an input of the same pipeline: records would go round for ever",
        );
        let place = context.sources.value(&at(["input", "topics"]).index(index));
        return context.push(finding.context(place, "read here"));
    }
    let Some(pipeline) = &parts.pipeline else { return };
    let owned = input.topics.iter().any(|input| {
        topic == format!("{input}.{pipeline}.retry") || topic == format!("{input}.{pipeline}.dlq")
    });
    if owned || topic == format!("longshore.{pipeline}.journal") {
        let finding = context.find(Code::Conflict, path, "only the fleet itself may write to this topic");
        context.push(finding);
    }
}

/// Two sinks that would write to one place.
fn against(context: &mut Context<'_>, later: (&Path, &SinkEntry), earlier: (&Path, &SinkEntry)) {
    let ((path, entry), (earlier_path, earlier)) = (later, earlier);
    if let (SinkKind::Files(ours), SinkKind::Files(theirs)) = (&entry.kind, &earlier.kind)
        && overlap(&ours.path, &theirs.path)
    {
        let place = context.sources.value(&earlier_path.key("path"));
        let finding =
            context.find(Code::Conflict, &path.key("path"), "two sinks would write into one folder");
        context.push(finding.context(place, "the other one"));
    }
    if entry.name == earlier.name {
        let shown = context.show(&path.key("name"), &entry.name);
        let mut finding = context.find(Code::Conflict, path, format!("two sinks have the name `{shown}`"));
        finding.place = name_place(context, path);
        let finding = finding.context(name_place(context, earlier_path), "the other one");
        let written = matches!(entry.kind, SinkKind::Topic(_));
        context.push(if written {
            finding.help("one sink with `when: a || b` takes both")
        } else {
            finding.help("give each its own `name`")
        });
    }
}

/// Where a sink's name stands: its own, or its kind's word.
fn name_place(context: &Context<'_>, path: &Path) -> Place {
    let name = path.key("name");
    if context.is_written(&name) { context.sources.value(&name) } else { context.sources.key(path) }
}

/// Whether one folder is the other or lies in it.
fn overlap(a: &FilePath, b: &FilePath) -> bool {
    let (a, b) = (plain(a), plain(b));
    !a.is_empty() && !b.is_empty() && (a.starts_with(&b) || b.starts_with(&a))
}

/// A path's parts without `.`, which changes nothing.
fn plain(path: &FilePath) -> Vec<Component<'_>> {
    path.components().filter(|part| !matches!(part, Component::CurDir)).collect()
}
