//! What somebody chose with keys. Pure: a key in, a changed panel out.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::choice::{Column, Filter, Sort};

/// The most letters of a filter that is typed.
const FILTER_LETTERS: usize = 200;

/// What is shown of the fleet, and how.
#[derive(Clone, Debug)]
pub(super) struct Panel {
    pub(super) sort: Sort,
    pub(super) filter: Filter,
    /// The filter's words, as they were typed.
    pub(super) words: String,
    /// What is being typed, until Enter.
    pub(super) typing: Option<String>,
    /// What is wrong with what was typed.
    pub(super) wrong: Option<String>,
    /// The first partition that is shown, as asked for.
    pub(super) first: usize,
    pub(super) help: bool,
}

/// What follows from a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Stay,
    Leave,
}

impl Panel {
    /// # Errors
    /// What is wrong with the column or the filter.
    pub(super) fn new(column: &str, reverse: bool, words: &str) -> Result<Self, String> {
        let sort = Sort { column: Column::parse(column)?, reverse };
        let filter = Filter::parse(words)?;
        let words = words.to_owned();
        Ok(Self { sort, filter, words, typing: None, wrong: None, first: 0, help: false })
    }

    /// Does what a key says; `page` is how many partitions are shown.
    pub(super) fn key(&mut self, key: KeyEvent, page: usize) -> Wish {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control && matches!(key.code, KeyCode::Char('c' | 'd')) {
            return Wish::Leave;
        }
        if self.typing.is_some() {
            self.typed(key.code);
            return Wish::Stay;
        }
        let page = page.max(1);
        match key.code {
            KeyCode::Char('q') => return Wish::Leave,
            KeyCode::Char('?' | 'h') => self.help = !self.help,
            KeyCode::Char('s') => self.sort.column = self.sort.column.next(false),
            KeyCode::Char('S') => self.sort.column = self.sort.column.next(true),
            KeyCode::Char('r') => self.sort.reverse = !self.sort.reverse,
            KeyCode::Char('/') => self.typing = Some(self.words.clone()),
            KeyCode::Esc => self.back(),
            KeyCode::Up | KeyCode::Char('k') => self.first = self.first.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.first = self.first.saturating_add(1),
            KeyCode::PageUp => self.first = self.first.saturating_sub(page),
            KeyCode::PageDown | KeyCode::Char(' ') => self.first = self.first.saturating_add(page),
            KeyCode::Home => self.first = 0,
            KeyCode::End => self.first = usize::MAX,
            _ => {}
        }
        Wish::Stay
    }

    /// Escape takes the latest choice back.
    fn back(&mut self) {
        if self.help {
            self.help = false;
        } else {
            (self.filter, self.words, self.first) = (Filter::default(), String::new(), 0);
        }
    }

    fn typed(&mut self, code: KeyCode) {
        let Some(text) = &mut self.typing else { return };
        match code {
            KeyCode::Esc => (self.typing, self.wrong) = (None, None),
            KeyCode::Enter => match Filter::parse(text) {
                Ok(filter) => {
                    (self.filter, self.first, self.wrong) = (filter, 0, None);
                    self.words = self.typing.take().unwrap_or_default();
                }
                Err(wrong) => self.wrong = Some(wrong),
            },
            KeyCode::Backspace => {
                text.pop();
            }
            KeyCode::Char(letter) if !letter.is_control() && text.chars().count() < FILTER_LETTERS => {
                text.push(letter)
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(panel: &mut Panel, keys: &str) -> Wish {
        keys.chars().map(|key| panel.key(KeyEvent::from(KeyCode::Char(key)), 10)).last().unwrap()
    }

    /// Scenario: somebody sorts, turns, scrolls, types a filter with a mistake and mends it. Guarantee: the panel is as the keys say; q is a letter while one types.
    #[test]
    fn keys_do_what_the_help_says() {
        let mut panel = Panel::new("lag", false, "").unwrap();
        press(&mut panel, "sr");
        assert_eq!(panel.sort, Sort { column: Column::Behind, reverse: true });
        press(&mut panel, "Sr");
        assert_eq!(panel.sort, Sort { column: Column::Lag, reverse: false });
        press(&mut panel, " jk");
        assert_eq!(panel.first, 10);
        panel.key(KeyCode::End.into(), 10);
        press(&mut panel, "j");
        panel.key(KeyCode::Home.into(), 10);
        assert_eq!(panel.first, 0);
        assert_eq!(press(&mut panel, "/q>1"), Wish::Stay);
        panel.key(KeyCode::Enter.into(), 10);
        assert!(panel.wrong.as_deref().is_some_and(|wrong| wrong.contains("no column")));
        assert!(panel.filter.is_empty() && panel.typing.as_deref() == Some("q>1"));
        for _ in 0..3 {
            panel.key(KeyCode::Backspace.into(), 10);
        }
        press(&mut panel, "held");
        panel.key(KeyCode::Enter.into(), 10);
        assert_eq!((panel.words.as_str(), &panel.typing, &panel.wrong), ("held", &None, &None));
        assert!(!panel.filter.is_empty());
        panel.key(KeyCode::Esc.into(), 10);
        assert!(panel.filter.is_empty() && panel.words.is_empty());
        assert_eq!(press(&mut panel, "q"), Wish::Leave);
        let control = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        panel.typing = Some(String::new());
        assert_eq!(panel.key(control, 10), Wish::Leave);
        assert!(Panel::new("age", false, "").is_err() && Panel::new("lag", false, "lag>").is_err());
    }
}
