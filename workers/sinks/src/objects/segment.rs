//! The open segment: rows by folder, first in memory, then in a local file, and a row group at a time in the object to be.
//!
//! Nothing of it is needed after a crash, so its files have no names and nothing of them is made durable. Every step may fail
//! and be made again: rows leave the place where they wait only after they are in the next one.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use longshore_core::{Block, Failure, Reason};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::folder::split;
use super::parquet::ParquetFile;
use super::{Columns, Format, ObjectsOptions};
use crate::compress::{GATHER_BYTES, Gathered, PIECE_BYTES, Pool, Scratch};
use crate::hand::Hand;
use crate::io::classify;

/// So many row groups are made at once: each is in memory with its rows, and `limits.memory` is asked for as many.
const AT_ONCE: usize = 2;
/// A segment with rows for so many folders is full: each makes an object, which costs requests and a small file.
const MOST_FOLDERS: usize = 1_000;
/// So many objects of an open segment have files at once. Rows of further folders wait for the publish, which makes a few objects at a time.
const MOST_OPEN: usize = 64;
/// So many have files at once in all open segments of a sink, whatever the number of pairs: a process may have a thousand files by default.
const MOST_OPEN_IN_ALL: usize = 256;
/// What a folder's rows should have in memory before they go to the spool, so that the places in it are few.
const TAIL_BYTES: usize = 1024;
/// A row waits behind its length.
const LENGTH_BYTES: usize = 4;

/// What segments are made by.
#[derive(Clone)]
pub(super) struct Form {
    format: Format,
    columns: Arc<Columns>,
    level: i32,
    /// Bytes of waiting rows of a folder that are encoded together.
    group: u64,
    full: u64,
    staging: PathBuf,
    pool: Arc<Pool>,
    /// Threads for as much work as may be at once, those that are free: the last one that was used is the next.
    hands: Arc<Mutex<Vec<Hand>>>,
    /// Room for the files of open segments.
    open: Arc<Semaphore>,
}

impl Form {
    pub(super) fn new(options: &ObjectsOptions) -> Self {
        let group = match options.format {
            Format::Parquet => options.row_group as u64,
            Format::JsonlZst => PIECE_BYTES as u64,
        };
        Self {
            format: options.format,
            columns: Arc::clone(&options.columns),
            level: options.level,
            group,
            full: options.full,
            staging: options.staging.clone(),
            pool: Pool::with_room(options.level, AT_ONCE),
            hands: Arc::default(),
            open: Arc::new(Semaphore::new(MOST_OPEN_IN_ALL)),
        }
    }

    /// Does work on a segment, with room to encode in and on a thread of this sink's own: there is as much of both as may be at once.
    pub(super) async fn encode<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Scratch) -> Result<R, Failure> + Send + 'static,
    ) -> Result<R, Failure> {
        let mut scratch = self.pool.take().await?;
        let free = self.hands.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let hand = free.map_or_else(Hand::new, Ok)?;
        let (hands, own) = (Arc::clone(&self.hands), hand.clone());
        let job = move || {
            let done = work(&mut scratch);
            // Before the scratch, which lets the next one in. A thread that panicked is not given back.
            hands.lock().unwrap_or_else(PoisonError::into_inner).push(own);
            drop(scratch);
            done
        };
        hand.run(job).await
    }

    fn file(&self) -> Result<File, Failure> {
        tempfile::tempfile_in(&self.staging)
            .map_err(|error| classify("create a file in", &self.staging, &error))
    }
}

/// Rows on their way to objects.
pub(super) struct Segment {
    form: Form,
    folders: BTreeMap<Box<str>, Folder>,
    spool: Option<Spool>,
    /// Bytes that wait in memory.
    held: usize,
    gathered: Gathered,
}

/// The rows of one folder.
#[derive(Default)]
struct Folder {
    /// Rows in memory.
    tail: Vec<u8>,
    /// Rows before them in the spool: place and length.
    chunks: Vec<(u64, usize)>,
    /// Bytes of both.
    waiting: u64,
    rows: u64,
    object: Option<Growing>,
}

struct Spool {
    file: File,
    end: u64,
}

/// An object that is being made.
struct Growing {
    file: Arc<File>,
    stored: u64,
    encoder: Encoder,
    /// Encoded and not in the file yet.
    unwritten: Vec<u8>,
    ended: bool,
    /// None of an object that its publish begins.
    _room: Option<OwnedSemaphorePermit>,
}

enum Encoder {
    Parquet(Box<ParquetFile>),
    Lines,
}

/// An object as it will be.
pub(super) struct Finished {
    pub(super) file: Arc<File>,
    pub(super) bytes: u64,
    pub(super) rows: u64,
}

impl Segment {
    pub(super) fn new(form: Form) -> Self {
        Self { form, folders: BTreeMap::new(), spool: None, held: 0, gathered: Gathered::default() }
    }

