//! Times of records: numbers and texts as nanoseconds since 1970.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use longshore_core::Value;

/// Nanoseconds since 1970: a number of up to fourteen digits is milliseconds, as conditions have them (until the year 5138), a longer
/// one is nanoseconds, as the field `time_unix_nano` has them; a text is a number, RFC 3339, or a day or time without an offset, which
/// is taken for UTC as the step `parse` takes it. None for anything else.
pub(super) fn nanos(value: &Value) -> Option<i128> {
    match value {
        Value::Int(number) => Some(since_1970(i128::from(*number))),
        Value::UInt(number) => Some(since_1970(i128::from(*number))),
        Value::Text(text) => match text.parse::<i64>() {
            Ok(number) => Some(since_1970(i128::from(number))),
            Err(_) => text.parse().or_else(|_| without_offset(text)).ok().map(Timestamp::as_nanosecond),
        },
        Value::Null
        | Value::Bool(_)
        | Value::Float(_)
        | Value::Number(_)
        | Value::Bytes(_)
        | Value::Array(_)
        | Value::Object(_) => None,
    }
}

/// Whether microseconds since 1970 are in the years 1 to 9999. Beyond them a file cannot be read by Python as a whole.
pub(super) fn is_told(micros: i64) -> bool {
    (-62_135_596_800_000_000..253_402_300_800_000_000).contains(&micros)
}

/// A time in UTC as `format` says (<https://docs.rs/jiff/1/jiff/fmt/strtime/index.html>); none for a year beyond 9999.
pub(super) fn text(nanos: i128, format: &str) -> Option<String> {
    Timestamp::from_nanosecond(nanos).ok().map(|time| time.strftime(format).to_string())
}

fn without_offset(text: &str) -> Result<Timestamp, jiff::Error> {
    TimeZone::UTC.to_timestamp(text.parse::<DateTime>()?)
}

fn since_1970(number: i128) -> i128 {
    if number.abs() < 100_000_000_000_000 { number * 1_000_000 } else { number }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_records_have_them() {
        for (value, read) in [
            (Value::Int(0), Some(0)),
            (Value::Int(1_700_000_000_123), Some(1_700_000_000_123_000_000)),
            (Value::from("1700000000123456789"), Some(1_700_000_000_123_456_789)),
            (Value::from("2023-11-14T22:13:20Z"), Some(1_700_000_000_000_000_000)),
            (Value::from("2023-11-15T00:13:20+02:00"), Some(1_700_000_000_000_000_000)),
            (Value::from("2023-11-14T22:13:20"), Some(1_700_000_000_000_000_000)),
            (Value::from("2023-11-14"), Some(1_699_920_000_000_000_000)),
            (Value::from("yesterday"), None),
            (Value::Float(1.5), None),
        ] {
            assert_eq!(nanos(&value), read, "{value:?}");
        }
        assert_eq!(text(1_700_000_000_000_000_000, "%Y-%m-%dT%H").as_deref(), Some("2023-11-14T22"));
        assert_eq!(text(i128::MAX, "%Y"), None);
        assert!(is_told(0) && is_told(-62_135_596_800_000_000) && is_told(253_402_300_799_999_999));
        assert!(!is_told(253_402_300_800_000_000) && !is_told(-62_135_596_800_000_001));
    }
}
