//! Packed payloads: gzip and zstd.

use std::io::Write;

use longshore_codec::Compression;
use longshore_codec::json::Limits;
use longshore_codec::unpack::unpack;

const LIMITS: Limits = Limits { depth: 64, bytes: 4 << 20, values: 1_000 };

/// See the module. The first byte chooses how it is packed.
pub fn run(data: &[u8]) {
    let Some((choice, packed)) = data.split_first() else { return };
    let compression = if choice % 2 == 0 { Compression::Gzip } else { Compression::Zstd };
    match unpack(packed, compression, &LIMITS) {
        Ok(bytes) => {
            assert!(bytes.len() <= LIMITS.bytes);
            assert!(bytes.len() <= (1 << 20).max(packed.len() * 500), "{} of {}", bytes.len(), packed.len());
        }
        Err(failure) => crate::judge(&failure),
    }
    let plain = crate::planted(packed);
    let packed = match compression {
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&plain).and_then(|()| encoder.finish()).expect("memory does not fail")
        }
        Compression::Zstd | Compression::None => {
            zstd::encode_all(plain.as_slice(), 1).expect("memory does not fail")
        }
    };
    assert_eq!(unpack(&packed, compression, &LIMITS).expect("ours").as_ref(), plain.as_slice());
    // Cut at any place it is damaged and no shorter payload, and nothing of it is quoted.
    let cut = usize::from(*choice) % packed.len();
    match unpack(&packed[..cut], compression, &LIMITS) {
        Ok(bytes) => panic!("{cut} of {} bytes are {} bytes", packed.len(), bytes.len()),
        Err(failure) => crate::judge(&failure),
    }
}
