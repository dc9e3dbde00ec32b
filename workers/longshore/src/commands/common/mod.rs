//! What several commands are made of: failed records read, chosen and shown, the question before something is done, and
//! the journal that keeps what was done.

pub(crate) mod answer;
pub(crate) mod ask;
pub(crate) mod choose;
pub(crate) mod folder;
pub(crate) mod found;
pub(crate) mod identity;
pub(crate) mod journal;
pub(crate) mod page;
pub(crate) mod run;
pub(crate) mod traces;
pub(crate) mod value;
pub(crate) mod watch;
pub(crate) mod when;
pub(crate) mod writer;

/// Bytes of a header as people may see them: no control characters, at most so many letters.
pub(crate) fn words(bytes: &[u8], most: usize) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(most * 4)]);
    text.chars().map(|letter| if letter.is_control() { '?' } else { letter }).take(most).collect()
}
