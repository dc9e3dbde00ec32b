//! The machine by hand: one scenario at a time. Random schedules of whole fleets are in `tests/suites/sim.rs`.

use std::time::Duration;

use crate::ledger::{LedgerView, Trailer};
use crate::metadata::METADATA_BYTES;
use crate::retry::Backoff;
use crate::sink::Published;
use crate::source::Assignment;
use crate::{
    Block, ChunkBuilder, FilterReason, Generation, Lane, Reason, Row, SinkIndex, SinkMask, UnitId, WriterId,
};

use super::*;

mod backlog;
mod careful;
mod carry;
mod commits;
mod ends;
mod fetching;
mod flood;
mod gaps;
mod generations;
mod handover;
mod holds;
mod intake;
mod refusals;
mod repeats;
mod replays;
mod retry;
mod segments;
mod speed;
mod spool;
mod status;
mod stops;
mod strays;
mod suspects;
mod tallies;
mod twice;
mod unmet;
mod versions;
mod waking;

pub(super) fn spec(name: &str, ledger: bool) -> SinkSpec {
    let seal = SealPolicy { bytes: 1 << 20, rows: 1000, age: Duration::from_secs(10) };
    SinkSpec { name: name.into(), ledger, refuses: !ledger, seal }
}

pub(super) fn options(sinks: Vec<SinkSpec>) -> PairOptions {
    let second = Duration::from_secs(1);
    PairOptions {
        pipeline: "p".into(),
        version: "v".into(),
        order: Order::Key,
        grain: Grain::Batch,
        sinks,
        unit_records: 100,
        units_in_flight: 4,
        window: Window { records: 1000, bytes: 1 << 20 },
        commit: CommitPolicy {
            interval: second,
            records: 10_000,
            uncommitted_cap: 100,
            metadata_bytes: METADATA_BYTES,
        },
        backoff: Backoff { base: second, cap: second, floor: second },
        attempts: 3,
        retry: None,
        flood: None,
        generation: Generation::FIRST,
    }
}

/// A pair with its clock and what it asked for.
struct Hand {
    pair: Pair,
    now: Moment,
    asked: Vec<Action>,
    rows: usize,
}

impl Hand {
    fn new(options: PairOptions) -> Self {
        let pair = Pair::new(Arc::new(options), PairId::new("in", 0));
        Self { pair, now: Moment::default(), asked: Vec::new(), rows: 0 }
    }

    fn tell(&mut self, event: Event) {
        self.pair.handle(event, self.now, &mut self.asked);
    }

    fn assign(&mut self, epoch: u64, committed: Option<Position>, ledgers: Vec<LedgerView>) {
        let assignment = Assignment {
            pair: self.pair.id().clone(),
            epoch: Epoch(epoch),
            committed,
            start: Offset(0),
            log_start: Offset(0),
            log_end: Offset(1000),
            cluster: "c".into(),
            topic_id: "t".into(),
            partitions: 1,
            retry: None,
        };
        self.tell(Event::Assigned { assignment, writer: WriterId(epoch.into()) });
        for (sink, ledger) in (0..).map(SinkIndex).zip(ledgers) {
            self.tell(Event::Recovered { epoch: Epoch(epoch), sink, ledger: Ok(ledger) });
        }
        self.mark_taken();
    }

    /// The broker takes the mark that every ownership begins with.
    fn mark_taken(&mut self) {
        let epoch = self.pair.epoch();
        for Position { offset, .. } in self.commits() {
            let (lane, result) = (Lane::Input, CommitResult::Done);
            self.tell(Event::Committed { epoch, lane, offset, result });
        }
    }

    fn receive(&mut self, records: &[(i64, &str)]) {
        let mut chunk = ChunkBuilder::new(self.pair.id().clone(), Lane::Input, self.pair.epoch());
        for (offset, key) in records {
            chunk.record(Offset(*offset), 5, Some(key.as_bytes()), Some(b"value"));
        }
        self.tell(Event::Received(chunk.build(None)));
    }

