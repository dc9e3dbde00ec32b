//! The flood breaker in the machine; its counting is tested where it is.

use super::*;

fn rejected(_: i64) -> Verdict {
    Verdict::Failed(Box::new(Failure::reject(Reason::DecodeJson, "bad")))
}

fn flooded() -> Hand {
    let flood = FloodPolicy { ratio: 0.9, min: 10, window: Duration::from_secs(60) };
    let mut hand = Hand::new(PairOptions {
        flood: Some(flood),
        unit_records: 2,
        units_in_flight: 5,
        ..options(vec![spec("files", true)])
    });
    hand.assign(1, None, vec![LedgerView::default()]);
    let records: Vec<(i64, &str)> = (0..30).map(|offset| (offset, "k")).collect();
    hand.receive(&records);
    for _ in 0..5 {
        hand.run(rejected);
    }
    hand
}

/// Publishes what was sealed and acknowledges the letters; returns how many there were.
fn finish(hand: &mut Hand) -> usize {
    let mut letters = 0;
    loop {
        let trailers = hand.trailers();
        let posted = hand.letters();
        if trailers.is_empty() && posted.is_empty() {
            return letters;
        }
        for (sink, trailer) in trailers {
            hand.publish(sink, &trailer, Published::Done(Vec::new()));
        }
        letters += posted.len();
        for letter in posted {
            let epoch = hand.pair.epoch();
            hand.tell(Event::LettersDelivered { epoch, answers: vec![(letter.id, Ok(()))] });
        }
    }
}

fn sent(hand: &Hand) -> usize {
    let units = hand.asked.iter().filter_map(|action| match action {
        Action::Run(unit) => Some(unit.entries.len()),
        _ => None,
    });
    units.sum()
}

/// Scenario: a service behind the steps answers every record with a refusal.
/// Guarantee: the pair holds and says so; in a minute of outage only probes of one record become letters; when the service is well again the
/// pair goes on by itself, and every record is in one place.
#[test]
fn a_flood_holds_the_pair_until_a_probe_passes() {
    let mut hand = flooded();
    assert_eq!(hand.pair.held().map(|failure| failure.reason), Some(Reason::RejectFlood));
    assert_eq!(finish(&mut hand), 10);
    assert_eq!(sent(&hand), 0);
    let (mut letters, mut probes) = (10, 0);
    for _ in 0..60 {
        hand.pass(Duration::from_secs(1));
        assert!(sent(&hand) <= 1);
        probes += sent(&hand);
        hand.run(rejected);
        letters += finish(&mut hand);
    }
    assert!((2..=10).contains(&probes), "{probes} probes in a minute");
    assert_eq!(letters, 10 + probes);
    for _ in 0..60 {
        hand.pass(Duration::from_secs(1));
        hand.run(to_first);
        letters += finish(&mut hand);
    }
    assert_eq!(hand.pair.held(), None);
    hand.pass(Duration::from_secs(10));
    finish(&mut hand);
    assert_eq!((hand.rows + letters, hand.pair.watermark()), (30, Offset(30)));
}

/// Scenario: the breaker trips when nothing is queued any more.
/// Guarantee: records still come in, so that there is something to probe with, and the breaker closes.
#[test]
fn what_comes_meanwhile_is_probed_with() {
    let mut hand = flooded();
    finish(&mut hand);
    hand.pair.own.cancel_work();
    for second in 0..20 {
        hand.pass(Duration::from_secs(1));
        hand.receive(&[(30 + second, "k")]);
        hand.run(to_first);
        finish(&mut hand);
    }
    assert_eq!(hand.pair.held(), None);
}

/// Scenario: an owner finds letters that were decided before it, and runs their records to tell why. Guarantee: those are no flood, since nothing is decided by them.
#[test]
fn letters_that_were_decided_before_are_no_flood() {
    let flood = FloodPolicy { ratio: 0.9, min: 10, window: Duration::from_secs(60) };
    let mut hand = Hand::new(PairOptions { flood: Some(flood), ..options(vec![spec("files", true)]) });
    let mut ledger = LedgerView { next_sequence: crate::Sequence(1), ..LedgerView::default() };
    let dead = (0..20).map(|offset| (Offset(offset), 0)).collect();
    ledger.holdings.add(&RunSet::default(), &dead);
    hand.assign(1, None, vec![ledger]);
    let records: Vec<(i64, &str)> = (0..20).map(|offset| (offset, "k")).collect();
    hand.receive(&records);
    hand.run(rejected);
    assert_eq!((hand.letters().len(), hand.pair.held()), (20, None));
}

/// Scenario: the breaker is open, a probe is at work, and another record is due for its next try. Guarantee: nobody is woken for that one before the probe is answered; and
/// nobody for a probe without a record.
#[test]
fn an_open_breaker_wakes_for_its_probe_alone() {
    let begun = || {
        let flood = FloodPolicy { ratio: 0.5, min: 2, window: Duration::from_secs(60) };
        let defaults = options(vec![spec("files", true)]);
        let commit = CommitPolicy { interval: Duration::from_secs(5), ..defaults.commit };
        let mut hand = Hand::new(PairOptions { flood: Some(flood), commit, ..defaults });
        hand.assign(1, None, vec![LedgerView::default()]);
        hand
    };
    let wakes = |hand: &Hand| hand.pair.next_wake().map(|wake| wake.0.as_secs());
    let mut hand = begun();
    hand.receive(&[(0, "a"), (1, "b"), (2, "c"), (3, "d")]);
    let later = |_| Verdict::Failed(Box::new(Failure::retry(Reason::StepFailed, "later")));
    hand.run(|offset| if offset < 2 { later(offset) } else { rejected(offset) });
    assert_eq!((finish(&mut hand), wakes(&hand)), (2, Some(1)));
    hand.pass(Duration::from_secs(1));
    assert_eq!((sent(&hand), wakes(&hand)), (1, Some(5)), "the commit is next");

    let mut hand = begun();
    hand.receive(&[(0, "a"), (1, "b")]);
    hand.run(rejected);
    assert_eq!((finish(&mut hand), wakes(&hand)), (2, Some(5)), "the commit is next");
}
