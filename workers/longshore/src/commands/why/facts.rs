//! What is known about one record, gathered from where it can be.

use std::collections::VecDeque;
use std::path::Path;

use longshore_core::headers::LetterHeaders;
use longshore_core::journal::Run;
use longshore_core::letter::{LetterKind, LetterRef};
use longshore_core::metadata::Metadata;
use longshore_core::pair::Position;
use longshore_core::retry::lane_start;
use longshore_core::{Offset, Origin, Reason};
use longshore_kafka::{
    Admin, KafkaOptions, PartitionOffsets, ReadRecord, RecordView, dead_letter_topic, journal_topic,
    retry_topic,
};
use longshore_settings::{Pipeline, SinkEntry, SinkKind};
use longshore_sinks::verify::{self, SinkFile};

use super::computed::{self, Computed};
use super::record_at;
use crate::commands::common::folder::{self, Until};
use crate::commands::common::{journal, value};
use crate::commands::retry::pass;
use crate::exit::End;
use crate::output::{Output, grouped};
use crate::worker::ledgers::{SinkLedger, ledgers};

/// All of it.
pub(super) struct Facts {
    /// The partition of the input.
    pub(super) log: PartitionOffsets,
    /// The record itself; none when it is gone or was never there.
    pub(super) record: Option<ReadRecord>,
    /// What the group has committed there.
    pub(super) committed: Option<i64>,
    /// Whether the commit covers the record.
    pub(super) settled: bool,
    pub(super) copies: VecDeque<CopySeen>,
    pub(super) letters: VecDeque<LetterSeen>,
    pub(super) sinks: Vec<SinkSeen>,
    /// None without the record, and where the steps may not be run.
    pub(super) computed: Option<Computed>,
}

/// A copy in the retry topic.
pub(super) struct CopySeen {
    pub(super) at: String,
    pub(super) landed_ms: i64,
    pub(super) said: LetterHeaders,
    /// Whether the group has it behind it.
    pub(super) settled: bool,
}

/// A letter in the dead-letter topic.
pub(super) struct LetterSeen {
    pub(super) at: String,
    pub(super) landed_ms: i64,
    pub(super) said: LetterHeaders,
    /// What a person did with it.
    pub(super) handled: Option<Run>,
}

/// What a sink says.
pub(super) struct SinkSeen {
    pub(super) name: String,
    /// The files or tables that hold the record or have decided its letter, of all generations; none when nothing can be told
    /// from here.
    pub(super) files: Option<Vec<FileSeen>>,
}

/// A file, or a table with its ledger, that says something about the record.
pub(super) struct FileSeen {
    pub(super) path: String,
    pub(super) generation: u32,
    /// Its rows; empty when the record was filtered, or went to another sink. None where rows have no places, in a table.
    pub(super) lines: Option<Vec<u64>>,
    pub(super) holds: bool,
    /// The replay number of the letter that was decided here.
    pub(super) dead: Option<u32>,
    /// Whether an offset outside `covers` is held: it came by retry or replay.
    pub(super) also: bool,
}

impl Facts {
    pub(super) fn gather(
        origin: &Origin,
        pipeline: &Pipeline,
        options: &KafkaOptions,
        admin: &Admin,
        output: &Output,
    ) -> Result<Self, End> {
        let (topic, partition, offset) = (origin.topic.as_str(), origin.partition.0, origin.offset.0);
        let commits = admin.commits(&pipeline.group(), topic)?;
        let commit = commits.iter().find(|commit| commit.partition == partition);
        let committed = commit.and_then(|commit| commit.offset);
        let places = admin.offsets(topic)?;
        let log = places.into_iter().find(|place| place.partition == partition);
        let log = log.unwrap_or(PartitionOffsets { partition, start: 0, end: 0 });
        let runs = commit.zip(committed).and_then(|(commit, base)| {
            Metadata::decode(&commit.metadata, Offset(base), Offset(log.end.max(base))).ok()
        });
        let beyond = runs.is_some_and(|metadata| metadata.settled.contains(origin.offset));
        let record = record_at(options, admin, origin)?;
        let settled = beyond || committed.is_some_and(|committed| offset < committed);
        let letters = letters(origin, pipeline, options, admin, output)?;
        let crashed = letters.iter().any(|letter| letter.said.reason == Reason::CrashLoop.code());
        let computed = match (&record, unfit_to_run(crashed, settled, output.in_worker())) {
            (None, _) => None,
            (Some(_), Some(why)) => {
                output.note(format_args!("the steps are not run: {why}"));
                None
            }
            (Some(record), None) => Some(computed::run(record, topic, pipeline)?),
        };
        Ok(Self {
            settled,
            copies: copies(origin, pipeline, options, admin, output)?,
            letters,
            sinks: pipeline
                .sinks
                .iter()
                .map(|sink| sink_seen(sink, origin, pipeline, output))
                .collect::<Result<_, _>>()?,
            log,
            record,
            committed,
            computed,
        })
    }
}