    /// Answers all units in flight: each record by its offset.
    fn run(&mut self, verdict: impl Fn(i64) -> Verdict) {
        for unit in self.take(|action| match action {
            Action::Run(unit) => Ok(unit),
            other => Err(other),
        }) {
            let verdicts: Vec<Verdict> = unit.entries.iter().map(|e| verdict(e.record.offset().0)).collect();
            let mut blocks: Vec<(SinkIndex, Block)> = Vec::new();
            for (entry, verdict) in unit.entries.iter().zip(&verdicts) {
                let Verdict::Routed { sinks } = verdict else { continue };
                for sink in sinks.iter() {
                    if !blocks.iter().any(|(known, _)| *known == sink) {
                        blocks.push((sink, Block::default()));
                    }
                    let block = &mut blocks.iter_mut().find(|(known, _)| *known == sink).unwrap().1;
                    let row =
                        Row { offset: entry.record.offset(), key: None, value: None, headers: Vec::new() };
                    block.rows.push(row);
                }
            }
            let result = unit_result(unit.id, verdicts, blocks);
            self.tell(Event::UnitDone { epoch: unit.epoch, result });
        }
        let appended = self.take(|action| match action {
            Action::Append { sink, block } => Ok((sink, block)),
            other => Err(other),
        });
        for (sink, block) in appended {
            self.rows += block.rows.len();
            self.tell(Event::Appended { epoch: self.pair.epoch(), sink, bytes: 1 });
        }
    }

    fn take<T>(&mut self, pick: impl Fn(Action) -> Result<T, Action>) -> Vec<T> {
        let (mut taken, mut left) = (Vec::new(), Vec::new());
        for action in std::mem::take(&mut self.asked) {
            match pick(action) {
                Ok(one) => taken.push(one),
                Err(other) => left.push(other),
            }
        }
        self.asked = left;
        taken
    }

    fn trailers(&mut self) -> Vec<(SinkIndex, Box<Trailer>)> {
        self.take(|action| match action {
            Action::Publish { sink, trailer } => Ok((sink, trailer)),
            other => Err(other),
        })
    }

    fn publish(&mut self, sink: SinkIndex, trailer: &Trailer, outcome: Published) {
        let epoch = self.pair.epoch();
        self.tell(Event::Published { epoch, sink, sequence: trailer.sequence, outcome });
    }

    fn commits(&mut self) -> Vec<Position> {
        self.take(|action| match action {
            Action::Commit { position, .. } => Ok(position),
            other => Err(other),
        })
    }

    fn letters(&mut self) -> Vec<Letter> {
        self.take(|action| match action {
            Action::Letter(letter) => Ok(*letter),
            other => Err(other),
        })
    }

    fn pass(&mut self, span: Duration) {
        self.now = self.now.after(span);
        self.tell(Event::Tick);
    }

    fn released(&mut self) -> Option<Option<Position>> {
        let pick = |action| match action {
            Action::Released { input: position, .. } => Ok(position),
            other => Err(other),
        };
        self.take(pick).pop()
    }
}

/// What the steps answer for one unit.
fn unit_result(unit: UnitId, verdicts: Vec<Verdict>, blocks: Vec<(SinkIndex, Block)>) -> UnitResult {
    UnitResult { units: vec![unit], verdicts, blocks, children_filtered: Vec::new(), took: Duration::ZERO }
}

fn to_first(_: i64) -> Verdict {
    Verdict::Routed { sinks: SinkMask::first(1) }
}

