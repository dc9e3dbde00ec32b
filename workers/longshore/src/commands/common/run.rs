//! What a command writes to the journal about itself.

use longshore_core::journal::{Counts, Filter, Marks, Run, RunKind, RunState, VERSION};

use super::{identity, when};

/// A run that has not begun.
pub(crate) fn new_run(kind: RunKind, filter: &Filter, topics: &[String], counts: Counts) -> Run {
    let now = when::now_ms();
    Run {
        version: VERSION,
        id: identity::run_id(now),
        kind,
        state: RunState::Planning,
        who: identity::who(),
        writer: identity::token(),
        host: identity::host(),
        process: std::process::id(),
        started_ms: now,
        updated_ms: now,
        filter: filter.clone(),
        topics: topics.to_vec(),
        target: None,
        transform: Vec::new(),
        rate: None,
        words: None,
        counts,
        sent_behind: Default::default(),
    }
}

/// The blocks of a set of letters.
pub(crate) fn places(marks: &Marks) -> Vec<(String, i32, i64)> {
    marks.bases().into_iter().map(|(topic, partition, base)| (topic.to_owned(), partition, base)).collect()
}
