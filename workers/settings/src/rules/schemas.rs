//! Avro subjects, and the schema store that must hold them.

use longshore_codec::Store;

use super::{Context, at};
use crate::model::{SinkKind, TopicFormat};
use crate::report::Code;

pub(crate) fn check(context: &mut Context<'_>) {
    let store = load(context);
    for (index, entry) in context.parts.sinks.iter().enumerate() {
        let Some(SinkKind::Topic(options)) = entry.as_ref().map(|entry| &entry.kind) else { continue };
        let TopicFormat::Avro(subject) = &options.format else { continue };
        let path = at(["sinks"]).index(index).key("topic").key("format").key("avro");
        match &store {
            Loading::Unnamed => {
                let finding =
                    context.find(Code::Conflict, &path, "Avro needs the folder of the schema store");
                context.push(finding.help("add `schemas: schemas/` at the top of the file"));
            }
            Loading::Broken => {}
            Loading::Loaded(store) if store.newest(subject).is_some() => {}
            Loading::Loaded(store) => {
                let mut finding =
                    context.find(Code::UnknownWord, &path, "the schema store holds no such subject");
                if let Some(near) = crate::nearest::nearest(subject, store.subjects()) {
                    finding = finding.label(format!("did you mean `{near}`?"));
                }
                context.push(finding);
            }
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
