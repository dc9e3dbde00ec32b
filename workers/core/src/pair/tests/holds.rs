//! What is held back, for how long, and what goes on by itself.

use super::*;

fn away() -> Failure {
    Failure::target(Reason::SinkUnavailable, "away")
}

fn holds(hand: &mut Hand) -> usize {
    hand.take(|action| if let Action::Hold(_) = action { Ok(()) } else { Err(action) }).len()
}

fn resumes(hand: &mut Hand) -> usize {
    hand.take(|action| if let Action::Resume = action { Ok(()) } else { Err(action) }).len()
}

fn grants(hand: &mut Hand) -> usize {
    let of_input = |action| match action {
        Action::Grant { lane: Lane::Input, .. } => Ok(()),
        other => Err(other),
    };
    hand.take(of_input).len()
}

fn units(hand: &mut Hand) -> Vec<UnitId> {
    hand.take(|action| if let Action::Run(unit) = action { Ok(unit.id) } else { Err(action) })
}

/// Scenario: both sinks of a pair are away, one after the other, and come back; units are with the steps and more records wait. Guarantee: while one is away no
/// unit goes and no more comes in, though what is here ends; a person is told once that it holds, and once that it goes on.
#[test]
fn a_pair_holds_until_the_last_sink_is_back() {
    let sinks = vec![spec("files", true), spec("table", true)];
    let mut hand = Hand::new(PairOptions { units_in_flight: 1, unit_records: 200, ..options(sinks) });
    hand.assign(1, None, vec![LedgerView::default(), LedgerView::default()]);
    let records: Vec<(i64, String)> = (0..300).map(|offset| (offset, format!("k{offset}"))).collect();
    let records: Vec<(i64, &str)> = records.iter().map(|(offset, key)| (*offset, key.as_str())).collect();
    hand.receive(&records);
    assert_eq!(grants(&mut hand), 1);
    let epoch = Epoch(1);
    for sink in [0, 1].map(SinkIndex) {
        hand.tell(Event::SinkHeld { epoch, sink, failure: away() });
    }
    assert_eq!(holds(&mut hand), 1);
    hand.run(to_first);
    assert_eq!((units(&mut hand).len(), grants(&mut hand)), (0, 0));
    hand.tell(Event::SinkResumed { epoch, sink: SinkIndex(1) });
    assert_eq!((resumes(&mut hand), units(&mut hand).len(), grants(&mut hand)), (0, 0, 0));
    hand.tell(Event::SinkResumed { epoch, sink: SinkIndex(0) });
    assert_eq!((resumes(&mut hand), units(&mut hand).len()), (1, 1));
    assert!(grants(&mut hand) > 0 && hand.pair.held().is_none());
}

/// Scenario: what the steps speak to is away, and does not say for how long. Guarantee: no more comes in, one unit goes as a probe after each wait and none
/// before or beside it, and the waits grow as those of any outage do.
#[test]
fn a_target_that_is_away_is_probed_ever_more_seldom() {
    let mut longest = [Duration::ZERO; 4];
    for writer in 1..40 {
        let mut hand = Hand::new(options(vec![spec("files", true)]));
        hand.assign(writer, None, vec![LedgerView::default()]);
        hand.receive(&[(0, "a"), (1, "a")]);
        grants(&mut hand);
        for longest in &mut longest {
            hand.run(|_| Verdict::Failed(Box::new(away())));
            assert_eq!((units(&mut hand).len(), grants(&mut hand)), (0, 0));
            let wait = hand.pair.next_wake().expect("a probe").since(hand.now);
            *longest = wait.max(*longest);
            hand.pass(wait - Duration::from_nanos(1));
            assert_eq!(units(&mut hand).len(), 0);
            hand.now = hand.now.after(Duration::from_nanos(1));
            hand.tell(Event::Tick);
            let probes = hand.asked.iter().filter(|action| matches!(action, Action::Run(_))).count();
            assert_eq!(probes, 1);
        }
        hand.tell(Event::Lost);
    }
    let within = |bound: u64, longest: Duration| {
        longest <= Duration::from_millis(bound) && longest > Duration::from_millis(bound * 3 / 4)
    };
    let bounds = [200, 400, 800, 1_600];
    assert!(bounds.into_iter().zip(longest).all(|(bound, most)| within(bound, most)), "{longest:?}");
}

/// Scenario: the target says when it wants to be asked again. Guarantee: then, and not before.
#[test]
fn a_target_that_says_when_is_probed_then() {
    let mut hand = Hand::new(options(vec![spec("files", true)]));
    hand.assign(1, None, vec![LedgerView::default()]);
    hand.receive(&[(0, "a")]);
    let after = Some(Duration::from_secs(7));
    let class = crate::Class::Retry { scope: crate::Scope::Target, after };
    hand.run(|_| Verdict::Failed(Box::new(Failure::new(class, Reason::SinkUnavailable, "away"))));
    hand.pass(Duration::from_millis(6_999));
    assert_eq!(units(&mut hand).len(), 0);
    hand.pass(Duration::from_millis(1));
    assert_eq!(units(&mut hand).len(), 1);
}
