//! One frame: a view of the fleet and what was chosen, as lines of a width. Pure.

mod tables;

use super::cells::{count, drain_of, rate, share, span};
use super::choice::chosen;
use super::line::{Line, Style};
use super::panel::Panel;
use crate::fleet::view::{Totals, View};
use tables::{partitions, workers};

/// The narrowest width that anything is drawn for; below it lines are cut.
const NARROWEST: usize = 20;

/// Columns and lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) width: usize,
    /// As many lines as there are; none for as many as it takes.
    pub(super) height: Option<usize>,
}

/// What is known of the fleet.
pub(super) struct Known<'a> {
    /// The latest view; none before the first.
    pub(super) view: Option<&'a View>,
    /// Why there is no later one.
    pub(super) trouble: Option<&'a str>,
}

/// A frame, and how many partitions it has room for.
pub(super) struct Frame {
    pub(super) lines: Vec<Line>,
    pub(super) page: usize,
}

/// Draws. What is scrolled beyond the end is taken back in the panel.
pub(super) fn draw(known: &Known<'_>, panel: &mut Panel, size: Size) -> Frame {
    let width = size.width.max(NARROWEST);
    let mut lines = Vec::new();
    if let Some(view) = known.view {
        lines.push(title(view, width));
    }
    if let Some(trouble) = known.trouble {
        lines.push(Line::of(Style::Bad, trouble));
    }
    let mut page = 0;
    match known.view {
        _ if panel.help => lines.extend(HELP.lines().map(|text| Line::of(Style::Plain, text))),
        None if known.trouble.is_none() => lines.push(Line::of(Style::Dim, "looking at the group")),
        None => {}
        Some(view) => page = body(view, panel, width, size.height, &mut lines),
    }
    if let Some(height) = size.height {
        lines.truncate(height.saturating_sub(1));
        lines.resize_with(height.saturating_sub(1), Line::default);
        lines.push(foot(panel));
    }
    let lines = lines.into_iter().map(|line| line.cut(size.width)).collect();
    Frame { lines, page }
}

const HELP: &str = "
  q           leave
  s, S        sort by the next column, or by the one before
  r           turn the order
  /           type a filter, Enter takes it, Esc leaves it:
                logs.raw/3     a part of a topic/partition, worker or reason
                held           takes no records
                silent         its worker does not answer
                lag>1000       lag, behind, rate, drain (seconds), waiting,
                               retries or dead, above or below a number
  Esc         no filter
  arrows, j, k, PageUp, PageDown, Space, Home, End
              scroll
  ?           this page";

/// Sums and tables; how many partitions have room.
fn body(view: &View, panel: &mut Panel, width: usize, height: Option<usize>, lines: &mut Vec<Line>) -> usize {
    lines.extend(sums(view, width));
    lines.push(Line::default());
    // A third of what is left for workers, so that a large fleet leaves room for what is behind.
    let left = height.map(|height| height.saturating_sub(lines.len() + 1));
    lines.extend(workers(&view.workers, width, left.map(|left| (left / 3).max(3))));
    lines.push(Line::default());
    let shown = chosen(view, &panel.filter, panel.sort);
    let left = height.map(|height| height.saturating_sub(lines.len() + 1));
    let drawn = partitions(&shown.partitions, panel, width, left);
    lines.extend(drawn.lines);
    if !panel.filter.is_empty() {
        let (some, all) = (shown.partitions.len(), view.partitions.len());
        let words = format!("{some} of {all} partitions fit {:?}", panel.words);
        lines.push(Line::of(Style::Dim, &words));
    }
    drawn.page
}

fn title(view: &View, width: usize) -> Line {
    let mut line = Line::of(Style::Bold, &view.pipeline);
    line.push(Style::Plain, &format!("  group {} {}", view.group, view.group_state));
    // The time of day, at the end of the line where it has room.
    let time = view.at.get(11..19).unwrap_or_default();
    let gap = width.saturating_sub(line.width() + time.len());
    if gap >= 2 {
        line.push(Style::Dim, &format!("{:gap$}{time}", ""));
    }
    line
}

/// The totals, as many in a line as have room.
fn sums(view: &View, width: usize) -> Vec<Line> {
    let totals = &view.totals;
    let alive = totals.lag > 0;
    let bad = |is: bool| if is { Style::Bad } else { Style::Plain };
    let silent = totals.workers - totals.answering;
    let silence = if silent > 0 { format!(", {silent} silent") } else { String::new() };
    let parts: Vec<(Style, String)> = vec![
        (Style::Plain, format!("lag {}", count(Some(totals.lag)))),
        (Style::Plain, format!("behind {}", span(totals.seconds_behind))),
        (Style::Plain, rate(totals.rate)),
        (
            bad(alive && stands(totals)),
            format!("done in {}", drain_of(Some(totals.lag), totals.rate, totals.drain_seconds)),
        ),
        (Style::Plain, format!("waiting {}", count(Some(totals.waiting)))),
        (Style::Plain, format!("parked keys {}", count(Some(totals.parked)))),
        (Style::Plain, format!("retries {}", count(Some(totals.retries)))),
        (bad(totals.dead_letters > 0), format!("dead {}", count(Some(totals.dead_letters)))),
        (Style::Plain, format!("memory {}", share(Some(totals.memory), Some(totals.budget)))),
        (bad(silent > 0), format!("workers {}{silence}", totals.workers)),
    ];
    let mut lines = vec![Line::default()];
    for (style, text) in parts {
        let Some(line) = lines.last_mut() else { continue };
        let gap = if line.width() == 0 { 0 } else { 3 };
        if line.width() + gap + text.len() <= width || gap == 0 {
            line.push(Style::Plain, &" ".repeat(gap));
            line.push(style, &text);
        } else {
            lines.push(Line::of(style, &text));
        }
    }
    lines
}

fn stands(totals: &Totals) -> bool {
    totals.rate == Some(0.0)
}

fn foot(panel: &Panel) -> Line {
    if let Some(typed) = &panel.typing {
        let mut line = Line::of(Style::Bold, &format!("filter: {typed}_"));
        if let Some(wrong) = &panel.wrong {
            line.push(Style::Bad, &format!("  {wrong}"));
        }
        return line;
    }
    let order = if panel.sort.reverse { ", turned" } else { "" };
    let keys = format!("q leave  s sort: {}{order}  r turn  / filter  ? keys", panel.sort.column.name());
    Line::of(Style::Dim, &keys)
}

#[cfg(test)]
mod tests;
