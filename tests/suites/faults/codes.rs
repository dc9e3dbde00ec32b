//! Error codes of the protocol in the answers that a worker gets, request by request.
//!
//! The broker is librdkafka's mock cluster: it answers as many requests of a kind with a code as a test wants. The worker is a real process, which
//! meets them on its way from its start to its last commit; it makes each of these requests at least once on that way, and nobody else asks
//! the broker meanwhile.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use longshore_tests::harness::account::log_fate;
use longshore_tests::harness::flow::log_line;
use longshore_tests::harness::rig::PATIENCE;
use longshore_tests::harness::wait::pass_time;
use longshore_tests::harness::{Account, Rig, Worker, report};
use rdkafka::mocking::{MockCluster, MockCoordinator};
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::RDKafkaApiKey as Request;
use rdkafka::types::RDKafkaRespErr::{self as Code, *};

/// Lines that are published before the worker starts, and as many again when it has done with them.
const LINES: u64 = 60;
/// So many answers in a row have the code when it is there for a while.
const WHILE: usize = 3;
/// More than a worker can meet before the test looks at it again.
const FOR_GOOD: usize = 3_000;
/// How long a worker may take to say or do something about a code that stays: it misses its place in the group after six sessions, 22 s here.
const LONG: Duration = Duration::from_secs(45);
/// One that has said something is watched so long, past `limits.halt`, which is 3 s here.
const WATCHED: Duration = Duration::from_secs(8);
/// Workers at once.
const CREW: usize = 6;
/// How a worker may end that cannot go on: unavailable, stalled, temporary, no rights, configuration.
const ENDS: [i32; 5] = [69, 70, 75, 77, 78];

/// A code in the answers to one kind of request.
#[derive(Clone, Copy, Debug)]
struct Case {
    request: Request,
    code: Code,
    for_good: bool,
}

/// What a worker did about it.
struct Outcome {
    /// Its exit code, if it ended.
    ended: Option<i32>,
    /// The first line of its log that warns of anything.
    said: String,
}

/// What passes by itself, wherever it comes: a worker goes on when it is over.
const PASSING: &[Code] = &[
    RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
    RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
    RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
    RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
    RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
    RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
    RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
    RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION,
    RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
    RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
    RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT,
    RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE,
    RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
    RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
    RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
    RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID,
    RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH,
    RD_KAFKA_RESP_ERR__TRANSPORT,
];

/// The codes that Kafka's protocol guide names for a request, those of a broker that is not well, and one that nobody names.
fn codes(request: Request) -> Vec<Code> {
    let coordinator = [
        RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
        RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
        RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
        RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED,
    ];
    let member = [
        RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
        RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
        RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
        RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID,
    ];
    let leader = [
        RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
        RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
    ];
    let own: &[Code] = match request {
        Request::Metadata => &[
            RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
            RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
            RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        ],
        Request::FindCoordinator => {
            &[RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED]
        }
        Request::JoinGroup => &[
            RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
            RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
            RD_KAFKA_RESP_ERR_GROUP_MAX_SIZE_REACHED,
            RD_KAFKA_RESP_ERR_INCONSISTENT_GROUP_PROTOCOL,
            RD_KAFKA_RESP_ERR_INVALID_SESSION_TIMEOUT,
        ],
        Request::SyncGroup | Request::Heartbeat | Request::LeaveGroup => &member,
        Request::OffsetFetch => {
            &[RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]
        }
        Request::OffsetCommit => &[
            RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
            RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
            RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
            RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE,
            RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        ],
        Request::ListOffsets => &[RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE],
        Request::Fetch => &[RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE, RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE],
        Request::InitProducerId => {
            &[RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH]
        }
        Request::Produce => &[
            RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
            RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
            RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
            RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID,
            RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH,
            RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
            RD_KAFKA_RESP_ERR_INVALID_RECORD,
        ],
        _ => &[],
    };
    let shared: &[Code] = match request {
        Request::JoinGroup | Request::SyncGroup | Request::Heartbeat | Request::LeaveGroup => &coordinator,
        Request::OffsetFetch | Request::OffsetCommit | Request::InitProducerId => &coordinator[..3],
        Request::ListOffsets | Request::Fetch | Request::Produce => &leader,
        _ => &[],
    };
    let any = [
        RD_KAFKA_RESP_ERR_UNKNOWN,
        RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION,
        RD_KAFKA_RESP_ERR_INVALID_REQUEST,
        // The mock cluster closes the connection instead of an answer.
        RD_KAFKA_RESP_ERR__TRANSPORT,
    ];
    own.iter().chain(shared).chain(&any).copied().collect()
}

