//! The files of one folder, merged.

use std::fs::File;
use std::io::BufWriter;
use std::sync::Arc;

use ::parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use ::parquet::arrow::{ArrowSchemaConverter, parquet_to_arrow_schema};
use ::parquet::basic::Encoding;
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::{KeyValue, ParquetMetaData};
use ::parquet::file::properties::{EnabledStatistics, WriterProperties};
use ::parquet::file::writer::SerializedFileWriter;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::SchemaRef;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use longshore_core::{Failure, Reason};

use super::target::{Target, here};
use super::{Compaction, Input, lines, unlike};
use crate::objects::entry;
use crate::objects::inspect::parquet::{ParquetObject, Unread};
use crate::objects::inspect::{Source, Tell};
use crate::objects::parquet::common_properties;

/// So many files are opened ahead; a small one is read whole by that.
const OPEN_AHEAD: usize = 8;

/// The work on one folder.
pub(super) struct Merge<'a> {
    pub(super) source: &'a Source,
    pub(super) target: &'a Target,
    pub(super) asked: &'a Compaction,
    pub(super) folder: &'a str,
    pub(super) generation: u32,
}

impl Merge<'_> {
    /// The objects that were made; `first` is the number of the first of them in the whole compaction.
    pub(super) async fn run(
        &self,
        inputs: Vec<Input>,
        first: usize,
        tell: &Tell,
    ) -> Result<Vec<entry::Object>, Failure> {
        let parquet = |input: &Input| input.object.name.as_ref().ends_with(".parquet");
        // A sink whose format was changed has both, each in files of its own.
        let (columns, texts): (Vec<Input>, Vec<Input>) = inputs.into_iter().partition(parquet);
        let mut made = Made { merge: self, first, objects: Vec::new() };
        self.columns(&columns, &mut made, tell).await?;
        self.texts(&texts, &mut made, tell).await?;
        Ok(made.objects)
    }

    async fn columns(&self, inputs: &[Input], made: &mut Made<'_>, tell: &Tell) -> Result<(), Failure> {
        let opens: Vec<BoxFuture<'_, _>> = inputs.iter().map(|input| self.open(input).boxed()).collect();
        let mut opened = futures::stream::iter(opens).buffered(OPEN_AHEAD);
        let mut growing: Option<Growing> = None;
        while let Some((input, file)) = opened.try_next().await? {
            let fail = |error: Unread| unread(input, error);
            let schema = schema_of(&file.metadata).map_err(|error| fail(error.into()))?;
            if let Some(other) = growing.take_if(|growing| growing.schema != schema) {
                made.add(other.finish(self)?, "parquet").await?;
            }
            let mut batches = file.batches(None).map_err(fail)?;
            let mut rows = 0;
            while let Some(batch) = batches.next().await.map_err(fail)? {
                rows += batch.num_rows() as u64;
                let into = match &mut growing {
                    Some(growing) => growing,
                    None => {
                        growing.insert(Growing::new(Arc::clone(&schema), &file.metadata, self.asked.level)?)
                    }
                };
                into.add(&batch, self.asked.row_group).map_err(defect)?;
                if into.stored() >= self.asked.bytes
                    && let Some(full) = growing.take()
                {
                    made.add(full.finish(self)?, "parquet").await?;
                }
            }
            if rows != input.object.rows {
                return Err(unlike(
                    &input.object,
                    format_args!("it has {rows} rows, its entry says {}", input.object.rows),
                ));
            }
            tell(1);
        }
        if let Some(last) = growing {
            made.add(last.finish(self)?, "parquet").await?;
        }
        Ok(())
    }

    async fn open<'a>(&'a self, input: &'a Input) -> Result<(&'a Input, ParquetObject<'a>), Failure> {
        self.same_size(input).await?;
        let object = &input.object;
        let file = ParquetObject::open(&self.source.store, &object.name, object.bytes).await;
        Ok((input, file.map_err(|error| unread(input, error))?))
    }

    async fn same_size(&self, input: &Input) -> Result<(), Failure> {
        match self.source.store.size(&input.object.name).await? {
            Some(bytes) if bytes == input.object.bytes => Ok(()),
            Some(bytes) => Err(unlike(
                &input.object,
                format_args!("it has {bytes} bytes, its entry says {}", input.object.bytes),
            )),
            None => Err(unlike(&input.object, "it is not there")),
        }
    }

    async fn texts(&self, inputs: &[Input], made: &mut Made<'_>, tell: &Tell) -> Result<(), Failure> {
        let mut growing: Option<(File, u64, &'static str)> = None;
        for input in inputs {
            self.same_size(input).await?;
            let packed = input.object.name.as_ref().ends_with(".zst");
            let kind = if packed { "jsonl.zst" } else { "jsonl" };
            if let Some((file, rows, kind)) = growing.take_if(|(_, _, other)| *other != kind) {
                made.add((file, rows), kind).await?;
            }
            let from = self.source.store.as_file(&input.object.name).await?;
            let mut from = from.ok_or_else(|| unlike(&input.object, "it is gone"))?;
            let (to, rows, _) = match &mut growing {
                Some(growing) => growing,
                None => growing.insert((tempfile::tempfile().map_err(|error| here(&error))?, 0, kind)),
            };
            lines::append(&mut from, packed, to).map_err(|error| here(&error))?;
            *rows += input.object.rows;
            let stored = to.metadata().map_err(|error| here(&error))?.len();
            if let Some((file, rows, kind)) = growing.take_if(|_| stored >= self.asked.bytes) {
                made.add((file, rows), kind).await?;
            }
            tell(1);
        }
        if let Some((file, rows, kind)) = growing {
            made.add((file, rows), kind).await?;
        }
        Ok(())
    }
}

