use super::*;
use crate::{Offset, Partition, Reason, TopicName};

fn letter() -> LetterHeaders {
    let origin = Origin { topic: TopicName::new("t"), partition: Partition(3), offset: Offset(42), index: 0 };
    let failure = Failure::reject(Reason::DecodeJson, "expected value").at("parse");
    LetterHeaders::failed(origin, 1000, &failure, "logs 1a2b", 2000)
}

fn decode(list: &[(&'static str, String)]) -> Result<Option<LetterHeaders>, HeaderError> {
    LetterHeaders::decode(list.iter().map(|(name, value)| (name.as_bytes(), Some(value.as_bytes()))))
}

#[test]
fn what_is_written_is_read_back() {
    let mut headers = letter();
    assert_eq!(decode(&headers.encode()), Ok(Some(headers.clone())));
    headers.not_before_ms = Some(3000);
    headers.omitted = Some(5_000_000);
    headers.replays = 2;
    assert_eq!(decode(&headers.encode()), Ok(Some(headers)));
}

#[test]
fn a_copy_is_read_as_a_letter_is() {
    let headers = LetterHeaders { not_before_ms: Some(3000), attempt: 4, replays: 2, ..letter() };
    let list = headers.encode();
    let pairs = list.iter().map(|(name, value)| (name.as_bytes(), Some(value.as_bytes())));
    let copy = CopyHeaders::decode(pairs).unwrap().unwrap();
    assert_eq!((copy.origin.to_origin(), copy.origin_timestamp_ms), (headers.origin, 1000));
    assert_eq!((copy.attempt, copy.replays, copy.not_before_ms), (4, 2, Some(3000)));
    assert_eq!(copy.first_failed_ms, 2000);
    let nonsense = [(ORIGIN.as_bytes(), Some(b"t/1".as_slice()))];
    assert_eq!(CopyHeaders::decode(nonsense), Err(HeaderError::Value(ORIGIN)));
}

#[test]
fn the_headers_of_many_records_share_a_buffer() {
    let (one, two) = (letter(), LetterHeaders { at: String::new(), attempt: 7, ..letter() });
    let mut text = HeaderText::default();
    let places = [one.encode_to(&mut text), two.encode_to(&mut text)];
    for (headers, place) in [one, two].iter().zip(places) {
        let owned = text.list(place).map(|(name, value)| (name, value.to_owned()));
        assert_eq!(owned.collect::<Vec<_>>(), headers.encode());
    }
}

/// Guarantee: a buffer that was cleared holds nothing of the records before (I5).
#[test]
fn a_buffer_is_used_again_from_its_beginning() {
    let mut text = HeaderText::default();
    let before = letter().encode_to(&mut text);
    text.clear();
    assert_eq!((text.text.len(), text.list(before.clone()).count()), (0, 0));
    let again = LetterHeaders { attempt: 8, ..letter() };
    let place = again.encode_to(&mut text);
    assert_eq!(place, before);
    let owned = text.list(place).map(|(name, value)| (name, value.to_owned()));
    assert_eq!(owned.collect::<Vec<_>>(), again.encode());
}

/// Scenario: a letter or copy that says no more than where its record stood, as by other hands; then one that says when it failed. Guarantee: what
/// is not said is nothing, and no time of creation is none; who says when it failed first and no more failed then last.
#[test]
fn what_is_not_said_is_nothing() {
    let origin = (ORIGIN, "t/3/42/0".to_owned());
    let found = decode(std::slice::from_ref(&origin)).unwrap().unwrap();
    let nothing = LetterHeaders {
        origin: letter().origin,
        origin_timestamp_ms: -1,
        attempt: 0,
        replays: 0,
        not_before_ms: None,
        reason: String::new(),
        at: String::new(),
        detail: String::new(),
        pipeline: String::new(),
        first_failed_ms: 0,
        last_failed_ms: 0,
        omitted: None,
    };
    assert_eq!(found, nothing);
    let copy = CopyHeaders::decode([(ORIGIN.as_bytes(), Some(b"t/3/42/0".as_slice()))]);
    let copy = copy.unwrap().unwrap();
    assert_eq!((copy.origin_timestamp_ms, copy.attempt, copy.replays), (-1, 0, 0));
    assert_eq!((copy.not_before_ms, copy.first_failed_ms), (None, 0));
    let failed = |list: &[(&'static str, String)]| {
        let found = decode(&[std::slice::from_ref(&origin), list].concat()).unwrap().unwrap();
        (found.first_failed_ms, found.last_failed_ms)
    };
    let (first, last) = ((FIRST_FAILED, "7".to_owned()), (LAST_FAILED, "9".to_owned()));
    assert_eq!((failed(std::slice::from_ref(&first)), failed(&[first, last])), ((7, 7), (7, 9)));
}

/// Guarantee: a newer contract is told from nonsense, also behind a header that cannot be read, which may be why.
#[test]
fn a_newer_contract_is_no_nonsense() {
    let contract = |value: &str| decode(&[(ATTEMPT, "x".into()), (CONTRACT, value.into())]);
    assert_eq!(contract("2"), Err(HeaderError::Newer(HEADERS.newer(2))));
    assert_eq!(contract("1"), Err(HeaderError::Value(ATTEMPT)));
    for nonsense in ["0", "-1", "", "one"] {
        assert_eq!(decode(&[(CONTRACT, nonsense.into())]), Err(HeaderError::Value(CONTRACT)), "{nonsense}");
    }
}

/// Bad input: a stranger's words. Guarantee: they can be shown, and have a bounded size; what is as it should be is not copied.
#[test]
fn words_of_strangers_can_be_shown() {
    for (value, shown) in
        [("four", "four"), ("fiver", "five"), ("\u{fc}ber", "?ber"), ("a\tb", "a?b"), ("", "")]
    {
        assert_eq!(words(Some(value.as_bytes()), 4), shown);
        let copied = matches!(borrowed_words(value.as_bytes(), 4), Cow::Owned(_));
        assert_eq!(copied, value != shown, "{value}");
    }
    assert_eq!((words(Some(b"\xffab"), 4), words(None, 4)), ("?ab".to_owned(), String::new()));
}

/// Trap 9: constant size at a hundred hops.
#[test]
fn a_hundred_hops_do_not_make_it_larger() {
    let mut own: Vec<(Vec<u8>, Vec<u8>)> = vec![(b"traceparent".to_vec(), b"00-x".to_vec())];
    let mut sizes = Vec::new();
    let mut headers = letter();
    for _ in 0..100 {
        let mut all: Vec<_> = own.iter().filter(|(name, _)| !is_ours(name)).cloned().collect();
        all.extend(
            headers.encode().into_iter().map(|(name, value)| (name.as_bytes().to_vec(), value.into_bytes())),
        );
        sizes.push(all.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>());
        let pairs = all.iter().map(|(name, value)| (name.as_slice(), Some(value.as_slice())));
        headers = LetterHeaders::decode(pairs).unwrap().unwrap();
        headers.attempt = (headers.attempt + 1).min(9);
        own = all;
    }
    assert!(sizes.iter().all(|size| *size == sizes[0]), "{sizes:?}");
}

/// Bad input: a count of replays that nobody wrote so. Guarantee: it stays on no letter, and what stays has a bounded size.
#[test]
fn of_our_names_only_a_count_of_replays_stays() {
    for (value, times) in [("0", Some(0)), ("3", Some(3)), ("9999999", Some(9_999_999)), ("0007", Some(7))] {
        assert_eq!(
            (replayed(value.as_bytes()), is_kept(b"longshore.replayed", Some(value.as_bytes()))),
            (times, true)
        );
    }
    for value in ["", "-1", "+1", "1 ", "12345678", "x", "\u{663}"] {
        assert_eq!(replayed(value.as_bytes()), None, "{value}");
        assert!(!is_kept(b"longshore.replayed", Some(value.as_bytes())), "{value}");
    }
    assert!(is_kept(b"own", None) && !is_kept(b"longshore.replayed", None));
    assert!(!is_kept(b"longshore.origin", Some(b"1")) && !is_kept(b"longshore.replayed-x", Some(b"1")));
    assert_eq!(replayed(replayed_text(u32::MAX).as_bytes()), Some(9_999_999));
}

#[test]
fn strangers_are_no_letters_and_nonsense_is_named() {
    assert_eq!(decode(&[("kafka_dlt-exception", "x".into())]), Ok(None));
    assert_eq!(decode(&[(ORIGIN, "t/1".into())]), Err(HeaderError::Value(ORIGIN)));
    assert_eq!(decode(&[(ATTEMPT, "-1".into())]), Err(HeaderError::Value(ATTEMPT)));
    assert_eq!(LetterHeaders::decode([(b"longshore.\xff".as_slice(), None)]), Ok(None));
}

#[test]
fn every_value_is_printable_ascii() {
    let mut headers = letter();
    headers.at = "schritt\u{fc}\n".into();
    for (_, value) in headers.encode() {
        assert!(value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{value:?}");
    }
}

/// Guarantee: the words of a first failure can stand in headers, whatever a step or a pipeline is called.
#[test]
fn names_of_steps_and_pipelines_are_printable() {
    let origin = letter().origin;
    let failure = Failure::reject(Reason::DecodeJson, "bad").at("caf\u{e9}");
    let headers = LetterHeaders::failed(origin, 1000, &failure, &"p\n".repeat(NAME_BYTES), 2000);
    let printable = |text: &str| text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    assert!(printable(&headers.at) && headers.at.starts_with("caf"), "{}", headers.at);
    assert!(printable(&headers.pipeline) && headers.pipeline.len() <= NAME_BYTES, "{}", headers.pipeline);
}
