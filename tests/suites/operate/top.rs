//! `longshore top` from the outside: on a terminal, and where none is.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use longshore_broker::BrokerOptions;
use longshore_tests::harness::{Record, Rig, binary, shared_broker, start_broker, wait_for};
use serde_json::Value;

use super::terminal::Terminal;

const PATIENCE: Duration = Duration::from_secs(60);

fn records(count: usize) -> Vec<Record> {
    let text = |n: usize| {
        if n.is_multiple_of(50) { "broken".to_owned() } else { format!("{{\"severity_number\":{}}}", n % 24) }
    };
    (0..count).map(|n| Record::new(&format!("k{}", n % 97), text(n))).collect()
}

/// `longshore top -c FILE ARGUMENTS...`, to its end, with its output in pipes.
fn top(file: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command
        .arg("top")
        .arg("-c")
        .arg(file)
        .args(arguments)
        .env_remove("KAFKA_BOOTSTRAP")
        .env_remove("COLUMNS");
    command.output().unwrap()
}

/// The same as it would be typed.
fn typed(file: &Path, arguments: &str) -> String {
    format!("{} top -c {} --interval 1 {arguments}", binary().display(), file.display())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn has(screen: &[String], words: &str) -> bool {
    screen.iter().any(|line| line.contains(words))
}

/// Scenario: two workers with records, some broken; somebody watches at 80 columns, sorts, filters, makes the window narrower and wider, and leaves. Guarantee: all of it
/// is seen, no line is wider than the window, and the terminal is as it was.
#[test]
fn a_fleet_is_watched_on_a_terminal() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "operate-top").with_topics(4);
    rig.witness.publish(&rig.topic, &records(2_000));
    let (one, other) = (rig.working(), rig.working());
    let mut terminal = Terminal::run(&typed(&rig.file(), ""));
    terminal.wait("the whole fleet", |screen| {
        let rows = |start: &str| screen.iter().filter(|line| line.starts_with(start)).count();
        has(screen, "operate-top  group longshore.operate-top Stable")
            && has(screen, "workers 2")
            && has(screen, "dead 40")
            && has(screen, "memory ")
            && rows("operate-top.in") == 4
            && rows("127.0.0.1:") == 2
    });
    let fits =
        |columns: usize| move |screen: &[String]| screen.iter().all(|line| line.chars().count() <= columns);
    assert!(fits(80)(&terminal.screen()), "{:?}", terminal.screen());
    terminal.keys("s");
    terminal.wait("sorted by age", |screen| has(screen, "*BEHIND") && has(screen, "s sort: behind"));
    terminal.keys("/top.in/2\r");
    terminal.wait("one partition", |screen| has(screen, "1 of 4 partitions fit"));
    terminal.keys("\u{1b}");
    terminal.wait("all again", |screen| !has(screen, "partitions fit"));
    terminal.resize(60, 20);
    terminal.wait("narrower", |screen| {
        !has(&screen[..20], "RETRIES") && has(&screen[..20], "*BEHIND") && fits(60)(&screen[..20])
    });
    terminal.resize(120, 30);
    terminal.wait("wider", |screen| has(screen, "VERSION") && screen.len() == 30);
    terminal.keys("q");
    assert_eq!(terminal.ended(), 0);
    assert!(terminal.said().contains("\u{1b}[7m"), "no colour on a terminal");
    one.stop();
    other.stop();
}

/// Scenario: the same is printed once, by whatever cannot show a screen. Guarantee: 80 columns without a terminal's codes; JSON with what was chosen; mistakes of whoever types
/// have their exit codes.
#[test]
fn a_fleet_is_printed_once() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "operate-once").with_topics(3);
    rig.witness.publish(&rig.topic, &records(300));
    let mut worker = rig.working();
    worker.wait_until("the broken ones are letters", |worker| {
        worker.metric("longshore_records_dead_total") >= 6.0
    });
    let file = rig.file();
    let printed = wait_for("a frame with the letters", PATIENCE, || {
        let printed = top(&file, &[]);
        assert!(printed.status.success(), "{}", text(&printed.stderr));
        Some(text(&printed.stdout)).filter(|printed| printed.contains("dead 6"))
    });
    assert!(
        printed.lines().all(|line| line.chars().count() <= 80) && !printed.contains('\u{1b}'),
        "{printed:?}"
    );
    assert_eq!(printed.lines().filter(|line| line.starts_with("operate-once.in")).count(), 3, "{printed}");
    let view: Value =
        serde_json::from_slice(&top(&file, &["-o", "json", "--sort", "partition", "--reverse"]).stdout)
            .unwrap();
    let numbers: Vec<_> =
        view["partitions"].as_array().unwrap().iter().map(|one| one["partition"].as_i64()).collect();
    assert_eq!(numbers, [Some(2), Some(1), Some(0)]);
    let line = text(&top(&file, &["-o", "ndjson", "--filter", "in/1"]).stdout);
    let view: Value = serde_json::from_str(line.trim_end()).unwrap();
    assert_eq!((line.lines().count(), view["partitions"].as_array().unwrap().len()), (1, 1));
    for (wrong, says) in [(["--sort", "age"], "behind"), (["--filter", "age>1"], "no column")] {
        let said = top(&file, &wrong);
        assert_eq!(said.status.code(), Some(64));
        assert!(text(&said.stderr).contains(says), "{}", text(&said.stderr));
    }
    let coloured = Terminal::run(&format!("NO_COLOR=1 {}", typed(&file, "--once")));
    assert_eq!(coloured.ended(), 0);
    assert!(
        coloured.said().contains("dead 6") && !coloured.said().contains('\u{1b}'),
        "{:?}",
        coloured.said()
    );
    worker.stop();
}

/// Scenario: the broker goes while somebody watches, and comes back; then SIGTERM ends the command. Guarantee: it says so with the last view, goes on, and gives
/// the terminal back. Printed once, it is exit code 69.
#[test]
fn a_broker_that_goes_is_told_and_waited_for() {
    let Some(mut broker) = start_broker(BrokerOptions::default()) else { return };
    let rig = Rig::new(&broker.bootstrap(), "operate-top-away").with_topics(2);
    let worker = rig.working();
    let file = rig.file();
    let terminal = Terminal::run(&format!("sh -c 'echo pid $$; exec {}'", typed(&file, "")));
    terminal.wait("the fleet", |screen| has(screen, "workers 1"));
    broker.stop(1).unwrap();
    terminal.wait("it is told", |screen| has(screen, "not seen since") && has(screen, "operate-top-away.in"));
    assert_eq!(top(&file, &["--once"]).status.code(), Some(69));
    broker.restart(1).unwrap();
    terminal.wait("it is seen again", |screen| !has(screen, "not seen since") && has(screen, "workers 1"));
    let said = terminal.said();
    let pid = said.lines().find_map(|line| line.trim().strip_prefix("pid ")).unwrap();
    assert!(Command::new("kill").arg(pid).status().unwrap().success());
    assert_eq!(terminal.ended(), 0);
    worker.stop();
}
