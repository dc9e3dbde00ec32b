//! Who does something with letters: a person for the audit, a process for taking over.

use std::hash::{BuildHasher, RandomState};

use jiff::Timestamp;

/// User and machine.
pub(crate) fn who() -> String {
    let user =
        ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()));
    format!("{}@{}", user.unwrap_or_else(|| format!("uid-{}", rustix::process::getuid().as_raw())), host())
}

/// The machine's name.
pub(crate) fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = name.map(|name| name.trim().to_owned()).or_else(|| std::env::var("HOSTNAME").ok());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}

/// A number that no other process has.
pub(crate) fn token() -> String {
    let state = RandomState::new();
    format!("{:016x}{:016x}", state.hash_one(1_u64), state.hash_one(2_u64))
}

/// The id of a new run: its time, so that ids sort by it, and four digits of chance.
pub(crate) fn run_id(now_ms: i64) -> String {
    let time = Timestamp::from_millisecond(now_ms).map(|time| time.to_string()).unwrap_or_default();
    let digits: String = time.chars().filter(char::is_ascii_digit).take(14).collect();
    let (day, clock) = digits.split_at(digits.len().min(8));
    format!("{day}-{clock}-{}", &token()[..4])
}

/// Whether the process of another run is known to be gone: only its own machine can tell.
pub(crate) fn is_gone(machine: &str, process: u32) -> bool {
    machine == host() && !std::path::Path::new(&format!("/proc/{process}")).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_differ() {
        let id = run_id(1_700_000_000_999);
        assert!(id.starts_with("20231114-221320-") && id.len() == 20, "{id}");
        assert_ne!(token(), token());
        assert!(!is_gone(&host(), std::process::id()));
        assert!(!is_gone("another-machine", u32::MAX));
        assert!(is_gone(&host(), u32::MAX));
    }
}
