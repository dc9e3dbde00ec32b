//! Times as the sources write them, in nanoseconds since 1970.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::strtime;
use jiff::tz::{Offset, TimeZone};
use longshore_conditions::BuildError;
use longshore_core::Value;

/// Fewer seconds since 1970 than this (March 1973) are a counter or an uptime, not a time.
const SECONDS_LEAST: u64 = 100_000_000;

/// From here on a number counts milliseconds: as seconds it would be the year 5138.
const MILLIS_LEAST: u64 = 100_000_000_000;
const MICROS_LEAST: u64 = 100_000_000_000_000;
const NANOS_LEAST: u64 = 100_000_000_000_000_000;

/// Apache httpd's `%t` without the brackets, the time of the Common Log Format.
const COMMON_LOG: &str = "%d/%b/%Y:%H:%M:%S %z";

/// The longest text that can be a time, bytes.
const TEXT_MAX: usize = 128;

/// Reads times, the user's patterns first.
pub(super) struct TimeReader {
    formats: Vec<String>,
}

impl TimeReader {
    /// Checks the patterns by writing a time with each.
    pub(super) fn new(formats: &[String]) -> Result<Self, BuildError> {
        let sample = DateTime::constant(2024, 2, 29, 13, 14, 15, 16_000_000).to_zoned_datetime(TimeZone::UTC);
        for (index, format) in formats.iter().enumerate() {
            let written =
                sample.as_ref().map_err(Clone::clone).and_then(|sample| strtime::format(format, sample));
            let read =
                written.and_then(|text| strtime::parse(format, text)).map_err(|error| error.to_string());
            let usable = read.and_then(|parts| {
                of_parts(&parts)
                    .map(drop)
                    .ok_or_else(|| "it does not say the date and the time of day".to_owned())
            });
            usable.map_err(|message| BuildError::new(format!("mapping.time_formats[{index}]"), message))?;
        }
        Ok(Self { formats: formats.to_vec() })
    }

    /// Nanoseconds since 1970, none when the value is no time that the model can hold (1970 to 2262).
    pub(super) fn nanos(&self, value: &Value) -> Option<i64> {
        match value {
            Value::Text(text) => self.nanos_of_text(text),
            Value::Int(number) => of_epoch(u64::try_from(*number).ok()?, ""),
            Value::UInt(number) => of_epoch(*number, ""),
            Value::Float(number) => of_decimal(&number.to_string()),
            Value::Number(text) => of_decimal(text),
            Value::Null | Value::Bool(_) | Value::Bytes(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }

    fn nanos_of_text(&self, text: &str) -> Option<i64> {
        let text = text.trim();
        if text.len() > TEXT_MAX {
            return None;
        }
        let parsed = self.formats.iter().find_map(|format| of_parts(&strtime::parse(format, text).ok()?));
        parsed.or_else(|| of_rfc3339(text)).or_else(|| of_decimal(text)).or_else(|| of_other(text))
    }
}

/// Nanoseconds as the model itself has them: a whole number, or (as OTLP's JSON writes it) its text.
pub(super) fn exact_nanos(value: &Value) -> Option<i64> {
    let nanos = value.as_i64().or_else(|| value.as_str()?.parse().ok())?;
    (nanos >= 0).then_some(nanos)
}

/// Whole digits with or without a fraction, in whatever unit their magnitude says.
fn of_decimal(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    of_epoch(whole.parse().ok()?, fraction)
}

fn of_epoch(whole: u64, fraction: &str) -> Option<i64> {
    let (scale, digits) = match whole {
        0..SECONDS_LEAST => return None,
        SECONDS_LEAST..MILLIS_LEAST => (1_000_000_000, 9),
        MILLIS_LEAST..MICROS_LEAST => (1_000_000, 6),
        MICROS_LEAST..NANOS_LEAST => (1_000, 3),
        NANOS_LEAST.. => (1, 0),
    };
    let part = fraction.bytes().chain(std::iter::repeat(b'0')).take(digits);
    let part = part.fold(0u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    i64::try_from(whole.checked_mul(scale)?.checked_add(part)?).ok()
}

/// The common case of RFC 3339, without a detour: `2024-02-29T13:14:15.016Z`. Anything unusual goes to the full parser.
fn of_rfc3339(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() < 20 || bytes[4] != b'-' || !matches!(bytes[10], b'T' | b't' | b' ') {
        return None;
    }
    let zulu = matches!(bytes.last(), Some(b'Z' | b'z'));
    if !zulu || bytes[7] != b'-' || bytes[13] != b':' || bytes[16] != b':' {
        return of_timestamp(text);
    }
    let two = |at: usize| number(&bytes[at..at + 2]);
    let (year, month, day) = (number(&bytes[..4])?, two(5)?, two(8)?);
    let (hour, minute, second) = (two(11)?, two(14)?, two(17)?);
    if hour > 23 || minute > 59 || second > 59 {
        return of_timestamp(text);
    }
    let nanos = match &bytes[19..bytes.len() - 1] {
        [] => 0,
        [b'.' | b',', fraction @ ..] if (1..=9).contains(&fraction.len()) => {
            number(fraction)? * 10u64.pow(9 - fraction.len() as u32)
        }
        _ => return of_timestamp(text),
    };
    let clock = (hour as i8, minute as i8, second as i8);
    of_civil(
        DateTime::new(year as i16, month as i8, day as i8, clock.0, clock.1, clock.2, nanos as i32).ok()?,
    )
}

fn number(digits: &[u8]) -> Option<u64> {
    digits
        .iter()
        .try_fold(0u64, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0')))
}

fn of_timestamp(text: &str) -> Option<i64> {
    in_range(text.parse().ok()?)
}

/// A date and time without an offset is taken as UTC; then the Common Log Format.
fn of_other(text: &str) -> Option<i64> {
    // A fraction after a comma, as Python's `logging` writes it, reads as any other.
    if let Some(nanos) = of_timestamp(text) {
        return Some(nanos);
    }
    // A date alone would put all of a day's records at midnight.
    let has_clock = text.contains([':', 'T', 't']);
    if let Some(civil) = has_clock.then(|| text.parse::<DateTime>().ok()).flatten() {
        return of_civil(civil);
    }
    let text = text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(text);
    of_parts(&strtime::parse(COMMON_LOG, text).ok()?)
}

fn of_parts(parts: &strtime::BrokenDownTime) -> Option<i64> {
    match parts.to_timestamp() {
        Ok(time) => in_range(time),
        Err(_) => of_civil(parts.to_datetime().ok()?),
    }
}

fn of_civil(time: DateTime) -> Option<i64> {
    in_range(Offset::UTC.to_timestamp(time).ok()?)
}

fn in_range(time: Timestamp) -> Option<i64> {
    i64::try_from(time.as_nanosecond()).ok().filter(|nanos| *nanos >= 0)
}

#[cfg(test)]
mod tests;
