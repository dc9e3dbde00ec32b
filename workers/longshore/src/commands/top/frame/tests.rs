use super::*;
use crate::fleet::view::{Outcomes, Partition, Worker, drain};

fn worker(number: u8, answers: bool) -> Worker {
    Worker {
        name: format!("10.0.0.{number}:8080"),
        client_id: "longshore.http.8080".to_owned(),
        answers,
        version: answers.then(|| "0.1.0 (librdkafka 2.12.1)".to_owned()),
        state: answers.then(|| "running".to_owned()),
        partitions: 2,
        rate: answers.then_some(600.0),
        memory: answers.then_some(12 << 20),
        budget: answers.then_some(128 << 20),
        in_flight: answers.then_some(1_234),
        uptime_seconds: answers.then_some(3_725),
        ..Worker::default()
    }
}

fn partition(number: i32, lag: u64) -> Partition {
    let rate = Some(600.0);
    Partition {
        topic: "logs.raw".to_owned(),
        partition: number,
        worker: Some(format!("10.0.0.{}:8080", number % 2 + 1)),
        committed: Some(1_000),
        end: 1_000 + lag as i64,
        lag: Some(lag),
        seconds_behind: Some(lag as f64 / 100.0),
        rate,
        drain_seconds: drain(Some(lag), rate),
        waiting: Some(3),
        parked: Some(1),
        retries: Some(40),
        dead_letters: Some(u64::from(number == 1) * 2),
        held: None,
    }
}

fn view(partitions: i32) -> View {
    let partitions: Vec<_> = (0..partitions).map(|number| partition(number, number as u64 * 6_000)).collect();
    View {
        pipeline: "web-logs".to_owned(),
        pipeline_version: "1".to_owned(),
        group: "longshore.web-logs".to_owned(),
        group_state: "Stable".to_owned(),
        at: "2026-11-28T08:00:12Z".to_owned(),
        totals: Totals {
            lag: 36_000,
            seconds_behind: Some(180.0),
            rate: Some(2_400.0),
            drain_seconds: Some(30.0),
            waiting: 12,
            parked: 4,
            retries: 160,
            dead_letters: 2,
            memory: 12 << 20,
            budget: 128 << 20,
            workers: 2,
            answering: 1,
        },
        outcomes: Outcomes::default(),
        workers: vec![worker(1, true), worker(2, false)],
        partitions,
    }
}

fn panel() -> Panel {
    Panel::new("lag", false, "").unwrap()
}

fn drawn(view: &View, panel: &mut Panel, width: usize, height: Option<usize>) -> Vec<String> {
    let known = Known { view: Some(view), trouble: None };
    let frame = draw(&known, panel, Size { width, height });
    assert!(frame.lines.iter().all(|line| line.width() <= width), "{width}");
    assert!(height.is_none_or(|height| frame.lines.len() == height));
    frame.lines.iter().map(|line| line.text(false)).collect()
}

/// Guarantee: at 80 columns everything that the command promises has room: lag, age, rate, time, what waits, retries, dead letters, memory against its budget.
#[test]
fn eighty_columns_show_all_that_counts() {
    let lines = drawn(&view(4), &mut panel(), 80, Some(24));
    let text = lines.join("\n");
    let wanted = "\
web-logs  group longshore.web-logs Stable                               08:00:12
lag 36,000   behind 3m0s   2,400/s   done in 30s   waiting 12   parked keys 4
retries 160   dead 2   memory 12.0/128.0 MiB   workers 2, 1 silent

WORKER                STATE    PARTS      RATE          MEMORY IN FLIGHT      UP
10.0.0.2:8080         silent       2         -               -         -       -
10.0.0.1:8080         running      2     600/s  12.0/128.0 MiB     1,234    1h2m

TOPIC            PART      *LAG  BEHIND      RATE   DRAIN WAITING RETRIES   DEAD
logs.raw            3    18,000    3m0s     600/s     30s       3      40      0
logs.raw            2    12,000    2m0s     600/s     20s       3      40      0
logs.raw            1     6,000    1m0s     600/s     10s       3      40      2
logs.raw            0         0      0s     600/s      0s       3      40      0";
    assert!(text.starts_with(wanted), "{text}");
    assert_eq!(lines[23], "q leave  s sort: lag  r turn  / filter  ? keys");
}

