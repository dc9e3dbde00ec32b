//! Varints and base64, as the commit metadata and the ledger's checkpoints use them.

use super::MetadataError;

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Gathers bytes.
#[derive(Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Takes bytes apart; everything that is not there is damage.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], MetadataError> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(MetadataError::Damaged)?;
        self.bytes = rest;
        Ok(taken)
    }

    pub(super) fn varint(&mut self) -> Result<u64, MetadataError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            let part = u64::from(byte & 0x7f);
            if (part << shift) >> shift != part {
                return Err(MetadataError::Damaged);
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(MetadataError::Damaged)
    }

    /// As many bytes as the varint before them says.
    pub(super) fn counted(&mut self) -> Result<&'a [u8], MetadataError> {
        let length = usize::try_from(self.varint()?).map_err(|_| MetadataError::Damaged)?;
        self.take(length)
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// Base64 with the URL alphabet and without padding (RFC 4648 section 5).
pub(crate) fn to_base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let joined = group
            .iter()
            .enumerate()
            .fold(0u32, |sum, (place, byte)| sum | u32::from(*byte) << (16 - 8 * place));
        for place in 0..=group.len() {
            text.push(LETTERS[(joined >> (18 - 6 * place)) as usize & 63] as char);
        }
    }
    text
}

/// The bytes of such text; none when it is not exactly what [`to_base64`] writes.
pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for group in text.as_bytes().chunks(4) {
        let mut joined = 0u32;
        for (place, letter) in group.iter().enumerate() {
            joined |= value_of(*letter)? << (18 - 6 * place);
        }
        let count = group.len().checked_sub(1).filter(|count| *count > 0)?;
        let [_, first, second, third] = joined.to_be_bytes();
        let unused = joined & (0xff_ffff >> (8 * count));
        if count < 3 && unused != 0 {
            return None;
        }
        bytes.extend_from_slice(&[first, second, third][..count]);
    }
    Some(bytes)
}

fn value_of(letter: u8) -> Option<u32> {
    match letter {
        b'A'..=b'Z' => Some(u32::from(letter - b'A')),
        b'a'..=b'z' => Some(u32::from(letter - b'a') + 26),
        b'0'..=b'9' => Some(u32::from(letter - b'0') + 52),
        b'-' => Some(62),
        b'_' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantee: base64 is that of RFC 4648 with the alphabet of section 5 and without padding, and nothing else is read: no other
    /// alphabet, no padding, no group of one letter, no bits that no byte has.
    #[test]
    fn base64_is_written_and_read_in_one_form() {
        let known: [(&[u8], &str); 7] = [
            (b"", ""),
            (b"f", "Zg"),
            (b"fo", "Zm8"),
            (b"foo", "Zm9v"),
            (b"foob", "Zm9vYg"),
            (&[0xfb, 0xff], "-_8"),
            (&[0xff, 0xff, 0xff], "____"),
        ];
        for (bytes, text) in known {
            assert_eq!(to_base64(bytes), text);
            assert_eq!(from_base64(text).as_deref(), Some(bytes), "{text}");
        }
        for text in ["A", "Zm9vA", "Zh", "Zm9", "Zg==", "+/8", "Z g", "Zg\n"] {
            assert_eq!(from_base64(text), None, "{text:?}");
        }
    }

    /// Guarantee: a number takes seven bits a byte, lowest first; one that is cut or too large for 64 bits is damage.
    #[test]
    fn numbers_take_seven_bits_a_byte() {
        let known: [(u64, &[u8]); 5] = [
            (0, &[0]),
            (127, &[127]),
            (128, &[0x80, 1]),
            (300, &[0xac, 2]),
            (u64::MAX, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        ];
        for (number, bytes) in known {
            let mut writer = Writer::default();
            writer.varint(number);
            assert_eq!(writer.bytes(), bytes);
            let mut reader = Reader::new(bytes);
            assert_eq!((reader.varint(), reader.is_at_end()), (Ok(number), true));
            assert_eq!(Reader::new(&bytes[..bytes.len() - 1]).varint(), Err(MetadataError::Damaged));
        }
        assert_eq!(Reader::new(&[&[0xff_u8; 9][..], &[2]].concat()).varint(), Err(MetadataError::Damaged));
        assert_eq!(Reader::new(&[0x80; 11]).varint(), Err(MetadataError::Damaged));
    }
}
