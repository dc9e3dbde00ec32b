//! Reading a pair's ledger: the newest checkpoint, then entries up to the first free number.

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use longshore_core::ledger::LedgerView;
use longshore_core::{Failure, Reason, Sequence, WriterId};
use object_store::path::Path;

use super::entry::{Entry, Object};
use super::layout::{Layout, noted, number_of, staged_number};
use super::publish::{Progress, complete};
use super::store::Store;
use crate::pair_ledger::{Checkpoint, KEPT_CHECKPOINTS, Owner, broken};

/// So often a recovery begins anew since somebody took the number that it had found free.
const MOST_TURNS: usize = 16;
/// So many entries are asked for at once.
const AT_ONCE: usize = 16;

/// Reads what the store holds of the pair, finishes what a dead writer had published by half, and removes what dead writers left.
///
/// **What is left of a number that is still free** may belong to a writer that lives and publishes it in a moment; to remove it then
/// would lose records. So the number is taken first, by an entry without rows.
pub(super) async fn recover(
    store: &Store,
    layout: &Layout,
    owner: &Owner,
    writer: WriterId,
) -> Result<LedgerView, Failure> {
    let mut view = newest_checkpoint(store, layout, owner).await?;
    let mut newest = None;
    for _ in 0..MOST_TURNS {
        newest = fold_entries(store, layout, owner, &mut view).await?.or(newest);
        // Found, but perhaps by a writer that died before the entry lasted.
        store.settle(&layout.segment(view.next_sequence)).await?;
        if newest.is_none()
            && let Some(number) = view.next_sequence.0.checked_sub(1)
        {
            newest = Some(read(store, layout, &layout.segment(Sequence(number))).await?);
        }
        let left = store.list(&layout.staging(), None).await?;
        let torsos = store.torsos(&layout.staging()).await?;
        if let Some(entry) = &newest {
            complete_newest(store, entry, &left).await?;
        }
        let ahead = |name: &Path| staged_number(name).is_none_or(|number| number >= view.next_sequence);
        if left.iter().any(ahead) || !torsos.is_empty() {
            let fence = Entry::fence(owner, writer, &view);
            let name = layout.segment(view.next_sequence);
            if !store.create(&name, Bytes::from(fence.encode(layout)?)).await? {
                continue;
            }
            view.fold(&fence.trailer);
        }
        remove(store, left).await?;
        // What cannot be removed now is found again by the next recovery.
        torsos.iter().for_each(|torso| drop(std::fs::remove_file(torso)));
        return Ok(view);
    }
    let detail = "others publish faster than the ledger is read";
    Err(Failure::target(Reason::SinkUnavailable, detail))
}

/// Gives the objects of the newest segment their names where a dead writer left them staged. Those of an older one have theirs, since nobody
/// takes a number before all objects of the one below have them: what is left of an older one is left of a removal, and to name it again
/// would bring back what was removed from the folders since.
///
/// Each object is asked for by its name: a list may be older than what it lists, and nobody would name an object that it lacks.
async fn complete_newest(store: &Store, newest: &Entry, left: &[Path]) -> Result<(), Failure> {
    let is_left = |object: &&Object| store.below(&object.staged).is_ok_and(|staged| left.contains(&staged));
    let (staged, others): (Vec<&Object>, Vec<&Object>) = newest.objects.iter().partition(is_left);
    let named: Vec<BoxFuture<'_, _>> =
        others.into_iter().map(|object| is_named(store, object).boxed()).collect();
    let named: Vec<bool> = futures::stream::iter(named).buffer_unordered(AT_ONCE).try_collect().await?;
    let gone = named.iter().filter(|named| !**named).count();
    if gone > 0 {
        let (sequence, of) = (newest.trailer.sequence, newest.objects.len());
        tracing::warn!(%sequence, gone, of, "objects of the newest segment were published and are gone");
    }
    if staged.is_empty() {
        return Ok(());
    }
    complete(store, staged, &Progress::new(None)).await
}

/// Whether an object that no list has among the staged ones has its name, or has it now.
async fn is_named(store: &Store, object: &Object) -> Result<bool, Failure> {
    let (staged, name) = (store.below(&object.staged)?, store.below(&object.name)?);
    if store.size(&name).await?.is_some() {
        store.settle(&name).await?;
        return Ok(true);
    }
    // Its staged copy was removed, which is done when all objects have their names, or is there and was not listed.
    store.copy(&staged, &name).await?;
    Ok(store.size(&name).await?.is_some())
}

/// Reads what the store holds of the pair, and leaves it as it is.
pub(super) async fn read_view(store: &Store, layout: &Layout, owner: &Owner) -> Result<LedgerView, Failure> {
    let mut view = newest_checkpoint(store, layout, owner).await?;
    fold_entries(store, layout, owner, &mut view).await?;
    Ok(view)
}