const REQUESTS: [Request; 12] = [
    Request::Metadata,
    Request::FindCoordinator,
    Request::JoinGroup,
    Request::SyncGroup,
    Request::Heartbeat,
    Request::OffsetFetch,
    Request::ListOffsets,
    Request::Fetch,
    Request::OffsetCommit,
    Request::InitProducerId,
    Request::Produce,
    Request::LeaveGroup,
];

/// The part of their names by which somebody chooses cases; all when it is empty.
fn only() -> String {
    std::env::var("LONGSHORE_CODES").unwrap_or_default()
}

/// Those that stay in the short form: one that is told at once, and of each request one that librdkafka tries again without a word.
const STAY: [(Request, Code); 4] = [
    (Request::SyncGroup, RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE),
    (Request::OffsetCommit, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED),
    (Request::Fetch, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION),
    (Request::Fetch, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED),
];

/// All of them, for a while and for good; in the short form the first code of each request for a while, and those of [`STAY`]. What stays comes
/// first, since it takes longest.
fn cases() -> VecDeque<Case> {
    let all = REQUESTS.into_iter().flat_map(|request| {
        codes(request).into_iter().enumerate().flat_map(move |(place, code)| {
            [false, true].map(|for_good| (place, Case { request, code, for_good }))
        })
    });
    let only = only();
    let is_short = |(place, case): &(usize, Case)| {
        let stays = case.for_good && STAY.contains(&(case.request, case.code));
        stays || (*place == 0 && !case.for_good)
    };
    let wanted = |told: &(usize, Case)| {
        let named = !only.is_empty() && format!("{:?}", told.1).contains(&only);
        named || (only.is_empty() && (super::is_full() || is_short(told)))
    };
    let mut cases: Vec<_> = all.filter(wanted).map(|(_, case)| case).collect();
    cases.sort_by_key(|case| !case.for_good);
    cases.into()
}

/// A broker with the topics of a pipeline, and the pipeline; what stays is told after six of its sessions.
fn world(name: &str, brokers: i32, session_ms: u32) -> (MockCluster<'static, DefaultProducerContext>, Rig) {
    let input = format!("{name}.in");
    let own = ["retry", "dlq"].map(|kind| format!("{input}.{name}.{kind}"));
    let journal = format!("longshore.{name}.journal");
    let broker = MockCluster::new(brokers).unwrap();
    for (topic, partitions) in [(&*input, 2), (&*own[0], 2), (&*own[1], 2), (&*journal, 1)] {
        broker.create_topic(topic, partitions, 1).unwrap();
    }
    let rig = Rig::new(&broker.bootstrap_servers(), name)
        .set(&format!("kafka.client.session.timeout.ms={session_ms}"))
        .set("limits.halt=3s");
    (broker, rig)
}

