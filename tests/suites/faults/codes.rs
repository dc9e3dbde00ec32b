//! Error codes of the protocol in the answers that a worker gets, request by request.
//!
//! The broker is a real one, and a way to it refuses what a case wants refused ([`Refuser`]). The worker is a real process, which meets the code on its way
//! from its start to its last commit and its leave; it makes each of these requests at least once on that way. The test itself asks the
//! broker past that way.

#[path = "codes/cases.rs"]
mod cases;

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Barrier, Mutex};
use std::time::{Duration, Instant};

use kafka_protocol::messages::ApiKey;
use longshore_broker::{BrokerOptions, JvmBroker, Listener};
use longshore_tests::harness::account::log_fate;
use longshore_tests::harness::flow::log_line;
use longshore_tests::harness::rig::PATIENCE;
use longshore_tests::harness::wait::pass_time;
use longshore_tests::harness::{Account, Refuser, Rig, Worker, report, soon_missed, start_broker};

use super::is_full;
use cases::{Case, Protocol, cases, cases_of_epochs, is_tried};

/// Lines that are published before the worker starts, and as many again when it has done with them.
pub(super) const LINES: u64 = 60;
/// So many answers in a row have the code when it is there for a while.
const WHILE: usize = 3;
/// How long a worker may take to say or do something about a code that stays: it misses its place in the group after six sessions, 12 s here, and
/// after a minute where the broker decides how long a session is.
const LONG: Duration = Duration::from_secs(75);
/// One that has said something is watched so long, past `limits.halt`, which is 3 s here.
const WATCHED: Duration = Duration::from_secs(8);
/// Workers at once.
const CREW: usize = 8;
/// How a worker may end that cannot go on: unavailable, stalled, temporary, no rights, configuration.
const ENDS: [i32; 5] = [69, 70, 75, 77, 78];

/// What a worker did about a code.
struct Outcome {
    /// Its exit code, if it ended.
    ended: Option<i32>,
    /// The first line of its log that warns of anything.
    said: String,
    /// How many of its requests were refused.
    refused: usize,
    /// What it asked.
    asked: HashSet<ApiKey>,
}

/// What a case needs of a broker: the way by which its worker goes, and the one by which the test does.
struct Bench {
    refuser: Refuser,
    bootstrap: String,
}

impl Bench {
    fn start() -> Option<(JvmBroker, Self)> {
        let refuser = Refuser::new();
        let listener = Listener::Detour(refuser.port());
        let listeners = vec![listener];
        let broker =
            start_broker(BrokerOptions { listeners, properties: soon_missed(), ..BrokerOptions::default() })?;
        refuser.lead_to(broker.bootstrap_of(listener).rsplit(':').next()?.parse().ok()?);
        let bootstrap = broker.bootstrap();
        Some((broker, Self { refuser, bootstrap }))
    }

    /// A pipeline of the case's own, whose clients the way knows by its name.
    fn rig(&self, case: Case, name: &str) -> Rig {
        let mut rig = Rig::new(&self.bootstrap, name)
            .kafka(&format!("{{ brokers: \"127.0.0.1:{}\" }}", self.refuser.port()))
            .set(&format!("kafka.client.client.id={name}"))
            .set("limits.halt=3s");
        if case.protocol == Protocol::Consumer {
            rig.settings
                .retain(|setting| !setting.contains("session.timeout") && !setting.contains("heartbeat"));
            rig = rig.set("kafka.group_protocol=consumer");
        }
        if writes_rows(case) {
            let files = rig.files().display().to_string();
            rig.witness.create_topic(&target(name), 2, &[]);
            rig = rig.sinks(&format!(
                "\n  - files: {{ path: \"{files}\", format: jsonl.zst, roll: {{ bytes: 1MiB, age: 300ms }} }}\n  - topic: {{ name: {} }}",
                target(name)
            ));
        }
        rig.with_topics(2)
    }
}

/// Whether rows go into a topic as well: where the code is about what is produced, and not about the single record.
fn writes_rows(case: Case) -> bool {
    matches!(case.request, ApiKey::InitProducerId | ApiKey::Produce) && !case.refuses_records()
}

