//! Files are read back by the library's own reader, which shares little with its writer.

use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use ::parquet::file::metadata::ParquetMetaData;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use bytes::Bytes;
use longshore_core::{ChunkBuilder, Content, Epoch, Item, Lane, Map, Offset, PairId, RecordRef, Value};

use super::*;

/// A row as the columns write it, of the record at this offset.
fn row(columns: &Columns, offset: i64, fields: &[(&str, Value)]) -> Vec<u8> {
    let mut chunk = ChunkBuilder::new(PairId::new("logs.raw", 3), Lane::Input, Epoch(1));
    chunk.record(Offset(offset), 1_700_000_000_000 + offset, None, Some(b"{}"));
    let mut item = Item::new(RecordRef::new(&chunk.build(None), 0).unwrap());
    let fields = fields.iter().map(|(name, value)| ((*name).into(), value.clone()));
    item.content = Content::Fields(fields.collect::<Map>());
    let mut row = Vec::new();
    columns.encode(&item, &mut row).unwrap();
    row
}

fn field(name: &str, kind: Type) -> Column {
    Column { name: name.to_owned(), kind, source: Source::Field(name.to_owned()) }
}

fn file(columns: &Arc<Columns>) -> ParquetFile {
    ParquetFile::new(Arc::clone(columns), 3).unwrap()
}

fn group(file: &mut ParquetFile, rows: &[Vec<u8>]) {
    file.group(rows.iter().map(Vec::as_slice)).unwrap();
}

/// The rest of the file after what was taken of it already.
fn ended(mut file: ParquetFile, mut taken: Vec<u8>) -> Bytes {
    file.finish(&[("longshore.trailer".to_owned(), "{}".to_owned())]).unwrap();
    taken.extend(file.take());
    assert_eq!(file.take(), b"");
    Bytes::from(taken)
}

fn read(file: Bytes) -> (Arc<ParquetMetaData>, Vec<RecordBatch>) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let footer = Arc::clone(reader.metadata());
    (footer, reader.build().unwrap().map(Result::unwrap).collect())
}

fn texts(batch: &RecordBatch, name: &str) -> Vec<Option<String>> {
    let column = batch.column_by_name(name).unwrap().as_string::<i32>();
    column.iter().map(|text| text.map(str::to_owned)).collect()
}

fn longs(batches: &[RecordBatch], name: &str) -> Vec<i64> {
    let column = |batch: &RecordBatch| batch.column_by_name(name).unwrap().clone();
    batches.iter().flat_map(|batch| column(batch).as_primitive::<Int64Type>().values().to_vec()).collect()
}

/// Scenario: each type with its extremes and with null, in one file that is taken piece by piece. Guarantee: the very values are read,
/// under the schema that was asked for, and the footer has our metadata.
#[test]
fn every_type_is_read_as_it_was_written() {
    let kinds = [
        ("text", Type::Text),
        ("json", Type::Json),
        ("int", Type::Int),
        ("int32", Type::Int32),
        ("float", Type::Float),
        ("bool", Type::Bool),
        ("time", Type::Time),
        ("nanos", Type::Nanos),
        ("bytes", Type::Bytes),
    ];
    let columns = Columns::of(kinds.iter().map(|(name, kind)| field(name, *kind)).collect()).unwrap();
    let columns = Arc::new(columns);
    let least = [
        ("text", Value::from("a\0\u{1f600}")),
        ("json", Value::Object(Map::default())),
        ("int", Value::Int(i64::MIN)),
        ("int32", Value::Int(i64::from(i32::MIN))),
        ("float", Value::Float(f64::NEG_INFINITY)),
        ("bool", Value::Bool(false)),
        ("time", Value::from("1677-09-21T00:12:43.145224192Z")),
        ("nanos", Value::Int(-1)),
        ("bytes", Value::Bytes(Box::from([0, 255]))),
    ];
    let most = [
        ("text", Value::from("")),
        ("json", Value::Array(vec![Value::Null])),
        ("int", Value::Int(i64::MAX)),
        ("int32", Value::Int(i64::from(i32::MAX))),
        ("float", Value::Float(f64::NAN)),
        ("bool", Value::Bool(true)),
        ("time", Value::Int(i64::MAX)),
        ("nanos", Value::Int(i64::MAX)),
        ("bytes", Value::Bytes(Box::from([]))),
    ];
    let mut file = file(&columns);
    let mut taken = file.take();
    group(&mut file, &[row(&columns, 0, &least), row(&columns, 1, &[]), row(&columns, 2, &most)]);
    taken.extend(file.take());
    let (footer, batches) = read(ended(file, taken));
    let [batch] = &batches[..] else { panic!("{batches:?}") };
    assert_eq!(batch.schema().fields(), columns.schema().fields());
    assert_eq!(texts(batch, "text"), [Some("a\0\u{1f600}".to_owned()), None, Some(String::new())]);
    assert_eq!(texts(batch, "json"), [Some("{}".to_owned()), None, Some("[null]".to_owned())]);
    let column = |name: &str| batch.column_by_name(name).unwrap();
    let ints: Vec<_> = column("int").as_primitive::<Int64Type>().iter().collect();
    assert_eq!(ints, [Some(i64::MIN), None, Some(i64::MAX)]);
    let ints: Vec<_> = column("int32").as_primitive::<Int32Type>().iter().collect();
    assert_eq!(ints, [Some(i32::MIN), None, Some(i32::MAX)]);
    let floats: Vec<_> = column("float").as_primitive::<Float64Type>().iter().collect();
    assert!(floats[0] == Some(f64::NEG_INFINITY) && floats[1].is_none() && floats[2].unwrap().is_nan());
    let truths: Vec<_> = column("bool").as_boolean().iter().collect();
    assert_eq!(truths, [Some(false), None, Some(true)]);
    let times: Vec<_> = column("time").as_primitive::<TimestampMicrosecondType>().iter().collect();
    assert_eq!(times, [Some(i64::MIN.div_euclid(1_000)), None, Some(i64::MAX / 1_000)]);
    let times: Vec<_> = column("nanos").as_primitive::<Int64Type>().iter().collect();
    assert_eq!(times, [Some(-1), None, Some(i64::MAX)]);
    let bytes: Vec<_> = column("bytes").as_binary::<i32>().iter().collect();
    assert_eq!(bytes, [Some(&[0, 255][..]), None, Some(&[][..])]);
    assert_eq!(column("_key").null_count(), 3);
    assert_eq!(texts(batch, "_origin")[2].as_deref(), Some("logs.raw/3/2/0"));

    let footer = footer.file_metadata();
    assert!(footer.created_by().unwrap().starts_with("longshore version "));
    let metadata = footer.key_value_metadata().unwrap();
    assert!(metadata.contains(&KeyValue::new("longshore.trailer".to_owned(), "{}".to_owned())));
}

