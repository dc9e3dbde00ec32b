//! Numbers as short as a column is.

use crate::commands::common::when;
use crate::fleet::view::Partition;
use crate::output::grouped;

/// What is not known.
pub(super) const UNKNOWN: &str = "-";

/// A count in at most nine letters: `12,345`, `1.2M`.
pub(super) fn count(count: Option<u64>) -> String {
    match count {
        None => UNKNOWN.to_owned(),
        Some(count @ 0..10_000_000) => grouped(count),
        Some(count) => scaled(count as f64, 1_000.0, &["", "k", "M", "G", "T", "P", "E"]),
    }
}

/// Records each second.
pub(super) fn rate(rate: Option<f64>) -> String {
    match rate {
        None => UNKNOWN.to_owned(),
        Some(0.0) => "0/s".to_owned(),
        Some(rate) if rate < 9.95 => format!("{rate:.1}/s"),
        Some(rate) if rate < 999_999.5 => format!("{}/s", grouped(rate.round() as u64)),
        Some(rate) => format!("{}/s", scaled(rate, 1_000.0, &["", "k", "M", "G", "T"])),
    }
}

/// A span in at most seven letters.
pub(super) fn span(seconds: Option<f64>) -> String {
    match seconds {
        None => UNKNOWN.to_owned(),
        Some(seconds) if seconds >= 86_400_000.0 => ">1000d".to_owned(),
        Some(seconds) => when::span((seconds * 1_000.0) as i64),
    }
}

/// How long a partition takes.
pub(super) fn drain(partition: &Partition) -> String {
    drain_of(partition.lag, partition.rate, partition.drain_seconds)
}

/// How long a lag takes: `never` while nothing moves.
pub(super) fn drain_of(lag: Option<u64>, rate: Option<f64>, seconds: Option<f64>) -> String {
    match (seconds, rate) {
        (None, Some(0.0)) if lag.is_some() => "never".to_owned(),
        _ => span(seconds),
    }
}

/// Bytes of a bound, in the bound's unit: `12.1/128.0 MiB`.
pub(super) fn share(used: Option<u64>, of: Option<u64>) -> String {
    let (Some(used), Some(of)) = (used, of) else { return UNKNOWN.to_owned() };
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let step = (0..units.len() - 1).take_while(|step| of >> (10 * (step + 1)) > 0).count();
    let part = |bytes: u64| bytes as f64 / (1_u64 << (10 * step)) as f64;
    format!("{:.1}/{:.1} {}", part(used), part(of), units[step])
}

fn scaled(number: f64, step: f64, units: &[&str]) -> String {
    let mut scaled = number;
    let mut units = units.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    while scaled >= step * 0.9995 {
        let Some(next) = units.next() else { break };
        (scaled, unit) = (scaled / step, next);
    }
    format!("{scaled:.1}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let counts = [None, Some(0), Some(9_999_999), Some(10_000_000), Some(u64::MAX)].map(count);
        assert_eq!(counts, ["-", "0", "9,999,999", "10.0M", "18.4E"]);
        let rates = [None, Some(0.0), Some(0.54), Some(9.97), Some(123_456.7), Some(2.5e6)].map(rate);
        assert_eq!(rates, ["-", "0/s", "0.5/s", "10/s", "123,457/s", "2.5M/s"]);
        assert_eq!([None, Some(0.4), Some(83.0), Some(1e300)].map(span), ["-", "0s", "1m23s", ">1000d"]);
        assert_eq!(share(Some(12_687_769), Some(128 << 20)), "12.1/128.0 MiB");
        assert_eq!(share(Some(0), Some(u64::MAX)), "0.0/16.0 EiB");
        assert_eq!(share(None, Some(1)), "-");
        let stands = Partition { lag: Some(4), rate: Some(0.0), ..Partition::default() };
        assert_eq!(drain(&stands), "never");
        assert_eq!(drain(&Partition { rate: None, ..stands }), "-");
    }
}
