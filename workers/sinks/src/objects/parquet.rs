//! A Parquet file that is made of rows as they wait in a segment.
//!
//! A row group is encoded at once and column by column: of all columns only one has its encoder, its dictionary and its compressor at a
//! time, and between groups there are none. So a file that waits for its next group costs little more than the footer it will have.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use ::parquet::arrow::ArrowSchemaConverter;
use ::parquet::arrow::arrow_writer::{ArrowRowGroupWriterFactory, compute_leaves};
use ::parquet::basic::{Compression, Encoding, ZstdLevel};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::{
    EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterVersion,
};
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::types::ColumnPath;
use longshore_core::{Failure, Reason};

use super::columns::{Column, Columns, Source, Type, array};

/// The most bytes of a column's least and greatest value that a footer keeps.
const STATISTICS_BYTES: usize = 64;

/// A Parquet file in the making. Its bytes gather in memory until [`Self::take`].
pub(super) struct ParquetFile {
    columns: Arc<Columns>,
    writer: SerializedFileWriter<Vec<u8>>,
}

impl ParquetFile {
    /// An empty file.
    ///
    /// # Errors
    /// A level that zstd does not have.
    pub(super) fn new(columns: Arc<Columns>, level: i32) -> Result<Self, Failure> {
        let properties = Arc::new(properties(&columns, level).map_err(broken)?);
        let converter = ArrowSchemaConverter::new().schema_root("record");
        let schema = converter.convert(&columns.schema()).map_err(broken)?;
        let writer = SerializedFileWriter::new(Vec::new(), schema.root_schema_ptr(), properties);
        Ok(Self { columns, writer: writer.map_err(broken)? })
    }

    /// Encodes rows as [`Columns::encode`] wrote them, in their order, as one row group; no rows are no group.
    ///
    /// # Errors
    /// A defect of ours, since rows hold nothing that a file cannot. The file is of no use any more.
    pub(super) fn group<'a>(&mut self, rows: impl Iterator<Item = &'a [u8]>) -> Result<(), Failure> {
        let mut rows: Vec<&[u8]> = rows.collect();
        if rows.is_empty() {
            return Ok(());
        }
        let schema = self.columns.schema();
        let factory = ArrowRowGroupWriterFactory::new(&self.writer, Arc::clone(&schema));
        let place = self.writer.flushed_row_groups().len();
        let writers = factory.create_column_writers(place).map_err(broken)?;
        let mut group = self.writer.next_row_group().map_err(broken)?;
        let fields = self.columns.columns().iter().zip(schema.fields());
        for ((column, field), mut writer) in fields.zip(writers) {
            let mut rest = &mut rows[..];
            while !rest.is_empty() {
                let values = array(column.kind, rest).ok_or_else(no_row)?;
                for leaf in compute_leaves(field, &values).map_err(broken)? {
                    writer.write(&leaf).map_err(broken)?;
                }
                rest = &mut rest[values.len()..];
            }
            writer.close().and_then(|chunk| chunk.append_to_row_group(&mut group)).map_err(broken)?;
        }
        if rows.iter().any(|rest| !rest.is_empty()) {
            return Err(no_row());
        }
        group.close().map_err(broken)?;
        // The library holds small pieces back.
        self.writer.flush().map_err(broken)?;
        Ok(())
    }

    /// The bytes that were not taken yet; after a group everything but the footer.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.writer.inner_mut())
    }

    /// Ends the file; the metadata stands in its footer, as names and values. What [`Self::take`] gives now is the rest of it.
    ///
    /// # Errors
    /// A defect of ours.
    pub(super) fn finish(&mut self, metadata: &[(String, String)]) -> Result<(), Failure> {
        for (name, value) in metadata {
            self.writer.append_key_value_metadata(KeyValue::new(name.clone(), value.clone()));
        }
        self.writer.finish().map(drop).map_err(broken)
    }
}

/// What all files have in common, those that are merged too. All of it is read by DuckDB, pyarrow (so by Hugging Face's `load_dataset`), Spark 3.3
/// and polars.
pub(in crate::objects) fn common_properties(level: i32) -> Result<WriterPropertiesBuilder, ParquetError> {
    Ok(WriterProperties::builder()
        // Readers mend the known faults of writers by this name, so it must not be the library's.
        .set_created_by(concat!("longshore version ", env!("CARGO_PKG_VERSION")).to_owned())
        // Pages of the first version: every reader has them, and those of the second save nothing where nothing is nested.
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(level)?))
        // The caller decides what a row group is.
        .set_max_row_group_row_count(None)
        .set_max_row_group_bytes(None)
        // Readers pass over row groups by their columns' least and greatest values. The same by pages would be kept in memory until
        // the file ends, and in groups of a few pages it would save little.
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_statistics_truncate_length(Some(STATISTICS_BYTES))
        .set_offset_index_disabled(true))
}

/// How the columns are encoded.
fn properties(columns: &Columns, level: i32) -> Result<WriterProperties, ParquetError> {
    Ok(columns.columns().iter().fold(common_properties(level)?, encoding).build())
}

fn encoding(properties: WriterPropertiesBuilder, column: &Column) -> WriterPropertiesBuilder {
    let path = || ColumnPath::new(vec![column.name.clone()]);
    let repeats = repeats(column);
    let mut properties = properties.set_column_dictionary_enabled(path(), repeats);
    if matches!(column.kind, Type::Int | Type::Time | Type::Nanos) {
        // Offsets and times rise by little, so their differences are a fraction of their size.
        properties = properties.set_column_encoding(path(), Encoding::DELTA_BINARY_PACKED);
    }
    if column.kind == Type::Json {
        // Nobody asks for a range of these.
        properties = properties.set_column_statistics_enabled(path(), EnabledStatistics::None);
    }
    properties
}

/// Whether a column's values repeat, so that a dictionary makes it smaller. Where they do not, it is work for nothing: a dictionary is
/// given up only once it has grown to a page.
fn repeats(column: &Column) -> bool {
    match &column.source {
        Source::Field(name) => matches!(
            name.as_str(),
            "event_name" | "resource" | "severity_number" | "severity_text" | "source" | "trace_flags"
        ),
        Source::Value(_) => !matches!(column.kind, Type::Json | Type::Time | Type::Nanos),
        Source::Topic | Source::Partition | Source::Key => true,
        Source::Record
        | Source::Rest
        | Source::Happened
        | Source::Origin
        | Source::Offset
        | Source::Timestamp => false,
    }
}

fn no_row() -> Failure {
    Failure::halt(Reason::Internal, "the bytes are not the rows that the columns wrote")
}

fn broken(error: impl std::fmt::Display) -> Failure {
    Failure::halt(Reason::Internal, format_args!("make a Parquet file: {error}"))
}
