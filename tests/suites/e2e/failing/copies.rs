//! What may stand in a retry topic that no worker of this version wrote, and what records carry through it.

use std::time::Duration;

use longshore_tests::harness::account::Fate;
use longshore_tests::harness::witness::now_ms;
use longshore_tests::harness::{Account, Record, Rig, Seen, shared_broker, wait_until};

use super::{numbered, origins};
use crate::said::longshore;

const YEAR_MS: i64 = 365 * 86_400_000;

fn rig(bootstrap: &str, name: &str) -> Rig {
    Rig::new(bootstrap, name)
        .set("failure.retry.first=200ms")
        .set("failure.retry.cap=2s")
        .set("failure.retry.in_place=0ms")
}

/// Scenario: a backfill of records that are five years old; some fail for a while, some for good. Guarantee: copies and letters
/// stand in their topics with the time of their arrival, so that no retention takes them for old, and tell the record's own
/// time in a header.
#[test]
fn five_year_old_records_stand_in_retry_and_dead_letters_as_new_ones() {
    const RECORDS: usize = 300;
    let Some(broker) = shared_broker() else { return };
    let rig = rig(&broker.bootstrap(), "e2e-backfill")
        .steps(
            "\n  - fail: { ratio: 20%, times: 1 }\n  - fail: { ratio: 10%, class: reject, seed: 1 }\n  - parse: { format: json }",
        )
        .with_own_topics(2);
    // The input's own retention would take records of this age.
    rig.witness.create_topic(&rig.topic, 2, &[("retention.ms", "-1")]);
    let (began, old) = (now_ms(), now_ms() - 5 * YEAR_MS);
    let records = numbered(0..RECORDS, 30).into_iter().map(|record| record.at(old));
    rig.witness.publish(&rig.topic, &records.collect::<Vec<_>>());
    let worker = rig.working();
    rig.wait_drained(Duration::from_secs(60), &[&worker]);
    wait_until("no copy waits any more", Duration::from_secs(60), || rig.uncommitted_copies() == 0);
    worker.stop();
    let (copies, letters) = (rig.witness.read(&rig.retry_topic()), rig.witness.read(&rig.letter_topic()));
    assert!(copies.len() > 30 && letters.len() > 10, "{} copies, {} letters", copies.len(), letters.len());
    for seen in copies.iter().chain(&letters) {
        assert!(seen.timestamp_ms >= began - 60_000, "{seen:?} would be deleted as old");
        assert_eq!(seen.header("longshore.origin-timestamp"), Some(old.to_string()));
    }
    let rejected = origins(&letters, "step.failed");
    let fate = |seen: &Seen| {
        let origin = format!("{}/{}/{}/0", rig.topic, seen.partition, seen.offset);
        if rejected.contains(&origin) { Fate::Letter("step.failed".to_owned()) } else { Fate::Row }
    };
    Account::take(&rig).assert_right(RECORDS as u64, fate);
}

/// Scenario: copies that are not to be tried before the year 2200, and not before a moment that is gone or never was, of records that the input
/// lane is done with. Guarantee: the one is clipped to the longest wait of the pipeline, the others are due at once; all rows are
/// there within seconds.
#[test]
fn a_wait_of_centuries_is_clipped_and_a_wait_that_is_over_is_none() {
    let Some(broker) = shared_broker() else { return };
    let rig = rig(&broker.bootstrap(), "e2e-clipped").with_topics(1);
    rig.witness.publish(&rig.topic, &numbered(0..4, 4));
    rig.witness.commit(&rig.group(), &rig.topic, 0, 3, "");
    let copy = |(offset, not_before): (usize, &str)| {
        let copy = numbered(offset..offset + 1, 4).remove(0).to(0);
        copy.header("longshore.origin", &format!("{}/0/{offset}/0", rig.topic))
            .header("longshore.attempt", "1")
            .header("longshore.reason", "step.failed")
            .header("longshore.not-before", not_before)
    };
    let moments = ["7258118400000", "1", "-9223372036854775808"].into_iter().enumerate();
    rig.witness.publish(&rig.retry_topic(), &moments.map(copy).collect::<Vec<_>>());
    let worker = rig.working();
    wait_until("their rows are there", Duration::from_secs(30), || Account::take(&rig).rows.len() == 4);
    wait_until("no copy waits any more", Duration::from_secs(30), || rig.uncommitted_copies() == 0);
    worker.stop();
    assert!(rig.witness.read(&rig.letter_topic()).is_empty());
    Account::take(&rig).assert_right(4, |_| Fate::Row);
}