/// Why the steps are not run on the record, if they may not be: what takes a process down takes this one down as well. A worker, in which
/// other records are at work, runs nothing that no worker is through with.
fn unfit_to_run(crashed: bool, settled: bool, in_worker: bool) -> Option<&'static str> {
    if crashed {
        return Some("this record took workers down");
    }
    (in_worker && !settled)
        .then_some("no worker is through with this record; the command `longshore why` runs them in a process of its own")
}

/// The most copies, and the most letters, of one record that a worker tells (I5): whoever writes to their topics can make more.
const WORKER_KEPT: usize = 200;

/// Keeps all, or the newest where a worker is asked.
fn keep<T>(found: &mut VecDeque<T>, next: T, output: &Output) {
    if output.in_worker() && found.len() == WORKER_KEPT {
        found.pop_front();
    }
    found.push_back(next);
}

/// Hands each record of a partition whose headers name the origin to `each`; the topic may be missing.
fn of_origin(
    origin: &Origin,
    topic: &str,
    options: &KafkaOptions,
    admin: &Admin,
    output: &Output,
    each: &mut dyn FnMut(&RecordView<'_>, LetterHeaders),
) -> Result<(), End> {
    if admin.topic(topic)?.is_none() {
        return Ok(());
    }
    let places = admin.offsets(topic)?;
    let Some(place) = places.iter().find(|place| place.partition == origin.partition.0) else {
        return Ok(());
    };
    if place.start >= place.end {
        return Ok(());
    }
    let mut count = 0_usize;
    pass(options, topic, vec![(place.partition, place.start)], output, &mut |record| {
        let mut letter = LetterRef::default();
        record.headers(|name, value| letter.take(name, value));
        let same = letter.place().ok().flatten().is_some_and(|place| {
            place.topic == origin.topic.as_str()
                && place.partition == origin.partition.0
                && place.offset == origin.offset.0
        });
        if same && let Ok(Some(mut said)) = letter.headers() {
            // Others' messages often quote the payload; `dlq show --raw` shows them.
            if letter.kind() != LetterKind::Longshore {
                said.detail = value::small(Some(letter.detail()), value::View::Masked);
            }
            count += 1;
            each(&record, said);
        }
    })?;
    if output.in_worker() && count > WORKER_KEPT {
        let left_out = grouped((count - WORKER_KEPT) as u64);
        output.note(format_args!("{left_out} more of the record in {topic}, older ones, are left out"));
    }
    Ok(())
}

fn copies(
    origin: &Origin,
    pipeline: &Pipeline,
    options: &KafkaOptions,
    admin: &Admin,
    output: &Output,
) -> Result<VecDeque<CopySeen>, End> {
    let topic = retry_topic(origin.topic.as_str(), &pipeline.pipeline);
    let mut found = VecDeque::new();
    let partition = origin.partition.0;
    if admin.topic(&topic)?.is_none() {
        return Ok(found);
    }
    let commits = admin.commits(&pipeline.group(), &topic)?;
    let places = admin.offsets(&topic)?;
    let position = commits.into_iter().find(|commit| commit.partition == partition).and_then(|commit| {
        commit.offset.map(|offset| Position { offset: Offset(offset), metadata: commit.metadata })
    });
    let place = places.iter().find(|place| place.partition == partition);
    let (from, commit) = match place {
        None => Default::default(),
        Some(place) => lane_start(position.as_ref(), Offset(place.start), Offset(place.end))
            .map_err(|newer| newer.into_failure().at(&topic))?,
    };
    of_origin(origin, &topic, options, admin, output, &mut |record, said| {
        let offset = Offset(record.offset());
        let copy = CopySeen {
            at: format!("{topic}/{partition}/{offset}"),
            landed_ms: record.timestamp_ms(),
            said,
            settled: offset < from || commit.settled.contains(offset),
        };
        keep(&mut found, copy, output);
    })?;
    Ok(found)
}

fn letters(
    origin: &Origin,
    pipeline: &Pipeline,
    options: &KafkaOptions,
    admin: &Admin,
    output: &Output,
) -> Result<VecDeque<LetterSeen>, End> {
    let topic = dead_letter_topic(origin.topic.as_str(), &pipeline.pipeline);
    let journal = journal::read(options, &journal_topic(&pipeline.pipeline), output)?.unwrap_or_default();
    let mut found = VecDeque::new();
    of_origin(origin, &topic, options, admin, output, &mut |record, said| {
        let letter = LetterSeen {
            at: format!("{topic}/{}/{}", record.partition(), record.offset()),
            landed_ms: record.timestamp_ms(),
            said,
            handled: journal.handled_by(&topic, record.partition(), record.offset()).cloned(),
        };
        keep(&mut found, letter, output);
    })?;
    Ok(found)
}

fn sink_seen(
    sink: &SinkEntry,
    origin: &Origin,
    pipeline: &Pipeline,
    output: &Output,
) -> Result<SinkSeen, End> {
    let files = match &sink.kind {
        SinkKind::Files(options) => in_folder(sink, origin, &options.path, output)?,
        SinkKind::Objects(options) => in_ledger(sink, origin, pipeline, &options.url, output),
        SinkKind::Postgres(options) => {
            in_ledger(sink, origin, pipeline, &format!("table {}", options.table), output)
        }
        SinkKind::Topic(_) | SinkKind::Stdout(_) => None,
    };
    Ok(SinkSeen { name: sink.name.clone(), files })
}

/// None when there is no folder, or where a worker is asked it cannot be read.
fn in_folder(
    sink: &SinkEntry,
    origin: &Origin,
    folder: &Path,
    output: &Output,
) -> Result<Option<Vec<FileSeen>>, End> {
    let (folder, origin) = (folder.to_path_buf(), origin.clone());
    let read = folder::read(output.left(), move |until| of_files(&folder, &origin, until));
    match read {
        Err(end) if output.in_worker() => {
            output.note(format_args!("what {} holds is not known: {}", sink.name, end.message));
            Ok(None)
        }
        read => read,
    }
}

fn of_files(folder: &Path, origin: &Origin, until: &Until) -> Result<Option<Vec<FileSeen>>, End> {
    if !folder.is_dir() {
        return Ok(None);
    }
    let listing = verify::list(folder)?;
    let own = |file: &&SinkFile| file.topic == origin.topic.as_str() && file.partition == origin.partition.0;
    let mut seen = Vec::new();
    for file in listing.files.iter().filter(own) {
        until.go_on()?;
        seen.extend(file_seen(file, origin.offset.0)?);
    }
    Ok(Some(seen))
}

/// None when the ledgers cannot be read.
fn in_ledger(
    sink: &SinkEntry,
    origin: &Origin,
    pipeline: &Pipeline,
    place: &str,
    output: &Output,
) -> Option<Vec<FileSeen>> {
    let ledgers = ledgers(pipeline, sink, output.left()).unwrap_or_else(|end| {
        output.note(format_args!("what {} holds is not known: {}", sink.name, end.message));
        None
    })?;
    let own = |ledger: &&SinkLedger| {
        ledger.topic == origin.topic.as_str() && ledger.partition == origin.partition.0
    };
    Some(ledgers.iter().filter(own).filter_map(|ledger| ledger_seen(ledger, place, origin.offset)).collect())
}

/// None when the ledger says nothing about the record.
fn ledger_seen(ledger: &SinkLedger, place: &str, offset: Offset) -> Option<FileSeen> {
    let (holds, dead) = (ledger.view.holdings.holds(offset), ledger.view.holdings.letter(offset));
    (holds || dead.is_some()).then(|| FileSeen {
        path: place.to_owned(),
        generation: ledger.generation,
        lines: None,
        holds,
        dead,
        also: false,
    })
}

/// None when the file says nothing about the record, or cannot be read: `sink verify` and the worker judge that.
fn file_seen(file: &SinkFile, offset: i64) -> Result<Option<FileSeen>, End> {
    let Ok(claim) = verify::read_claim(file) else { return Ok(None) };
    let (holds, dead) = (claim.holds(offset), claim.dead.get(&offset).copied());
    if !holds && dead.is_none() {
        return Ok(None);
    }
    Ok(Some(FileSeen {
        path: file.path.display().to_string(),
        generation: file.generation,
        lines: Some(if holds { verify::lines_of(file, offset)? } else { Vec::new() }),
        holds,
        dead,
        also: claim.also.iter().any(|(first, end)| (*first..*end).contains(&offset)),
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Bad input: a record that ends each process which runs it, looked at while it is tried, and as a letter. Guarantee: no worker runs
    /// it because somebody looks, and as a letter nobody does; any other record's steps are run.
    #[test]
    fn what_takes_processes_down_is_not_run_for_a_look() {
        for in_worker in [false, true] {
            assert!(unfit_to_run(true, true, in_worker).is_some());
            assert_eq!(unfit_to_run(false, true, in_worker), None);
            assert_eq!(unfit_to_run(false, false, in_worker).is_some(), in_worker);
        }
    }

    /// Bad input: more letters of one record than a worker tells. Guarantee: it keeps the newest, and the command all.
    #[test]
    fn a_worker_keeps_the_newest() {
        let of = |output: &Output| {
            let mut found = VecDeque::new();
            (0..WORKER_KEPT + 5).for_each(|number| keep(&mut found, number, output));
            (found.len(), found[0])
        };
        assert_eq!(of(&Output::kept(None, Arc::default())), (WORKER_KEPT, 5));
        assert_eq!(
            of(&Output::new(crate::cli::Format::Json, crate::cli::Colour::Never)),
            (WORKER_KEPT + 5, 0)
        );
    }
}