/// Folds all entries from the view's first free number on, and gives back the newest of them. A list may be older than what it lists, so
/// what it lacks in between and at its end is asked for by its name.
async fn fold_entries(
    store: &Store,
    layout: &Layout,
    owner: &Owner,
    view: &mut LedgerView,
) -> Result<Option<Entry>, Failure> {
    let first = view.next_sequence;
    let before = first.0.checked_sub(1).map(|number| layout.segment(Sequence(number)));
    let names = store.list(&layout.segments(), before.as_ref()).await?;
    // Not every store begins its list where it is told to.
    let names: Vec<Path> = names.into_iter().filter(|name| number_of(name) >= Some(first)).collect();
    // Boxed, or the compiler does not see that what borrows the names may be sent.
    let reads: Vec<BoxFuture<'_, _>> = names
        .iter()
        .map(|name| async move { Ok((name, read(store, layout, name).await?)) }.boxed())
        .collect();
    let mut entries = futures::stream::iter(reads).buffered(AT_ONCE);
    let mut newest = None;
    while let Some((name, entry)) = entries.try_next().await? {
        while number_of(name) > Some(view.next_sequence) {
            let missing = layout.segment(view.next_sequence);
            let Some(bytes) = store.get(&missing).await? else {
                return Err(broken(missing, format!("missing, though {name} exists")));
            };
            fold(owner, view, &Entry::decode(&bytes, &missing, layout)?, &missing)?;
        }
        fold(owner, view, &entry, name)?;
        newest = Some(entry);
    }
    loop {
        let name = layout.segment(view.next_sequence);
        let Some(bytes) = store.get(&name).await? else { return Ok(newest) };
        let entry = Entry::decode(&bytes, &name, layout)?;
        fold(owner, view, &entry, &name)?;
        newest = Some(entry);
    }
}

fn fold(owner: &Owner, view: &mut LedgerView, entry: &Entry, name: &Path) -> Result<(), Failure> {
    owner.check_trailer(&entry.trailer, view.next_sequence, name)?;
    view.fold(&entry.trailer);
    Ok(())
}

async fn read(store: &Store, layout: &Layout, name: &Path) -> Result<Entry, Failure> {
    // Nobody removes an entry, so it is the store that is not itself.
    let gone = || Failure::target(Reason::SinkUnavailable, format!("{name}: it was listed and is gone"));
    let bytes = store.get(name).await?.ok_or_else(gone)?;
    Entry::decode(&bytes, name, layout)
}

async fn newest_checkpoint(store: &Store, layout: &Layout, owner: &Owner) -> Result<LedgerView, Failure> {
    for name in store.list(&layout.checkpoints(), None).await?.iter().rev() {
        let Some(number) = number_of(name) else { continue };
        let bytes = store.get(name).await?;
        let text = bytes.as_ref().and_then(|bytes| std::str::from_utf8(bytes).ok());
        match text.map(|text| Checkpoint::parse(text, number)) {
            Some(Ok(Checkpoint { identity, view, .. })) => {
                owner.check(&identity, &view.cluster, &view.topic_id, name)?;
                return Ok(view);
            }
            Some(Err(error)) => {
                tracing::warn!(%name, %error, "checkpoint passed over, reading more entries instead");
            }
            None => tracing::warn!(%name, "checkpoint gone or no text, reading more entries instead"),
        }
    }
    Ok(LedgerView::default())
}

/// Removes staged objects that nobody will publish, and gives up their uploads. The note of one that could not be given up stays.
async fn remove(store: &Store, names: Vec<Path>) -> Result<(), Failure> {
    let mut gone = Vec::new();
    for name in names {
        if noted(&name).is_none() || store.give_up_noted(&name).await? {
            gone.push(name);
        }
    }
    if !gone.is_empty() {
        store.delete(gone).await;
    }
    Ok(())
}

/// Writes the checkpoint of a view if there is none, and removes old ones.
pub(super) async fn write_checkpoint(
    store: &Store,
    layout: &Layout,
    owner: &Owner,
    view: LedgerView,
) -> Result<(), Failure> {
    let name = layout.checkpoint(view.next_sequence);
    let text = Checkpoint::new(owner.identity.clone(), view).text(&name)?;
    store.create(&name, Bytes::from(text)).await?;
    let names = store.list(&layout.checkpoints(), None).await?;
    let old = names.into_iter().rev().filter(|name| number_of(name).is_some()).skip(KEPT_CHECKPOINTS);
    store.delete(old.collect()).await;
    Ok(())
}
