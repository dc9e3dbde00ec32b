//! What a process does by itself: running the steps, writing to its sinks.

use std::time::Duration;

use longshore_core::pair::{Event, Unit, UnitResult, Verdict};
use longshore_core::sink::Published;
use longshore_core::{Block, Class, Epoch, Failure, FilterReason, Offset, Reason, Row, SinkIndex};

use crate::coverage::Fault;
use crate::plan::{Kind, Planned};
use crate::process::Ask;
use crate::retry::is_forged;
use crate::sabotage::Sabotage;
use crate::world::{Load, World};

impl World {
    pub(crate) fn start_unit(&mut self, at: usize, unit: Unit) {
        if let Some(entry) = unit.entries.iter().find(|entry| is_forged(&entry.record)) {
            return self.broken(format!("I1 p{at} runs a forged copy as record {}", entry.record.offset()));
        }
        let process = &self.processes[at];
        let present: Vec<Offset> = process
            .units
            .iter()
            .filter(|other| other.epoch == unit.epoch)
            .flat_map(|other| other.entries.iter().filter(|entry| self.plan.keeps_order(entry)))
            .map(|entry| entry.record.offset())
            .collect();
        for entry in &unit.entries {
            if entry.record.is_left() {
                self.broken(format!("record {} runs without its value", entry.record.offset()));
            }
            let own = *self.plan.record(entry.record.offset());
            let beside = present.iter().any(|other| self.plan.ordered(&own, self.plan.record(*other)));
            if self.plan.keeps_order(entry) && beside {
                self.broken(format!("I3 record {} runs beside another of its key", own.offset));
            }
        }
        self.processes[at].units.push(unit);
    }

    /// The steps run a unit, and perhaps others that end with it.
    pub(crate) fn run_unit(&mut self, at: usize, place: usize) {
        let first = self.processes[at].units.remove(place);
        let epoch = first.epoch;
        let mut units = vec![first];
        while self.random.percent(30)
            && let Some(place) = self.processes[at].units.iter().position(|unit| unit.epoch == epoch)
        {
            units.push(self.processes[at].units.remove(place));
        }
        if units.iter().flat_map(|unit| &unit.entries).any(|entry| self.crashes(entry)) {
            return self.crash_by_record(at);
        }
        let mut blocks: Vec<(SinkIndex, Block)> = Vec::new();
        let (mut verdicts, mut failed) = (Vec::new(), Vec::new());
        for entry in units.iter().flat_map(|unit| &unit.entries) {
            let offset = entry.record.offset();
            let record = *self.plan.record(offset);
            let behind = failed.iter().any(|other| self.plan.ordered(self.plan.record(*other), &record));
            if behind && self.sabotage != Some(Sabotage::KeyOrderBroken) {
                verdicts.push(Verdict::Deferred);
                continue;
            }
            let mut verdict = self.outcome(offset);
            if matches!(verdict, Verdict::Routed { .. } | Verdict::Filtered(_)) {
                self.passed.insert(offset);
            }
            if let Verdict::Failed(failure) = &verdict
                && matches!(failure.class, Class::Retry { .. })
            {
                failed.push(offset);
            }
            if let Verdict::Routed { sinks } = &mut verdict {
                for sink in sinks.iter().filter(|sink| entry.held.contains(*sink)).collect::<Vec<_>>() {
                    sinks.remove(sink);
                }
                sinks.iter().for_each(|sink| add_rows(&mut blocks, sink, &record));
            }
            verdicts.push(verdict);
        }
        let units = units.iter().map(|unit| unit.id).collect();
        let result =
            UnitResult { units, verdicts, blocks, children_filtered: Vec::new(), took: Duration::ZERO };
        self.tell(at, Event::UnitDone { epoch, result });
    }

    fn crashes(&self, entry: &longshore_core::pair::UnitEntry) -> bool {
        self.plan.record(entry.record.offset()).kind == Kind::Crasher
    }

    /// A record takes the process down; the group gives what it owned to another.
    fn crash_by_record(&mut self, at: usize) {
        self.seen.fault(Fault::KilledByRecord);
        self.note(format_args!("!! p{at} is taken down by its record"));
        let owned = at == self.owner;
        self.crash(at);
        if owned {
            let other = self.random.below(self.processes.len());
            self.give_to(other);
        }
    }

