//! Records in one buffer, for those who make many of them: one by one, each of their many small parts would be an allocation.

use std::ops::Range;

use super::ProducerRecord;

/// Name and value of a header, borrowed from a buffer.
pub type BufferedHeader<'a> = (&'a [u8], Option<&'a [u8]>);

/// Records to send, all their bytes in one buffer.
#[derive(Debug, Default)]
pub struct RecordBuffer {
    bytes: Vec<u8>,
    headers: Vec<(Range<usize>, Option<Range<usize>>)>,
    records: Vec<Kept>,
}

#[derive(Debug)]
struct Kept {
    partition: Option<i32>,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    first_header: usize,
    first_byte: usize,
}

impl RecordBuffer {
    /// Adds a record without headers; add its headers right after with [`Self::header`]. Without a partition its key chooses.
    pub fn record(&mut self, partition: Option<i32>, key: Option<&[u8]>, value: Option<&[u8]>) {
        let (first_header, first_byte) = (self.headers.len(), self.bytes.len());
        let key = key.map(|bytes| self.copy(bytes));
        let value = value.map(|bytes| self.copy(bytes));
        self.records.push(Kept { partition, key, value, first_header, first_byte });
    }

    /// Adds a header to the record added last.
    pub fn header(&mut self, name: &[u8], value: Option<&[u8]>) {
        let name = self.copy(name);
        let value = value.map(|bytes| self.copy(bytes));
        self.headers.push((name, value));
    }

    /// How many records.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The bytes of record `at`: key, value and headers. None of a record that is not there.
    pub fn bytes(&self, at: usize) -> usize {
        let Some(record) = self.records.get(at) else { return 0 };
        self.records.get(at + 1).map_or(self.bytes.len(), |next| next.first_byte) - record.first_byte
    }

    /// Forgets all records, and keeps the room.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.headers.clear();
        self.records.clear();
    }

    /// The headers of all records, for [`Self::get`].
    pub fn headers(&self) -> Vec<BufferedHeader<'_>> {
        let slice = |range: &Range<usize>| &self.bytes[range.clone()];
        self.headers.iter().map(|(name, value)| (slice(name), value.as_ref().map(slice))).collect()
    }

    /// Record `at`, none when there is no such record; `headers` are those of all records.
    pub fn get<'a>(&'a self, at: usize, headers: &'a [BufferedHeader<'a>]) -> Option<ProducerRecord<'a>> {
        let record = self.records.get(at)?;
        let last_header = self.records.get(at + 1).map_or(self.headers.len(), |next| next.first_header);
        let slice = |range: &Range<usize>| &self.bytes[range.clone()];
        Some(ProducerRecord {
            partition: record.partition,
            key: record.key.as_ref().map(slice),
            value: record.value.as_ref().map(slice),
            timestamp_ms: None,
            headers: headers.get(record.first_header..last_header)?,
        })
    }

    fn copy(&mut self, bytes: &[u8]) -> Range<usize> {
        let first = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        first..self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantee: every record keeps its own parts; a null key or value stays null, and an empty one empty.
    #[test]
    fn records_keep_their_own_parts() {
        let mut buffer = RecordBuffer::default();
        buffer.record(Some(3), Some(b"k"), None);
        buffer.header(b"a", Some(b"1"));
        buffer.header(b"b", None);
        buffer.record(None, None, Some(b""));
        buffer.record(None, Some(b""), Some(b"value"));
        buffer.header(b"c", Some(b""));
        let headers = buffer.headers();
        let [one, two, three] = [0, 1, 2].map(|at| buffer.get(at, &headers).unwrap());
        assert_eq!((one.partition, one.key, one.value), (Some(3), Some(b"k".as_slice()), None));
        assert_eq!(one.headers, [(b"a".as_slice(), Some(b"1".as_slice())), (b"b".as_slice(), None)]);
        assert_eq!((two.key, two.value, two.headers.len()), (None, Some(b"".as_slice()), 0));
        assert_eq!((three.key, three.value), (Some(b"".as_slice()), Some(b"value".as_slice())));
        assert_eq!(three.headers, [(b"c".as_slice(), Some(b"".as_slice()))]);
        assert_eq!([0, 1, 2, 3].map(|at| buffer.bytes(at)), [4, 0, 6, 0]);
        assert!(buffer.get(3, &headers).is_none());
    }
}
