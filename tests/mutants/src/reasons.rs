//! The written reasons, in workers/core/mutants.md: a table of file and function, changes, and why nothing can notice them.

use std::collections::BTreeMap;

/// The changes with a reason, by file and function.
pub struct Reasons(BTreeMap<(String, String), String>);

impl Reasons {
    pub fn read(page: &str) -> Self {
        let mut reasons = BTreeMap::new();
        for row in page.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<String> = cells(row);
            let [place, changes, why] = &cells[..] else { continue };
            let Some((file, function)) = place.split_once("`: `") else { continue };
            if why.is_empty() {
                continue;
            }
            let key = (file.trim_matches('`').to_owned(), function.trim_matches('`').to_owned());
            let known: &mut String = reasons.entry(key).or_default();
            known.push_str("; ");
            known.push_str(changes);
        }
        Self(reasons)
    }

    /// Whether somebody wrote down why this change makes no difference.
    pub fn has(&self, file: &str, function: &str, change: &str) -> bool {
        let key = (file.to_owned(), function.to_owned());
        self.0.get(&key).is_some_and(|changes| changes.contains(change))
    }
}

/// The cells of a row; `\|` is no border.
fn cells(row: &str) -> Vec<String> {
    let row = row.replace("\\|", "\0");
    row.trim_matches('|').split('|').map(|cell| cell.trim().replace('\0', "|")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantee: a reason holds for its file, function and change alone.
    #[test]
    fn a_reason_is_for_one_change() {
        let page = "| where | change | why |\n|---|---|---|\n\
                    | `a.rs`: `f` | `x < 1` as `<=`; `y \\| 2` as `^` | saves work |\n\
                    | `a.rs`: `g` | `x < 1` as `>` |  |\n";
        let reasons = Reasons::read(page);
        assert!(reasons.has("a.rs", "f", "`x < 1` as `<=`") && reasons.has("a.rs", "f", "`y | 2` as `^`"));
        assert!(!reasons.has("a.rs", "f", "`x < 1` as `<`") && !reasons.has("b.rs", "f", "`x < 1` as `<=`"));
        assert!(!reasons.has("a.rs", "g", "`x < 1` as `>`"), "a row without a reason");
    }
}
