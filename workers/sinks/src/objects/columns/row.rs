//! How a row lies in memory between the record and the row group: its columns' values in the order of the columns, little-endian.
//!
//! | kind | bytes |
//! |---|---|
//! | `Text`, `Json`, `Bytes` | the length as `u32`, then as many bytes; the length `u32::MAX` is null |
//! | `Int`, `Time`, `Nanos` | 0 for null, or 1 and an `i64`; of times, micro- or nanoseconds since 1970 |
//! | `Int32` | 0 for null, or 1 and an `i32` |
//! | `Float` | 0 for null, or 1 and an `f64` |
//! | `Bool` | 0 for null, 1 for false, 2 for true |
//!
//! It never leaves the process that wrote it, so it has no version.

use std::sync::Arc;

use arrow_array::builder::{
    BinaryBuilder, BooleanBuilder, Float64Builder, Int32Builder, Int64Builder, TimestampMicrosecondBuilder,
};
use arrow_array::{ArrayRef, BinaryArray, StringArray};

use super::{Type, UTC};

const NULL: u32 = u32::MAX;

/// The most rows of one array.
const ARRAY_ROWS: usize = 8192;
/// The bytes of texts at which an array ends; one text may be larger.
const ARRAY_BYTES: usize = 1 << 20;

/// Appends what `write` appends, with its length in front.
pub(super) fn sized<E>(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out)?;
    // Beyond 32 bits the row is too large anyway, and the caller finds that.
    let length = u32::try_from(out.len() - start - 4).unwrap_or(NULL);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

pub(super) fn bytes(value: Option<&[u8]>, out: &mut Vec<u8>) {
    let Some(value) = value else { return out.extend_from_slice(&NULL.to_le_bytes()) };
    out.extend_from_slice(&u32::try_from(value.len()).unwrap_or(NULL).to_le_bytes());
    out.extend_from_slice(value);
}

pub(super) fn long(value: Option<i64>, out: &mut Vec<u8>) {
    fixed(value.map(i64::to_le_bytes), out);
}

pub(super) fn int(value: Option<i32>, out: &mut Vec<u8>) {
    fixed(value.map(i32::to_le_bytes), out);
}

pub(super) fn double(value: Option<f64>, out: &mut Vec<u8>) {
    fixed(value.map(f64::to_le_bytes), out);
}

pub(super) fn truth(value: Option<bool>, out: &mut Vec<u8>) {
    out.push(value.map_or(0, |value| 1 + u8::from(value)));
}

fn fixed<const N: usize>(value: Option<[u8; N]>, out: &mut Vec<u8>) {
    out.push(u8::from(value.is_some()));
    out.extend_from_slice(value.as_ref().map_or(&[][..], |value| value));
}

/// Takes the next column's values off the first rows, as many as one array should have: bounded in rows and in bytes, at least one. The
/// array's length says how many rows it took. None when the bytes are no rows of this column.
pub(in crate::objects) fn array(kind: Type, rows: &mut [&[u8]]) -> Option<ArrayRef> {
    let most = rows.len().min(ARRAY_ROWS);
    let rows = &mut rows[..most];
    Some(match kind {
        // Checks all texts in one go.
        Type::Text | Type::Json => Arc::new(StringArray::try_from_binary(read_bytes(rows)?).ok()?),
        Type::Bytes => Arc::new(read_bytes(rows)?),
        Type::Int | Type::Nanos => {
            let mut values = Int64Builder::with_capacity(most);
            for row in rows {
                values.append_option(read_fixed(row)?.map(i64::from_le_bytes));
            }
            Arc::new(values.finish())
        }
        Type::Time => {
            let mut values = TimestampMicrosecondBuilder::with_capacity(most);
            for row in rows {
                values.append_option(read_fixed(row)?.map(i64::from_le_bytes));
            }
            Arc::new(values.finish().with_timezone(UTC))
        }
        Type::Int32 => {
            let mut values = Int32Builder::with_capacity(most);
            for row in rows {
                values.append_option(read_fixed(row)?.map(i32::from_le_bytes));
            }
            Arc::new(values.finish())
        }
        Type::Float => {
            let mut values = Float64Builder::with_capacity(most);
            for row in rows {
                values.append_option(read_fixed(row)?.map(f64::from_le_bytes));
            }
            Arc::new(values.finish())
        }
        Type::Bool => {
            let mut values = BooleanBuilder::with_capacity(most);
            for row in rows {
                values.append_option(read_truth(row)?);
            }
            Arc::new(values.finish())
        }
    })
}

fn read_bytes(rows: &mut [&[u8]]) -> Option<BinaryArray> {
    let (mut count, mut bytes) = (0, 0);
    for row in rows.iter() {
        if count > 0 && bytes >= ARRAY_BYTES {
            break;
        }
        count += 1;
        bytes += length(row)?.unwrap_or(0);
    }
    let mut values = BinaryBuilder::with_capacity(count, bytes);
    for row in &mut rows[..count] {
        let length = length(row)?;
        let (value, rest) = row[4..].split_at_checked(length.unwrap_or(0))?;
        values.append_option(length.map(|_| value));
        *row = rest;
    }
    Some(values.finish())
}

fn length(row: &[u8]) -> Option<Option<usize>> {
    let length = u32::from_le_bytes(*row.first_chunk::<4>()?);
    Some((length != NULL).then_some(length as usize))
}

fn read_fixed<const N: usize>(row: &mut &[u8]) -> Option<Option<[u8; N]>> {
    let (tag, rest) = row.split_first()?;
    if *tag == 0 {
        *row = rest;
        return Some(None);
    }
    let (value, rest) = rest.split_first_chunk::<N>()?;
    *row = rest;
    Some(Some(*value))
}

fn read_truth(row: &mut &[u8]) -> Option<Option<bool>> {
    let (tag, rest) = row.split_first()?;
    *row = rest;
    Some((*tag != 0).then_some(*tag == 2))
}
