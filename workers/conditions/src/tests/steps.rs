use longshore_core::{Class, Flow, Item, Reason, Step, Value};

use super::{item, log, raw};
use crate::steps::{
    FilterOptions, Kind, Pairs, RemoveOptions, RenameOptions, SetOptions, filter, remove, rename, set,
};

fn pairs(entries: &[(&str, &str)]) -> Pairs {
    Pairs(entries.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect())
}

fn apply(step: &dyn Step, item: &mut Item) -> Flow {
    step.apply(item).unwrap_or_else(|e| panic!("{e}"))
}

fn attribute<'a>(item: &'a Item, map: &str, name: &str) -> Option<&'a Value> {
    item.fields()?.get(map)?.as_object()?.get(name)
}

#[test]
fn set_writes_every_kind_of_target() {
    let options = SetOptions(pairs(&[
        ("service", "attributes['app']"),
        ("resource.host", "resource.host + '.local'"),
        ("attributes.http.status", "attributes.status"),
        ("again", "attributes.service"),
        ("body", "{'text': body}"),
        ("severity_number", "17"),
        ("key", "attributes.app + ':' + key"),
        ("absent", "attributes.nowhere"),
        ("event_name", "'disk.full'"),
    ]));
    let mut log = log();
    assert!(matches!(apply(&*set(&options, Kind::Log).unwrap(), &mut log), Flow::Keep));
    assert_eq!(attribute(&log, "attributes", "service"), Some(&Value::from("api")));
    assert_eq!(attribute(&log, "attributes", "again"), Some(&Value::from("api")), "entries see earlier ones");
    assert_eq!(attribute(&log, "resource", "host"), Some(&Value::from("h1.local")));
    assert_eq!(attribute(&log, "attributes", "http.status"), Some(&Value::Int(503)));
    assert_eq!(attribute(&log, "attributes", "absent"), None, "null changes nothing");
    assert_eq!(log.fields().unwrap().get("severity_number"), Some(&Value::Int(17)));
    assert_eq!(log.key(), Some(b"api:user-7".as_slice()));
    assert_eq!(attribute(&log, "body", "text"), Some(&Value::from("disk almost full")));
}