/// Plays one case; panics where a promise is broken.
fn play(case: Case, number: usize) -> Outcome {
    // See `support.rs` of the crate `kafka`: the mock cluster throws out who waits longer than that for the others, which for a worker that
    // stands still anyway is only a moment more.
    let session_ms = if case.for_good { 3_600 } else { 4_500 };
    let (broker, rig) = world(&format!("codes-{number}"), 1, session_ms);
    publish(&rig, 0);
    let times = if case.for_good { FOR_GOOD } else { WHILE };
    broker.request_errors(case.request, &vec![case.code; times]);
    let mut worker = rig.worker();
    let settled = wait_settled(&mut worker, case.for_good);
    let ended = worker.process.has_ended().then(|| worker.exit_code(PATIENCE));
    let told = if settled || ended.is_some() { "" } else { assert_told(&mut worker, case) };
    let said = said(&worker);
    if case.for_good || ended.is_some() || is_asked_by_tests(case.request) {
        broker.clear_request_errors(case.request);
    }
    match ended {
        None => {
            let halted = is_halted(&mut worker);
            let may_stand = case.for_good || (halted && !PASSING.contains(&case.code));
            assert!(settled || may_stand, "nothing flows\n{}", worker.process.transcript());
            if halted {
                // It stays so until a person mends the cause and starts it again.
                assert!(!said.is_empty(), "halted without a word\n{}", worker.process.transcript());
                worker.stop();
                worker = rig.worker();
            }
            go_on(&rig, worker, told);
        }
        Some(code) => {
            let passes = !case.for_good && PASSING.contains(&case.code);
            assert!(!passes, "it ended for what passes\n{}", worker.process.transcript());
            let right = ENDS.contains(&code) && !said.is_empty();
            assert!(right, "exit code {code}\n{}", worker.process.transcript());
            go_on(&rig, rig.worker(), told);
        }
    }
    Outcome { ended, said }
}

/// What a worker says when it stands still and librdkafka tells it of nothing (docs/reasons.md): the first commit of an ownership is sent again
/// for ever, a group is joined again whenever its SyncGroup fails, and a partition is fetched again.
fn told_by_itself(case: Case) -> Option<&'static str> {
    match case.request {
        Request::SyncGroup => Some("broker.group"),
        Request::OffsetCommit => Some("broker.commits"),
        Request::Fetch => Some("broker.fetches"),
        _ => None,
    }
}

/// The worker stands still and tells it, by itself where librdkafka does not: in its log, as not ready, and by a metric. Gives the reason.
fn assert_told(worker: &mut Worker, case: Case) -> &'static str {
    let log = worker.process.stderr();
    let reason = told_by_itself(case).filter(|reason| log.contains(&format!("failure={reason}: ")));
    let Some(reason) = reason else {
        assert!(!said(worker).is_empty(), "it stands and says nothing\n{}", worker.process.transcript());
        return "";
    };
    assert_eq!(log.matches(&format!("failure={reason}: ")).count(), 1, "{log}");
    let (code, why) = worker.answer("/readyz").unwrap();
    assert!(code == 503 && why.starts_with(reason), "{code} {why}");
    assert!(is_in_trouble(worker, reason));
    assert_eq!(worker.metric("longshore_group_member ") > 0.0, reason != "broker.group");
    reason
}

fn is_in_trouble(worker: &mut Worker, reason: &str) -> bool {
    worker.metric(&format!("longshore_broker_trouble{{reason=\"{reason}\"}}")) > 0.0
}

/// Whether the test itself asks the broker for this, from now on: by now the worker has met what it was to meet.
fn is_asked_by_tests(request: Request) -> bool {
    !matches!(
        request,
        Request::JoinGroup
            | Request::SyncGroup
            | Request::Heartbeat
            | Request::OffsetCommit
            | Request::LeaveGroup
    )
}

fn publish(rig: &Rig, from: u64) {
    rig.witness.publish(&rig.topic, &(from..from + LINES).map(log_line).collect::<Vec<_>>());
}