    /// Takes the rows of a block into memory.
    pub(super) fn take(&mut self, block: &Block) -> Result<(), Failure> {
        // Where all rows are one folder's their memory is taken at once, and no more of it.
        let alone = self.folders.len() <= 1;
        let rows = block.rows.iter().filter_map(|row| row.value.as_ref());
        for range in rows {
            let row = block.bytes.get(range.start as usize..range.end as usize).and_then(split);
            let Some((name, body)) = row else {
                return Err(Failure::halt(Reason::Internal, "append: a row without its folder"));
            };
            let folder = match self.folders.get_mut(name) {
                Some(folder) => folder,
                None => self.folders.entry(name.into()).or_default(),
            };
            if alone && folder.tail.capacity() == 0 {
                folder.tail.reserve_exact(block.bytes.len() + LENGTH_BYTES * block.rows.len());
            }
            folder.tail.extend_from_slice(&(body.len() as u32).to_le_bytes());
            folder.tail.extend_from_slice(body);
            folder.waiting += (LENGTH_BYTES + body.len()) as u64;
            folder.rows += 1;
            self.held += LENGTH_BYTES + body.len();
        }
        let pool = Arc::clone(&self.form.pool);
        self.gathered.hold(self.held, &pool);
        Ok(())
    }

    /// Whether rows should leave the memory.
    pub(super) fn is_behind(&self) -> bool {
        self.is_full() || self.folders.values().any(Folder::is_unwritten)
    }

    /// Whether the memory is full.
    fn is_full(&self) -> bool {
        let enough = GATHER_BYTES.max(self.folders.len() * TAIL_BYTES);
        self.held >= enough || !self.gathered.may_hold(self.held, &self.form.pool)
    }

    /// Brings rows out of the memory, and encodes what makes a row group.
    pub(super) fn work(&mut self, scratch: &mut Scratch) -> Result<(), Failure> {
        let form = self.form.clone();
        let mut open = self.folders.values().filter(|folder| folder.object.is_some()).count();
        for folder in self.folders.values_mut() {
            if folder.object.is_none() && folder.waiting >= form.group && open < MOST_OPEN {
                let Ok(room) = Arc::clone(&form.open).try_acquire_owned() else { continue };
                folder.object = Some(Growing::new(&form, Some(room))?);
                open += 1;
            }
            if (folder.waiting >= form.group && folder.object.is_some()) || folder.is_unwritten() {
                let before = folder.tail.len();
                let encoded = folder.encode(&form, self.spool.as_ref(), scratch);
                self.held -= before - folder.tail.len();
                encoded?;
            }
        }
        if self.folders.values().all(|folder| folder.chunks.is_empty())
            && let Some(spool) = &mut self.spool
        {
            spool.end = 0;
        }
        if self.is_full() {
            self.spill()?;
        }
        self.gathered.hold(self.held, &form.pool);
        Ok(())
    }

    /// Bytes as stored; rows that wait count as they are.
    pub(super) fn size(&self) -> u64 {
        let size = self.folders.values().map(Folder::size).sum();
        if self.folders.len() < MOST_FOLDERS { size } else { self.form.full.max(size) }
    }

    /// The folders that have rows, in their order.
    pub(super) fn names(&self) -> Vec<String> {
        self.folders.keys().map(|name| name.to_string()).collect()
    }

    /// Ends a folder's object. May be called again.
    pub(super) fn finish(
        &mut self,
        name: &str,
        about: &[(String, String)],
        scratch: &mut Scratch,
    ) -> Result<Finished, Failure> {
        let missing = || Failure::halt(Reason::Internal, "publish: no such folder");
        let folder = self.folders.get_mut(name).ok_or_else(missing)?;
        let before = folder.tail.len();
        let encoded = folder.encode(&self.form, self.spool.as_ref(), scratch);
        self.held -= before - folder.tail.len();
        encoded?;
        let object = folder.object.as_mut().ok_or_else(missing)?;
        object.end(about)?;
        let staging = &self.form.staging;
        object.write().map_err(|error| classify("write to", staging, &error))?;
        Ok(Finished { file: Arc::clone(&object.file), bytes: object.stored, rows: folder.rows })
    }

    /// Gives up an object's file, once its object is in the store.
    pub(super) fn release(&mut self, name: &str) {
        if let Some(folder) = self.folders.get_mut(name) {
            folder.object = None;
        }
    }

    /// Moves all rows in memory to the spool, in one write.
    fn spill(&mut self) -> Result<(), Failure> {
        let spool = match &mut self.spool {
            Some(spool) => spool,
            None => self.spool.insert(Spool { file: self.form.file()?, end: 0 }),
        };
        let mut tails = self.folders.values().map(|folder| &folder.tail).filter(|tail| !tail.is_empty());
        let written = match (tails.next(), tails.next()) {
            (None, _) => Ok(()),
            (Some(one), None) => spool.file.write_all_at(one, spool.end),
            (Some(_), Some(_)) => {
                let mut bytes = Vec::with_capacity(self.held);
                self.folders.values().for_each(|folder| bytes.extend_from_slice(&folder.tail));
                spool.file.write_all_at(&bytes, spool.end)
            }
        };
        written.map_err(|error| classify("write to", &self.form.staging, &error))?;
        for folder in self.folders.values_mut().filter(|folder| !folder.tail.is_empty()) {
            let length = std::mem::take(&mut folder.tail).len();
            folder.chunks.push((spool.end, length));
            spool.end += length as u64;
        }
        self.held = 0;
        Ok(())
    }
}

