//! Headers of records: the contract of letters and retries, letters of other tools, trace contexts.
//!
//! The bytes are lines of `name: value`; a line without a colon is a header without a value.

use longshore_core::headers::{
    CopyHeaders, HeaderError, HeaderText, LetterHeaders, PREFIX, is_kept, is_ours, replayed, replayed_text,
};
use longshore_core::letter::{LetterKind, LetterRef};
use longshore_core::trace::{Carried, TraceContext, carried};

type Header<'a> = (&'a [u8], Option<&'a [u8]>);

/// The most that all our headers of one letter take, names included.
const MOST_BYTES: usize = 2_048;

/// See the module.
pub fn run(data: &[u8]) {
    let headers: Vec<Header<'_>> = data.split(|byte| *byte == b'\n').map(header).collect();
    let all = || headers.iter().copied();
    let read = LetterHeaders::decode(all());
    let quick = LetterRef::of(all());
    match &read {
        Ok(Some(letter)) => {
            round(letter);
            let copy = CopyHeaders::decode(all()).expect("a letter is a copy").expect("and has an origin");
            assert_eq!(copy.origin.to_origin(), letter.origin);
            assert_eq!((copy.attempt, copy.replays), (letter.attempt, letter.replays));
            assert_eq!(copy.not_before_ms, letter.not_before_ms);
            assert_eq!(quick.kind(), LetterKind::Longshore);
            assert_eq!(quick.headers().as_ref(), read.as_ref(), "the quick view says something else");
        }
        Ok(None) => assert_ne!(quick.kind(), LetterKind::Longshore),
        Err(HeaderError::Value(name)) => assert!(name.starts_with(PREFIX), "{name}"),
        Err(HeaderError::Newer(newer)) => assert!(newer.to_string().len() <= 256, "{newer}"),
    }
    foreign(&quick);
    kept(&headers);
    traced(carried(all()));
}

fn header(line: &[u8]) -> Header<'_> {
    match line.iter().position(|byte| *byte == b':') {
        Some(colon) => {
            (&line[..colon], Some(line[colon + 1..].strip_prefix(b" ").unwrap_or(&line[colon + 1..])))
        }
        None => (line, None),
    }
}

/// What was read is written in bounds, and reads the same.
fn round(letter: &LetterHeaders) {
    let written = letter.encode();
    let pairs = written.iter().map(|(name, value)| (name.as_bytes(), Some(value.as_bytes())));
    let again = LetterHeaders::decode(pairs).expect("ours").expect("with an origin");
    assert_eq!(&again, letter);
    let bytes: usize = written.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert!(bytes <= MOST_BYTES, "{bytes} bytes of headers");
    for (name, value) in &written {
        assert!(value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{name}: {value:?}");
    }
    let mut text = HeaderText::default();
    let (first, second) = (letter.encode_to(&mut text), again.encode_to(&mut text));
    assert!(text.list(first).eq(text.list(second)));
}

/// A letter of anybody's: where it says that the record stood is a place, and its words can be shown.
fn foreign(letter: &LetterRef<'_>) {
    let (Ok(Some(place)), Ok(Some(said))) = (letter.place(), letter.said()) else { return };
    assert_eq!(place.to_origin(), said.origin);
    assert!(place.partition >= 0 && place.offset >= 0);
    let words = [&said.reason, &said.at, &said.detail, &said.pipeline];
    for words in words {
        assert!(words.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{words:?}");
    }
    // What people and terminals are shown of it.
    assert!(said.origin.to_string().bytes().all(|byte| byte.is_ascii_graphic()), "{:?}", said.origin);
    round(&said.into_owned());
}

/// Of our names one stays on a copy, with a value of a bounded size.
fn kept(headers: &[Header<'_>]) {
    for (name, value) in headers {
        if is_ours(name) && is_kept(name, *value) {
            let times = value.and_then(replayed).expect("a number");
            assert!(value.is_some_and(|value| value.len() <= 7));
            assert_eq!(replayed(replayed_text(times).as_bytes()), Some(times));
        }
    }
}

fn traced(carried: Carried<'_>) {
    let Carried::Context(context, state) = carried else { return };
    let written = context.to_string();
    assert_eq!(written.len(), 55);
    let again = TraceContext::parse(written.as_bytes()).expect("ours");
    assert_eq!(
        (again.trace, again.span, again.is_sampled()),
        (context.trace, context.span, context.is_sampled())
    );
    assert!(state.is_none_or(|state| state.len() <= 512));
}
