//! The steps that read records of anybody's: `parse` of logs, `accept` and `normalize` of documents.
//!
//! The first byte chooses the step.

use std::sync::{Arc, LazyLock};

use longshore_codec::{Compression, Store};
use longshore_core::{Content, Flow, Item, Step};
use longshore_datasets::{AcceptOptions, NormalizeOptions, accept, normalize};
use longshore_logs::{ParseOptions, parse};

static STEPS: LazyLock<Vec<Vec<Box<dyn Step>>>> = LazyLock::new(|| {
    let store = Arc::new(Store::default());
    let log = |format, compression| {
        let options = ParseOptions { compression, max_lines: 100, ..ParseOptions::new(format) };
        vec![parse(&options, &store).expect("sound options")]
    };
    let document = |format| {
        let options = AcceptOptions { format, ..AcceptOptions::default() };
        let normalize = normalize(&NormalizeOptions::default()).expect("sound options");
        vec![accept(&options, &store).expect("sound options"), normalize]
    };
    vec![
        log(longshore_logs::Format::Json, Compression::None),
        log(longshore_logs::Format::Lines, Compression::None),
        log(longshore_logs::Format::Json, Compression::Gzip),
        document(longshore_datasets::Format::Json),
        document(longshore_datasets::Format::Text),
    ]
});

/// See the module.
pub fn run(data: &[u8]) {
    let Some((choice, value)) = data.split_first() else { return };
    let steps = &STEPS[usize::from(*choice) % STEPS.len()];
    let first = through(steps, value, data.len());
    assert_eq!(
        first,
        through(steps, value, data.len()),
        "not the same twice (a re-read would differ from the first, I2)"
    );
    through(steps, &crate::planted(value), data.len());
}

/// What becomes of the record: rows as JSON, or a word.
fn through(steps: &[Box<dyn Step>], value: &[u8], bytes: usize) -> Vec<String> {
    let mut items = vec![crate::item(Some(b"key"), Some(value))];
    for step in steps {
        let mut next: Vec<Item> = Vec::new();
        for mut item in items {
            match step.apply(&mut item) {
                Ok(Flow::Keep) => next.push(item),
                Ok(Flow::Drop(reason)) => return vec![reason.0.to_string()],
                Ok(Flow::Split(children)) => next.extend(children),
                Err(failure) => {
                    crate::judge(&failure);
                    return vec![failure.reason.code().to_owned()];
                }
            }
        }
        items = next;
    }
    items.iter().map(|item| row(item, bytes)).collect()
}

fn row(item: &Item, bytes: usize) -> String {
    let Content::Fields(fields) = &item.content else { return "not read".to_owned() };
    let mut json = Vec::new();
    fields.write_json(&mut json).expect("what JSON brought JSON can say");
    serde_json::from_slice::<serde::de::IgnoredAny>(&json).expect("JSON");
    // An escape takes six bytes for one, and what is measured stands beside it.
    assert!(json.len() <= 64 * bytes + 4_096, "{} bytes of a record of {bytes}", json.len());
    String::from_utf8(json).expect("JSON is UTF-8")
}
