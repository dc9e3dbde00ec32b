//! Which partition a key goes to: the choice of Java's default partitioner, which is librdkafka's `murmur2_random`.
//!
//! Source: `org.apache.kafka.common.utils.Utils.murmur2` and `BuiltInPartitioner.partitionForKey`, Apache Kafka 4.

/// The partition of a key among `partitions`; none for a null key, which goes anywhere, and for no partitions.
pub fn partition_for_key(key: Option<&[u8]>, partitions: u32) -> Option<i32> {
    let key = key?;
    if partitions == 0 {
        return None;
    }
    i32::try_from((murmur2(key) & 0x7fff_ffff) % partitions).ok()
}

/// MurmurHash2 (A. Appleby) with Java's seed.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    const SEED: u32 = 0x9747_b28c;
    let mut hash = SEED ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = words.remainder();
    for (index, byte) in rest.iter().enumerate() {
        hash ^= u32::from(*byte) << (8 * index);
    }
    if !rest.is_empty() {
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn hashes_are_javas() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
    }

    /// Guarantee: what we compute is where librdkafka puts it.
    #[test]
    fn partitions_are_librdkafkas() {
        for length in 0..40_u8 {
            let key: Vec<u8> = (0..length).map(|byte| byte.wrapping_mul(37)).collect();
            for partitions in [1, 2, 7, 64] {
                let theirs = crate::ffi::murmur2_partition(&key, partitions);
                assert_eq!(
                    partition_for_key(Some(&key), partitions as u32),
                    Some(theirs),
                    "{length} {partitions}"
                );
            }
        }
        assert_eq!(partition_for_key(None, 4), None);
    }
}
