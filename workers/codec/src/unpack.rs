//! Unpacking compressed payloads within limits: a few bytes can ask for gigabytes.

use std::borrow::Cow;
use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use longshore_core::{Failure, Reason};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::json::Limits;

/// Up to this size no ratio is too high: a small text of one letter is no attack.
const RATIO_FREE_BYTES: usize = 1 << 20;

/// The highest ratio of unpacked to packed bytes beyond that. Logs reach 100; a gzip bomb goes to 1,030, a zstd bomb beyond.
const RATIO_MAX: usize = 500;

/// How much is unpacked between two looks at the limits.
const STEP_BYTES: usize = 64 << 10;

/// How a payload is packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip (RFC 1952), several members allowed.
    Gzip,
    /// Zstandard (RFC 8878), several frames allowed.
    Zstd,
}

/// Unpacks a payload. Never holds more than `limits.bytes` of it, however much it asks for.
///
/// # Errors
/// Reject with `decode.empty` (no bytes where a packed value is needed), `decode.too-large` (more bytes than the limit, or
/// more than a mebibyte at more than 500 times its packed size) or `decode.compression` (damaged).
pub fn unpack<'a>(
    bytes: &'a [u8],
    compression: Compression,
    limits: &Limits,
) -> Result<Cow<'a, [u8]>, Failure> {
    limits.check_bytes(bytes.len())?;
    if compression == Compression::None {
        return Ok(Cow::Borrowed(bytes));
    }
    if bytes.is_empty() {
        return Err(Failure::reject(Reason::DecodeEmpty, "no value"));
    }
    let unpacked = match compression {
        Compression::None => return Ok(Cow::Borrowed(bytes)),
        Compression::Gzip => read_bounded(MultiGzDecoder::new(bytes), bytes.len(), limits),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes).map_err(damaged)?;
            // A frame's window is allocated on its header's word, so it is bounded as well.
            decoder.window_log_max(window_log(limits.bytes)).map_err(damaged)?;
            read_bounded(decoder, bytes.len(), limits)
        }
    };
    unpacked.map(Cow::Owned)
}

fn read_bounded(mut reader: impl Read, packed: usize, limits: &Limits) -> Result<Vec<u8>, Failure> {
    let most = limits.bytes.min(RATIO_FREE_BYTES.max(packed.saturating_mul(RATIO_MAX)));
    let mut out = Vec::new();
    loop {
        let start = out.len();
        // One byte beyond the limit tells "just fits" from "more to come".
        let wanted = STEP_BYTES.min(most + 1 - start);
        if out.capacity() - start < wanted {
            let grown = (2 * out.capacity()).max(4 * packed).clamp(start + wanted, most + 1);
            out.reserve_exact(grown - start);
        }
        out.resize(start + wanted, 0);
        let read = match reader.read(&mut out[start..]) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(damaged(error)),
        };
        out.truncate(start + read);
        if read == 0 {
            return Ok(out);
        }
        if out.len() > most {
            let detail = format!("{packed} bytes unpack to more than {most}");
            return Err(Failure::reject(Reason::DecodeTooLarge, detail));
        }
    }
}

/// The largest window that a frame may ask for: the limit rounded up to a power of two, at least zstd's usual 8 MiB.
fn window_log(bytes: usize) -> u32 {
    usize::BITS.saturating_sub(bytes.saturating_sub(1).leading_zeros()).clamp(23, 27)
}

#[cold]
fn damaged(error: io::Error) -> Failure {
    // The decoders' words name what is wrong with the frame, not what is in it.
    Failure::reject(Reason::DecodeCompression, error)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::encode_all(bytes, 3).unwrap()
    }

    /// Bytes that no packer makes smaller, from a counter.
    fn noise(len: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        (0..len).map(|_| next()).collect()
    }

    #[test]
    fn packed_payloads_come_back() {
        let limits = Limits::default();
        for plain in
            [Vec::new(), b"{}".to_vec(), noise(STEP_BYTES), noise(3 * STEP_BYTES + 1), vec![b'a'; 900_000]]
        {
            assert_eq!(unpack(&gzip(&plain), Compression::Gzip, &limits).unwrap(), plain);
            assert_eq!(unpack(&zstd(&plain), Compression::Zstd, &limits).unwrap(), plain);
            assert_eq!(unpack(&plain, Compression::None, &limits).unwrap(), plain);
        }
        let two = [gzip(b"one"), gzip(b"two")].concat();
        assert_eq!(*unpack(&two, Compression::Gzip, &limits).unwrap(), *b"onetwo");
        let two = [zstd(b"one"), zstd(b"two")].concat();
        assert_eq!(*unpack(&two, Compression::Zstd, &limits).unwrap(), *b"onetwo");
    }

    #[test]
    fn the_limit_is_exact() {
        let plain = noise(200_000);
        for (bytes, fits) in [(200_000, true), (199_999, false)] {
            let limits = Limits { bytes, ..Limits::default() };
            for (packed, compression) in
                [(zstd(&plain), Compression::Zstd), (gzip(&plain), Compression::Gzip)]
            {
                let reason =
                    unpack(&packed[..], compression, &limits).map(|_| ()).map_err(|failure| failure.reason);
                // Noise grows when packed, so the packed size may be refused first; the reason is the same.
                let expected =
                    if fits && packed.len() <= bytes { Ok(()) } else { Err(Reason::DecodeTooLarge) };
                assert_eq!(reason, expected);
            }
        }
    }

    #[test]
    fn bombs_are_refused_early() {
        let limits = Limits::default();
        let zeros = vec![0; 20 << 20];
        for (bomb, compression) in [(zstd(&zeros), Compression::Zstd), (gzip(&zeros), Compression::Gzip)] {
            let failure = unpack(&bomb, compression, &limits).unwrap_err();
            assert_eq!(failure.reason, Reason::DecodeTooLarge, "{failure}");
        }
    }

    #[test]
    fn damage_is_refused() {
        let limits = Limits::default();
        for compression in [Compression::Gzip, Compression::Zstd] {
            let packed =
                if compression == Compression::Gzip { gzip(&noise(1000)) } else { zstd(&noise(1000)) };
            let reason = |bytes: &[u8]| unpack(bytes, compression, &limits).unwrap_err().reason;
            assert_eq!(reason(b""), Reason::DecodeEmpty);
            assert_eq!(reason(b"{\"plain\": true}"), Reason::DecodeCompression);
            assert_eq!(reason(&packed[..packed.len() - 5]), Reason::DecodeCompression);
            assert_eq!(reason(&[&packed[..], b"tail"].concat()), Reason::DecodeCompression);
        }
    }
}
