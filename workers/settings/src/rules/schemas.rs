//! Avro in steps and sinks, and the schema store that must hold what they name.

use std::sync::Arc;

use longshore_codec::Store;

use super::{Context, at};
use crate::model::{SinkKind, TopicFormat};
use crate::parts::Parts;
use crate::path::Path;
use crate::report::Code;

/// Where the file asks for Avro.
struct Use<'a> {
    /// The place of the word `avro`.
    format: Path,
    /// The subject and its place.
    subject: Option<(&'a str, Path)>,
}

/// Judges every use of Avro; gives the store, empty when there is none or it cannot be read.
pub(crate) fn check(context: &mut Context<'_>) -> Arc<Store> {
    let store = load(context);
    let parts = context.parts;
    for wish in uses(parts) {
        match &store {
            Loading::Unnamed => {
                let finding =
                    context.find(Code::Conflict, &wish.format, "Avro needs the folder of the schema store");
                context.push(finding.help("add `schemas: schemas/` at the top of the file"));
            }
            Loading::Broken => {}
            Loading::Loaded(store) => held(context, store, &wish),
        }
    }
    match store {
        Loading::Unnamed | Loading::Broken => Arc::default(),
        Loading::Loaded(store) => Arc::new(store),
    }
}

fn uses(parts: &Parts) -> Vec<Use<'_>> {
    let mut uses = Vec::new();
    for (index, step) in parts.steps.iter().enumerate() {
        let Some(step) = step else { continue };
        let Some(subject) = step.avro() else { continue };
        let path = at(["steps"]).index(index).key(step.word());
        let subject = subject.map(|subject| (subject, path.key("subject")));
        uses.push(Use { format: path.key("format"), subject });
    }
    for (index, entry) in parts.sinks.iter().enumerate() {
        let Some(SinkKind::Topic(options)) = entry.as_ref().map(|entry| &entry.kind) else { continue };
        let TopicFormat::Avro(subject) = &options.format else { continue };
        let path = at(["sinks"]).index(index).key("topic").key("format").key("avro");
        uses.push(Use { format: path.clone(), subject: Some((subject, path)) });
    }
    uses
}

/// Whether the store holds what is asked for.
fn held(context: &mut Context<'_>, store: &Store, wish: &Use<'_>) {
    match &wish.subject {
        Some((subject, _)) if store.newest(subject).is_some() => {}
        Some((subject, path)) => {
            let mut finding = context.find(Code::UnknownWord, path, "the schema store holds no such subject");
            if let Some(near) = crate::nearest::nearest(subject, store.subjects()) {
                finding = finding.label(format!("did you mean `{near}`?"));
            }
            let known: Vec<&str> = store.subjects().collect();
            context.push(match known.as_slice() {
                [] => finding.help("it holds none"),
                known => finding.help(format!("it holds {}", known.join(", "))),
            });
        }
        None if store.subjects().next().is_some() => {}
        None => {
            let finding = context.find(Code::Conflict, &wish.format, "the schema store holds no schema");
            context.push(finding.help("put `<subject>/v1.avsc` there and list it in `index.json`"));
        }
    }
}

enum Loading {
    Unnamed,
    Broken,
    Loaded(Store),
}

fn load(context: &mut Context<'_>) -> Loading {
    let path = at(["schemas"]);
    let Some(folder) = &context.parts.schemas else {
        return if context.is_written(&path) { Loading::Broken } else { Loading::Unnamed };
    };
    if !folder.is_dir() {
        let finding = context.find(Code::Value, &path, "no such folder");
        context.push(finding.help("relative paths begin where the worker is started"));
        return Loading::Broken;
    }
    match Store::load(folder) {
        Ok(store) => Loading::Loaded(store),
        Err(mistakes) => {
            for mistake in mistakes {
                let hidden = context.secret.contains(&path);
                let message =
                    if hidden { "the schema store cannot be read".to_owned() } else { mistake.to_string() };
                let finding = context.find(Code::Value, &path, message);
                context.push(finding.help("`longshore schema check` says more"));
            }
            Loading::Broken
        }
    }
}
