//! The tables of workers and partitions: columns by their weight, as many as have room.

use super::super::cells::{count, drain, rate, share, span};
use super::super::choice::Column;
use super::super::line::{Line, Side, Style};
use super::super::panel::Panel;
use crate::fleet::view::{Partition, Worker};

/// A column of a table over `T`.
struct Shown<T> {
    title: &'static str,
    /// The least width.
    width: usize,
    side: Side,
    /// Columns with a smaller one are left out last.
    weight: u8,
    text: fn(&T) -> String,
    bad: fn(&T) -> bool,
    /// What it sorts by.
    sorts: Option<Column>,
}

fn number<T>(title: &'static str, width: usize, weight: u8, text: fn(&T) -> String) -> Shown<T> {
    Shown { title, width, side: Side::Right, weight, text, bad: |_| false, sorts: None }
}

impl<T> Shown<T> {
    fn bad(self, bad: fn(&T) -> bool) -> Self {
        Self { bad, ..self }
    }

    fn sorts(self, column: Column) -> Self {
        Self { sorts: Some(column), ..self }
    }

    fn words(self) -> Self {
        Self { side: Side::Left, ..self }
    }
}

fn of_worker() -> Vec<Shown<Worker>> {
    vec![
        number("WORKER", 15, 0, |worker: &Worker| worker.name.clone()).words().bad(|worker| !worker.answers),
        number("STATE", 8, 1, |worker: &Worker| match (&worker.state, worker.answers) {
            (Some(state), _) => state.clone(),
            (None, true) => "-".to_owned(),
            (None, false) => "silent".to_owned(),
        })
        .words()
        .bad(|worker| worker.state.as_deref() != Some("running")),
        number("PARTS", 5, 2, |worker: &Worker| count(Some(worker.partitions))),
        number("RATE", 9, 3, |worker: &Worker| rate(worker.rate)),
        number("MEMORY", 15, 4, |worker: &Worker| share(worker.memory, worker.budget)).bad(is_full),
        number("IN FLIGHT", 9, 5, |worker: &Worker| count(worker.in_flight)),
        number("UP", 7, 6, |worker: &Worker| span(worker.uptime_seconds.map(|seconds| seconds as f64))),
        number("VERSION", 26, 7, |worker: &Worker| worker.version.clone().unwrap_or_default()).words(),
    ]
}

/// Nine tenths of the budget: what comes next waits for room.
fn is_full(worker: &Worker) -> bool {
    let (Some(memory), Some(budget)) = (worker.memory, worker.budget) else { return false };
    memory as f64 >= budget as f64 * 0.9
}

fn of_partition() -> Vec<Shown<Partition>> {
    use Column as By;
    vec![
        number("TOPIC", 10, 0, |one: &Partition| one.topic.clone()).words().bad(|one| one.held.is_some()),
        number("PART", 4, 1, |one: &Partition| one.partition.to_string()).sorts(By::Partition),
        number("LAG", 9, 2, |one: &Partition| count(one.lag)).sorts(By::Lag),
        number("BEHIND", 7, 3, |one: &Partition| span(one.seconds_behind)).sorts(By::Behind),
        number("RATE", 9, 5, |one: &Partition| rate(one.rate)).sorts(By::Rate),
        number("DRAIN", 7, 6, drain).bad(|one| drain(one) == "never").sorts(By::Drain),
        number("WAITING", 7, 8, |one: &Partition| count(one.waiting)).sorts(By::Waiting),
        number("RETRIES", 7, 7, |one: &Partition| count(one.retries)).sorts(By::Retries),
        number("DEAD", 6, 4, |one: &Partition| count(one.dead_letters))
            .bad(|one| one.dead_letters.is_some_and(|count| count > 0))
            .sorts(By::Dead),
        number("WORKER", 21, 9, |one: &Partition| one.worker.clone().unwrap_or_else(|| "nobody".to_owned()))
            .words()
            .bad(|one| one.worker.is_none())
            .sorts(By::Worker),
    ]
}

