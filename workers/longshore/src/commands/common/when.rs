//! Moments as people write and read them.

use jiff::Timestamp;
use longshore_core::human::Span;

use crate::exit::{End, Exit};

/// Milliseconds since 1970, now.
pub(crate) fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

/// To the second, in UTC; `-` for what is no time.
pub(crate) fn shown(ms: i64) -> String {
    match Timestamp::from_second(ms.div_euclid(1000)) {
        Ok(time) if ms >= 0 => time.to_string(),
        _ => "-".to_owned(),
    }
}

/// The hour that a moment lies in, in UTC.
pub(crate) fn hour(ms: i64) -> String {
    let shown = shown(ms);
    shown.get(..13).map_or(shown.clone(), |hour| format!("{hour}h"))
}

/// A span in its two largest units: `12s`, `5m3s`, `2h10m`, `3d4h`.
pub(crate) fn span(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{}s", seconds % 60),
        (0, _, _) => format!("{hours}h{}m", minutes % 60),
        (_, _, _) => format!("{days}d{}h", hours % 24),
    }
}

/// A time, or how long before `now_ms`; milliseconds since 1970.
pub(crate) fn parse(flag: &str, text: &str, now_ms: i64) -> Result<i64, End> {
    if let Ok(span) = text.parse::<Span>() {
        return Ok(now_ms.saturating_sub(i64::try_from(span.get().as_millis()).unwrap_or(i64::MAX)));
    }
    text.parse::<Timestamp>().map(|time| time.as_millisecond()).map_err(|_| {
        let words = "write a time such as 2026-11-27T02:00:00Z, or how long ago, such as 90m or 2d";
        End::new(Exit::Usage, format!("{flag} {text}: {words}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_and_shown() {
        assert_eq!(shown(1_700_000_000_999), "2023-11-14T22:13:20Z");
        assert_eq!(shown(-1), "-");
        let spans = [-5, 59_999, 303_000, 7_803_000, 273_600_000].map(span);
        assert_eq!(spans, ["0s", "59s", "5m3s", "2h10m", "3d4h"]);
        assert_eq!(hour(1_700_000_000_999), "2023-11-14T22h");
        assert_eq!(parse("--since", "2h", 10_000_000).unwrap(), 2_800_000);
        assert_eq!(parse("--since", "1970-01-01T00:00:01Z", 0).unwrap(), 1000);
        let end = parse("--since", "yesterday", 0).unwrap_err();
        assert!(end.code == Exit::Usage && end.message.contains("--since yesterday"), "{}", end.message);
    }
}
