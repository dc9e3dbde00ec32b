//! Numbers, kept exact: a 64-bit integer, a float that prints as it was written, or the text itself.

use longshore_core::Value;

use super::{Fault, Kind, Parser};

/// So many digits always survive the way through a float, and its shortest form has no others (IEEE 754, 15.95 digits).
const EXACT_DIGITS: usize = 15;

/// Powers of ten that a float holds exactly, as far as [`EXACT_DIGITS`] needs them.
const POWERS: [f64; EXACT_DIGITS + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// Below this, writers disagree on plain or scientific notation, so the text is kept.
const SMALLEST_PLAIN: f64 = 1e-3;

impl Parser<'_> {
    /// Reads a number; stands on its sign or first digit.
    pub(super) fn number(&mut self) -> Result<Value, Fault> {
        let start = self.at;
        let negative = self.peek() == Some(b'-');
        self.at += usize::from(negative);
        let leading_zero = self.peek() == Some(b'0');
        let (mut digits, mut whole) = (0, 0u64);
        self.digits(&mut whole, &mut digits)?;
        if leading_zero && digits > 1 {
            return Err(Fault { kind: Kind::Number, at: start });
        }
        match self.peek() {
            Some(b'.') => self.fraction(start, negative, whole, digits),
            Some(b'e' | b'E') => self.exponent(start),
            _ => Ok(integer(&self.text[start..self.at], negative, whole, digits)),
        }
    }

    fn fraction(&mut self, start: usize, negative: bool, whole: u64, digits: usize) -> Result<Value, Fault> {
        self.at += 1;
        let (mut mantissa, mut all) = (whole, digits);
        self.digits(&mut mantissa, &mut all)?;
        if let Some(b'e' | b'E') = self.peek() {
            return self.exponent(start);
        }
        let decimals = all - digits;
        let text = &self.text[start..self.at];
        if text.ends_with('0') && decimals > 1 {
            return Ok(verbatim(text));
        }
        if all > EXACT_DIGITS {
            return Ok(long_fraction(text));
        }
        let float = mantissa as f64 / POWERS[decimals];
        if float < SMALLEST_PLAIN && mantissa != 0 {
            return Ok(verbatim(text));
        }
        Ok(Value::Float(if negative { -float } else { float }))
    }

    /// Scientific notation never prints the way it came, so only its grammar is checked.
    fn exponent(&mut self, start: usize) -> Result<Value, Fault> {
        self.at += 1;
        if let Some(b'+' | b'-') = self.peek() {
            self.at += 1;
        }
        self.digits(&mut 0, &mut 0)?;
        Ok(verbatim(&self.text[start..self.at]))
    }

    /// Reads at least one digit, adding to a number (right up to 19 digits in all) and a count.
    fn digits(&mut self, number: &mut u64, count: &mut usize) -> Result<(), Fault> {
        let start = self.at;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            *number = number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            self.at += 1;
        }
        *count += self.at - start;
        if self.at > start { Ok(()) } else { Err(self.fault(Kind::Number)) }
    }
}

fn integer(text: &str, negative: bool, whole: u64, digits: usize) -> Value {
    // Nineteen digits fit in 64 bits whatever they are; with twenty it depends, and the sum above may have wrapped.
    if digits > 19 {
        return text.parse().map_or_else(|_| verbatim(text), Value::UInt);
    }
    match (negative, i64::try_from(whole)) {
        (false, Ok(number)) => Value::Int(number),
        (false, Err(_)) => Value::UInt(whole),
        (true, Ok(0)) => verbatim(text),
        (true, Ok(number)) => Value::Int(-number),
        (true, Err(_)) => text.parse().map_or_else(|_| verbatim(text), Value::Int),
    }
}

/// A fraction with more digits than always fit: a float only if [`Value::write_json`] prints it the same. Another printer
/// would not do: of two shortest forms that read back as the same float, each may choose its own (`70400000000000.13`).
fn long_fraction(text: &str) -> Value {
    let Ok(float) = text.parse::<f64>() else { return verbatim(text) };
    if !(SMALLEST_PLAIN..1e15).contains(&float.abs()) {
        return verbatim(text);
    }
    let value = Value::Float(float);
    let mut printed = Vec::with_capacity(text.len());
    let same = value.write_json(&mut printed).is_ok() && printed == text.as_bytes();
    if same { value } else { verbatim(text) }
}

fn verbatim(text: &str) -> Value {
    Value::Number(text.into())
}