/// Scenario: records with a megabyte of headers that fail, for a while and for good. Guarantee: copy and letter have every one
/// of the headers, byte for byte, and the records come through.
#[test]
fn a_megabyte_of_headers_goes_through_retry_and_dead_letters() {
    let Some(broker) = shared_broker() else { return };
    let rig = rig(&broker.bootstrap(), "e2e-headers").steps(
        "\n  - fail: { times: 2 }\n  - fail: { when: 'key == \"key-1\"', class: reject }\n  - parse: { format: json }",
    );
    let room = ("max.message.bytes", "3000000");
    rig.witness.create_topic(&rig.topic, 1, &[room]);
    let with_room = |settings: &[(&'static str, &'static str)]| [settings, &[room]].concat();
    let (retry, letter) = (rig.retry_topic(), rig.letter_topic());
    rig.witness.create_topic(&retry, 1, &with_room(longshore_tests::harness::rig::RETRY_SETTINGS));
    rig.witness.create_topic(&letter, 1, &with_room(longshore_tests::harness::rig::LETTER_SETTINGS));
    rig.witness.create_topic(&rig.journal_topic(), 1, &[("cleanup.policy", "compact")]);
    let padded = |record: Record| {
        (0..100).fold(record, |record, n| record.header(&format!("own-{n}"), &"h".repeat(10_486)))
    };
    rig.witness.publish(&rig.topic, &numbered(0..4, 2).into_iter().map(padded).collect::<Vec<_>>());
    let worker = rig.working();
    rig.wait_drained(Duration::from_secs(60), &[&worker]);
    wait_until("no copy waits any more", Duration::from_secs(60), || rig.uncommitted_copies() == 0);
    worker.stop();
    let own = |seen: &Seen| {
        let own = seen.headers.iter().filter(|(name, _)| !name.starts_with("longshore."));
        own.cloned().collect::<Vec<_>>()
    };
    let first = own(&rig.witness.read(&rig.topic)[0]);
    assert_eq!(first.len(), 100);
    let letters = rig.witness.read(&letter);
    assert_eq!(letters.len(), 2);
    for seen in rig.witness.read(&retry).iter().chain(&letters) {
        assert!(own(seen) == first, "headers of {:?} changed", seen.header("longshore.origin"));
    }
    let rejected = |seen: &Seen| seen.key.as_deref() == Some(b"key-1");
    let fate = |seen: &Seen| if rejected(seen) { Fate::Letter("step.failed".to_owned()) } else { Fate::Row };
    Account::take(&rig).assert_right(4, fate);
}

/// Scenario: records of every shape fail a hundred times, each time through the retry topic. Guarantee: payload, key and own headers are byte for
/// byte the same at every hop and in the letter, and our headers have the same names and, the digits of the attempt apart, the same
/// size at the second hop and at the hundredth.
#[test]
fn a_hundred_hops_leave_a_record_as_it_was() {
    const HOPS: usize = 100;
    let Some(broker) = shared_broker() else { return };
    let rig = rig(&broker.bootstrap(), "e2e-hops")
        .steps("\n  - fail: {}")
        .set("failure.retry.first=1ms")
        .set("failure.retry.cap=1ms")
        .set("failure.retry.floor=1ms")
        .set(&format!("failure.retry.attempts={HOPS}"))
        .with_topics(1);
    let bytes: Vec<u8> = (0..=255).collect();
    let plain = Record::new("key", bytes.clone());
    let mut records = [
        plain
            .header("own", "one")
            .header("own", "two")
            .header("empty", "")
            .header("traceparent", "00-1-2-01"),
        Record { key: Some(bytes.clone()), ..Record::new("", "text") },
        Record { key: None, ..Record::new("", "text") },
        Record::new("", ""),
        Record { value: None, ..Record::new("tombstone", "") },
    ];
    records[1].headers.push(("bytes".to_owned(), bytes));
    rig.witness.publish(&rig.topic, &records);
    let worker = rig.working();
    wait_until("all are letters", Duration::from_secs(120), || {
        rig.witness.ends(&rig.letter_topic())[0] == records.len() as i64
    });
    worker.stop();
    let (published, copies) = (rig.witness.read(&rig.topic), rig.witness.read(&rig.retry_topic()));
    let letters = rig.witness.read(&rig.letter_topic());
    let ours = |name: &str| name.starts_with("longshore.");
    let size = |seen: &Seen, without: &[&str]| -> usize {
        let counted = seen.headers.iter().filter(|(name, _)| ours(name) && !without.contains(&name.as_str()));
        counted.map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len)).sum()
    };
    for seen in &published {
        let origin = Some(format!("{}/0/{}/0", rig.topic, seen.offset));
        let of = |all: &[Seen]| -> Vec<Seen> {
            all.iter().filter(|found| found.header("longshore.origin") == origin).cloned().collect()
        };
        let (copies, letters) = (of(&copies), of(&letters));
        assert_eq!(letters.len(), 1);
        assert_eq!(copies.len(), HOPS - 1);
        assert_eq!(letters[0].header("longshore.attempt"), Some(HOPS.to_string()));
        let theirs = |seen: &Seen| {
            let own = seen.headers.iter().filter(|(name, _)| !ours(name));
            (seen.key.clone(), seen.value.clone(), own.cloned().collect::<Vec<_>>())
        };
        for hop in copies.iter().chain(&letters) {
            assert_eq!(theirs(hop), theirs(seen));
        }
        // The attempt stands in the rehearsal's own words as well.
        let numbered = ["longshore.attempt", "longshore.detail"];
        let sizes: Vec<usize> = copies.iter().map(|copy| size(copy, &numbered)).collect();
        assert!(sizes.iter().all(|found| *found == sizes[1]), "{sizes:?}");
        let due = [&numbered[..], &["longshore.not-before"]].concat();
        assert_eq!(size(&letters[0], &numbered), size(&copies[1], &due), "{:?}", letters[0]);
        let detail = letters[0].header("longshore.detail");
        assert_eq!(detail.as_deref(), Some("a rehearsal: try 100 fails on purpose"));
    }
}