/// Whether everything settles before the worker ends, or the time does.
fn wait_settled(worker: &mut Worker, for_good: bool) -> bool {
    let began = Instant::now();
    while !worker.process.has_ended() {
        if worker.metric("longshore_records_settled_total{") >= LINES as f64 {
            return true;
        }
        let spent = began.elapsed();
        let told = spent >= WATCHED && (is_halted(worker) || (for_good && !said(worker).is_empty()));
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

/// The first line of a worker's log that warns of anything but what it says on every mock cluster, else what it said at its end.
fn said(worker: &Worker) -> String {
    let log = worker.process.stderr();
    let usual =
        |line: &str| ["cannot tell the settings", "no spool:"].iter().any(|words| line.contains(words));
    let warns = |line: &&str| (line.contains("WARN") || line.contains("ERROR")) && !usual(line);
    let line = log.lines().find(warns).or_else(|| log.lines().find(|line| line.starts_with("error")));
    line.unwrap_or_default().to_owned()
}

/// The code is gone: everything comes to its end, and so does what is published now, each record once and in its place. What the worker told is
/// over.
fn go_on(rig: &Rig, mut worker: Worker, told: &str) {
    rig.wait_drained(PATIENCE, &[&worker]);
    publish(rig, LINES);
    rig.wait_drained(PATIENCE, &[&worker]);
    let is_well = |worker: &mut Worker| {
        worker.answer("/readyz").is_some_and(|(code, _)| code == 200) && !is_in_trouble(worker, told)
    };
    worker.wait_until("it is well", is_well);
    worker.stop();
    Account::take(rig).assert_right(2 * LINES, log_fate);
}

/// The broker that leads one partition dies and no other takes its place, as without another replica; then it comes back. The worker says so, and
/// goes on.
fn play_without_leader() {
    let (broker, rig) = world("leader", 2, 3_600);
    let coordinator = MockCoordinator::Group("longshore.leader".to_owned());
    broker.coordinator(coordinator, 1).unwrap();
    let own =
        [rig.topic.clone(), rig.retry_topic(), rig.letter_topic(), "longshore.leader.journal".to_owned()];
    for (topic, partition) in own.iter().flat_map(|topic| [(topic, 0), (topic, 1)]) {
        let leader = if (topic, partition) == (&rig.topic, 1) { 2 } else { 1 };
        // The journal has one partition.
        let _ = broker.partition_leader(topic, partition, Some(leader));
    }
    publish(&rig, 0);
    let mut worker = rig.worker();
    assert!(wait_settled(&mut worker, false), "{}", worker.process.transcript());
    broker.broker_down(2).unwrap();
    worker.wait_until("it is told", |worker| is_in_trouble(worker, "broker.fetches"));
    let (code, why) = worker.answer("/readyz").unwrap();
    let named = format!("broker.fetches: nothing comes of {}/1 for 21 s", rig.topic);
    assert!(code == 503 && why.starts_with(&named) && why.contains("Leader not available"), "{why}");
    broker.broker_up(2).unwrap();
    go_on(&rig, worker, "broker.fetches");
}

/// Scenario: a worker meets an error code in the answers to one kind of request, three times or for as long as it is there, from its start on; beside that
/// another one loses the leader of a partition.
/// Guarantee: what passes by itself is waited for, and records flow when it is over. Where a worker cannot go on it ends with a documented code and says
/// why (I6). Nothing is lost or doubled, whichever it was (I1, I2, I4).
#[test]
fn error_codes_are_outlived_or_told() {
    let (cases, is_whole) = (cases(), only().is_empty());
    let count = cases.len();
    let (left, ends, failed) = (Mutex::new(cases), Mutex::new(0), Mutex::new(Vec::new()));
    let next = || {
        let mut left = left.lock().unwrap();
        Some((left.pop_front()?, left.len()))
    };
    std::thread::scope(|scope| {
        if is_whole {
            scope.spawn(play_without_leader);
        }
        for _ in 0..CREW {
            scope.spawn(|| {
                while let Some((case, number)) = next() {
                    let outcome = catch_unwind(AssertUnwindSafe(|| play(case, number)));
                    match outcome {
                        Ok(Outcome { ended, said }) => {
                            *ends.lock().unwrap() += usize::from(ended.is_some());
                            println!("{case:?}: ended {ended:?}, said {said:?}");
                        }
                        Err(_) => failed.lock().unwrap().push(case),
                    }
                }
            });
        }
    });
    let (ends, failed) = (ends.into_inner().unwrap(), failed.into_inner().unwrap());
    let found = format!("{count} tried, {ends} ended a worker");
    report::figure(
        "error codes in a broker's answers",
        &found,
        "records flow again, or a documented exit code",
    );
    assert!(failed.is_empty(), "{failed:#?}");
}
