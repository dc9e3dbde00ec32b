//! Lines of a screen: pieces of text with a style, cut to a width. Nothing that a terminal obeys gets into one.

use unicode_width::UnicodeWidthStr;

use crate::fleet::ask::plain;

/// How a piece looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Style {
    #[default]
    Plain,
    Bold,
    Dim,
    /// Somebody should look at it.
    Bad,
    /// The head of a table.
    Head,
}

impl Style {
    /// What a terminal is told before the piece; it is told to forget it behind.
    pub(super) fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Bold => Some("1"),
            Self::Dim => Some("2"),
            Self::Bad => Some("31"),
            Self::Head => Some("7"),
        }
    }
}

/// Where a text stands in its width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// One line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    pieces: Vec<(Style, String)>,
}

impl Line {
    /// A line of one piece.
    pub(super) fn of(style: Style, text: &str) -> Self {
        let mut line = Self::default();
        line.push(style, text);
        line
    }

    pub(super) fn push(&mut self, style: Style, text: &str) {
        self.pieces.push((style, plain(text)));
    }

    /// Adds a text cut or filled to a width.
    pub(super) fn cell(&mut self, style: Style, text: &str, width: usize, side: Side) {
        self.push(style, &fitted(&plain(text), width, side));
    }

    /// How many columns it takes.
    pub(super) fn width(&self) -> usize {
        self.pieces.iter().map(|(_, text)| text.width()).sum()
    }

    /// The line cut to a width.
    pub(super) fn cut(self, width: usize) -> Self {
        let mut left = width;
        let mut pieces = Vec::with_capacity(self.pieces.len());
        for (style, text) in self.pieces {
            let text = head(&text, left);
            left -= text.width();
            pieces.push((style, text));
        }
        Self { pieces }
    }

    /// The line filled with spaces, so that its last style reaches to the width.
    pub(super) fn filled(mut self, width: usize) -> Self {
        let missing = width.saturating_sub(self.width());
        if let Some((_, last)) = self.pieces.last_mut() {
            last.extend(std::iter::repeat_n(' ', missing));
        }
        self
    }

    /// The text, with a terminal's codes where colour is wanted.
    pub(super) fn text(&self, colour: bool) -> String {
        let mut line = String::new();
        for (style, text) in &self.pieces {
            match style.code().filter(|_| colour) {
                Some(code) => line.push_str(&format!("\u{1b}[{code}m{text}\u{1b}[0m")),
                None => line.push_str(text),
            }
        }
        line.trim_end().to_owned()
    }
}

/// The beginning of a text that takes at most so many columns.
fn head(text: &str, width: usize) -> String {
    // Of the whole, since a sign may make the one before it wider.
    let ends = text.char_indices().map(|(at, letter)| at + letter.len_utf8());
    let end = ends.take_while(|end| text[..*end].width() <= width).last().unwrap_or(0);
    text[..end].to_owned()
}

/// A text of just this width: cut with a `~` at its end, or filled.
fn fitted(text: &str, width: usize, side: Side) -> String {
    let mut text = if text.width() <= width {
        text.to_owned()
    } else {
        head(text, width.saturating_sub(1)) + if width > 0 { "~" } else { "" }
    };
    let missing: String = std::iter::repeat_n(' ', width.saturating_sub(text.width())).collect();
    match side {
        Side::Left => text.push_str(&missing),
        Side::Right => text.insert_str(0, &missing),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantee: texts have the width that they are given, wide letters too, and nothing that a terminal obeys.
    #[test]
    fn texts_fit_their_width() {
        assert_eq!(fitted("abc", 5, Side::Left), "abc  ");
        assert_eq!(fitted("abc", 5, Side::Right), "  abc");
        assert_eq!(fitted("abcdef", 4, Side::Left), "abc~");
        assert_eq!(fitted("漢字漢字", 5, Side::Left), "漢字~");
        assert_eq!(fitted("漢字漢字", 4, Side::Left).width(), 4);
        assert_eq!(fitted("abc", 0, Side::Left), "");
        let mut line = Line::of(Style::Bad, "a\u{1b}[2Jb\r\n");
        line.cell(Style::Plain, "\u{9b}31m\u{202e}x", 20, Side::Left);
        assert_eq!(line.text(false), "a?[2Jb???31m?x");
        assert_eq!(line.clone().cut(3).text(true), "\u{1b}[31ma?[\u{1b}[0m");
        assert_eq!(line.cut(9).width(), 9);
        // One letter of two columns, as a terminal shows it, is of one column by its parts.
        assert_eq!(Line::of(Style::Plain, "\u{2601}\u{fe0f}\u{2601}\u{fe0f}x").cut(1).width(), 1);
        assert_eq!(Line::of(Style::Head, "ab").filled(4).text(true), "\u{1b}[7mab  \u{1b}[0m");
    }
}
