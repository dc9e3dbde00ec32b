//! Sinks that do not get into each other's way, and whose conditions compile.

use std::path::{Component, Path as FilePath};

use longshore_conditions::{Condition, Expression};
use longshore_sinks::files::OptionsError;

use super::{Context, at, names, objects};
use crate::model::{PostgresMode, PostgresSinkOptions, SinkEntry, SinkKind};
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
        SinkKind::Objects(options) => objects::check(context, path, options),
        SinkKind::Postgres(options) => postgres(context, path, options),
        SinkKind::Topic(options) => {
            let name = path.key("name");
            names::check_topic(context, &options.name, &name);
            own_topic(context, &options.name, &name);
        }
        SinkKind::Stdout(_) => {}
    }
}

fn postgres(context: &mut Context<'_>, path: &Path, options: &PostgresSinkOptions) {
    let mut refuse = |place: &Path, message: &str| {
        let finding = context.find(Code::Value, place, message);
        context.push(finding);
    };
    if !is_table(&options.table) {
        refuse(&path.key("table"), "expected `table` or `schema.table`, each name of at most 63 bytes");
    }
    let roll = path.key("roll");
    if options.roll.bytes.get() == 0 {
        refuse(&roll.key("bytes"), "roll.bytes must be above zero");
    }
    if options.roll.age.get().is_zero() {
        refuse(&roll.key("age"), "roll.age must be above zero");
    }
    if options.roll.rows == 0 {
        refuse(&roll.key("rows"), "roll.rows must be above zero");
    }
    if !(1..=64).contains(&options.connections) {
        refuse(&path.key("connections"), "expected 1 to 64");
    }
    if let Some(tls) = options.tls.as_ref().filter(|tls| tls.certificate.is_some() != tls.key.is_some()) {
        let given = if tls.key.is_some() { "key" } else { "certificate" };
        refuse(&path.key("tls").key(given), "`certificate` and `key` go together");
    }
    if let Some(record) = options.record.as_ref().filter(|record| options.columns.contains_key(*record)) {
        let message = format!("`columns` writes to {record} as well");
        refuse(&path.key("record"), &message);
    }
    upsert(context, path, options);
    for (column, text) in &options.columns {
        if let Err(error) = Expression::compile(text) {
            let place = path.key("columns").key(column);
            context.inside(&place, text, Some((error.offset, error.len)), &error.message);
        }
    }
}

/// A key for rows that change, and only for those.
fn upsert(context: &mut Context<'_>, path: &Path, options: &PostgresSinkOptions) {
    let place = path.key("key");
    let mut refuse = |place: &Path, message: String| {
        let finding = context.find(Code::Value, place, message);
        context.push(finding);
    };
    match options.mode {
        PostgresMode::Insert if options.key.is_empty() => return,
        PostgresMode::Insert => return refuse(&place, "only `mode: upsert` has a key".to_owned()),
        PostgresMode::Upsert if options.key.is_empty() => {
            refuse(&path.key("mode"), "`mode: upsert` needs a `key`".to_owned());
        }
        PostgresMode::Upsert => {}
    }
    for (index, name) in options.key.iter().enumerate() {
        if !options.columns.contains_key(name) {
            refuse(&place.index(index), format!("`columns` writes nothing to {name}"));
        } else if options.key[..index].contains(name) {
            refuse(&place.index(index), format!("{name} stands twice"));
        }
    }
    for mark in ["_pair", "_offset", "_deleted"] {
        if options.columns.contains_key(mark) {
            refuse(&path.key("columns").key(mark), format!("{mark} is written by the sink itself"));
        }
    }
    if let Some(record) =
        options.record_column().filter(|name| ["_pair", "_offset", "_deleted"].contains(name))
    {
        let message = format!("{record} is written by the sink itself");
        refuse(&path.key("record"), message);
    }
}

/// Whether a text is `table` or `schema.table`.
fn is_table(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    let fits = |part: &&str| (1..=63).contains(&part.len()) && !part.contains(['"', '\0']);
    parts.len() <= 2 && parts.iter().all(fits)
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
    let same_place = match (&entry.kind, &earlier.kind) {
        (SinkKind::Files(ours), SinkKind::Files(theirs)) => overlap(&ours.path, &theirs.path),
        (SinkKind::Objects(ours), SinkKind::Objects(theirs)) => {
            objects::overlap(ours, theirs, context.environment)
        }
        (SinkKind::Files(files), SinkKind::Objects(objects))
        | (SinkKind::Objects(objects), SinkKind::Files(files)) => objects::is_in_folder(objects, &files.path),
        _ => false,
    };
    if same_place {
        let place = context.sources.value(&place_of(earlier_path, earlier));
        let place_here = place_of(path, entry);
        let finding = context.find(Code::Conflict, &place_here, "two sinks would write into one folder");
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

/// Where a sink's folder or bucket stands.
fn place_of(path: &Path, entry: &SinkEntry) -> Path {
    path.key(if matches!(entry.kind, SinkKind::Objects(_)) { "url" } else { "path" })
}

/// Where a sink's name stands: its own, or its kind's word.
fn name_place(context: &Context<'_>, path: &Path) -> Place {
    let name = path.key("name");
    if context.is_written(&name) { context.sources.value(&name) } else { context.sources.key(path) }
}

/// Whether one folder is the other or lies in it.
pub(super) fn overlap(a: &FilePath, b: &FilePath) -> bool {
    let (a, b) = (plain(a), plain(b));
    !a.is_empty() && !b.is_empty() && (a.starts_with(&b) || b.starts_with(&a))
}

/// A path's parts without `.`, which changes nothing.
fn plain(path: &FilePath) -> Vec<Component<'_>> {
    path.components().filter(|part| !matches!(part, Component::CurDir)).collect()
}
