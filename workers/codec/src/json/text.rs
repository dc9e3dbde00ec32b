//! Strings: runs of plain text found eight bytes at a time, escapes resolved, lone surrogates refused.

use std::borrow::Cow;

use super::{Fault, Kind, Parser};

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

impl<'a> Parser<'a> {
    /// Reads a string; stands on its opening quote. Borrowed when it holds no escape, so that it is copied once, to
    /// where it stays.
    #[inline]
    pub(super) fn text(&mut self) -> Result<Cow<'a, str>, Fault> {
        self.at += 1;
        let start = self.at;
        self.at += plain_run(&self.bytes()[start..]);
        match self.peek() {
            Some(b'"') => {
                let text = &self.text[start..self.at];
                self.at += 1;
                Ok(Cow::Borrowed(text))
            }
            Some(b'\\') => self.escaped_text(start),
            Some(_) => Err(self.fault(Kind::Control)),
            None => Err(self.fault(Kind::End)),
        }
    }

    /// Goes on with a string that holds at least one escape; stands on it.
    #[cold]
    fn escaped_text(&mut self, start: usize) -> Result<Cow<'a, str>, Fault> {
        let mut out = String::with_capacity((self.at - start) + 32);
        out.push_str(&self.text[start..self.at]);
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(out));
                }
                Some(b'\\') => out.push(self.escape()?),
                Some(0..0x20) => return Err(self.fault(Kind::Control)),
                Some(_) => {
                    let start = self.at;
                    self.at += plain_run(&self.bytes()[start..]);
                    out.push_str(&self.text[start..self.at]);
                }
                None => return Err(self.fault(Kind::End)),
            }
        }
    }

    /// Reads one escape, a surrogate pair included; stands on its backslash.
    fn escape(&mut self) -> Result<char, Fault> {
        let start = self.at;
        self.at += 1;
        let letter = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(start),
            Some(_) => return Err(Fault { kind: Kind::Escape, at: start }),
            None => return Err(self.fault(Kind::End)),
        };
        self.at += 1;
        Ok(letter)
    }

    /// Reads the digits of `\uXXXX`, and of the second half if the first is a high surrogate.
    fn unicode_escape(&mut self, start: usize) -> Result<char, Fault> {
        let lone = Fault { kind: Kind::Surrogate, at: start };
        let first = self.hex_digits()?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first).ok_or(lone);
        }
        if !self.bytes()[self.at..].starts_with(b"\\u") {
            return Err(lone);
        }
        self.at += 1;
        let second = self.hex_digits()?;
        if !(0xdc00..0xe000).contains(&second) {
            return Err(lone);
        }
        char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)).ok_or(lone)
    }

    /// Reads the four digits after the letter u it stands on.
    fn hex_digits(&mut self) -> Result<u32, Fault> {
        self.at += 1;
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().ok_or_else(|| self.fault(Kind::End))?;
            let digit = (digit as char).to_digit(16).ok_or_else(|| self.fault(Kind::Escape))?;
            code = code << 4 | digit;
            self.at += 1;
        }
        Ok(code)
    }
}

/// How many bytes come before the first quote, backslash or control character.
fn plain_run(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let marks = special_bytes(u64::from_le_bytes(*word));
        if marks != 0 {
            return index * 8 + (marks.trailing_zeros() / 8) as usize;
        }
    }
    let plain = rest.iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20)).count();
    words.len() * 8 + plain
}

/// Marks the special bytes of a word by their high bit. A borrow can mark bytes above the first true one as well, so
/// only the lowest mark counts (Bit Twiddling Hacks, "Determine if a word has a zero byte").
fn special_bytes(word: u64) -> u64 {
    let quotes = word ^ (LOW * b'"' as u64);
    let backslashes = word ^ (LOW * b'\\' as u64);
    let quotes = quotes.wrapping_sub(LOW) & !quotes;
    let backslashes = backslashes.wrapping_sub(LOW) & !backslashes;
    let controls = word.wrapping_sub(LOW * 0x20) & !word;
    (quotes | backslashes | controls) & HIGH
}
