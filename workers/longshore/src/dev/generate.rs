//! Log lines for the demo: seeded, so that a run can be had again; one in a thousand is broken in one of the ways
//! that real lines are.

use crate::commands::publish::Message;

/// One line in so many is broken.
pub(crate) const BROKEN_ONE_IN: u64 = 1000;
const USERS: u64 = 1000;
const SERVICES: [&str; 6] = ["checkout", "search", "basket", "payments", "accounts", "shipping"];
const LEVELS: [(&str, u64); 5] = [("debug", 30), ("info", 85), ("notice", 90), ("warn", 97), ("error", 100)];
/// 2026-01-01T00:00:00Z; lines carry made-up times, so a run with the same seed gives the same bytes.
const FIRST_SECOND: i64 = 1_767_225_600;

/// The lines of a seed, as JSON, keyed by user.
pub(crate) fn lines(seed: u64, count: u64) -> impl Iterator<Item = Message> {
    let mut random = SplitMix(seed);
    (0..count).map(move |number| {
        let user = format!("user-{:04}", random.below(USERS));
        let line = line(number, &user, &mut random);
        let value = if number % BROKEN_ONE_IN == BROKEN_ONE_IN / 2 {
            broken(line, &mut random)
        } else {
            line.into_bytes()
        };
        Message { key: Some(user.into_bytes()), value: Some(value) }
    })
}

fn line(number: u64, user: &str, random: &mut SplitMix) -> String {
    let service = SERVICES[random.below(SERVICES.len() as u64) as usize];
    let pick = random.below(100);
    let level = LEVELS.iter().find(|(_, below)| pick < *below).map_or("info", |(level, _)| *level);
    let second = FIRST_SECOND + (number / 50) as i64;
    let time = jiff::Timestamp::from_second(second).map(|time| time.to_string()).unwrap_or_default();
    let (duration, span) = (random.below(5_000), random.next());
    // The account number is wider than 53 bits on purpose: a parser that goes through floats would change it.
    let account = (1_u64 << 60) + random.below(1 << 59);
    format!(
        r#"{{"time":"{time}","level":"{level}","service":"{service}","user":"{user}","message":"request {number} took {duration} ms","seq":{number},"account":{account},"span_id":"{span:016x}"}}"#
    )
}

fn broken(line: String, random: &mut SplitMix) -> Vec<u8> {
    let mut bytes = line.into_bytes();
    match random.below(4) {
        0 => bytes.truncate(bytes.len() / 2),
        1 => bytes.extend_from_slice(b" and then some"),
        2 => {
            let middle = bytes.len() / 2;
            bytes.splice(middle..middle, [0xff, 0xfe]);
        }
        _ => bytes.clear(),
    }
    bytes
}

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014).
pub(super) struct SplitMix(pub(super) u64);

impl SplitMix {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_lines_and_a_tenth_of_a_percent_is_broken() {
        let once: Vec<_> = lines(7, 5_000).collect();
        assert_eq!(once, lines(7, 5_000).collect::<Vec<_>>());
        assert_ne!(once, lines(8, 5_000).collect::<Vec<_>>());
        let values = once.iter().filter_map(|message| message.value.as_deref());
        let broken = values.filter(|value| serde_json::from_slice::<serde_json::Value>(value).is_err());
        assert_eq!(broken.count(), 5);
    }
}