#[test]
fn a_file_without_rows_is_a_file() {
    for columns in [Columns::log(), Columns::document(), Columns::record()] {
        let columns = Arc::new(columns);
        let mut file = file(&columns);
        group(&mut file, &[]);
        let bytes = ended(file, Vec::new());
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).unwrap();
        assert_eq!(reader.schema().fields(), columns.schema().fields());
        let (footer, batches) = read(bytes);
        assert_eq!((footer.num_row_groups(), batches.len()), (0, 0));
    }
}

/// Scenario: groups of one row, of more rows than one array has, and texts of 20 MB and of a MiB beside small ones. Guarantee: each call
/// is one row group, the rows come back in their order, and no page is much larger than it must be.
#[test]
fn groups_and_rows_of_any_size_keep_their_order() {
    let columns = Arc::new(Columns::log());
    let huge = "x".repeat(20_000_000);
    let large = "y\u{e9}".repeat(1 << 19);
    let body = |offset: i64| match offset {
        7 => huge.as_str(),
        8..=12 => large.as_str(),
        _ => "small",
    };
    let mut next = 0..;
    let mut file = file(&columns);
    let mut taken = Vec::new();
    let sizes = [1, 40, 20_000, 1];
    for size in sizes {
        let rows: Vec<Vec<u8>> = next
            .by_ref()
            .take(size)
            .map(|offset| row(&columns, offset, &[("body", Value::from(body(offset)))]))
            .collect();
        group(&mut file, &rows);
        taken.extend(file.take());
    }
    let (footer, batches) = read(ended(file, taken));
    let groups: Vec<i64> = footer.row_groups().iter().map(|group| group.num_rows()).collect();
    assert_eq!(groups, sizes.map(|size| size as i64));
    assert_eq!(longs(&batches, "_offset"), (0..20_042).collect::<Vec<i64>>());
    let bodies = batches.iter().flat_map(|batch| texts(batch, "body"));
    for (offset, text) in bodies.enumerate() {
        assert!(text.as_deref() == Some(body(offset as i64)), "the body of offset {offset} is another one");
    }
}

/// Guarantee: a file that waits for its next group holds none of its rows and no encoder, only what its footer will say.
#[test]
fn a_waiting_file_is_small() {
    let columns = Arc::new(Columns::log());
    let mut file = file(&columns);
    let groups = 3_000;
    for place in 0..groups {
        let body = Value::from(format!("{place} {}", "z".repeat(2_000)).as_str());
        group(&mut file, &[row(&columns, place, &[("body", body)])]);
        assert!(!file.take().is_empty());
        assert_eq!(file.writer.inner().capacity(), 0);
    }
    let footer = ended(file, Vec::new());
    // The reader's form of the footer is the writer's form of what it keeps for it.
    let footer =
        ::parquet::file::metadata::ParquetMetaDataReader::decode_metadata(&footer[..footer.len() - 8]);
    let footer = footer.unwrap();
    assert_eq!(footer.num_row_groups(), groups as usize);
    let each = footer.memory_size() / groups as usize;
    assert!(each < 32 * 1024, "{each} bytes for each group");
}

/// Guarantee: bytes that are no rows are told as our defect, whatever they are, and never a panic.
#[test]
fn bytes_that_are_no_rows_are_told() {
    let columns = Arc::new(Columns::log());
    let whole = row(&columns, 0, &[("body", Value::from("a"))]);
    let with = |at: usize, byte: u8| {
        let mut row = whole.clone();
        row[at] = byte;
        row
    };
    let longer = [&whole[..], b"x"].concat();
    let mut broken = vec![longer, with(2, 0xf0)];
    broken.extend((0..whole.len()).map(|length| whole[..length].to_vec()));
    for row in broken {
        let failure = file(&columns).group([&row[..]].into_iter()).unwrap_err();
        assert_eq!(failure.reason, Reason::Internal, "{row:?}");
    }
}

#[test]
fn a_level_that_zstd_does_not_have_is_told() {
    let failure = ParquetFile::new(Arc::new(Columns::log()), 23).err().unwrap();
    assert_eq!(failure.reason, Reason::Internal);
}
