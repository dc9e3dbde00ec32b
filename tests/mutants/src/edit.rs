//! Edits of a source text, one inside the other.

/// Bytes of the source.
pub type Range = (usize, usize);

/// What is written at a place instead of what stands there.
pub enum Edit {
    /// One of these operators between the same operands.
    Binary { all: Range, left: Range, right: Range, ways: Vec<(u32, String)> },
    /// The operand without its operator.
    Unary { all: Range, operand: Range, number: u32 },
    /// Another text for the whole.
    Whole { all: Range, ways: Vec<(u32, String)> },
    /// A guard that always holds, or never.
    Guard { all: Range, always: Option<u32>, never: Option<u32> },
    /// Nothing.
    Cut { all: Range },
    /// Something more.
    Insert { at: usize, text: String },
}

impl Edit {
    pub fn insert(at: usize, text: &str) -> Self {
        Self::Insert { at, text: text.to_owned() }
    }

    fn range(&self) -> Range {
        match self {
            Self::Binary { all, .. }
            | Self::Unary { all, .. }
            | Self::Whole { all, .. }
            | Self::Guard { all, .. }
            | Self::Cut { all } => *all,
            Self::Insert { at, .. } => (*at, *at),
        }
    }
}

/// The source with all edits. Those inside of another one are made in what that one keeps; its other ways have none, since only one number is on.
pub fn render(source: &str, mut edits: Vec<Edit>) -> String {
    // The outer one first; what is inserted goes before all.
    edits.sort_by_key(|edit| {
        let (from, to) = edit.range();
        (from, !matches!(edit, Edit::Insert { .. }), usize::MAX - to)
    });
    let mut out = String::with_capacity(source.len() * 4);
    Renderer { source, edits: &edits }.write((0, source.len()), 0, &mut out);
    out
}

struct Renderer<'a> {
    source: &'a str,
    edits: &'a [Edit],
}

impl Renderer<'_> {
    /// A part of the source, with the edits inside it; those before `next` are made already.
    fn write(&self, (from, end): Range, next: usize, out: &mut String) {
        let mut at = from;
        for (number, edit) in self.edits.iter().enumerate().skip(next) {
            let (first, last) = edit.range();
            if first > end {
                break;
            }
            let is_inside = first >= at && last <= end && (first < end || first == last);
            if !is_inside {
                continue;
            }
            out.push_str(&self.source[at..first]);
            self.make(edit, number + 1, out);
            at = last;
        }
        out.push_str(&self.source[at..end]);
    }

    fn make(&self, edit: &Edit, next: usize, out: &mut String) {
        match edit {
            Edit::Insert { text, .. } => out.push_str(text),
            Edit::Cut { .. } => {}
            Edit::Binary { left, right, ways, .. } => {
                let (a, b) = (&self.source[left.0..left.1], &self.source[right.0..right.1]);
                let ways: Vec<(u32, String)> = ways
                    .iter()
                    .map(|(number, operator)| (*number, format!("({a}) {operator} ({b})")))
                    .collect();
                self.ways(&ways, out, |out| {
                    out.push('(');
                    self.write(*left, next, out);
                    out.push(')');
                    out.push_str(&self.source[left.1..right.0]);
                    out.push('(');
                    self.write(*right, next, out);
                    out.push(')');
                });
            }
            Edit::Unary { all, operand, number } => {
                let without = self.source[operand.0..operand.1].to_owned();
                self.ways(&[(*number, without)], out, |out| {
                    out.push_str(&self.source[all.0..operand.0]);
                    self.write(*operand, next, out);
                });
            }
            Edit::Whole { all, ways } => self.ways(ways, out, |out| self.write(*all, next, out)),
            Edit::Guard { all, always, never } => {
                let on = |number: &Option<u32>| {
                    number.map_or("false".to_owned(), |one| format!("crate::mx::on({one})"))
                };
                out.push_str(&format!("({} || !{} && (", on(always), on(never)));
                self.write(*all, next, out);
                out.push_str("))");
            }
        }
    }

    /// One way for each number that may be on, between marks by which an error of the compiler is known to be its own; else what stands there.
    fn ways(&self, ways: &[(u32, String)], out: &mut String, own: impl FnOnce(&mut String)) {
        out.push('(');
        for (number, text) in ways {
            out.push_str(&format!(
                "if crate::mx::on({number}) {{\n/*M{number}*/ {text} /*E{number}*/\n}} else "
            ));
        }
        out.push_str("{ ");
        own(out);
        out.push_str(" })");
    }
}
