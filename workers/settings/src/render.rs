//! Draws a report as compilers do: the line, a caret, the nearest known word.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::report::{Finding, Report};
use crate::source::Place;

/// The most mistakes that are drawn; a file with more of them is wrong in another way.
const MAX_DRAWN: usize = 50;

impl Report {
    /// The report for people, each mistake with file, line, column and caret; with terminal colours on request.
    pub fn render(&self, colour: bool) -> String {
        let shown: Vec<String> = self.sources.texts.iter().map(|text| text.shown()).collect();
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let mut out = String::new();
        for finding in self.findings.iter().take(MAX_DRAWN) {
            let group = self.group(finding, &shown);
            out.push_str(&renderer.render(&[group]));
            out.push_str("\n\n");
        }
        let count = self.findings.len();
        if count > MAX_DRAWN {
            out.push_str(&format!("... and {} more\n\n", count - MAX_DRAWN));
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
        out
    }

    fn group<'a>(&'a self, finding: &'a Finding, shown: &'a [String]) -> Group<'a> {
        let title = Level::ERROR.primary_title(finding.message.as_str()).id(finding.code.word());
        let text = shown.get(finding.place.source.0).map_or("", String::as_str);
        let mut group = Group::with_title(title);
        if text.is_empty() {
            group = group.element(annotate_snippets::Origin::path(self.name(&finding.place)));
        } else {
            let mut primary = AnnotationKind::Primary.span(on_text(&finding.place, text));
            if let Some(label) = &finding.label {
                primary = primary.label(label.as_str());
            }
            let mut snippet = Snippet::source(text).path(self.name(&finding.place)).annotation(primary);
            for (place, label) in
                finding.contexts.iter().filter(|(place, _)| place.source == finding.place.source)
            {
                snippet = snippet
                    .annotation(AnnotationKind::Context.span(on_text(place, text)).label(label.as_str()));
            }
            group = group.element(snippet);
        }
        for help in &finding.helps {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        group
    }

    fn name(&self, place: &Place) -> &str {
        &self.sources.text(place.source).name
    }
}

/// The place as the drawing library wants it: inside the text, on one line, on character boundaries.
fn on_text(place: &Place, text: &str) -> std::ops::Range<usize> {
    let mut start = place.span.start.min(text.len());
    let mut end = place.span.end.clamp(start, text.len());
    if let Some(newline) = text.get(start..end).and_then(|piece| piece.find('\n')) {
        end = start + newline;
    }
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    while !text.is_char_boundary(end) {
        end += 1;
    }
    start..end
}
