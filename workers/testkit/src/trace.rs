//! Events and actions as one readable line each.

use longshore_core::Lane;
use longshore_core::pair::{Action, Event, Unit};

/// An event as a line.
pub(crate) fn event(event: &Event) -> String {
    match event {
        Event::Assigned { assignment, writer } => format!(
            "Assigned {:?} writer {writer} committed {:?} log end {}",
            assignment.epoch,
            assignment.committed.as_ref().map(|committed| committed.offset.0),
            assignment.log_end
        ),
        Event::Received(chunk) => {
            let offsets: Vec<i64> = (0..chunk.len() as u32).map(|index| chunk.offset(index).0).collect();
            format!("Received {:?} {offsets:?}", chunk.epoch())
        }
        Event::CopiesRead { chunk, .. } => {
            let offsets: Vec<i64> = (0..chunk.len() as u32).map(|index| chunk.offset(index).0).collect();
            format!("CopiesRead {:?} {offsets:?}", chunk.epoch())
        }
        Event::Fetched { epoch, chunk, lost, .. } => {
            let chunk = chunk.iter();
            let offsets = chunk.flat_map(|chunk| (0..chunk.len() as u32).map(|index| chunk.offset(index).0));
            format!("Fetched {epoch:?} {:?} lost {lost:?}", offsets.collect::<Vec<_>>())
        }
        Event::UnitDone { epoch, result } => {
            let rows =
                result.blocks.iter().map(|(sink, block)| (sink.0, block.rows.len())).collect::<Vec<_>>();
            format!("UnitDone {epoch:?} {:?} {:?} rows by sink {rows:?}", result.units, result.verdicts)
        }
        other => format!("{other:?}"),
    }
}

/// An action as a line.
pub(crate) fn action(action: &Action) -> String {
    match action {
        Action::Run(unit) => run(unit),
        Action::Spool { id, chunk } => {
            let offsets: Vec<i64> = (0..chunk.len() as u32).map(|index| chunk.offset(index).0).collect();
            format!("Spool {id:?} {offsets:?}")
        }
        Action::Append { sink, block } => format!("Append {} rows to sink {}", block.rows.len(), sink.0),
        Action::Publish { sink, trailer } => format!(
            "Publish #{} of sink {} covers=[{},{}) dead={:?}",
            trailer.sequence, sink.0, trailer.covers.0, trailer.covers.1, trailer.dead
        ),
        Action::Letter(letter) => {
            format!(
                "Letter {:?} of {:?} to {:?} after {} replay {} for {}",
                letter.id,
                letter.origin.map(|origin| origin.0),
                letter.to,
                letter.attempts,
                letter.replays,
                letter.failure
            )
        }
        other => format!("{other:?}"),
    }
}

fn run(unit: &Unit) -> String {
    let one = |entry: &longshore_core::pair::UnitEntry| {
        let held = if entry.held.is_empty() { String::new() } else { format!(" held by {:b}", entry.held.0) };
        let tries = if entry.attempt == 1 { String::new() } else { format!(" try {}", entry.attempt) };
        let lane = if entry.record.chunk().lane() == Lane::Retry { "r" } else { "" };
        format!("{lane}{}{held}{tries}", entry.record.offset())
    };
    format!("Run {:?} [{}]", unit.id, unit.entries.iter().map(one).collect::<Vec<_>>().join(", "))
}
