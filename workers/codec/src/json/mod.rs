//! Reading JSON (RFC 8259) into a [`Value`], strictly and within limits.
//!
//! The reader is written by hand because no parser we measured keeps all of what a record needs at once: numbers as
//! written, lone surrogates and bad UTF-8 refused instead of replaced, nesting bounded, positions without payload. It is
//! also the fastest into this `Value` (`docs/benchmarks.md`), since it builds the final lists in one allocation each.
//!
//! What it promises beyond the RFC:
//! - a name that stands twice in one object keeps its first place and its **last value**;
//! - integers of 64 bits are exact, everything that a float would change keeps its text (`1.10`, `1e400`, `-0`);
//! - an error names a byte position and never a byte of the payload (I9, I10).

mod number;
mod object;
mod text;

#[cfg(test)]
mod tests;

use std::cell::Cell;

use compact_str::CompactString;
use longshore_core::{Failure, Map, Reason, Value};

use object::{Fields, Scratch};

/// The deepest nesting that can be configured; keeps recursion, here and when a value is dropped, far from the end of
/// a thread's stack.
pub const DEPTH_MAX: u32 = 512;

/// What a payload may cost before it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most levels of nested arrays and objects; at most [`DEPTH_MAX`] counts.
    pub depth: u32,
    /// The most bytes of payload, unpacked.
    pub bytes: usize,
    /// The most values in one payload: `[1,1,1` costs two bytes each on the wire and sixteen times that in memory.
    pub values: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth: 64, bytes: 32 << 20, values: 1_000_000 }
    }
}

impl Limits {
    /// Refuses a payload that is longer than the limit.
    ///
    /// # Errors
    /// Reject with `decode.too-large`.
    pub fn check_bytes(&self, len: usize) -> Result<(), Failure> {
        if len <= self.bytes {
            return Ok(());
        }
        let detail = format!("{len} bytes, the limit is {}", self.bytes);
        Err(Failure::reject(Reason::DecodeTooLarge, detail))
    }
}

/// Reads one JSON value that fills the whole payload.
///
/// # Errors
/// Always of class Reject: `decode.too-large` (bytes or values), `decode.utf8`, `decode.empty` (nothing or whitespace),
/// `decode.depth`, `decode.trailing`, and `decode.json` for everything else. Details hold a byte position, never payload.
pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Value, Failure> {
    limits.check_bytes(bytes.len())?;
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Failure::reject(Reason::DecodeUtf8, format!("at byte {}", error.valid_up_to())))?;
    let mut parser = Parser::new(text, limits);
    let result = parser.document();
    parser.scratch.give_back();
    result.map_err(|fault| fault.failure(limits))
}

/// What is wrong and at which byte. Small, so that results stay small on the hot path.
#[derive(Clone, Copy, Debug)]
struct Fault {
    kind: Kind,
    at: usize,
}

/// What is wrong with a text.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Empty,
    Depth,
    Values,
    Trailing,
    Unexpected,
    End,
    Control,
    Escape,
    Surrogate,
    Number,
}

impl Fault {
    #[cold]
    fn failure(self, limits: &Limits) -> Failure {
        let at = self.at;
        let (reason, detail) = match self.kind {
            Kind::Empty => (Reason::DecodeEmpty, "no value".to_owned()),
            Kind::Depth => (
                Reason::DecodeDepth,
                format!("more than {} levels at byte {at}", limits.depth.min(DEPTH_MAX)),
            ),
            Kind::Values => {
                (Reason::DecodeTooLarge, format!("more than {} values at byte {at}", limits.values))
            }
            Kind::Trailing => (Reason::DecodeTrailing, format!("text after the value at byte {at}")),
            Kind::Unexpected => (Reason::DecodeJson, format!("unexpected character at byte {at}")),
            Kind::End => (Reason::DecodeJson, format!("unexpected end at byte {at}")),
            Kind::Control => (Reason::DecodeJson, format!("unescaped control character at byte {at}")),
            Kind::Escape => (Reason::DecodeJson, format!("unknown escape at byte {at}")),
            Kind::Surrogate => (Reason::DecodeJson, format!("lone surrogate at byte {at}")),
            Kind::Number => (Reason::DecodeJson, format!("malformed number at byte {at}")),
        };
        Failure::reject(reason, detail)
    }
}

