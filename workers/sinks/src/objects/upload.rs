//! Uploads of local files, large ones in parts that whoever comes next can give up.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use longshore_core::{Failure, Reason};
use object_store::multipart::PartId;
use object_store::path::Path;
use object_store::{Error, ObjectStoreExt, PutPayload};
use tokio::sync::SemaphorePermit;

use super::errors::failure;
use super::layout::{noted, upload_note};
use super::store::{Parts, Store};
use crate::blocking::blocking;

/// An object up to this size goes up in one request, a larger one in parts of it. Above the 5 MiB that S3 asks of a part
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>), and 10,000 of them make 80 GB.
const PART_BYTES: u64 = 8 * 1024 * 1024;
/// What uploads of all pairs hold in memory together, in units of [`UNIT_BYTES`].
pub(super) const UPLOAD_UNITS: u32 = 16;
const UNIT_BYTES: u64 = 1024 * 1024;

/// Tells the uploads of one process apart.
static UPLOADS: AtomicU64 = AtomicU64::new(0);

impl Store {
    /// Uploads the first `size` bytes of a file, over what may stand under the name. `goes_on` is called for each part.
    pub(super) async fn upload(
        &self,
        name: &Path,
        file: &Arc<File>,
        size: u64,
        goes_on: &(dyn Fn() + Send + Sync),
    ) -> Result<(), Failure> {
        if size <= PART_BYTES {
            let _room = self.room(size).await?;
            let payload = PutPayload::from_bytes(read(file, 0, size).await?);
            let put = self.inner.put(name, payload).await;
            goes_on();
            return put.map(drop).map_err(|error| failure("write", name, &error));
        }
        match &self.parts {
            Some(parts) => self.upload_parts(parts.as_ref(), name, file, size, goes_on).await,
            None => self.upload_stream(name, file, size, goes_on).await,
        }
    }

    /// Waits for the memory of a part. Parts of all pairs take turns, so that a large object does not hold up the others.
    async fn room(&self, bytes: u64) -> Result<SemaphorePermit<'_>, Failure> {
        let units = bytes.div_ceil(UNIT_BYTES).clamp(1, u64::from(UPLOAD_UNITS)) as u32;
        let room = self.uploads.acquire_many(units).await;
        room.map_err(|_| Failure::halt(Reason::Internal, "the uploads are closed"))
    }

    /// The note with the upload's id is written before the first part, so that the parts of a worker that dies can be given up
    /// by the next one: they cost money and no listing shows them.
    async fn upload_parts(
        &self,
        parts: &dyn Parts,
        name: &Path,
        file: &Arc<File>,
        size: u64,
        goes_on: &(dyn Fn() + Send + Sync),
    ) -> Result<(), Failure> {
        let fail = |error: Error| failure("write", name, &error);
        let id = parts.create_multipart(name).await.map_err(fail)?;
        let note = upload_note(name, UPLOADS.fetch_add(1, Ordering::Relaxed));
        let noted = self.inner.put(&note, PutPayload::from_bytes(Bytes::from(id.clone()))).await;
        let uploaded = match noted {
            Ok(_) => self.put_parts(parts, name, &id, (file, size), goes_on).await,
            Err(error) => Err(failure("write", &note, &error)),
        };
        // The note stays where the parts do.
        if uploaded.is_ok() || self.give_up(name, &id).await {
            self.delete(vec![note]).await;
        }
        uploaded
    }

    async fn put_parts(
        &self,
        parts: &dyn Parts,
        name: &Path,
        id: &String,
        (file, size): (&Arc<File>, u64),
        goes_on: &(dyn Fn() + Send + Sync),
    ) -> Result<(), Failure> {
        let fail = |error: Error| failure("write", name, &error);
        let mut done: Vec<PartId> = Vec::new();
        for (index, place) in (0..size).step_by(PART_BYTES as usize).enumerate() {
            let length = PART_BYTES.min(size - place);
            let _room = self.room(length).await?;
            let bytes = read(file, place, length).await?;
            done.push(parts.put_part(name, id, index, PutPayload::from_bytes(bytes)).await.map_err(fail)?);
            goes_on();
        }
        let Err(error) = parts.complete_multipart(name, id, done).await else { return Ok(()) };
        // It may be done and the answer lost: whoever asks again is told that there is no such upload. The name is this segment's alone.
        match self.size(name).await {
            Ok(Some(found)) if found == size => Ok(()),
            Ok(_) | Err(_) => Err(fail(error)),
        }
    }

    async fn upload_stream(
        &self,
        name: &Path,
        file: &Arc<File>,
        size: u64,
        goes_on: &(dyn Fn() + Send + Sync),
    ) -> Result<(), Failure> {
        let fail = |error: Error| failure("write", name, &error);
        let mut upload = self.inner.put_multipart(name).await.map_err(fail)?;
        for place in (0..size).step_by(PART_BYTES as usize) {
            let length = PART_BYTES.min(size - place);
            let _room = self.room(length).await?;
            let bytes = read(file, place, length).await?;
            upload.put_part(PutPayload::from_bytes(bytes)).await.map_err(fail)?;
            goes_on();
        }
        upload.complete().await.map(drop).map_err(fail)
    }

    /// Gives up the upload that a note tells of; whether the note is of no more use.
    pub(super) async fn give_up_noted(&self, note: &Path) -> Result<bool, Failure> {
        let Some(name) = noted(note) else { return Ok(true) };
        let Some(id) = self.get(note).await? else { return Ok(true) };
        Ok(self.give_up(&name, &String::from_utf8_lossy(&id)).await)
    }

    async fn give_up(&self, name: &Path, id: &str) -> bool {
        let Some(parts) = &self.parts else { return true };
        match parts.abort_multipart(name, &id.to_owned()).await {
            Ok(()) | Err(Error::NotFound { .. }) => true,
            Err(error) => {
                let why = failure("give up", name, &error);
                tracing::warn!(%why, "an upload in parts was not given up");
                false
            }
        }
    }
}

async fn read(file: &Arc<File>, place: u64, length: u64) -> Result<Bytes, Failure> {
    let file = Arc::clone(file);
    blocking(move || {
        let mut bytes = vec![0; length as usize];
        let read = file.read_exact_at(&mut bytes, place);
        read.map_err(|error| crate::io::classify("read", std::path::Path::new("a staged segment"), &error))?;
        Ok(Bytes::from(bytes))
    })
    .await
}