/// The columns that have room, in their order, the first one as wide as the others leave it.
fn fit<T>(mut columns: Vec<Shown<T>>, width: usize) -> Vec<Shown<T>> {
    let taken = |columns: &[Shown<T>]| columns.iter().map(|column| column.width + 1).sum::<usize>() - 1;
    while columns.len() > 1 && taken(&columns) > width {
        let heaviest = columns.iter().map(|column| column.weight).max();
        columns.retain(|column| Some(column.weight) != heaviest);
    }
    let rest = width.saturating_sub(taken(&columns));
    if let Some(first) = columns.first_mut() {
        first.width += rest.min(FIRST_MORE);
    }
    columns
}

/// A name is hardly longer; beyond, a row would be hard to follow with the eye.
const FIRST_MORE: usize = 40;

fn title<T>(columns: &[Shown<T>], by: Option<Column>, width: usize) -> Line {
    let mut line = Line::default();
    for column in columns {
        if line.width() > 0 {
            line.push(Style::Head, " ");
        }
        let sorted = column.sorts.is_some() && column.sorts == by;
        let title = if sorted { format!("*{}", column.title) } else { column.title.to_owned() };
        line.cell(Style::Head, &title, column.width, column.side);
    }
    line.filled(width)
}

fn row<T>(columns: &[Shown<T>], of: &T) -> Line {
    let mut line = Line::default();
    for (place, column) in columns.iter().enumerate() {
        if place > 0 {
            line.push(Style::Plain, " ");
        }
        let style = if (column.bad)(of) { Style::Bad } else { Style::Plain };
        line.cell(style, &(column.text)(of), column.width, column.side);
    }
    line
}

/// The workers, those first that somebody should look at; at most so many lines.
pub(super) fn workers(workers: &[Worker], width: usize, most: Option<usize>) -> Vec<Line> {
    let columns = fit(of_worker(), width);
    let mut sorted: Vec<&Worker> = workers.iter().collect();
    sorted.sort_by_key(|worker| {
        (worker.answers && worker.state.as_deref() == Some("running"), worker.name.clone())
    });
    let mut lines = vec![title(&columns, None, width)];
    let room = most.map_or(usize::MAX, |most| most.saturating_sub(1));
    let shown = if sorted.len() > room { room.saturating_sub(1) } else { sorted.len() };
    lines.extend(sorted.iter().take(shown).map(|worker| row(&columns, worker)));
    if workers.is_empty() {
        lines.push(Line::of(Style::Bad, "nobody is a member of the group"));
    } else if shown < sorted.len() {
        lines.push(Line::of(Style::Dim, &format!("and {} more", sorted.len() - shown)));
    }
    lines
}

/// How many partitions the end of the table has room for.
fn last_page(all: &[Partition], room: usize) -> usize {
    let mut lines = 0;
    let fits = |one: &&Partition| {
        lines += 1 + usize::from(one.held.is_some());
        lines <= room
    };
    all.iter().rev().take_while(fits).count()
}

/// Rows of partitions, and how many have room.
pub(super) struct Drawn {
    pub(super) lines: Vec<Line>,
    pub(super) page: usize,
}

/// The partitions from the one that the panel is scrolled to; a second line says why one is held.
pub(super) fn partitions(all: &[Partition], panel: &mut Panel, width: usize, most: Option<usize>) -> Drawn {
    let columns = fit(of_partition(), width);
    let mut lines = vec![title(&columns, Some(panel.sort.column), width)];
    let room = most.map_or(usize::MAX, |most| most.saturating_sub(2).max(1));
    panel.first = panel.first.min(all.len() - last_page(all, room));
    let mut page = 0;
    for one in &all[panel.first..] {
        let why = one.held.as_ref().map(|why| Line::of(Style::Bad, &format!("  held: {why}")));
        if lines.len() + usize::from(why.is_some()) > room {
            break;
        }
        lines.push(row(&columns, one));
        lines.extend(why);
        page += 1;
    }
    let behind = all.len() - panel.first - page;
    if panel.first > 0 || behind > 0 {
        let words = format!("{} to {} of {}", panel.first + 1, panel.first + page, all.len());
        lines.push(Line::of(Style::Dim, &words));
    }
    Drawn { lines, page }
}