/// Scenario: broken records are larger than the dead-letter topic takes, one by its payload, one by its headers, one by its key, beside one that is
/// not. Guarantee: each is a letter with its reason and origin and stops nothing (I9); of the first only the payload is left out, and of the
/// others key and headers as well; all say so and are counted apart; the record is found by its origin; a replay sends the small one and
/// tells that it cannot send the others.
#[test]
fn what_is_too_large_for_the_dead_letters_is_left_out_and_counted() {
    const BYTES: usize = 60_000;
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-omitted").with_topics(1);
    let settings =
        [longshore_tests::harness::rig::LETTER_SETTINGS, &[("max.message.bytes", "20000")]].concat();
    rig.witness.delete_topic(&rig.letter_topic());
    rig.witness.create_topic(&rig.letter_topic(), 1, &settings);
    // Not compressible, since the topic's limit counts packed bytes.
    let mut random = longshore_testkit::Random::new(1);
    let large: Vec<u8> = (0..BYTES).map(|_| random.below(256) as u8).collect();
    let small = Record::new("k", "broken").header("own", "o");
    let mut headers = small.clone();
    headers.headers.push(("large".to_owned(), large.clone()));
    let records = [
        Record { value: Some(large.clone()), ..small.clone() },
        small.clone(),
        headers,
        Record { key: Some(large), ..small },
    ];
    rig.witness.publish(&rig.topic, &records);
    let mut worker = rig.working();
    rig.wait_drained(Duration::from_secs(60), &[&worker]);
    assert_eq!(worker.metric("longshore_letters_without_payload_total"), 3.0);
    assert_eq!(worker.metric("longshore_records_dead_total{"), 4.0);
    worker.stop();
    let mut letters = rig.witness.read(&rig.letter_topic());
    letters.sort_by_key(|letter| letter.header("longshore.origin"));
    let told = |letter: &Seen, name: &str| letter.header(&format!("longshore.{name}"));
    for (letter, offset) in letters.iter().zip(0..) {
        assert_eq!(told(letter, "origin"), Some(format!("{}/0/{offset}/0", rig.topic)));
        assert!(told(letter, "reason").is_some_and(|reason| reason.starts_with("decode.")));
    }
    let parts: Vec<_> = letters
        .iter()
        .map(|letter| (letter.key.as_deref(), letter.value.as_deref(), letter.header("own")))
        .collect();
    let (key, own) = (Some(&b"k"[..]), Some("o".to_owned()));
    let bare = (None, None, None);
    assert_eq!(parts, [(key, None, own.clone()), (key, Some(&b"broken"[..]), own), bare.clone(), bare]);
    let sizes: Vec<_> =
        letters.iter().map(|letter| (told(letter, "omitted"), told(letter, "omitted-rest"))).collect();
    let bytes = |bytes: usize| Some(bytes.to_string());
    let rest = [bytes(BYTES + "k".len() + "large".len() + "owno".len()), bytes(BYTES + "owno".len())];
    assert_eq!(sizes[..2], [(bytes(BYTES), None), (None, None)]);
    assert_eq!(sizes[2..], rest.map(|rest| (bytes("broken".len()), rest)));
    let file = rig.file().display().to_string();
    let id = format!("{}/0/{}", rig.letter_topic(), letters[0].offset);
    let shown = longshore(&["dlq", "show", "-c", &file, &id]).well();
    assert!(shown.out.contains("left out: too large for this topic"), "{}", shown.out);
    let bare = format!("{}/0/{}", rig.letter_topic(), letters[2].offset);
    let shown = longshore(&["dlq", "show", "-c", &file, &bare]).well();
    assert!(shown.out.contains("key           left out, and the record's own headers"), "{}", shown.out);
    let told = longshore(&["why", "-c", &file, &format!("{}/0/0", rig.topic)]).well();
    assert!(told.out.contains(&format!("dead letter {id} (open)")), "{}", told.out);
    let sent = longshore(&["dlq", "replay", "-c", &file, "--yes"]).well();
    assert!(sent.out.contains("3 without their payload"), "{}", sent.out);
    assert!(sent.err.contains("1 of 1 letter sent"), "{}", sent.err);
}

