//! Which mutant is on: the one whose number is in `MUTANT`, none without.

static MUTANT: std::sync::LazyLock<u32> =
    std::sync::LazyLock::new(|| std::env::var("MUTANT").ok().and_then(|text| text.parse().ok()).unwrap_or(0));

#[inline(always)]
pub fn on(number: u32) -> bool {
    *MUTANT == number
}

/// An iterator as it is, or a mutant's.
pub enum Choice<I: Iterator> {
    Own(I),
    Other(std::option::IntoIter<I::Item>),
}

impl<I: Iterator> Iterator for Choice<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        match self {
            Self::Own(own) => own.next(),
            Self::Other(other) => other.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Self::Own(own) => own.size_hint(),
            Self::Other(other) => other.size_hint(),
        }
    }
}

impl<I: DoubleEndedIterator> DoubleEndedIterator for Choice<I> {
    fn next_back(&mut self) -> Option<I::Item> {
        match self {
            Self::Own(own) => own.next_back(),
            Self::Other(other) => other.next_back(),
        }
    }
}

impl<I: ExactSizeIterator> ExactSizeIterator for Choice<I> {}
