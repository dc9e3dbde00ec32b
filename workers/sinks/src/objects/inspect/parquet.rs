//! Reading Parquet from a store: the footer first, then what a reader asks for, a row group at a time.

use std::sync::Arc;

use ::parquet::DecodeResult;
use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::push_decoder::{ParquetPushDecoder, ParquetPushDecoderBuilder};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::{ParquetMetaData, ParquetMetaDataPushDecoder};
use arrow_array::RecordBatch;
use bytes::Bytes;
use longshore_core::Failure;
use object_store::path::Path;

use crate::objects::store::Store;

/// A file up to this size is read in one request.
const WHOLE_BYTES: u64 = 1024 * 1024;
/// How much of a larger one's end is read at first; nearly every footer fits.
const FOOTER_BYTES: u64 = 64 * 1024;
/// Rows that are decoded at once.
const BATCH_ROWS: usize = 8_192;

/// Why a file cannot be read.
#[derive(Debug)]
pub(in crate::objects) enum Unread {
    /// The store's fault.
    Store(Failure),
    /// The file's own, in words.
    File(String),
}

impl From<Failure> for Unread {
    fn from(failure: Failure) -> Self {
        Self::Store(failure)
    }
}

impl From<ParquetError> for Unread {
    fn from(error: ParquetError) -> Self {
        Self::File(error.to_string())
    }
}

/// A Parquet file in a store.
pub(in crate::objects) struct ParquetObject<'a> {
    store: &'a Store,
    name: &'a Path,
    bytes: u64,
    pub(in crate::objects) metadata: Arc<ParquetMetaData>,
    whole: Option<Bytes>,
}

impl<'a> ParquetObject<'a> {
    /// Reads the footer.
    pub(in crate::objects) async fn open(
        store: &'a Store,
        name: &'a Path,
        bytes: u64,
    ) -> Result<Self, Unread> {
        if bytes == 0 {
            return Err(Unread::File("it is empty".to_owned()));
        }
        let first = if bytes <= WHOLE_BYTES { bytes } else { FOOTER_BYTES };
        let mut footer = ParquetMetaDataPushDecoder::try_new(bytes)?;
        let range = bytes - first..bytes;
        let end = parts(store, name, std::slice::from_ref(&range)).await?.remove(0);
        footer.push_range(range, end.clone())?;
        let metadata = loop {
            match footer.try_decode()? {
                DecodeResult::Data(metadata) => break metadata,
                DecodeResult::NeedsData(ranges) => {
                    let data = parts(store, name, &ranges).await?;
                    footer.push_ranges(ranges, data)?;
                }
                DecodeResult::Finished => return Err(Unread::File("it has no footer".to_owned())),
            }
        };
        let whole = (first == bytes).then_some(end);
        Ok(Self { store, name, bytes, metadata: Arc::new(metadata), whole })
    }

    /// What the footer says of the file under a name of ours.
    pub(super) fn about(&self, key: &str) -> Option<&str> {
        let pairs = self.metadata.file_metadata().key_value_metadata()?;
        pairs.iter().find(|pair| pair.key == key)?.value.as_deref()
    }

    /// Rows by the footer.
    pub(super) fn rows(&self) -> u64 {
        u64::try_from(self.metadata.file_metadata().num_rows()).unwrap_or(0)
    }

    /// The rows with all columns, or with those that are named.
    pub(super) fn batches(&self, columns: Option<&[&str]>) -> Result<Batches<'a>, Unread> {
        let mut builder = ParquetPushDecoderBuilder::try_new_decoder(Arc::clone(&self.metadata))?;
        if let Some(columns) = columns {
            let known = self.metadata.file_metadata().schema_descr();
            builder = builder.with_projection(ProjectionMask::columns(known, columns.iter().copied()));
        }
        let mut decoder = builder.with_batch_size(BATCH_ROWS).build()?;
        if let Some(whole) = &self.whole {
            decoder.push_range(0..self.bytes, whole.clone())?;
        }
        Ok(Batches { store: self.store, name: self.name, decoder })
    }
}

/// The rows of a file, some at a time.
pub(super) struct Batches<'a> {
    store: &'a Store,
    name: &'a Path,
    decoder: ParquetPushDecoder,
}

impl Batches<'_> {
    /// The next rows; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>, Unread> {
        loop {
            match self.decoder.try_decode()? {
                DecodeResult::Data(batch) => return Ok(Some(batch)),
                DecodeResult::Finished => return Ok(None),
                DecodeResult::NeedsData(ranges) => {
                    let data = parts(self.store, self.name, &ranges).await?;
                    self.decoder.push_ranges(ranges, data)?;
                }
            }
        }
    }
}

async fn parts(store: &Store, name: &Path, ranges: &[std::ops::Range<u64>]) -> Result<Vec<Bytes>, Unread> {
    let found = store.ranges(name, ranges).await?;
    let found = found.filter(|parts| {
        parts.iter().zip(ranges).all(|(part, range)| part.len() as u64 == range.end - range.start)
    });
    found.ok_or_else(|| Unread::File("it is gone, or shorter than it was".to_owned()))
}
