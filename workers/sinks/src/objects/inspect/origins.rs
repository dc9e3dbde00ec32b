//! Whose rows an object has.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use arrow_array::{Array, RecordBatch, StringArray};
use longshore_core::{Failure, Generation, Origin};

use super::parquet::{ParquetObject, Unread};
use super::segments::{Object, Pair};
use crate::blocking::blocking;
use crate::objects::store::Store;
use crate::verify::parse_row;

/// The column, and the field, with a row's identity.
pub(super) const ORIGIN: &str = "_origin";

/// What an object was found to hold.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) count: u64,
    /// Offset and index of each row of the pair.
    pub(super) of_pair: Vec<(i64, u32)>,
    /// The first row of another pair, and how many there are.
    pub(super) foreign: Option<(String, u64)>,
    /// Why it cannot be read from here on.
    pub(super) unread: Option<String>,
    /// What its footer says of itself, where it is not what the ledger says.
    pub(super) footer: Option<String>,
    /// The hash of the content, of plain files alone.
    pub(super) blake3: Option<String>,
}

impl Rows {
    fn origin(&mut self, pair: &Pair, origin: &Origin) {
        self.count += 1;
        if origin.topic.as_str() == pair.topic && origin.partition.0 == pair.partition {
            self.of_pair.push((origin.offset.0, origin.index));
        } else {
            self.foreign.get_or_insert_with(|| (origin.to_string(), 0)).1 += 1;
        }
    }
}

/// Counts the rows of an object and tells whose they are. `number` is that of its segment.
pub(super) async fn rows_of(
    store: &Store,
    pair: &Pair,
    number: u64,
    object: &Object,
) -> Result<Rows, Failure> {
    let mut rows = Rows::default();
    let name = object.name.as_ref();
    let read = if name.ends_with(".parquet") {
        parquet(store, pair, number, object, &mut rows).await
    } else {
        lines(store, pair, object, &mut rows).await
    };
    match read {
        Ok(()) => Ok(rows),
        Err(Unread::Store(failure)) => Err(failure),
        Err(Unread::File(words)) => {
            rows.unread = Some(words);
            Ok(rows)
        }
    }
}

async fn parquet(
    store: &Store,
    pair: &Pair,
    number: u64,
    object: &Object,
    rows: &mut Rows,
) -> Result<(), Unread> {
    let file = ParquetObject::open(store, &object.name, object.bytes).await?;
    let expected = [
        ("longshore.generation", Generation(pair.generation).0.to_string()),
        ("longshore.partition", format!("{}/{}", pair.topic, pair.partition)),
        ("longshore.sequence", number.to_string()),
    ];
    let said = |(key, value): &&(&str, String)| file.about(key) != Some(value.as_str());
    if let Some((key, value)) = expected.iter().find(said) {
        let found = file.about(key).unwrap_or("nothing");
        rows.footer = Some(format!("its footer says {found} for {key}, not {value}"));
    }
    let mut batches = file.batches(Some(&[ORIGIN]))?;
    while let Some(batch) = batches.next().await? {
        for text in texts(&batch, ORIGIN)?.iter().flatten() {
            let origin = text.parse().map_err(|_| Unread::File(format!("{text} is no {ORIGIN}")))?;
            rows.origin(pair, &origin);
        }
    }
    if rows.count != file.rows() {
        return Err(Unread::File(format!(
            "its footer says {} rows, and {} have an {ORIGIN}",
            file.rows(),
            rows.count
        )));
    }
    Ok(())
}

/// A column of texts.
pub(super) fn texts<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a StringArray, Unread> {
    let column = batch.column_by_name(name).and_then(|column| column.as_any().downcast_ref());
    column.ok_or_else(|| Unread::File(format!("it has no column {name} of texts")))
}

async fn lines(store: &Store, pair: &Pair, object: &Object, rows: &mut Rows) -> Result<(), Unread> {
    let Some(file) = store.as_file(&object.name).await? else {
        return Err(Unread::File("it is gone".to_owned()));
    };
    let (packed, pair) = (object.name.as_ref().ends_with(".zst"), pair.clone());
    let hashed = object.blake3.is_some();
    *rows = blocking(move || {
        let mut rows = Rows::default();
        rows.unread = read_lines(file, packed, hashed, &pair, &mut rows).err();
        Ok(rows)
    })
    .await?;
    Ok(())
}

fn read_lines(file: File, packed: bool, hashed: bool, pair: &Pair, rows: &mut Rows) -> Result<(), String> {
    let mut hasher = blake3::Hasher::new();
    let mut reader: Box<dyn BufRead + '_> = if packed {
        let unpacked = zstd::stream::read::Decoder::new(file).map_err(|error| error.to_string())?;
        Box::new(BufReader::with_capacity(256 * 1024, unpacked))
    } else if hashed {
        Box::new(BufReader::with_capacity(256 * 1024, Hashed { file, hasher: &mut hasher }))
    } else {
        Box::new(BufReader::with_capacity(256 * 1024, file))
    };
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).map_err(|error| error.to_string())? > 0 {
        let (_, origin) = parse_row(&line).map_err(|words| format!("row {}: {words}", rows.count + 1))?;
        rows.origin(pair, &origin);
        line.clear();
    }
    drop(reader);
    rows.blake3 = hashed.then(|| hasher.finalize().to_hex().to_string());
    Ok(())
}

/// Hashes what is read.
struct Hashed<'a> {
    file: File,
    hasher: &'a mut blake3::Hasher,
}

impl Read for Hashed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}