/// The objects of a folder as they come.
struct Made<'a> {
    merge: &'a Merge<'a>,
    first: usize,
    objects: Vec<entry::Object>,
}

impl Made<'_> {
    async fn add(&mut self, (file, rows): (File, u64), ending: &str) -> Result<(), Failure> {
        let name = format!("{}/part-{:05}.{ending}", self.merge.folder, self.objects.len());
        let number = self.first + self.objects.len();
        self.objects.push(self.merge.target.stage(number, name, file, rows).await?);
        Ok(())
    }
}

/// A Parquet file in the making.
struct Growing {
    schema: SchemaRef,
    writer: SerializedFileWriter<BufWriter<File>>,
    columns: Vec<ArrowColumnWriter>,
    /// Bytes of rows in the open row group, not compressed.
    in_group: u64,
    rows: u64,
}

impl Growing {
    /// An empty file with the columns of another, encoded as they are there.
    fn new(schema: SchemaRef, like: &ParquetMetaData, level: i32) -> Result<Self, Failure> {
        let file = BufWriter::new(tempfile::tempfile().map_err(|error| here(&error))?);
        let converter = ArrowSchemaConverter::new();
        let root = converter.schema_root(like.file_metadata().schema_descr().root_schema().name());
        let parquet = root.convert(&schema).map_err(defect)?;
        let properties = Arc::new(properties(like, level).map_err(defect)?);
        let writer =
            SerializedFileWriter::new(file, parquet.root_schema_ptr(), properties).map_err(defect)?;
        Ok(Self { schema, writer, columns: Vec::new(), in_group: 0, rows: 0 })
    }

    fn add(&mut self, batch: &RecordBatch, row_group: u64) -> Result<(), ParquetError> {
        if self.columns.is_empty() {
            let factory = ArrowRowGroupWriterFactory::new(&self.writer, Arc::clone(&self.schema));
            self.columns = factory.create_column_writers(self.writer.flushed_row_groups().len())?;
        }
        let fields = self.schema.fields().iter().zip(batch.columns());
        for ((field, values), writer) in fields.zip(&mut self.columns) {
            for leaf in compute_leaves(field, values)? {
                writer.write(&leaf)?;
            }
        }
        self.rows += batch.num_rows() as u64;
        self.in_group += bytes_of(batch);
        if self.in_group >= row_group { self.end_group() } else { Ok(()) }
    }

    fn end_group(&mut self) -> Result<(), ParquetError> {
        if self.columns.is_empty() {
            return Ok(());
        }
        let mut group = self.writer.next_row_group()?;
        for column in std::mem::take(&mut self.columns) {
            column.close()?.append_to_row_group(&mut group)?;
        }
        group.close()?;
        self.in_group = 0;
        Ok(())
    }

    /// Bytes of the row groups that are ended.
    fn stored(&self) -> u64 {
        self.writer.bytes_written() as u64
    }

    fn finish(mut self, merge: &Merge<'_>) -> Result<(File, u64), Failure> {
        self.end_group().map_err(defect)?;
        for (name, value) in [
            ("longshore.pipeline", merge.source.pipeline.clone()),
            ("longshore.generation", merge.generation.to_string()),
            ("longshore.compacted", "true".to_owned()),
        ] {
            self.writer.append_key_value_metadata(KeyValue::new(name.to_owned(), value));
        }
        let file = self.writer.into_inner().map_err(defect)?;
        Ok((file.into_inner().map_err(|error| here(error.error()))?, self.rows))
    }
}

/// Bytes of the values, without what their buffers have room for beside them.
fn bytes_of(batch: &RecordBatch) -> u64 {
    let size = |column: &ArrayRef| {
        column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size())
    };
    batch.columns().iter().map(size).sum::<usize>() as u64
}

/// The columns as Arrow has them, without what a file says of itself, which is another thing in each.
fn schema_of(metadata: &ParquetMetaData) -> Result<SchemaRef, ParquetError> {
    Ok(Arc::new(parquet_to_arrow_schema(metadata.file_metadata().schema_descr(), None)?))
}

/// How a file's columns are encoded, told by its first row group.
fn properties(like: &ParquetMetaData, level: i32) -> Result<WriterProperties, ParquetError> {
    let mut properties = common_properties(level)?;
    for column in like.row_groups().first().map_or(&[][..], |group| group.columns()) {
        let path = column.column_path();
        let dictionary = column.dictionary_page_offset().is_some();
        properties = properties.set_column_dictionary_enabled(path.clone(), dictionary);
        if column.encodings().any(|encoding| encoding == Encoding::DELTA_BINARY_PACKED) {
            properties = properties.set_column_encoding(path.clone(), Encoding::DELTA_BINARY_PACKED);
        }
        if column.statistics().is_none() {
            properties = properties.set_column_statistics_enabled(path.clone(), EnabledStatistics::None);
        }
    }
    Ok(properties.build())
}

fn unread(input: &Input, error: Unread) -> Failure {
    match error {
        Unread::Store(failure) => failure,
        Unread::File(words) => unlike(&input.object, words),
    }
}

fn defect(error: ParquetError) -> Failure {
    Failure::halt(Reason::Internal, format_args!("make a Parquet file: {error}"))
}
