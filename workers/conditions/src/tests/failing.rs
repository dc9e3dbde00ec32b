//! The rehearsal step `fail`.

use longshore_core::failure::{Class, Scope};
use longshore_core::human::Share;
use longshore_core::{ChunkBuilder, Epoch, Flow, Item, Lane, Offset, PairId, Reason, RecordRef, Step};

use crate::steps::{FailClass, FailOptions, FailScope, fail};

/// Items of one partition with these offsets.
fn items(topic: &str, partition: i32, offsets: std::ops::Range<i64>) -> Vec<Item> {
    let mut builder = ChunkBuilder::new(PairId::new(topic, partition), Lane::Input, Epoch(1));
    for offset in offsets.clone() {
        builder.record(Offset(offset), 0, Some(b"k"), Some(offset.to_string().as_bytes()));
    }
    let chunk = builder.build(None);
    (0..chunk.len() as u32).map(|at| Item::new(RecordRef::new(&chunk, at).unwrap())).collect()
}

/// The offsets of those that fail.
fn failing(step: &dyn Step, items: &mut [Item]) -> Vec<i64> {
    let failed = items.iter_mut().filter_map(|item| step.apply(item).err().map(|_| item.source.offset().0));
    failed.collect()
}

fn ratio(percent: u32) -> FailOptions {
    FailOptions { ratio: Share::millionths(percent * 10_000), ..FailOptions::default() }
}

/// Reckoned outside of Rust: which records fail must not change from version to version.
const FIRST_OF_LOGS: [i64; 3] = [5, 10, 20];

/// Scenario: 100,000 records, 5 % to fail. Guarantee: about 5 % do, spread over partitions; the same ones at every reading and
/// in every version, which three offsets pin; other ones with another seed, topic or partition.
#[test]
fn the_same_share_of_records_fails_at_every_reading() {
    let step = fail(&ratio(5)).unwrap();
    let chosen = failing(&*step, &mut items("logs", 0, 0..100_000));
    assert!((4_700..5_300).contains(&chosen.len()), "{}", chosen.len());
    assert_eq!(chosen, failing(&*fail(&ratio(5)).unwrap(), &mut items("logs", 0, 0..100_000)));
    assert_eq!(chosen[..3], FIRST_OF_LOGS);
    assert_ne!(chosen, failing(&*step, &mut items("logs", 1, 0..100_000)));
    assert_ne!(chosen, failing(&*step, &mut items("other", 0, 0..100_000)));
    let seeded = fail(&FailOptions { seed: 1, ..ratio(5) }).unwrap();
    assert_ne!(chosen, failing(&*seeded, &mut items("logs", 0, 0..100_000)));
}

#[test]
fn all_or_none_may_fail() {
    let all = failing(&*fail(&FailOptions::default()).unwrap(), &mut items("t", 0, 0..1_000));
    assert_eq!(all.len(), 1_000);
    assert_eq!(failing(&*fail(&ratio(0)).unwrap(), &mut items("t", 0, 0..1_000)), [0_i64; 0]);
}

/// Scenario: a mistake that is mended while the worker runs. Guarantee: records fail while the file is there, and neither before
/// nor after; the step says so.
#[test]
fn nothing_fails_while_the_file_is_not_there() {
    let folder = std::env::temp_dir();
    let file = folder.join(format!("longshore-mistake-{}", std::process::id()));
    let options = FailOptions { while_file: Some(file.clone()), ..FailOptions::default() };
    assert_eq!(options.words(), format!("100% retry while {} is there", file.display()));
    let step = fail(&options).unwrap();
    assert_eq!(failing(&*step, &mut items("t", 0, 0..10)), [0_i64; 0]);
    std::fs::write(&file, "").unwrap();
    assert_eq!(failing(&*step, &mut items("t", 0, 0..10)).len(), 10);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(failing(&*step, &mut items("t", 0, 0..10)), [0_i64; 0]);
}

/// Scenario: two tries fail. Guarantee: the third one and all later ones do not.
#[test]
fn a_passing_failure_ends_with_its_try() {
    let step = fail(&FailOptions { times: Some(2), ..FailOptions::default() }).unwrap();
    let mut item = items("t", 0, 0..1).remove(0);
    for attempt in 1..=2 {
        item.attempt = attempt;
        let failure = step.apply(&mut item).unwrap_err();
        assert_eq!(failure.class, Class::Retry { scope: Scope::Record, after: None });
        assert_eq!(failure.reason, Reason::StepFailed);
        assert_eq!(failure.detail(), format!("a rehearsal: try {attempt} fails on purpose"));
    }
    for attempt in [3, 4, 1000] {
        item.attempt = attempt;
        assert!(matches!(step.apply(&mut item), Ok(Flow::Keep)));
    }
}

#[test]
fn class_scope_reason_and_condition_are_as_the_options_say() {
    let options = FailOptions {
        class: FailClass::Retry,
        scope: Some(FailScope::Target),
        when: Some("offset >= 3".to_owned()),
        reason: "sink.unavailable".to_owned(),
        ..FailOptions::default()
    };
    let step = fail(&options).unwrap();
    let mut items = items("t", 0, 0..5);
    assert_eq!(failing(&*step, &mut items), [3, 4]);
    let failure = step.apply(&mut items[4]).unwrap_err();
    assert_eq!(failure.class, Class::Retry { scope: Scope::Target, after: None });
    assert_eq!(failure.reason, Reason::SinkUnavailable);
    for (class, expected) in [(FailClass::Reject, Class::Reject), (FailClass::Halt, Class::Halt)] {
        let step = fail(&FailOptions { class, ..FailOptions::default() }).unwrap();
        assert_eq!(step.apply(&mut items[0]).unwrap_err().class, expected);
    }
}
