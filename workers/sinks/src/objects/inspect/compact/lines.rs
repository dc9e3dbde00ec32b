//! Files of JSON lines, put one behind another as they are: zstd frames are made to be.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// What ends a trailer, and how large it is beside its JSON.
const END_MAGIC: &[u8; 8] = b"LSTRAIL1";
const AROUND_BYTES: u64 = 36;

/// Appends a file without the trailer that it may have.
pub(super) fn append(from: &mut File, packed: bool, to: &mut File) -> io::Result<()> {
    let size = from.metadata()?.len();
    let trailer = if packed { trailer_bytes(from, size)? } else { 0 };
    from.rewind()?;
    let wanted = size - trailer;
    let copied = io::copy(&mut from.take(wanted), to)?;
    if copied == wanted { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn trailer_bytes(file: &mut File, size: u64) -> io::Result<u64> {
    if size < AROUND_BYTES {
        return Ok(0);
    }
    let mut foot = [0; 12];
    file.seek(SeekFrom::End(-12))?;
    file.read_exact(&mut foot)?;
    let json = u64::from(u32::from_le_bytes([foot[0], foot[1], foot[2], foot[3]]));
    Ok(if &foot[4..] == END_MAGIC { (json + AROUND_BYTES).min(size) } else { 0 })
}
