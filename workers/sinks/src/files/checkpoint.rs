//! Checkpoints: the ledger folded, so that a recovery need not read every trailer since the beginning.
//!
//! A checkpoint is a help and never the truth: one that is damaged is passed over with a warning, and the trailers tell
//! the same story.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use longshore_core::ledger::{Holdings, LedgerView};
use longshore_core::{Failure, Generation, Offset, RunSet, Sequence, WriterId};
use serde::{Deserialize, Serialize};

use super::layout::Layout;
use super::spool::{Spool, sync_folder};
use crate::io::classify;

/// A checkpoint is written each time so many segments were published (design section 4, rule 8).
pub(super) const EVERY_SEGMENTS: u64 = 64;
/// So many checkpoints are kept: the newest, and those a recovery falls back to.
const KEPT: usize = 4;
/// Written by this code. Version 1 listed held offsets and letters apart and is read as well.
const VERSION: u32 = 2;

/// Whose ledger it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) pipeline: String,
    pub(super) generation: Generation,
    pub(super) topic: String,
    pub(super) partition: i32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Checkpoint {
    version: u32,
    identity: Identity,
    view: LedgerView,
}

/// A checkpoint of version 1.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FirstCheckpoint {
    version: u32,
    identity: Identity,
    view: FirstView,
}

/// The view as version 1 wrote it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FirstView {
    next_sequence: Sequence,
    held: RunSet,
    dead: BTreeMap<Offset, u32>,
    cluster: String,
    topic_id: String,
    partitions_at_birth: u32,
}

impl From<FirstView> for LedgerView {
    fn from(first: FirstView) -> Self {
        let mut holdings = Holdings::default();
        holdings.add(&first.held, &first.dead);
        Self {
            next_sequence: first.next_sequence,
            holdings,
            cluster: first.cluster,
            topic_id: first.topic_id,
            partitions_at_birth: first.partitions_at_birth,
        }
    }
}

/// Writes the checkpoint of a view if there is none, and removes old ones.
pub(super) fn write(
    layout: &Layout,
    identity: Identity,
    view: LedgerView,
    writer: WriterId,
) -> Result<(), Failure> {
    let name = layout.checkpoint_file(view.next_sequence);
    let checkpoint = Checkpoint { version: VERSION, identity, view };
    let json = serde_json::to_string(&checkpoint).map_err(|error| super::entry::broken(&name, error))?;
    let text = format!("{json}\n{}\n", blake3::hash(json.as_bytes()).to_hex());
    let aside = Spool::create(&layout.staging, writer)?;
    aside.write(text.as_bytes(), 0)?;
    aside.finish(text.len() as u64)?;
    aside.link(&name)?;
    sync_folder(&layout.ledger)?;
    let fail = |error| classify("remove", &layout.ledger, &error);
    for old in numbers(layout).map_err(fail)?.into_iter().skip(KEPT) {
        match fs::remove_file(layout.checkpoint_file(old)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(error)),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// The newest checkpoint that can be read, with its owner; none without one.
pub(super) fn newest(layout: &Layout) -> Result<Option<(Identity, LedgerView)>, Failure> {
    let fail = |error| classify("read", &layout.ledger, &error);
    for number in numbers(layout).map_err(fail)? {
        let path = layout.checkpoint_file(number);
        match fs::read_to_string(&path) {
            Ok(text) => match parse(&text, number) {
                Some(checkpoint) => return Ok(Some((checkpoint.identity, checkpoint.view))),
                None => {
                    tracing::warn!(path = %path.display(), "checkpoint damaged, reading more trailers instead")
                }
            },
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {
                tracing::warn!(path = %path.display(), %error, "checkpoint unreadable, reading more trailers instead");
            }
            Err(error) => return Err(classify("read", &path, &error)),
        }
    }
    Ok(None)
}

fn parse(text: &str, number: Sequence) -> Option<Checkpoint> {
    let (json, hash) = text.strip_suffix('\n')?.rsplit_once('\n')?;
    if blake3::hash(json.as_bytes()).to_hex().as_str() != hash {
        return None;
    }
    let checkpoint = match serde_json::from_str::<Checkpoint>(json) {
        Ok(checkpoint) => checkpoint,
        Err(_) => {
            let FirstCheckpoint { version, identity, view } = serde_json::from_str(json).ok()?;
            let current = if version == 1 { VERSION } else { version };
            Checkpoint { version: current, identity, view: view.into() }
        }
    };
    (checkpoint.version == VERSION && checkpoint.view.next_sequence == number).then_some(checkpoint)
}

/// The numbers of all checkpoints, newest first.
fn numbers(layout: &Layout) -> io::Result<Vec<Sequence>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(&layout.ledger)? {
        numbers.extend(entry?.file_name().to_str().and_then(Layout::checkpoint_of));
    }
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    Ok(numbers)
}
