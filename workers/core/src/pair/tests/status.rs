//! What a pair tells of itself, and how it comes to begin.

use super::*;
use crate::metadata::Metadata;

fn recovers(hand: &mut Hand) -> usize {
    hand.take(|action| if matches!(action, Action::Recover { .. }) { Ok(()) } else { Err(action) }).len()
}

/// Scenario: a record comes, is done, waits in a segment, is published and committed. Guarantee: what the pair tells of it at each step is what its runtime
/// judges it by.
#[test]
fn a_pair_tells_what_it_has() {
    let mut hand = Hand::new(options(vec![spec("files", true)]));
    assert!(!hand.pair.is_running() && hand.pair.state() == "idle");
    hand.assign(1, None, vec![LedgerView::default()]);
    assert!(hand.pair.is_running() && !hand.pair.is_careful());
    let told = |hand: &Hand| (hand.pair.oldest_unfinished_since(), hand.pair.oldest_sealed_since());
    assert_eq!((told(&hand), hand.pair.in_flight_bytes()), ((None, None), 0));
    let second = |seconds| Some(Moment(Duration::from_secs(seconds)));
    hand.pass(Duration::from_secs(3));
    hand.receive(&[(0, "a"), (1, "b")]);
    assert_eq!(told(&hand), (second(3), None));
    assert_eq!(hand.pair.in_flight_bytes(), 2 * ("a".len() + "value".len()) as u64);
    assert_eq!(hand.pair.unsettled(), &RunSet::of(Offset(0), Offset(2)));
    hand.run(to_first);
    assert_eq!(told(&hand), (None, None));
    hand.pass(Duration::from_secs(10));
    assert_eq!(told(&hand), (None, second(13)));
    let (sink, trailer) = hand.trailers().remove(0);
    hand.publish(sink, &trailer, Published::Done(Vec::new()));
    assert_eq!((told(&hand), hand.pair.committed()), ((None, None), Offset(0)));
    hand.mark_taken();
    hand.pass(Duration::from_secs(1));
    hand.mark_taken();
    assert_eq!((hand.pair.committed(), hand.pair.unsettled()), (Offset(2), &RunSet::default()));
}

/// Scenario: two owners in a row ended without a word. Guarantee: the pair is careful, and says so.
#[test]
fn a_pair_says_that_it_is_careful() {
    for takeovers in [0, 1] {
        let mut hand = Hand::new(options(vec![spec("files", true)]));
        let metadata = Metadata { takeovers, careful: 5, ..Metadata::default() }.encode(Offset(0)).text;
        hand.assign(1, Some(Position { offset: Offset(0), metadata }), vec![LedgerView::default()]);
        let is_careful = takeovers == 1;
        assert_eq!(hand.pair.is_careful(), is_careful);
        assert_eq!(hand.pair.state(), if is_careful { "careful" } else { "running" });
    }
}

/// Scenario: a ledger cannot be read for now, several times in a row. Guarantee: it is asked for once after each wait, and the waits grow as those of any
/// outage do.
#[test]
fn a_ledger_that_cannot_be_read_is_asked_for_ever_more_seldom() {
    let mut longest = [Duration::ZERO; 4];
    for writer in 1..40 {
        let mut hand = Hand::new(options(vec![spec("files", true)]));
        hand.assign(writer, None, Vec::new());
        for longest in &mut longest {
            assert_eq!(recovers(&mut hand), 1);
            let failure = Failure::target(Reason::SinkUnavailable, "away");
            hand.tell(Event::Recovered { epoch: Epoch(writer), sink: SinkIndex(0), ledger: Err(failure) });
            let wait = hand.pair.next_wake().expect("it asks again").since(hand.now);
            *longest = wait.max(*longest);
            hand.pass(wait - Duration::from_nanos(1));
            assert_eq!(recovers(&mut hand), 0);
            hand.pass(Duration::from_nanos(1));
        }
        assert!(hand.pair.held().is_some() && !hand.pair.is_running());
        let ledger = Ok(LedgerView::default());
        hand.tell(Event::Recovered { epoch: Epoch(writer), sink: SinkIndex(0), ledger });
        assert!(hand.pair.held().is_none() && hand.pair.is_running());
    }
    let within = |bound: u64, longest: Duration| {
        longest <= Duration::from_millis(bound) && longest > Duration::from_millis(bound * 3 / 4)
    };
    let bounds = [200, 400, 800, 1_600];
    assert!(bounds.into_iter().zip(longest).all(|(bound, most)| within(bound, most)), "{longest:?}");
}

/// Scenario: a sink is away while records are tried alone. Guarantee: none is, not even as a note in a commit, until it is there again.
#[test]
fn a_held_pair_tries_no_record_alone() {
    let mut hand = Hand::new(options(vec![spec("files", true)]));
    let metadata = Metadata { takeovers: 1, careful: 5, ..Metadata::default() }.encode(Offset(0)).text;
    hand.assign(1, Some(Position { offset: Offset(0), metadata }), vec![LedgerView::default()]);
    let sink = SinkIndex(0);
    let failure = Failure::target(Reason::SinkUnavailable, "away");
    hand.tell(Event::SinkHeld { epoch: Epoch(1), sink, failure });
    hand.receive(&[(0, "a")]);
    assert_eq!(hand.commits(), []);
    hand.tell(Event::SinkResumed { epoch: Epoch(1), sink });
    let [note] = &hand.commits()[..] else { panic!("the note about it") };
    let told = Metadata::decode(&note.metadata, note.offset, Offset(1_000)).unwrap();
    assert_eq!(
        told.trying.iter().map(|trying| (trying.offset, trying.tries)).collect::<Vec<_>>(),
        [(Offset(0), 1)]
    );
}