thread_local! {
    /// The scratch lists of the last parse on this thread, so that a record costs no allocation beyond its own value.
    static SCRATCH: Cell<Option<Scratch>> = const { Cell::new(None) };
}

/// A descent through one text. Recursion is bounded by `depth_left`.
struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth_left: u32,
    values_left: u32,
    scratch: Scratch,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, limits: &Limits) -> Self {
        let scratch = SCRATCH.take().unwrap_or_default();
        Self { text, at: 0, depth_left: limits.depth.min(DEPTH_MAX), values_left: limits.values, scratch }
    }

    fn document(&mut self) -> Result<Value, Fault> {
        self.skip_whitespace();
        if self.at == self.text.len() {
            return Err(self.fault(Kind::Empty));
        }
        let value = self.value()?;
        self.skip_whitespace();
        if self.at == self.text.len() { Ok(value) } else { Err(self.fault(Kind::Trailing)) }
    }

    fn value(&mut self) -> Result<Value, Fault> {
        let Some(left) = self.values_left.checked_sub(1) else {
            return Err(self.fault(Kind::Values));
        };
        self.values_left = left;
        match self.peek() {
            Some(b'"') => Ok(Value::Text(CompactString::new(self.text()?))),
            Some(b'{') => {
                self.descend()?;
                let value = self.object()?;
                self.depth_left += 1;
                Ok(value)
            }
            Some(b'[') => {
                self.descend()?;
                let value = self.array()?;
                self.depth_left += 1;
                Ok(value)
            }
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            _ => Err(self.unexpected()),
        }
    }

    /// Steps over an opening bracket, one level down.
    fn descend(&mut self) -> Result<(), Fault> {
        let Some(left) = self.depth_left.checked_sub(1) else {
            return Err(self.fault(Kind::Depth));
        };
        self.depth_left = left;
        self.at += 1;
        Ok(())
    }

    fn array(&mut self) -> Result<Value, Fault> {
        let start = self.scratch.items.len();
        self.skip_whitespace();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::Array(Vec::new()));
        }
        loop {
            self.skip_whitespace();
            let value = self.value()?;
            self.scratch.items.push(value);
            if self.ends(b']')? {
                return Ok(Value::Array(self.scratch.items.split_off(start)));
            }
        }
    }

    fn object(&mut self) -> Result<Value, Fault> {
        self.skip_whitespace();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Object(Map::default()));
        }
        let mut fields = Fields::begin(&self.scratch);
        loop {
            self.skip_whitespace();
            if self.peek() != Some(b'"') {
                return Err(self.unexpected());
            }
            let name = self.text()?;
            self.skip_whitespace();
            if self.peek() != Some(b':') {
                return Err(self.unexpected());
            }
            self.at += 1;
            self.skip_whitespace();
            let place = fields.begin_field(&mut self.scratch, &name);
            self.scratch.fields[place].1 = self.value()?;
            if self.ends(b'}')? {
                return Ok(Value::Object(fields.finish(&mut self.scratch)));
            }
        }
    }

    /// Steps over a comma (false) or the closing bracket (true).
    fn ends(&mut self, bracket: u8) -> Result<bool, Fault> {
        self.skip_whitespace();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(false)
            }
            Some(byte) if byte == bracket => {
                self.at += 1;
                Ok(true)
            }
            _ => Err(self.unexpected()),
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, Fault> {
        if !self.bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(self.fault(Kind::Unexpected));
        }
        self.at += word.len();
        Ok(value)
    }

    fn skip_whitespace(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    fn peek(&self) -> Option<u8> {
        self.bytes().get(self.at).copied()
    }

    #[cold]
    fn unexpected(&self) -> Fault {
        self.fault(if self.at < self.text.len() { Kind::Unexpected } else { Kind::End })
    }

    fn fault(&self, kind: Kind) -> Fault {
        Fault { kind, at: self.at }
    }
}