/// Scenario: the retry topic holds records that nobody of the fleet wrote: without an origin, with one that is no text of an origin,
/// of a topic that does not exist, of another partition, of a child, with an attempt that is no number, and with two origins of
/// which the last one counts. Guarantee: each stray is a letter with `retry.stray` and a place of its own, the lane reads on, and the
/// records of the input are untouched.
#[test]
fn strays_of_the_retry_topic_are_letters() {
    let Some(broker) = shared_broker() else { return };
    let rig = rig(&broker.bootstrap(), "e2e-strays").with_topics(2);
    rig.witness.publish(&rig.topic, &numbered(0..40, 10));
    let stray = |n: usize| Record::new(&format!("stray-{n}"), format!("{{\"stray\":{n}}}")).to(0);
    let origin = |n: usize, origin: &str| stray(n).header("longshore.origin", origin);
    let own = format!("{}/0/3/0", rig.topic);
    let strays = vec![
        stray(0),
        origin(1, "no origin at all"),
        origin(2, "no.such.topic/0/0/0"),
        origin(3, &format!("{}/1/0/0", rig.topic)),
        origin(4, &format!("{}/0/0/7", rig.topic)),
        origin(5, &own).header("longshore.attempt", "many"),
        origin(6, &own).header("longshore.origin", "no.such.topic/0/0/0"),
        origin(7, &format!("{}/0/-1/0", rig.topic)),
    ];
    let count = strays.len();
    rig.witness.publish(&rig.retry_topic(), &strays);
    let worker = rig.working();
    rig.wait_drained(Duration::from_secs(60), &[&worker]);
    wait_until("the strays are letters", Duration::from_secs(60), || {
        rig.uncommitted_copies() == 0 && rig.witness.read(&rig.letter_topic()).len() >= count
    });
    worker.stop();
    let letters = rig.witness.read(&rig.letter_topic());
    let found: Vec<_> = letters.iter().map(|letter| letter.header("longshore.reason")).collect();
    assert_eq!(found, vec![Some("retry.stray".to_owned()); count]);
    assert_eq!(origins(&letters, "retry.stray").len(), count, "each has a place of its own");
    let rows = Account::take(&rig).rows;
    assert_eq!(rows.len(), 40);
    assert!(rows.values().flatten().all(|row| !row.contains("\"stray\":")), "a stray is in the files");
}

/// Scenario: copies that name records which are not written yet, as a retry topic restored from a backup has them: one is written
/// while the worker runs, one while none runs, and the input grows beyond both. Guarantee: the records that come to stand there
/// are processed with their own content, and the copies are letters with `retry.stray`.
#[test]
fn a_copy_never_takes_the_place_of_a_record_that_comes_later() {
    let Some(broker) = shared_broker() else { return };
    let rig = rig(&broker.bootstrap(), "e2e-early-copy").with_topics(1);
    let forge = |offset: usize| {
        let copy = Record::new("key-3", "{\"forged\":true}").to(0);
        let copy = copy.header("longshore.origin", &format!("{}/0/{offset}/0", rig.topic));
        rig.witness.publish(&rig.retry_topic(), &[copy]);
    };
    let strays = |count: usize| {
        wait_until("the strays are letters", Duration::from_secs(60), || {
            rig.uncommitted_copies() == 0 && rig.witness.read(&rig.letter_topic()).len() >= count
        });
    };
    rig.witness.publish(&rig.topic, &numbered(0..10, 5));
    let worker = rig.working();
    rig.wait_drained(Duration::from_secs(60), &[&worker]);
    forge(15);
    strays(1);
    rig.witness.publish(&rig.topic, &numbered(10..30, 5));
    rig.wait_drained(Duration::from_secs(60), &[&worker]);
    worker.stop();

    forge(40);
    rig.witness.publish(&rig.topic, &numbered(30..50, 5));
    let worker = rig.working();
    rig.wait_drained(Duration::from_secs(60), &[&worker]);
    strays(2);
    worker.stop();
    let letters = rig.witness.read(&rig.letter_topic());
    assert_eq!(origins(&letters, "retry.stray").len(), 2);
    assert!(letters.iter().all(|letter| letter.value.as_deref() == Some(b"{\"forged\":true}".as_slice())));
    let rows = Account::take(&rig).rows;
    assert_eq!(rows.len(), 50);
    assert!(rows.values().flatten().all(|row| !row.contains("forged")), "a stray is in the files");
}