/// Guarantee: narrower, columns go by their weight and the heaviest stay; wider, the workers of partitions and versions come.
#[test]
fn columns_come_and_go_with_the_width() {
    let narrow = drawn(&view(4), &mut panel(), 60, Some(24));
    let titles =
        |lines: &[String], word: &str| lines.iter().find(|line| line.contains(word)).unwrap().clone();
    let head = titles(&narrow, "TOPIC");
    assert!(head.contains("*LAG") && head.contains("BEHIND") && head.contains("DEAD"), "{head}");
    assert!(!head.contains("WAITING") && !head.contains("RETRIES"), "{head}");
    assert!(titles(&narrow, "STATE").contains("MEMORY"));
    let wide = drawn(&view(4), &mut panel(), 120, Some(24));
    let head = titles(&wide, "TOPIC");
    assert!(head.contains("WAITING") && head.trim_end().ends_with("WORKER"), "{head}");
    assert!(titles(&wide, "STATE").contains("VERSION"));
    assert!(wide.iter().any(|line| line.contains("18,000") && line.ends_with("10.0.0.2:8080")), "{wide:?}");
    for width in [1, 5, 20, 33, 40, 79, 81, 200, 500] {
        for height in [1, 2, 5, 10, 24, 100] {
            drawn(&view(40), &mut panel(), width, Some(height));
        }
    }
}

/// Guarantee: what has no room is scrolled to, and a page is as many as are seen; printed once, all are there.
#[test]
fn what_has_no_room_is_scrolled_to() {
    let (view, mut panel) = (view(40), panel());
    let first = drawn(&view, &mut panel, 80, Some(24));
    assert!(first.iter().any(|line| line == "1 to 13 of 40"), "{first:#?}");
    panel.first = usize::MAX;
    let last = drawn(&view, &mut panel, 80, Some(24));
    assert!(last.iter().any(|line| line == "28 to 40 of 40"), "{last:#?}");
    assert_eq!(panel.first, 27);
    panel.first = 0;
    let printed = drawn(&view, &mut panel, 80, None);
    assert_eq!(printed.iter().filter(|line| line.starts_with("logs.raw")).count(), 40);
}

/// Scenario: a partition is held with a hostile reason, another has nobody, the names are hostile too. Guarantee: each is told; nothing that a terminal obeys comes through.
#[test]
fn what_is_held_says_why_and_hostile_text_is_harmless() {
    let mut view = view(3);
    view.partitions[2].held = Some("sink.unavailable: \u{1b}]0;owned\u{7} connection refused".to_owned());
    view.partitions[2].rate = Some(0.0);
    view.partitions[2].drain_seconds = None;
    view.partitions[1].worker = None;
    view.workers[1].name = "\u{1b}[2J\nroot@host".to_owned();
    view.pipeline = "a\rb".to_owned();
    let lines = drawn(&view, &mut panel(), 120, Some(30));
    let text = lines.join("\n");
    assert!(text.contains("  held: sink.unavailable: ?]0;owned? connection refused"), "{text}");
    assert!(text.contains("never") && text.contains("nobody") && text.contains("?[2J?root@host"), "{text}");
    assert!(text.chars().all(|letter| letter == '\n' || !letter.is_control()), "{text:?}");
}

/// Scenario: the broker is away before the first view, and after it. Guarantee: it is said, and the last view stays.
#[test]
fn a_broker_that_is_away_is_told() {
    let size = Size { width: 80, height: Some(24) };
    let nothing = draw(&Known { view: None, trouble: Some("not seen yet: away") }, &mut panel(), size);
    assert_eq!(nothing.lines[0].text(false), "not seen yet: away");
    assert_eq!(
        draw(&Known { view: None, trouble: None }, &mut panel(), size).lines[0].text(false),
        "looking at the group"
    );
    let view = view(2);
    let later = draw(&Known { view: Some(&view), trouble: Some("as of 08:00:12; away") }, &mut panel(), size);
    let lines: Vec<_> = later.lines.iter().map(|line| line.text(false)).collect();
    assert_eq!(lines[1], "as of 08:00:12; away");
    assert!(lines.iter().any(|line| line.starts_with("logs.raw")));
}

/// Guarantee: a filter says how much it leaves; while one types it stands in the last line with what is wrong; the help fits a small terminal; colour comes only when wanted.
#[test]
fn the_last_line_and_the_filter_say_what_is_chosen() {
    let (view, mut panel) = (view(4), Panel::new("dead", true, "lag>6000").unwrap());
    let lines = drawn(&view, &mut panel, 80, Some(24));
    assert!(lines.iter().any(|line| line == "2 of 4 partitions fit \"lag>6000\""), "{lines:#?}");
    assert!(lines[23].contains("s sort: dead, turned"));
    (panel.typing, panel.wrong) = (Some("age>1".to_owned()), Some("there is no column".to_owned()));
    assert_eq!(drawn(&view, &mut panel, 80, Some(24))[23], "filter: age>1_  there is no column");
    panel.help = true;
    let help = drawn(&view, &mut panel, 80, Some(24));
    assert!(help.iter().any(|line| line.contains("this page")), "{help:#?}");
    let frame =
        draw(&Known { view: Some(&view), trouble: None }, &mut panel, Size { width: 80, height: Some(24) });
    let text = |colour| frame.lines.iter().map(|line| line.text(colour)).collect::<String>();
    assert!(text(true).contains('\u{1b}') && !text(false).contains('\u{1b}'));
}
