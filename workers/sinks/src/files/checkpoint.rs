//! Checkpoints: the ledger folded, so that a recovery need not read every trailer since the beginning.
//!
//! A checkpoint is a help and never the truth: one that is damaged is passed over with a warning, and the trailers tell
//! the same story.

use std::fs;
use std::io;

use longshore_core::ledger::LedgerView;
use longshore_core::{Failure, Sequence, WriterId};

use super::layout::Layout;
use super::spool::{Spool, sync_folder};
use crate::io::classify;
use crate::pair_ledger::{Checkpoint, Identity, KEPT_CHECKPOINTS};

/// Writes the checkpoint of a view if there is none, and removes old ones.
pub(super) fn write(
    layout: &Layout,
    identity: Identity,
    view: LedgerView,
    writer: WriterId,
) -> Result<(), Failure> {
    let name = layout.checkpoint_file(view.next_sequence);
    let text = Checkpoint::new(identity, view).text(&name.display())?;
    let aside = Spool::create(&layout.staging, writer)?;
    aside.write(text.as_bytes(), 0)?;
    aside.finish(text.len() as u64)?;
    aside.link(&name)?;
    sync_folder(&layout.ledger)?;
    let fail = |error| classify("remove", &layout.ledger, &error);
    for old in numbers(layout).map_err(fail)?.into_iter().skip(KEPT_CHECKPOINTS) {
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
            Ok(text) => match Checkpoint::parse(&text, number) {
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

/// The numbers of all checkpoints, newest first.
fn numbers(layout: &Layout) -> io::Result<Vec<Sequence>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(&layout.ledger)? {
        numbers.extend(entry?.file_name().to_str().and_then(Layout::checkpoint_of));
    }
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    Ok(numbers)
}