#[test]
fn the_straight_way_settles_at_publish_and_commits_after_it() {
    let mut hand = Hand::new(options(vec![spec("files", true)]));
    hand.assign(1, None, vec![LedgerView::default()]);
    assert!(matches!(
        hand.asked[..],
        [Action::Recover { .. }, Action::Start { offset: Offset(0), .. }, Action::Grant { .. }]
    ));
    hand.receive(&[(0, "a"), (1, "b"), (5, "a")]);
    hand.run(|offset| if offset == 1 { Verdict::Filtered(FilterReason::new("f")) } else { to_first(offset) });
    hand.pass(Duration::from_secs(5));
    assert!(hand.trailers().is_empty());
    hand.mark_taken();
    assert_eq!(hand.pair.committed(), Offset(0));
    hand.pass(Duration::from_secs(5));
    let trailers = hand.trailers();
    let (sink, trailer) = &trailers[0];
    assert_eq!((trailer.covers, trailer.rows), ((Offset(0), Offset(6)), 2));
    assert!(trailer.except.is_empty() && trailer.also.is_empty());
    assert_eq!(hand.pair.watermark(), Offset(0));
    hand.publish(*sink, trailer, Published::Done(Vec::new()));
    assert_eq!(hand.pair.watermark(), Offset(6));
    assert_eq!(hand.commits()[0].offset, Offset(6));
}

#[test]
fn a_letter_is_decided_in_the_ledger_and_settles_on_its_acknowledgement() {
    let mut hand = Hand::new(options(vec![spec("files", true)]));
    hand.assign(1, None, vec![LedgerView::default()]);
    hand.receive(&[(0, "a"), (1, "a")]);
    hand.run(|offset| match offset {
        0 => Verdict::Failed(Box::new(Failure::reject(Reason::DecodeJson, "bad"))),
        _ => to_first(offset),
    });
    assert!(hand.letters().is_empty());
    hand.tell(Event::Drain);
    let (sink, trailer) = hand.trailers().pop().unwrap();
    assert_eq!(trailer.dead.keys().copied().collect::<Vec<_>>(), [Offset(0)]);
    assert!(trailer.except.contains(Offset(0)));
    hand.publish(sink, &trailer, Published::Done(Vec::new()));
    assert_eq!(hand.pair.watermark(), Offset(0));
    let letter = hand.letters().pop().unwrap();
    assert!(hand.released().is_none());
    hand.tell(Event::LettersDelivered { epoch: Epoch(1), answers: vec![(letter.id, Ok(()))] });
    assert_eq!(hand.released().unwrap().unwrap().offset, Offset(2));
}

#[test]
fn a_failed_key_waits_and_others_go_on_in_order() {
    let mut hand = Hand::new(options(vec![spec("files", true)]));
    hand.assign(1, None, vec![LedgerView::default()]);
    hand.receive(&[(0, "a"), (1, "a"), (2, "b")]);
    hand.run(|offset| match offset {
        0 => Verdict::Failed(Box::new(Failure::retry(Reason::StepFailed, "later"))),
        1 => Verdict::Deferred,
        _ => to_first(offset),
    });
    assert_eq!(
        (hand.pair.in_flight_records(), hand.pair.next_wake()),
        (2, Some(Moment(Duration::from_secs(1))))
    );
    hand.receive(&[(3, "a"), (4, "b")]);
    hand.run(|offset| {
        assert_eq!(offset, 4);
        to_first(offset)
    });
    hand.pass(Duration::from_secs(1));
    hand.run(|offset| {
        assert_eq!(offset, 0);
        to_first(offset)
    });
    hand.run(to_first);
    assert_eq!(hand.pair.in_flight_records(), 0);
}

#[test]
fn a_name_taken_by_another_is_settled_by_a_commit_and_nothing_else() {
    let mut hand = Hand::new(options(vec![spec("files", true)]));
    hand.assign(1, None, vec![LedgerView::default()]);
    hand.receive(&[(0, "a")]);
    hand.run(to_first);
    hand.pass(Duration::from_secs(10));
    let (sink, trailer) = hand.trailers().pop().unwrap();
    hand.publish(sink, &trailer, Published::TakenByOther(WriterId(9)));
    assert_eq!(hand.pair.state(), "contested");
    let asked = hand.commits();
    assert_eq!(asked[0].offset, Offset(0));
    hand.tell(Event::Committed {
        epoch: Epoch(1),
        lane: crate::Lane::Input,
        offset: Offset(0),
        result: CommitResult::Unknown,
    });
    assert!(hand.commits().is_empty());
    hand.pass(Duration::from_secs(1));
    assert_eq!(hand.commits().len(), 1);
    hand.tell(Event::Committed {
        epoch: Epoch(1),
        lane: crate::Lane::Input,
        offset: Offset(0),
        result: CommitResult::Done,
    });
    assert!(hand.asked.iter().any(|action| matches!(action, Action::Reassign)));
}

