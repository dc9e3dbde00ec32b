//! What happened, for people: the scenario, its events, and where everything is at the end.

use std::collections::BTreeSet;

use crate::plan::Planned;
use crate::world::World;

impl World {
    /// The scenario, what happened in it until something broke, and what is where then.
    pub(crate) fn story(&mut self) -> Vec<String> {
        let options = &self.plan.options;
        let mut lines = vec![format!(
            "pair {} with {} workers, order {:?}, {} tries, {} records a unit, {} units at once, window {} records",
            self.pair,
            self.plan.processes,
            options.order,
            options.attempts,
            options.unit_records,
            options.units_in_flight,
            options.window.records
        )];
        lines.push(format!("retries {:?}", options.retry));
        lines.push(format!("commits {:?}", options.commit));
        lines.push(format!("flood {:?}", options.flood));
        lines.extend(options.sinks.iter().map(|sink| format!("{sink:?}")));
        lines.extend(self.plan.log.iter().map(|record| self.of_record(record)));
        lines.push(
            "what happened, by milliseconds; <- is what the machine hears, -> what it asks for".to_owned(),
        );
        lines.append(&mut self.trace.take().unwrap_or_default());
        lines.extend(self.whereabouts());
        lines
    }

    fn of_record(&self, record: &Planned) -> String {
        let key = record.key.map_or_else(|| "no key".to_owned(), |key| format!("key {key}"));
        let sinks: Vec<u8> = record.routes.iter().map(|sink| sink.0).collect();
        let mut line = format!("record {} {key}, {:?}, for sinks {sinks:?}", record.offset, record.kind);
        for (is, word) in [
            (record.large, ", large"),
            (record.unwelcome, ", refused by the retry topic"),
            (record.children > 1, ", split in two"),
            (self.gone.contains(&record.offset), ", taken by compaction"),
        ] {
            if is {
                line.push_str(word);
            }
        }
        line
    }

    fn whereabouts(&self) -> Vec<String> {
        let mut lines =
            vec![format!("at the end p{} owns the pair, generation {}", self.owner, self.generation)];
        for (at, process) in self.processes.iter().enumerate() {
            let (state, watermark) = (process.pair.state(), process.pair.watermark());
            lines.push(format!(
                "p{at}: {state}, {:?}, everything below {watermark} settled",
                process.pair.epoch()
            ));
        }
        let at = |position: &Option<longshore_core::pair::Position>| {
            position.as_ref().map_or_else(|| "nothing".to_owned(), |position| position.offset.to_string())
        };
        lines.push(format!(
            "committed: input {} of {}, retry {} of {}",
            at(&self.committed),
            self.end,
            at(&self.committed_copies),
            self.copies.len()
        ));
        for (sink, store) in self.stores.iter().enumerate() {
            let rows: Vec<i64> =
                store.segments.iter().flat_map(|stored| &stored.rows).map(|row| row.0).collect();
            let sent: Vec<i64> = store.sent.iter().map(|(_, _, offset)| offset.0).collect();
            let view = store.view();
            let (held, dead) = (view.holdings.held(), view.holdings.letters().collect::<Vec<_>>());
            lines.push(format!(
                "sink {sink}: rows {rows:?} sent {sent:?} held {held:?} decided letters {dead:?}"
            ));
        }
        let letters: BTreeSet<&(longshore_core::Offset, String)> = self.letters.iter().collect();
        lines.push(format!("letters {letters:?}"));
        lines
    }
}
