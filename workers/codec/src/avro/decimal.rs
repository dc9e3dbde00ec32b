//! Decimals: big-endian two's complement of the unscaled number (Avro specification, "Decimal"), here up to 128 bits.

use longshore_core::Value;

/// The digits that 128 bits always hold.
const DIGITS_MAX: usize = 38;

/// The number with all digits of its scale; bytes that are longer than 128 bits stay bytes.
pub(super) fn to_value(bytes: &[u8], scale: usize) -> Value {
    let unscaled = match unscaled(bytes) {
        Some(unscaled) if scale <= DIGITS_MAX => unscaled,
        _ => return Value::Bytes(bytes.into()),
    };
    let sign = if unscaled < 0 { "-" } else { "" };
    let digits = format!("{:0width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let point = if scale > 0 { "." } else { "" };
    Value::Number(format!("{sign}{whole}{point}{fraction}").into())
}

fn unscaled(bytes: &[u8]) -> Option<i128> {
    let negative = bytes.first()? & 0x80 != 0;
    let mut wide = [if negative { 0xff } else { 0 }; 16];
    let start = wide.len().checked_sub(bytes.len())?;
    wide[start..].copy_from_slice(bytes);
    Some(i128::from_be_bytes(wide))
}

/// The unscaled number of a plain decimal text at a scale, none when it has more decimals than the scale, more digits than
/// the precision, or is not plain.
pub(super) fn parse(text: &str, precision: usize, scale: usize) -> Option<i128> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction = if fraction.len() > scale { fraction.trim_end_matches('0') } else { fraction };
    let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || fraction.len() > scale || !plain(whole) || !plain(fraction) {
        return None;
    }
    let digits = format!("{whole}{fraction}{}", "0".repeat(scale - fraction.len()));
    let digits = digits.trim_start_matches('0');
    if digits.len() > precision.min(DIGITS_MAX) {
        return None;
    }
    let number: i128 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    Some(if negative { -number } else { number })
}

/// The shortest two's complement bytes of a number.
pub(super) fn to_bytes(unscaled: i128) -> Vec<u8> {
    let bytes = unscaled.to_be_bytes();
    let spare = bytes.windows(2).take_while(|pair| match pair {
        [0, next] => next & 0x80 == 0,
        [0xff, next] => next & 0x80 != 0,
        _ => false,
    });
    let spare = spare.count();
    bytes[spare..].to_vec()
}