#[test]
fn a_ledger_that_lost_segments_halts_the_pair() {
    let mut hand = Hand::new(options(vec![spec("files", true)]));
    hand.assign(1, None, vec![LedgerView::default()]);
    hand.receive(&[(0, "a")]);
    hand.run(to_first);
    hand.pass(Duration::from_secs(10));
    let (sink, trailer) = hand.trailers().pop().unwrap();
    hand.publish(sink, &trailer, Published::Done(Vec::new()));
    let committed = hand.commits().pop().unwrap();
    hand.assign(2, Some(committed), vec![LedgerView::default()]);
    assert_eq!(hand.pair.halted().unwrap().reason, Reason::LedgerMissing);
}

#[test]
fn a_ledger_beyond_the_end_of_the_log_is_asked_for_again_before_it_halts() {
    let mut ledger = LedgerView { next_sequence: crate::Sequence(1), ..LedgerView::default() };
    ledger.holdings.add(&crate::RunSet::of(Offset(0), Offset(2000)), &Default::default());
    let mut hand = Hand::new(options(vec![spec("files", true)]));
    hand.assign(1, None, vec![ledger.clone()]);
    assert!(hand.asked.iter().any(|action| matches!(action, Action::Reassign)));
    hand.assign(2, None, vec![ledger]);
    assert_eq!(hand.pair.halted().unwrap().reason, Reason::LedgerForeign);
}

#[test]
fn metadata_of_another_offset_halts_the_pair() {
    let metadata = crate::metadata::Metadata::default().encode(Offset(4)).text;
    let mut hand = Hand::new(options(vec![spec("files", true)]));
    hand.assign(1, Some(Position { offset: Offset(5), metadata }), vec![LedgerView::default()]);
    assert_eq!(hand.pair.halted().unwrap().reason, Reason::MetadataBroken);
}

#[test]
fn what_a_sink_without_a_ledger_may_get_twice_is_capped() {
    let mut hand = Hand::new(options(vec![spec("topic", false)]));
    hand.assign(1, None, vec![LedgerView::default()]);
    let records: Vec<(i64, String)> = (0..300).map(|offset| (offset, format!("k{offset}"))).collect();
    let records: Vec<(i64, &str)> = records.iter().map(|(offset, key)| (*offset, key.as_str())).collect();
    hand.receive(&records);
    for _ in 0..20 {
        hand.run(to_first);
    }
    assert!((50..=100).contains(&hand.rows), "{} rows were sent before any commit", hand.rows);
    let mut trailers = hand.trailers();
    while let Some((sink, trailer)) = trailers.pop() {
        hand.publish(sink, &trailer, Published::Done(Vec::new()));
        for commit in hand.commits() {
            let offset = commit.offset;
            hand.tell(Event::Committed {
                epoch: Epoch(1),
                lane: crate::Lane::Input,
                offset,
                result: CommitResult::Done,
            });
        }
        hand.run(to_first);
        trailers.extend(hand.trailers());
    }
    assert_eq!(hand.pair.watermark(), Offset(300));
}

#[test]
fn an_outage_of_a_target_counts_no_attempt_and_is_probed() {
    let mut hand = Hand::new(options(vec![spec("files", true)]));
    hand.assign(1, None, vec![LedgerView::default()]);
    hand.receive(&[(0, "a"), (1, "b")]);
    let away = |_| Verdict::Failed(Box::new(Failure::target(Reason::SinkUnavailable, "away")));
    for _ in 0..5 {
        hand.run(away);
        assert_eq!(hand.pair.state(), "held");
        hand.pass(Duration::from_secs(1));
    }
    hand.run(to_first);
    assert_eq!(hand.pair.state(), "running");
    assert!(hand.asked.iter().any(|action| matches!(action, Action::Resume)));
    hand.run(to_first);
    assert_eq!(hand.pair.in_flight_records(), 0);
}

