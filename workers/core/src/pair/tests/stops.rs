//! The ends of an ownership: what they wait for, and what they cancel.

use super::*;

fn ended(hand: &mut Hand) -> (usize, usize) {
    let released =
        hand.take(|action| if let Action::Released { .. } = action { Ok(()) } else { Err(action) });
    let cancelled = hand.take(|action| if let Action::CancelUnits = action { Ok(()) } else { Err(action) });
    (released.len(), cancelled.len())
}

fn begun() -> Hand {
    let mut hand = Hand::new(options(vec![spec("files", true)]));
    hand.assign(1, None, vec![LedgerView::default()]);
    hand
}

/// Scenario: a step is slow while a pair drains, until its time is up. Guarantee: the unit is cancelled and the pair lets go, once; a pair that is gone already
/// is left alone.
#[test]
fn a_deadline_ends_a_drain() {
    let mut hand = begun();
    hand.receive(&[(0, "a")]);
    hand.tell(Event::Drain);
    assert_eq!(ended(&mut hand), (0, 0));
    hand.tell(Event::Deadline);
    assert_eq!((ended(&mut hand), hand.pair.state()), ((1, 1), "idle"));
    hand.tell(Event::Deadline);
    assert_eq!(ended(&mut hand), (0, 0));
}

/// Scenario: nothing is at work. Guarantee: nothing is cancelled.
#[test]
fn a_pair_without_work_cancels_nothing() {
    let mut hand = begun();
    hand.tell(Event::Drain);
    assert_eq!(ended(&mut hand), (1, 0));
}

/// Scenario: a record waits for its next try when a drain begins. Guarantee: the pair tries it before it lets go.
#[test]
fn a_drain_waits_for_the_next_try() {
    let mut hand = begun();
    hand.receive(&[(0, "a")]);
    hand.run(|_| Verdict::Failed(Box::new(Failure::retry(Reason::StepFailed, "later"))));
    hand.tell(Event::Drain);
    assert_eq!(ended(&mut hand), (0, 0));
    hand.pass(Duration::from_secs(1));
    hand.run(to_first);
    let (sink, trailer) = hand.trailers().remove(0);
    hand.publish(sink, &trailer, Published::Done(Vec::new()));
    assert_eq!(hand.released().flatten().map(|position| position.offset), Some(Offset(1)));
}

/// Scenario: the broker refuses a commit. Guarantee: the pair says that it was dropped, from then on.
#[test]
fn a_refused_commit_drops_the_pair() {
    let mut hand = begun();
    hand.receive(&[(0, "a")]);
    hand.run(to_first);
    hand.pass(Duration::from_secs(10));
    hand.mark_taken();
    assert!(!hand.pair.is_dropped());
    let (sink, trailer) = hand.trailers().remove(0);
    hand.publish(sink, &trailer, Published::Done(Vec::new()));
    hand.pass(Duration::from_secs(1));
    let [position] = &hand.commits()[..] else { panic!("one commit") };
    let (epoch, lane, offset, result) = (Epoch(1), Lane::Input, position.offset, CommitResult::Refused);
    hand.tell(Event::Committed { epoch, lane, offset, result });
    assert!(hand.pair.is_dropped() && hand.pair.state() == "dropped");
}

/// Scenario: a pair was lost, and what it had asked for is answered. Guarantee: that changes nothing.
#[test]
fn a_pair_that_is_gone_takes_no_answer() {
    let mut hand = begun();
    hand.tell(Event::Lost);
    hand.asked.clear();
    let (epoch, lane, offset, result) = (Epoch(1), Lane::Input, Offset(0), CommitResult::Refused);
    hand.tell(Event::Committed { epoch, lane, offset, result });
    hand.tell(Event::Passed { epoch, lane, offset: Offset(7) });
    hand.tell(Event::Revoke);
    assert_eq!((hand.asked.len(), hand.pair.state(), hand.pair.watermark()), (0, "idle", Offset(0)));
}

/// Scenario: a pair halts before it began, for what its ledger says, and lets go. Guarantee: nothing is committed of either lane, so that the next owner finds the same.
#[test]
fn a_pair_that_never_began_leaves_both_commits_alone() {
    let mut hand = Hand::new(super::retry::with_retry(super::retry::policy()));
    let ahead = Position { offset: Offset(5), metadata: "no metadata of ours".into() };
    super::retry::begin_at(&mut hand, [Some(ahead), None], [1_000, 0], LedgerView::default());
    assert!(hand.pair.halted().is_some());
    hand.tell(Event::Revoke);
    let released = hand.take(|action| match action {
        Action::Released { input, retry } => Ok((input, retry)),
        other => Err(other),
    });
    assert_eq!(released, [(None, None)]);
}