fn target(name: &str) -> String {
    format!("{name}.out")
}

/// Plays one case; panics where a promise is broken.
fn play(bench: &Bench, case: Case, number: usize) -> Outcome {
    let name = format!("codes-{number}");
    let rig = bench.rig(case, &name);
    publish(&rig, 0);
    refuse(bench, case, &name);
    let outcome = outlive(bench, case, &rig, rig.worker(), 0, LINES);
    settle_account(&rig, case, 2 * LINES);
    outcome
}

fn refuse(bench: &Bench, case: Case, name: &str) {
    let times = if case.for_good { usize::MAX } else { WHILE };
    bench.refuser.refuse(name, case.request, case.refusal(), times);
}

/// A worker meets the code on its way to the end of so many lines, and goes on when it is over. What stands in its log before is not about it.
fn outlive(bench: &Bench, case: Case, rig: &Rig, mut worker: Worker, before: usize, lines: u64) -> Outcome {
    let settled = wait_settled(&mut worker, case.for_good, before, lines);
    let ended = worker.process.has_ended().then(|| worker.exit_code(PATIENCE));
    let told = if settled || ended.is_some() { "" } else { assert_told(&mut worker, case, before) };
    let said = said(&worker, before);
    // Its leave comes last.
    if case.request != ApiKey::LeaveGroup && (case.for_good || ended.is_some()) {
        bench.refuser.relent(&rig.name);
    }
    let seen = worker.process.transcript();
    if let Some(code) = ended {
        assert!(!case.passes(), "it ended for what passes\n{seen}");
        assert!(ENDS.contains(&code) && !said.is_empty(), "exit code {code}\n{seen}");
        worker = rig.worker();
    } else {
        let halted = is_halted(&mut worker);
        assert!(settled || case.for_good || (halted && !case.passes()), "nothing flows\n{seen}");
        if halted {
            // It stays so until a person mends the cause and starts it again.
            assert!(!said.is_empty(), "halted without a word\n{seen}");
            worker.stop();
            worker = rig.worker();
        }
    }
    go_on(rig, worker, told, lines);
    let refused = bench.refuser.refused(&rig.name);
    assert!(refused > 0, "it never met the code\n{seen}");
    Outcome { ended, said, refused, asked: bench.refuser.seen(&rig.name) }
}

/// Each record is once in its place, and each row in the topic, if rows go there. Then the pipeline's topics are gone in the long form, whose
/// hundreds are many for one broker.
fn settle_account(rig: &Rig, case: Case, lines: u64) {
    let account = Account::take(rig);
    // One that is taken for dead again and again is taken for crashed, and with it the record that it was at.
    account.assert_right_but(if case.takes_for_dead() { 2 } else { 0 }, lines, log_fate);
    let mut topics = vec![rig.topic.clone(), rig.retry_topic(), rig.letter_topic(), rig.journal_topic()];
    if writes_rows(case) {
        let target = target(&rig.name);
        let rows = rig.witness.read(&target);
        let found: BTreeSet<_> = rows.iter().filter_map(|seen| seen.header("longshore.source")).collect();
        let source = |(partition, offset): &(i32, i64)| format!("{}/{partition}/{offset}/0", rig.topic);
        let missing: Vec<_> =
            account.rows.keys().map(source).filter(|source| !found.contains(source)).collect();
        assert!(missing.is_empty(), "I1: not in {target}: {missing:?}");
        topics.push(target);
    }
    if is_full() {
        topics.iter().for_each(|topic| rig.witness.delete_topic(topic));
    }
}

/// What a worker says when it stands still and librdkafka tells it of nothing (docs/reasons.md): the first commit of an ownership is sent again
/// for ever, a group is joined again whenever its SyncGroup fails, and a partition is fetched again.
fn told_by_itself(case: Case) -> Option<&'static str> {
    match case.request {
        ApiKey::SyncGroup | ApiKey::ConsumerGroupHeartbeat => Some("broker.group"),
        ApiKey::OffsetCommit => Some("broker.commits"),
        ApiKey::Fetch | ApiKey::OffsetForLeaderEpoch => Some("broker.fetches"),
        _ => None,
    }
}