#[test]
fn a_revoke_publishes_what_was_appended_and_lets_go() {
    let mut hand = Hand::new(options(vec![spec("files", true)]));
    hand.assign(1, None, vec![LedgerView::default()]);
    hand.receive(&[(0, "a")]);
    hand.run(to_first);
    hand.receive(&[(1, "b")]);
    hand.tell(Event::Revoke);
    let (sink, trailer) = hand.trailers().pop().unwrap();
    hand.publish(sink, &trailer, Published::Done(Vec::new()));
    assert_eq!(hand.released().unwrap().unwrap().offset, Offset(1));
    assert_eq!(hand.pair.state(), "idle");
}

/// Scenario: units of one record, answered together: one is filtered, one fails for now, one is routed. Then the pair is
/// cancelled and the answers come again.
/// Guarantees: each record goes its own way as if answered alone, their rows are one append, and void answers do nothing.
#[test]
fn units_answered_together_go_their_own_ways() {
    let mut hand = Hand::new(PairOptions { grain: Grain::Record, ..options(vec![spec("files", true)]) });
    hand.assign(1, None, vec![LedgerView::default()]);
    hand.receive(&[(0, "a"), (1, "b"), (2, "c"), (3, "d"), (4, "c")]);
    let units = |hand: &mut Hand| {
        hand.take(|action| match action {
            Action::Run(unit) => Ok(unit.id),
            other => Err(other),
        })
    };
    let first = units(&mut hand);
    assert_eq!(first.len(), 4);
    let answer = |units: &[crate::UnitId]| {
        let rows = [0, 3].map(|n| Row { offset: Offset(n), key: None, value: None, headers: Vec::new() });
        let verdicts = vec![
            to_first(0),
            Verdict::Filtered(FilterReason::new("f")),
            Verdict::Failed(Box::new(Failure::retry(Reason::StepFailed, "later"))),
            to_first(3),
        ];
        let blocks = vec![(SinkIndex(0), Block { rows: rows.to_vec(), ..Block::default() })];
        let result = UnitResult {
            units: units.to_vec(),
            verdicts,
            blocks,
            children_filtered: Vec::new(),
            took: Duration::ZERO,
        };
        Event::UnitDone { epoch: Epoch(1), result }
    };
    hand.tell(answer(&first));
    let appends = hand.take(|action| match action {
        Action::Append { block, .. } => Ok(block.rows.len()),
        other => Err(other),
    });
    assert_eq!(appends, [2]);
    assert!(units(&mut hand).is_empty(), "the record behind the failed one waits");
    hand.tell(answer(&first));
    assert!(hand.pair.halted().is_none());
    hand.pass(Duration::from_secs(2));
    assert_eq!(units(&mut hand).len(), 1);
    hand.tell(Event::Appended { epoch: Epoch(1), sink: SinkIndex(0), bytes: 1 });
    hand.pass(Duration::from_secs(10));
    let (_, trailer) = hand.trailers().pop().unwrap();
    assert_eq!((trailer.covers, trailer.rows), ((Offset(0), Offset(4)), 2));
    assert_eq!(trailer.except, RunSet::of(Offset(2), Offset(3)));
}

/// Scenario: units are answered with a verdict too few.
/// Guarantee: the pair halts instead of guessing whose verdict is missing.
#[test]
fn a_missing_verdict_halts() {
    let mut hand = Hand::new(PairOptions { grain: Grain::Record, ..options(vec![spec("files", true)]) });
    hand.assign(1, None, vec![LedgerView::default()]);
    hand.receive(&[(0, "a"), (1, "b")]);
    let units = hand.take(|action| match action {
        Action::Run(unit) => Ok(unit.id),
        other => Err(other),
    });
    let verdicts = vec![to_first(0)];
    let result = UnitResult {
        units,
        verdicts,
        blocks: Vec::new(),
        children_filtered: Vec::new(),
        took: Duration::ZERO,
    };
    hand.tell(Event::UnitDone { epoch: Epoch(1), result });
    assert_eq!(hand.pair.halted().map(|failure| failure.reason), Some(Reason::Internal));
}
