use super::*;

const END: Offset = Offset(10);

fn routed() -> Verdict {
    Verdict::Routed { sinks: SinkMask::first(1) }
}

/// A chunk whose records have their offset, a hundred times, for a timestamp.
fn receive(hand: &mut Hand, offsets: &[i64]) {
    let mut chunk = ChunkBuilder::new(hand.pair.id().clone(), Lane::Input, hand.pair.epoch());
    for offset in offsets {
        chunk.record(Offset(*offset), offset * 100, None, Some(b"value"));
    }
    hand.tell(Event::Received(chunk.build(None)));
}

/// Scenario: of ten offsets, two at the beginning are gaps and two a marker's; some are read, one fails and is tried again in its place, the others wait in an open
/// segment. Guarantee: what is to be worked on is what was read and is not done, and what was not read; its age is that of the first record not done.
#[test]
fn only_what_is_to_be_worked_on_is_backlog() {
    let mut hand = Hand::new(options(vec![spec("files", true)]));
    hand.assign(1, None, vec![LedgerView::default()]);
    assert_eq!((hand.pair.backlog(END), hand.pair.oldest_unfinished_ms()), (10, None));
    receive(&mut hand, &[2, 3, 4]);
    receive(&mut hand, &[6]);
    assert_eq!((hand.pair.backlog(END), hand.pair.unfinished()), (4 + 3, 4));
    assert_eq!(hand.pair.oldest_unfinished_ms(), Some(200));
    let verdict = |offset| match offset {
        3 => Verdict::Failed(Box::new(Failure::retry(Reason::StepFailed, "later"))),
        _ => routed(),
    };
    hand.run(verdict);
    assert_eq!(hand.pair.backlog(END), 1 + 3);
    assert_eq!(hand.pair.oldest_unfinished_ms(), Some(300));
    assert!(hand.pair.watermark() < Offset(6), "nothing was published");
    hand.now = hand.now.after(Duration::from_secs(5));
    hand.tell(Event::Tick);
    hand.run(|_| routed());
    assert_eq!((hand.pair.backlog(END), hand.pair.oldest_unfinished_ms()), (3, None));
    let (epoch, lane) = (hand.pair.epoch(), Lane::Input);
    hand.tell(Event::Passed { epoch, lane, offset: END });
    assert_eq!(hand.pair.backlog(END), 0);
}

/// Scenario: the commit of the owner before says that offsets beyond it are settled. Guarantee: they are no backlog, before and after they are read again.
#[test]
fn what_a_commit_calls_settled_is_no_backlog() {
    let settled = RunSet::of(Offset(4), Offset(7));
    let metadata = crate::metadata::Metadata { settled, ..Default::default() }.encode(Offset(2)).text;
    let mut hand = Hand::new(options(vec![spec("files", true)]));
    hand.assign(1, Some(Position { offset: Offset(2), metadata }), vec![LedgerView::default()]);
    assert_eq!(hand.pair.backlog(END), 8 - 3);
    receive(&mut hand, &[2, 3, 4, 5]);
    assert_eq!((hand.pair.backlog(END), hand.pair.unfinished()), (2 + 3, 2));
    receive(&mut hand, &[6, 7, 8, 9]);
    assert_eq!((hand.pair.backlog(END), hand.pair.unfinished()), (5, 5));
}
