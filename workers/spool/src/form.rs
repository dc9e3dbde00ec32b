//! How a chunk stands on the disk: a table of where each record begins and where the last one ends (8 bytes each, little endian), then
//! the records. A record: checksum (xxh3 with its place in the chunk as the seed, 8 bytes), offset, timestamp, key, value, the number of headers, and each header's name and
//! value; bytes have their length (4 bytes) before them, where [`NULL`] is a null.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use longshore_core::{Chunk, ChunkBuilder, Offset, RecordRef, SpoolError};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Records are gathered up to about this before they are written.
const BUFFER_BYTES: usize = 256 * 1024;
const SUM_BYTES: usize = 8;
const LENGTH_BYTES: usize = 4;
const NULL: u32 = u32::MAX;

/// Where the records of a chunk are going to stand.
pub(crate) struct Layout {
    /// From the beginning of the chunk.
    places: Vec<u64>,
}

impl Layout {
    pub(crate) fn of(chunk: &Arc<Chunk>) -> Self {
        let mut at = 8 * (chunk.len() as u64 + 1);
        let mut places = Vec::with_capacity(chunk.len() + 1);
        places.push(at);
        for record in records(chunk) {
            at += size(&record) as u64;
            places.push(at);
        }
        Self { places }
    }

    /// All bytes of the chunk.
    pub(crate) fn bytes(&self) -> u64 {
        self.places.last().copied().unwrap_or(0)
    }

    /// Bytes of the largest record as it stands here, which is a little more than it takes in memory.
    pub(crate) fn largest(&self) -> u64 {
        self.places.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0)
    }

    /// Writes the chunk, which is the one that the layout was made of.
    pub(crate) fn write(&self, chunk: &Arc<Chunk>, file: &File, start: u64) -> io::Result<()> {
        let mut buffer = Vec::new();
        let mut at = start;
        self.places.iter().for_each(|place| buffer.extend(place.to_le_bytes()));
        for (index, record) in (0..).zip(records(chunk)) {
            encode(&record, index, &mut buffer);
            if buffer.len() >= BUFFER_BYTES {
                file.write_all_at(&buffer, at)?;
                at += buffer.len() as u64;
                buffer.clear();
            }
        }
        file.write_all_at(&buffer, at)
    }
}

fn records(chunk: &Arc<Chunk>) -> impl Iterator<Item = RecordRef> {
    (0..chunk.len() as u32).filter_map(|index| RecordRef::new(chunk, index))
}

fn size(record: &RecordRef) -> usize {
    let headers = record.headers().map(|_| 2 * LENGTH_BYTES).sum::<usize>();
    SUM_BYTES + 16 + 3 * LENGTH_BYTES + headers + record.bytes()
}

fn encode(record: &RecordRef, index: u32, to: &mut Vec<u8>) {
    let sum = to.len();
    let body = sum + SUM_BYTES;
    to.extend([0; SUM_BYTES]);
    to.extend(record.lane_offset().0.to_le_bytes());
    to.extend(record.landed_ms().to_le_bytes());
    put(record.key(), to);
    put(record.value(), to);
    to.extend((record.headers().count() as u32).to_le_bytes());
    for header in record.headers() {
        put(Some(header.name), to);
        put(header.value, to);
    }
    let hash = checksum(&to[body..], index).to_le_bytes();
    to[sum..body].copy_from_slice(&hash);
}

/// Where the table of places is damaged another record of the chunk may be read, which is whole in itself: hence the seed.
fn checksum(body: &[u8], index: u32) -> u64 {
    xxh3_64_with_seed(body, index.into())
}

fn put(bytes: Option<&[u8]>, to: &mut Vec<u8>) {
    let length = bytes.map_or(NULL, |bytes| bytes.len() as u32);
    to.extend(length.to_le_bytes());
    to.extend(bytes.unwrap_or_default());
}

/// Reads one record of the chunk that begins at `start`.
pub(crate) fn read(file: &File, start: u64, index: u32, to: &mut ChunkBuilder) -> Result<(), SpoolError> {
    let mut table = [0; 16];
    file.read_exact_at(&mut table, start + 8 * u64::from(index))?;
    let (from, end) = table.split_at(8);
    let place = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).map_err(|_| SpoolError::Damaged);
    let (from, end) = (place(from)?, place(end)?);
    // No record is larger than what Kafka can hand out.
    let length = end.checked_sub(from).filter(|length| *length <= u64::from(u32::MAX));
    let length = length.ok_or(SpoolError::Damaged)? as usize;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, start + from)?;
    decode(&bytes, index, to).ok_or(SpoolError::Damaged)
}

fn decode(bytes: &[u8], index: u32, to: &mut ChunkBuilder) -> Option<()> {
    let (sum, body) = bytes.split_first_chunk()?;
    if checksum(body, index) != u64::from_le_bytes(*sum) {
        return None;
    }
    let (offset, rest) = body.split_first_chunk()?;
    let (landed_ms, mut rest) = rest.split_first_chunk()?;
    let key = take(&mut rest)?;
    let value = take(&mut rest)?;
    to.record(Offset(i64::from_le_bytes(*offset)), i64::from_le_bytes(*landed_ms), key, value);
    for _ in 0..number(&mut rest)? {
        let name = take(&mut rest)??;
        to.header(name, take(&mut rest)?);
    }
    Some(())
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    let (number, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(u32::from_le_bytes(*number))
}

/// The next bytes, which may be a null; none when there are not so many.
fn take<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = number(rest)?;
    if length == NULL {
        return Some(None);
    }
    let (bytes, left) = rest.split_at_checked(length as usize)?;
    *rest = left;
    Some(Some(bytes))
}