/// The worker stands still and tells it, by itself where librdkafka does not: in its log, as not ready, and by a metric. Gives the reason.
fn assert_told(worker: &mut Worker, case: Case, before: usize) -> &'static str {
    let log = worker.process.stderr();
    let reason = told_by_itself(case).filter(|reason| log.contains(&format!("failure={reason}: ")));
    let Some(reason) = reason else {
        assert!(
            !said(worker, before).is_empty(),
            "it stands and says nothing\n{}",
            worker.process.transcript()
        );
        return "";
    };
    assert_eq!(log.matches(&format!("failure={reason}: ")).count(), 1, "{log}");
    let (code, why) = worker.answer("/readyz").unwrap();
    assert!(code == 503 && why.starts_with(reason), "{code} {why}");
    assert!(is_in_trouble(worker, reason));
    assert_eq!(worker.metric("longshore_group_member ") > 0.0, reason != "broker.group");
    reason
}

pub(super) fn is_in_trouble(worker: &mut Worker, reason: &str) -> bool {
    worker.metric(&format!("longshore_broker_trouble{{reason=\"{reason}\"}}")) > 0.0
}

pub(super) fn publish(rig: &Rig, from: u64) {
    rig.witness.publish(&rig.topic, &(from..from + LINES).map(log_line).collect::<Vec<_>>());
}

/// Whether everything settles before the worker ends, or the time does.
fn wait_settled(worker: &mut Worker, for_good: bool, before: usize, lines: u64) -> bool {
    let began = Instant::now();
    while !worker.process.has_ended() {
        if worker.metric("longshore_records_settled_total{") >= lines as f64 {
            return true;
        }
        let spent = began.elapsed();
        // One that has said that it ends takes a moment for it, at its start as well.
        let log = worker.process.stderr();
        let ends = log.contains("ending the worker") || log.lines().any(|line| line.starts_with("error: "));
        let stands = is_halted(worker) || (for_good && !said(worker, before).is_empty());
        let told = spent >= WATCHED && !ends && stands;
        if told || spent >= if for_good { LONG } else { PATIENCE } {
            return false;
        }
        pass_time(Duration::from_millis(50));
    }
    false
}

fn is_halted(worker: &mut Worker) -> bool {
    worker.pairs().iter().any(|pair| pair.state == "halted")
}

/// The first line behind these bytes of a worker's log that warns of anything but what it always says, else what it said at its end.
fn said(worker: &Worker, before: usize) -> String {
    let log = worker.process.stderr().split_off(before);
    let usual = |line: &str| ["max.message.bytes is", "no spool:"].iter().any(|words| line.contains(words));
    let warns = |line: &&str| (line.contains("WARN") || line.contains("ERROR")) && !usual(line);
    let line = log.lines().find(warns).or_else(|| log.lines().find(|line| line.starts_with("error")));
    line.unwrap_or_default().to_owned()
}

/// The code is gone: everything comes to its end, and so does what is published now, each record once and in its place. What the worker told is
/// over.
pub(super) fn go_on(rig: &Rig, mut worker: Worker, told: &str, lines: u64) {
    rig.wait_drained(PATIENCE, &[&worker]);
    publish(rig, lines);
    rig.wait_drained(PATIENCE, &[&worker]);
    let is_well = |worker: &mut Worker| {
        worker.answer("/readyz").is_some_and(|(code, _)| code == 200) && !is_in_trouble(worker, told)
    };
    worker.wait_until("it is well", is_well);
    worker.stop();
}