    fn outcome(&mut self, offset: Offset) -> Verdict {
        let at = self.plan.log.partition_point(|record| record.offset < offset);
        let (record, runs) = (self.plan.log[at], &mut self.runs[at]);
        *runs += 1;
        let routed = Verdict::Routed { sinks: record.routes };
        let failed = |failure| Verdict::Failed(Box::new(failure));
        match record.kind {
            Kind::Filter => Verdict::Filtered(FilterReason::new("filter.1")),
            Kind::Poison => failed(Failure::reject(Reason::StepFailed, "poison")),
            Kind::Hopeless => failed(Failure::retry(Reason::StepFailed, "never")),
            Kind::Transient(times) if *runs <= times => failed(Failure::retry(Reason::StepFailed, "later")),
            Kind::Outage(times) if *runs <= times => failed(Failure::target(Reason::StepFailed, "away")),
            Kind::Fickle => match self.random.below(4) {
                0 => Verdict::Filtered(FilterReason::new("filter.1")),
                1 => failed(Failure::reject(Reason::StepFailed, "this time")),
                2 => failed(Failure::retry(Reason::StepFailed, "this time")),
                _ => routed,
            },
            Kind::Pass
            | Kind::Refused
            | Kind::Picky(_)
            | Kind::Transient(_)
            | Kind::Outage(_)
            | Kind::Crasher => routed,
        }
    }

    /// A writer does the next thing it was asked for.
    pub(crate) fn write(&mut self, at: usize, sink: SinkIndex) {
        let ledger = self.plan.options.sinks[usize::from(sink.0)].ledger;
        let Some(writer) = self.processes[at].writer(sink) else { return };
        let (epoch, ask) = (writer.epoch, writer.asked.pop_front());
        match ask {
            None => {}
            Some(Ask::Recover) => self.recover(at, sink, epoch),
            Some(Ask::Append(block)) => {
                writer.rows.extend(block.rows.iter().map(|row| row.offset));
                let bytes = writer.rows.len() as u64 * 10;
                if !ledger && self.random.percent(50) {
                    self.send_rows(at, sink);
                }
                self.tell(at, Event::Appended { epoch, sink, bytes });
            }
            Some(Ask::Publish(trailer)) if ledger => {
                writer.putting = Some(trailer.sequence);
                let rows = std::mem::take(&mut writer.rows);
                self.send(at, epoch, Load::Put { sink, trailer, rows });
            }
            Some(Ask::Publish(trailer)) => {
                self.send_rows(at, sink);
                let refused =
                    self.processes[at].writer(sink).map(|writer| std::mem::take(&mut writer.refused));
                let outcome = Published::Done(refused.unwrap_or_default());
                self.tell(at, Event::Published { epoch, sink, sequence: trailer.sequence, outcome });
            }
        }
    }

    fn recover(&mut self, at: usize, sink: SinkIndex, epoch: Epoch) {
        let keeps = self.plan.options.sinks[usize::from(sink.0)].ledger;
        let ledger = if self.unlucky(5) {
            self.seen.fault(Fault::LedgerUnread);
            Err(Failure::target(Reason::SinkUnavailable, "away"))
        } else if keeps {
            Ok(self.stores[usize::from(sink.0)].view())
        } else {
            Ok(longshore_core::ledger::LedgerView::default())
        };
        self.tell(at, Event::Recovered { epoch, sink, ledger });
    }

    fn send_rows(&mut self, at: usize, sink: SinkIndex) {
        let incarnation = self.processes[at].incarnation;
        let Some(writer) = self.processes[at].writer(sink) else { return };
        let (epoch, rows) = (writer.epoch, std::mem::take(&mut writer.rows));
        for offset in rows {
            if self.plan.record(offset).kind == Kind::Refused {
                let failure = Failure::reject(Reason::SinkRejected, "refused");
                if let Some(writer) = self.processes[at].writer(sink) {
                    writer.refused.push((offset, failure));
                }
            } else {
                self.stores[usize::from(sink.0)].sent.push((incarnation, epoch, offset));
            }
        }
        self.check_repeats(sink, incarnation, epoch);
    }
}

fn add_rows(blocks: &mut Vec<(SinkIndex, Block)>, sink: SinkIndex, record: &Planned) {
    let row = Row { offset: record.offset, key: None, value: None, headers: Vec::new() };
    let rows = std::iter::repeat_n(row, record.children);
    match blocks.iter_mut().find(|(known, _)| *known == sink) {
        Some((_, block)) => block.rows.extend(rows),
        None => blocks.push((sink, Block { bytes: vec![0; 10], rows: rows.collect(), ..Block::default() })),
    }
}
