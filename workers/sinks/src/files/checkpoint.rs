//! Checkpoints: the ledger folded, so that a recovery need not read every trailer since the beginning.
//!
//! A checkpoint is a help and never the truth: one that is damaged is passed over with a warning, and the trailers tell
//! the same story.

use std::fs;
use std::io;

use longshore_core::format::FormatError;
use longshore_core::ledger::LedgerView;
use longshore_core::{Failure, Sequence, WriterId};

use super::layout::Layout;
use super::spool::{Spool, sync_folder};
use crate::io::classify;
use crate::pair_ledger::{Checkpoint, Identity, KEPT_CHECKPOINTS, unreadable};

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

/// What the checkpoints tell.
#[derive(Default)]
pub(super) struct Newest {
    /// The newest one that can be read, with its owner; none without one.
    pub(super) read: Option<(Identity, LedgerView)>,
    /// A newer version's that was passed over, and the first number that it does not tell of.
    pub(super) passed: Option<(Failure, Sequence)>,
}

/// Reads the checkpoints from the newest one on, until one can be read.
pub(super) fn newest(layout: &Layout) -> Result<Newest, Failure> {
    let fail = |error| classify("read", &layout.ledger, &error);
    let mut newest = Newest::default();
    for number in numbers(layout).map_err(fail)? {
        let path = layout.checkpoint_file(number);
        match fs::read_to_string(&path) {
            Ok(text) => match Checkpoint::parse(&text, number) {
                Ok(checkpoint) => {
                    newest.read = Some((checkpoint.identity, checkpoint.view));
                    return Ok(newest);
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "checkpoint passed over, reading more trailers instead");
                    if newest.passed.is_none() && matches!(error, FormatError::Newer(_)) {
                        newest.passed = Some((unreadable(path.display(), error), number));
                    }
                }
            },
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {
                tracing::warn!(path = %path.display(), %error, "checkpoint unreadable, reading more trailers instead");
            }
            Err(error) => return Err(classify("read", &path, &error)),
        }
    }
    Ok(newest)
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