#[test]
fn a_bare_name_of_a_document_is_metadata() {
    let mut document = item(r#"{"id": "1", "text": "hello"}"#);
    let options = SetOptions(pairs(&[("lang", "'en'"), ("source", "'crawl'")]));
    apply(&*set(&options, Kind::Document).unwrap(), &mut document);
    assert_eq!(attribute(&document, "metadata", "lang"), Some(&Value::from("en")));
    assert_eq!(document.fields().unwrap().get("source"), Some(&Value::from("crawl")));
}

#[test]
fn set_refuses_what_a_field_cannot_hold() {
    for (target, expression) in [
        ("severity_number", "'high'"),
        ("severity_number", "25"),
        ("severity_text", "1"),
        ("trace_id", "'00000000000000000000000000000000'"),
        ("trace_id", "'ABC'"),
        ("key", "1.5"),
        ("time_unix_nano", "-1"),
    ] {
        let step = set(&SetOptions(pairs(&[(target, expression)])), Kind::Log).unwrap();
        let failure = step.apply(&mut log()).expect_err(target);
        assert_eq!((failure.class, failure.reason), (Class::Reject, Reason::StepExpression), "{target}");
    }
}

#[test]
fn a_field_of_an_unread_record_is_the_pipelines_mistake() {
    let step = set(&SetOptions(pairs(&[("service", "'x'")])), Kind::Log).unwrap();
    assert_eq!(step.apply(&mut raw(Some(b"x"))).unwrap_err().class, Class::Halt);
    let key = set(&SetOptions(pairs(&[("key", "body")])), Kind::Log).unwrap();
    let mut unread = raw(Some(b"x"));
    apply(&*key, &mut unread);
    assert_eq!(unread.key(), Some(b"x".as_slice()));
}

/// Guarantee: a tombstone that `parse` lets pass comes to the sinks as one, its key changed or not.
#[test]
fn steps_leave_a_tombstone_as_it_is() {
    let mut item = raw(None);
    let sets = pairs(&[("service", "'x'"), ("key", "'k'"), ("attributes.app", "'y'")]);
    apply(&*set(&SetOptions(sets), Kind::Log).unwrap(), &mut item);
    apply(&*rename(&RenameOptions(pairs(&[("app", "service")])), Kind::Log).unwrap(), &mut item);
    apply(&*remove(&RemoveOptions(vec!["body".into()]), Kind::Log).unwrap(), &mut item);
    assert!(item.is_tombstone() && item.key() == Some(b"k"));
}

#[test]
fn rename_and_remove_move_and_drop() {
    let mut log = log();
    let options = RenameOptions(pairs(&[
        ("app", "service.name"),
        ("attributes.status", "resource.status"),
        ("nope", "x"),
    ]));
    apply(&*rename(&options, Kind::Log).unwrap(), &mut log);
    assert_eq!(attribute(&log, "attributes", "app"), None);
    assert_eq!(attribute(&log, "attributes", "service.name"), Some(&Value::from("api")));
    assert_eq!(attribute(&log, "resource", "status"), Some(&Value::Int(503)));

    let options = RemoveOptions(vec!["tags".into(), "body".into(), "resource".into(), "nope".into()]);
    apply(&*remove(&options, Kind::Log).unwrap(), &mut log);
    assert_eq!(attribute(&log, "attributes", "tags"), None);
    assert!(log.fields().unwrap().get("body").is_none() && log.fields().unwrap().get("resource").is_none());
}

#[test]
fn filter_drops_or_keeps_under_its_name() {
    let dropped = |options: &FilterOptions, item: &mut Item| match apply(&*filter(options, 2).unwrap(), item)
    {
        Flow::Drop(reason) => Some(reason.0.to_string()),
        Flow::Keep | Flow::Split(_) => None,
    };
    let drop = FilterOptions { drop: Some("severity_number < 17".into()), ..FilterOptions::default() };
    assert_eq!(dropped(&drop, &mut log()), Some("filter.2".into()));
    assert_eq!(dropped(&drop, &mut item("{}")), None, "not known to be below 17");
    let name = Some("too.quiet".into());
    let keep = FilterOptions { keep: Some("severity_number >= 17".into()), name, ..FilterOptions::default() };
    assert_eq!(dropped(&keep, &mut log()), Some("too.quiet".into()));
    assert_eq!(dropped(&keep, &mut item(r#"{"severity_number": 17}"#)), None);
}

#[test]
fn mistakes_name_their_option() {
    let both = FilterOptions { drop: Some("true".into()), keep: Some("true".into()), name: None };
    assert_eq!(filter(&both, 1).err().unwrap().field, "keep");
    assert_eq!(filter(&FilterOptions::default(), 1).err().unwrap().field, "");
    let named = FilterOptions { drop: Some("true".into()), name: Some("a b".into()), keep: None };
    assert_eq!(filter(&named, 1).err().unwrap().field, "name");
    let broken = FilterOptions { drop: Some("severty_text == 'x'".into()), ..FilterOptions::default() };
    let error = filter(&broken, 1).err().unwrap();
    assert_eq!((error.field.as_str(), error.span), ("drop", Some((0, 12))));

    let error = set(&SetOptions(pairs(&[("a", "1"), ("b", "nope")])), Kind::Log).err().unwrap();
    assert_eq!(error.field, "b");
    assert!(set(&SetOptions(pairs(&[("attributes", "1")])), Kind::Log).is_err());
    assert!(set(&SetOptions(pairs(&[("attributes.", "1")])), Kind::Log).is_err());
    assert!(rename(&RenameOptions(pairs(&[("key", "x")])), Kind::Log).is_err());
    assert_eq!(remove(&RemoveOptions(vec!["a".into(), "key".into()]), Kind::Log).err().unwrap().field, "[1]");
}

#[test]
fn options_are_strict_and_keep_their_order() {
    let set: SetOptions = serde_json::from_str(r#"{"b": "1", "a": "2"}"#).unwrap();
    assert_eq!(set.0.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["b", "a"]);
    assert!(serde_json::from_str::<SetOptions>(r#"{"a": "1", "a": "2"}"#).is_err());
    assert!(serde_json::from_str::<FilterOptions>(r#"{"dorp": "true"}"#).is_err());
    let delay: crate::steps::DelayOptions =
        serde_json::from_str(r#"{"for": "10ms", "when": "offset > 5"}"#).unwrap();
    assert!(delay.condition().unwrap().is_some());
}