impl Folder {
    fn size(&self) -> u64 {
        self.waiting + self.object.as_ref().map_or(0, |object| object.stored + object.unwritten.len() as u64)
    }

    fn is_unwritten(&self) -> bool {
        self.object.as_ref().is_some_and(|object| !object.unwritten.is_empty())
    }

    /// Encodes all rows that wait, and writes them to the object's file: a group after the other, since of a folder whose rows had to wait for
    /// their file there may be many, and a group is in memory whole.
    fn encode(&mut self, form: &Form, spool: Option<&Spool>, scratch: &mut Scratch) -> Result<(), Failure> {
        let fail = |error| classify("write to", &form.staging, &error);
        if self.object.is_none() {
            self.object = Some(Growing::new(form, None)?);
        }
        let Some(object) = &mut self.object else { return Ok(()) };
        object.write().map_err(fail)?;
        while self.waiting > 0 {
            let (chunks, length) = step(&self.chunks, form.group);
            let is_last = chunks == self.chunks.len() && (length as u64) < form.group;
            let tail = if is_last { self.tail.len() } else { 0 };
            let mut room = scratch.rows(length + tail);
            let rows = &mut room[..length + tail];
            let mut place = 0;
            for &(from, length) in &self.chunks[..chunks] {
                let Some(spool) = spool else { break };
                let read = spool.file.read_exact_at(&mut rows[place..place + length], from);
                read.map_err(|error| classify("read from", &form.staging, &error))?;
                place += length;
            }
            rows[place..].copy_from_slice(&self.tail[..tail]);
            object.group(rows, scratch)?;
            self.waiting -= rows.len() as u64;
            self.chunks.drain(..chunks);
            if is_last {
                (self.chunks, self.tail) = (Vec::new(), Vec::new());
            }
            scratch.keep(room, 2 * form.group as usize);
            object.write().map_err(fail)?;
        }
        Ok(())
    }
}

/// How many of the chunks make the next group, and their bytes in all.
fn step(chunks: &[(u64, usize)], group: u64) -> (usize, usize) {
    let (mut count, mut bytes) = (0, 0);
    for (_, length) in chunks {
        if bytes as u64 >= group {
            break;
        }
        (count, bytes) = (count + 1, bytes + length);
    }
    (count, bytes)
}

impl Growing {
    fn new(form: &Form, room: Option<OwnedSemaphorePermit>) -> Result<Self, Failure> {
        let encoder = match form.format {
            Format::Parquet => {
                Encoder::Parquet(Box::new(ParquetFile::new(Arc::clone(&form.columns), form.level)?))
            }
            Format::JsonlZst => Encoder::Lines,
        };
        let file = Arc::new(form.file()?);
        Ok(Self { file, stored: 0, encoder, unwritten: Vec::new(), ended: false, _room: room })
    }

    fn group(&mut self, rows: &[u8], scratch: &mut Scratch) -> Result<(), Failure> {
        match &mut self.encoder {
            Encoder::Parquet(file) => {
                file.group(Bodies(rows))?;
                add(&mut self.unwritten, file.take());
            }
            Encoder::Lines => {
                scratch.input().clear();
                for body in Bodies(rows) {
                    scratch.input().extend_from_slice(body);
                    if scratch.input().len() >= PIECE_BYTES {
                        self.unwritten.extend_from_slice(scratch.frame()?);
                        scratch.input().clear();
                    }
                }
                if !scratch.input().is_empty() {
                    self.unwritten.extend_from_slice(scratch.frame()?);
                }
            }
        }
        Ok(())
    }

    /// Writes what is encoded. What a failed write leaves behind the counted end is written over.
    fn write(&mut self) -> std::io::Result<()> {
        self.file.write_all_at(&self.unwritten, self.stored)?;
        self.stored += self.unwritten.len() as u64;
        self.unwritten = Vec::new();
        Ok(())
    }

    fn end(&mut self, about: &[(String, String)]) -> Result<(), Failure> {
        if !std::mem::replace(&mut self.ended, true)
            && let Encoder::Parquet(file) = &mut self.encoder
        {
            file.finish(about)?;
            add(&mut self.unwritten, file.take());
        }
        Ok(())
    }
}

/// Appends without a copy where there was nothing.
fn add(bytes: &mut Vec<u8>, mut more: Vec<u8>) {
    if bytes.is_empty() {
        *bytes = more;
    } else {
        bytes.append(&mut more);
    }
}

/// The rows of a buffer, each behind its length.
struct Bodies<'a>(&'a [u8]);

impl<'a> Iterator for Bodies<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<LENGTH_BYTES>()?;
        let (body, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        self.0 = rest;
        Some(body)
    }
}