/// Plays all of them, several at once, and tells each; gives what a worker asked on the way.
fn play_all(
    what: &str,
    cases: VecDeque<Case>,
    play: impl Fn(Case, usize) -> Outcome + Sync,
    crew: usize,
) -> HashSet<ApiKey> {
    let count = cases.len();
    let (left, outcomes, failed) = (Mutex::new(cases), Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let next = || {
        let mut left = left.lock().unwrap();
        Some((left.pop_front()?, left.len()))
    };
    let work = || {
        while let Some((case, number)) = next() {
            let began = Instant::now();
            let Ok(outcome) = catch_unwind(AssertUnwindSafe(|| play(case, number))) else {
                failed.lock().unwrap().push(case);
                continue;
            };
            let Outcome { ended, said, refused, .. } = &outcome;
            let seconds = began.elapsed().as_secs_f64();
            println!("{case:?}: {refused} refused, {seconds:.1} s, ended {ended:?}, said {said:?}");
            outcomes.lock().unwrap().push(outcome);
        }
    };
    std::thread::scope(|scope| (0..crew).for_each(|_| drop(scope.spawn(work))));
    let (outcomes, failed) = (outcomes.into_inner().unwrap(), failed.into_inner().unwrap());
    let ends = outcomes.iter().filter(|outcome| outcome.ended.is_some()).count();
    let refused: usize = outcomes.iter().map(|outcome| outcome.refused).sum();
    let found = format!("{count} tried, {refused} requests refused, {ends} workers ended");
    report::figure(what, &found, "records flow again, or a documented exit code");
    assert!(failed.is_empty(), "{failed:#?}");
    outcomes.into_iter().flat_map(|outcome| outcome.asked).collect()
}

/// Scenario: a worker meets an error code in the answers to one kind of request, three times or for as long as it is there, from its start on.
/// Guarantee: what passes by itself is waited for, and records flow when it is over. Where a worker cannot go on it ends with a documented code and says
/// why (I6). Nothing is lost or doubled, whichever it was (I1, I2, I4). And no kind of request that a worker makes is left out.
#[test]
fn error_codes_are_outlived_or_told() {
    let Some((_broker, bench)) = Bench::start() else { return };
    let what = "error codes in a broker's answers";
    let asked = play_all(what, cases(), |case, number| play(&bench, case, number), CREW);
    let untried: Vec<_> = asked.into_iter().filter(|request| !is_tried(*request)).collect();
    assert!(untried.is_empty(), "a worker asks what is not tried: {untried:?}");
}

/// Scenario: a broker restarts, so that its partitions have another leader's epoch, and a worker that asks about it (`OffsetForLeaderEpoch`, which it makes
/// then alone) meets an error code three times.
/// Guarantee: as in [`error_codes_are_outlived_or_told`].
#[test]
fn error_codes_about_an_epoch_are_outlived() {
    play_epochs("error codes about a leader's epoch", false);
}

/// Scenario: the same, as long as the code is there. None of them is in the short form: the client says nothing, and the patience is a minute.
/// Guarantee: as in [`error_codes_are_outlived_or_told`].
#[test]
fn error_codes_about_an_epoch_that_stay_are_told() {
    play_epochs("error codes about a leader's epoch, for good", true);
}

fn play_epochs(what: &str, for_good: bool) {
    let cases = cases_of_epochs(for_good);
    if cases.is_empty() {
        return;
    }
    let Some((mut broker, bench)) = Bench::start() else { return };
    let (crew, ready) = (cases.len(), Barrier::new(cases.len() + 1));
    let play = |case: Case, number| {
        // A session outlives the restart: who begins a partition anew asks nothing.
        let rig = bench.rig(case, &format!("epochs-{number}")).set("kafka.client.session.timeout.ms=30000");
        publish(&rig, 0);
        let mut worker = rig.worker();
        let settled = catch_unwind(AssertUnwindSafe(|| wait_settled(&mut worker, false, 0, LINES)));
        refuse(&bench, case, &rig.name);
        // Until all are, and until the broker is back: whatever failed, nobody waits for it.
        ready.wait();
        ready.wait();
        assert!(settled.is_ok_and(|settled| settled), "{}", worker.process.transcript());
        worker.wait_until("it works again", |worker| {
            worker.answer("/readyz").is_some_and(|(code, _)| code == 200)
        });
        publish(&rig, LINES);
        let before = worker.process.stderr().len();
        let outcome = outlive(&bench, case, &rig, worker, before, 2 * LINES);
        settle_account(&rig, case, 3 * LINES);
        outcome
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            ready.wait();
            let restarted = broker.restart(1);
            ready.wait();
            restarted.unwrap();
        });
        play_all(what, cases, play, crew);
    });
}
