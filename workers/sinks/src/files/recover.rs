//! Reading a pair's ledger: the newest checkpoint, then trailers up to the first free number.

use std::fs;
use std::path::Path;

use longshore_core::ledger::{LedgerView, Trailer};
use longshore_core::{Failure, Reason, Sequence};

use super::Format;
use super::checkpoint;
use super::entry::{self, broken};
use super::layout::Layout;
use super::publish::read_compressed;
use super::spool::{Leftovers, sync_folder};
use crate::io::classify;
use crate::pair_ledger::Owner;

/// Reads what the folder holds of the pair. Makes the folders, finishes what a crashed writer of plain files had
/// published by half, and removes what crashed writers left in staging.
pub(super) fn recover(layout: &Layout, owner: &Owner) -> Result<LedgerView, Failure> {
    make_folders(layout)?;
    let staging = |error| classify("clean", &layout.staging, &error);
    let leftovers = Leftovers::lock(&layout.staging).map_err(staging)?;
    let last = last_number(layout)?;
    let told = checkpoint::newest(layout)?;
    let mut view = match told.read {
        Some((identity, view)) => {
            owner.check(&identity, &view.cluster, &view.topic_id, &layout.ledger.display())?;
            view
        }
        None => LedgerView::default(),
    };
    while let Some(trailer) = read_segment(layout, view.next_sequence)? {
        let place = layout.commit_file(view.next_sequence);
        owner.check_trailer(&trailer, view.next_sequence, &place.display())?;
        view.fold(&trailer);
    }
    // Files below a checkpoint may leave. What only a newer version's checkpoint tells of is neither missing nor damaged.
    if let Some((newer, _)) = told.passed.filter(|(_, number)| *number > view.next_sequence) {
        return Err(newer);
    }
    if let Some(last) = last.filter(|last| *last >= view.next_sequence) {
        let missing = layout.commit_file(view.next_sequence);
        return Err(broken(&missing, format!("missing, though number {last} exists")));
    }
    leftovers.remove().map_err(staging)?;
    Ok(view)
}

fn read_segment(layout: &Layout, sequence: Sequence) -> Result<Option<Trailer>, Failure> {
    match layout.format {
        Format::JsonlZst => read_compressed(layout, sequence),
        Format::Jsonl => match entry::read(&layout.entry_file(sequence))? {
            Some(entry) if entry.trailer.sequence == sequence => {
                entry::complete(layout, &entry)?;
                Ok(Some(entry.trailer))
            }
            Some(entry) => Ok(Some(entry.trailer)),
            None => Ok(None),
        },
    }
}

/// The highest number in use, whether its turn has come or not.
fn last_number(layout: &Layout) -> Result<Option<Sequence>, Failure> {
    let mut last = None;
    for name in names(&layout.data)? {
        let Some((sequence, format)) = Layout::segment_of(&name) else { continue };
        if format != layout.format {
            let detail = format!(
                "{} holds {name}, the pipeline says {}",
                layout.data.display(),
                layout.format.extension()
            );
            return Err(Failure::halt(Reason::LedgerForeign, detail));
        }
        last = last.max(Some(sequence));
    }
    if layout.format == Format::Jsonl {
        last = names(&layout.ledger)?
            .iter()
            .filter_map(|name| Layout::entry_of(name))
            .map(Some)
            .fold(last, Ord::max);
    }
    Ok(last)
}

fn names(folder: &Path) -> Result<Vec<String>, Failure> {
    let fail = |error| classify("list", folder, &error);
    let entries = fs::read_dir(folder).map_err(fail)?;
    entries.map(|entry| Ok(entry.map_err(fail)?.file_name().to_string_lossy().into_owned())).collect()
}

/// Makes the folders and makes their names durable, from the root down. Another worker may have made a folder and died
/// before its name was durable, so every level is synced, made by us or not.
fn make_folders(layout: &Layout) -> Result<(), Failure> {
    for leaf in [&layout.data, &layout.staging] {
        fs::create_dir_all(leaf).map_err(|error| classify("make", leaf, &error))?;
        for folder in leaf.ancestors().skip(1) {
            if !folder.as_os_str().is_empty() {
                sync_folder(folder)?;
            }
            if folder == layout.root {
                break;
            }
        }
    }
    // The root's own name lies in a folder that need not be ours to open.
    if let Some(parent) = layout.root.parent() {
        let _ = sync_folder(if parent.as_os_str().is_empty() { Path::new(".") } else { parent });
    }
    Ok(())
}
