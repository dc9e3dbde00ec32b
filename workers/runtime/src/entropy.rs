//! Randomness for writer ids and jitter, from the seed that the standard library draws from the operating system for
//! its hash maps: SipHash under a random 128-bit key. No crate needed for a few numbers a minute.

use std::hash::{BuildHasher, RandomState};

use longshore_core::WriterId;

/// A uniform number.
pub(crate) fn random() -> u64 {
    RandomState::new().hash_one(0_u64)
}

/// A fresh writer id: different from every other one of every process.
pub(crate) fn writer_id() -> WriterId {
    let state = RandomState::new();
    WriterId((u128::from(state.hash_one(1_u64)) << 64) | u128::from(state.hash_one(2_u64)))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    #[test]
    fn writer_ids_differ() {
        let ids: HashSet<_> = (0..1000).map(|_| super::writer_id()).collect();
        assert_eq!(ids.len(), 1000);
    }
}
