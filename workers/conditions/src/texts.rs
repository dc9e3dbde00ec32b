//! Where literals, comments and quoted names end, as the language's lexer has it
//! (<https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax>).
//!
//! The limits on a condition's text count brackets and operators outside of these, so both have to agree on where outside is: what the
//! lexer would take apart in another way is refused here, before it sees it.

/// A piece of text that is no literal, comment or name, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// A text that is not closed, or holds an escape that there is not.
    Text(usize),
    /// A text that begins where a number has not ended.
    Number(usize),
    /// A quoted name that is not closed, or of letters that no name has.
    Name(usize),
}

/// The letters of a condition that are none of literals, comments and quoted names, with their places.
pub(crate) fn outside(text: &str) -> impl Iterator<Item = Result<(usize, char), Misfit>> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let rest = text.get(at..)?;
            let letter = rest.chars().next()?;
            let here = at;
            let end = match letter {
                '"' | '\'' => literal(text, here),
                '`' => name(rest).map(|length| here + length).ok_or(Misfit::Name(here)),
                '/' if rest.starts_with("//") => Ok(rest.find('\n').map_or(text.len(), |line| here + line)),
                _ => {
                    at += letter.len_utf8();
                    return Some(Ok((here, letter)));
                }
            };
            match end {
                Ok(end) => at = end,
                Err(misfit) => {
                    at = text.len();
                    return Some(Err(misfit));
                }
            }
        }
    })
}

/// The byte behind a literal whose quote stands at `at`.
fn literal(text: &str, at: usize) -> Result<usize, Misfit> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let before = text[..at].rsplit(|letter| !is_part(letter)).next().unwrap_or_default();
    if before.starts_with(|letter: char| letter.is_ascii_digit()) {
        return Err(Misfit::Number(at));
    }
    let raw = matches!(before, "r" | "R" | "br" | "bR" | "Br" | "BR");
    let (quote, rest) = text[at..].split_at(1);
    let triple = quote.repeat(3);
    let (open, close) = if text[at..].starts_with(&triple) { (3, triple.as_str()) } else { (1, quote) };
    let (mut place, rest) = (at + open, &rest[open - 1..]);
    let from = place;
    while let Some(here) = rest.get(place - from..).filter(|here| !here.is_empty()) {
        if here.starts_with(close) {
            return Ok(place + close.len());
        }
        let letter = here.chars().next().unwrap_or_default();
        place += match letter {
            '\n' | '\r' if open == 1 => return Err(Misfit::Text(at)),
            '\\' if !raw => escape(here).ok_or(Misfit::Text(at))?,
            letter => letter.len_utf8(),
        };
    }
    Err(Misfit::Text(at))
}

/// The bytes of an escape; none when there is no such one.
fn escape(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let are = |range: std::ops::Range<usize>, fits: fn(&u8) -> bool| {
        bytes.get(range.clone()).is_some_and(|some| some.iter().all(fits)).then_some(range.end)
    };
    let hexadecimal = |count: usize| are(2..2 + count, u8::is_ascii_hexdigit);
    match bytes.get(1)? {
        b'a' | b'b' | b'f' | b'n' | b'r' | b't' | b'v' | b'"' | b'\'' | b'\\' | b'?' | b'`' => Some(2),
        b'x' | b'X' => hexadecimal(2),
        b'u' => hexadecimal(4),
        b'U' => hexadecimal(8),
        b'0'..=b'3' => are(2..4, |digit| (b'0'..=b'7').contains(digit)),
        _ => None,
    }
}

/// The bytes of a quoted name.
fn name(text: &str) -> Option<usize> {
    let (name, _) = text.strip_prefix('`')?.split_once('`')?;
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "_.-/ ".contains(letter);
    (!name.is_empty() && name.chars().all(fits)).then_some(name.len() + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(text: &str) -> Result<String, Misfit> {
        outside(text).map(|letter| letter.map(|(_, letter)| letter)).collect()
    }

    #[test]
    fn what_is_outside_is_what_the_lexer_sees() {
        for (text, outside) in [
            (r#"a + "(" + '[' + b"{""#, "a +  +  + b"),
            (r#"r"\" + R'\' + br"\" + (x)"#, "r + R + br + (x)"),
            (r#""\"(" + '\'(' + "\x41\u00e9\U0001F600\101(""#, " +  + "),
            ("\"\"\"a\"(\n\"\"\" + '''\\'''(''' + r'''\\''' + \"\"", " +  + r + "),
            ("a // \"(\n+ b", "a \n+ b"),
            ("a // (", "a "),
            ("`a//b`.c", ".c"),
            ("bar\"(\\\"(\"é", "baré"),
        ] {
            assert_eq!(left(text).as_deref(), Ok(outside), "{text}");
        }
    }

    #[test]
    fn what_the_lexer_would_take_apart_is_refused() {
        for (text, misfit) in [
            ("a\"(", Misfit::Text(1)),
            ("\"\n(\"", Misfit::Text(0)),
            (r#""\q(""#, Misfit::Text(0)),
            (r#""\u12(""#, Misfit::Text(0)),
            ("\"\"\"(\"", Misfit::Text(0)),
            (r#"1r"\"("#, Misfit::Number(2)),
            ("`a(`", Misfit::Name(0)),
            ("``", Misfit::Name(0)),
            ("(`", Misfit::Name(1)),
        ] {
            assert_eq!(left(text), Err(misfit), "{text}");
        }
    }
}
