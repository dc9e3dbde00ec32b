//! What is measured, against what, and how good it has to be (`measure.md` of the design, section Goals).

use crate::cluster::PARTITIONS;

/// A topic that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Input {
    pub(crate) topic: &'static str,
    /// Records of a full run; a worker should be busy with them for some seconds.
    pub(crate) records: u64,
    /// What `topic fill` makes.
    pub(crate) kind: &'static str,
    /// In which order the keys come, and how many there are when it is not 1,000: `random`, `turn`, `random:N`.
    pub(crate) keys: &'static str,
    pub(crate) codec: &'static str,
    pub(crate) partitions: u32,
}

/// 100-byte records without compression: what a record costs beside its bytes.
pub(crate) const SMALL: Input = Input {
    topic: "bench.small",
    records: 4_000_000,
    kind: "bytes:100",
    keys: "random",
    codec: "none",
    partitions: PARTITIONS,
};
/// 1 KB of log text.
pub(crate) const LARGE: Input =
    Input { topic: "bench.large", records: 1_500_000, kind: "bytes:1024", codec: "lz4", ..SMALL };
/// JSON logs of about 300 bytes, half of them of level debug.
pub(crate) const JSON: Input =
    Input { topic: "bench.json", records: 1_500_000, kind: "json", codec: "lz4", ..SMALL };
/// Every key as often as every other, so that all of them have work until the end.
const WAIT_1: Input = Input { topic: "bench.wait1", records: 500_000, keys: "turn", ..SMALL };
const WAIT_10: Input = Input { topic: "bench.wait10", records: 300_000, ..WAIT_1 };
const WAIT_100: Input = Input { topic: "bench.wait100", records: 50_000, ..WAIT_1 };

/// All in one partition, and in many.
const ONE_PARTITION: Input = Input { topic: "bench.parts1", partitions: 1, ..SMALL };
const MANY_PARTITIONS: Input = Input { topic: "bench.parts256", partitions: 256, ..SMALL };
/// A thousand times as many keys.
const MANY_KEYS: Input = Input { topic: "bench.keys1m", keys: "random:1000000", ..SMALL };

/// Each thousandth is no JSON: one of those that the filter would drop.
const BROKEN_JSON: Input = Input { topic: "bench.json.broken", kind: "json:1000", ..JSON };

/// What becomes letters, and what comes in at a fixed rate.
pub(crate) const LETTERS: Input = Input { topic: "bench.letters", records: 1_000_000, ..JSON };

/// Keys in every topic.
const KEYS: f64 = 1000.0;
/// Records that may wait at once.
const IN_FLIGHT: f64 = 1000.0;

/// What ours is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bound {
    /// R0: librdkafka's own `rdkafka_performance` in a group.
    Consume,
    /// CP0: the smallest loop that writes every record read.
    Loop,
    /// CP0 that writes every second record, and F0, one after the other.
    LoopAndFilter,
    /// So many records a second, by arithmetic.
    Arithmetic(f64),
    /// What is to be reached beside peers, by the design's table of them: records a second, and processor seconds for a million.
    Peers { rate: f64, cpu: f64 },
    /// Ours with other steps, on the same topic: the run in which nothing fails.
    Clean { name: &'static str, steps: &'static str },
}

impl Bound {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Consume => "R0",
            Self::Loop => "CP0",
            Self::LoopAndFilter => "CP0+F0",
            Self::Arithmetic(_) => "keys/wait",
            Self::Peers { .. } => "peers",
            Self::Clean { .. } => "clean",
        }
    }
}

/// What must come out of a run of ours, beside committed offsets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Proof {
    /// Every record filtered, none written.
    AllFiltered,
    /// The output holds the same values.
    SameValues,
    /// The output holds the records with even `seq`, each once.
    EvenHalf,
    /// The same, and this share of all records went through the retry topic.
    EvenHalfRetried(f64),
    /// The same, and one of so many records, none of them even, became a letter.
    EvenHalfBroken(u64),
    /// Every record became a letter.
    AllDead,
    /// Of every record something came out, of some more than once.
    EachAtLeastOnce,
    /// The sink's files hold each `seq` once.
    EachOnceInFiles,
}

/// The tables of `docs/benchmarks.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// Reading, working, writing.
    Engine,
    /// What records that fail cost the others, and the tools for them.
    Failure,
    /// Stores, without a broker.
    Sinks,
    /// What spans cost.
    Tracing,
    /// Many partitions, many keys.
    Scale,
    /// Steps that keep the cores busy.
    Cores,
    /// How long partitions stand still while members come and go.
    Rebalance,
    /// What other systems do, by the design's table.
    Peers,
}

impl Group {
    pub(crate) const ALL: [Self; 8] = [
        Self::Engine,
        Self::Failure,
        Self::Sinks,
        Self::Tracing,
        Self::Scale,
        Self::Cores,
        Self::Rebalance,
        Self::Peers,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Failure => "failure",
            Self::Sinks => "sinks",
            Self::Tracing => "tracing",
            Self::Scale => "scale",
            Self::Cores => "cores",
            Self::Rebalance => "rebalance",
            Self::Peers => "peers",
        }
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) group: Group,
    pub(crate) input: Input,
    pub(crate) order: &'static str,
    /// YAML of the steps.
    pub(crate) steps: &'static str,
    /// YAML of the sink; `OUT` stands for the output topic, `FOLDER` for a folder for files.
    pub(crate) sink: &'static str,
    /// YAML of `failure`.
    pub(crate) failure: &'static str,
    /// The share of the records that is traced, as `OTEL_TRACES_SAMPLER_ARG` has it; none without tracing.
    pub(crate) traced: Option<&'static str>,
    /// YAML of `kafka` beside the brokers. `latency: low` wants a topic as sink.
    pub(crate) kafka: &'static str,
    pub(crate) bound: Bound,
    pub(crate) proof: Proof,
    /// Of the bound's rate.
    pub(crate) goal: f64,
    /// Of the bound's processor time.
    pub(crate) cpu_goal: Option<f64>,
}

const DROP: Workload = Workload {
    name: "drop-100b",
    group: Group::Engine,
    input: SMALL,
    order: "none",
    steps: "[{ filter: { drop: 'true' } }]",
    sink: "{ stdout: {} }",
    failure: "{}",
    traced: None,
    kafka: "latency: normal",
    bound: Bound::Consume,
    proof: Proof::AllFiltered,
    goal: 1.0,
    cpu_goal: Some(1.1),
};

const PASS: Workload = Workload {
    name: "pass-1kb",
    input: LARGE,
    steps: "[]",
    sink: "{ topic: { name: OUT, format: raw } }",
    bound: Bound::Loop,
    proof: Proof::SameValues,
    goal: 0.8,
    cpu_goal: None,
    ..DROP
};

const fn waiting(name: &'static str, input: Input, steps: &'static str, seconds: f64) -> Workload {
    let active = if KEYS < IN_FLIGHT { KEYS } else { IN_FLIGHT };
    Workload {
        name,
        input,
        order: "key",
        steps,
        bound: Bound::Arithmetic(active / seconds),
        goal: 0.9,
        cpu_goal: None,
        ..DROP
    }
}

const KEY_1: Workload =
    waiting("key-1ms", WAIT_1, "[{ delay: { for: 1ms } }, { filter: { drop: 'true' } }]", 0.001);
const KEY_10: Workload =
    waiting("key-10ms", WAIT_10, "[{ delay: { for: 10ms } }, { filter: { drop: 'true' } }]", 0.01);

const PARSE_HALF: &str = "[{ parse: { format: json } }, { filter: { drop: 'severity_number < 9' } }]";

/// A share of the records fails once, waits up to 100 ms in the retry topic and goes through. Without order, since with it
/// the records of a thousand busy keys would nearly all wait behind one that failed: then it is their order that is measured.
const fn retried(
    name: &'static str,
    clean: &'static str,
    steps: &'static str,
    (share, goal): (f64, f64),
) -> Workload {
    Workload {
        name,
        group: Group::Failure,
        input: JSON,
        steps,
        sink: "{ topic: { name: OUT } }",
        failure: "{ retry: { first: 100ms, in_place: 0ms } }",
        bound: Bound::Clean { name: clean, steps: PARSE_HALF },
        proof: Proof::EvenHalfRetried(share),
        goal,
        cpu_goal: None,
        ..DROP
    }
}

/// The pipeline of `json-half` once more, with a share of its records traced, against the same without tracing.
const fn traced(
    name: &'static str,
    clean: &'static str,
    share: Option<&'static str>,
    (goal, cpu_goal): (f64, Option<f64>),
) -> Workload {
    Workload {
        name,
        group: Group::Tracing,
        input: JSON,
        steps: PARSE_HALF,
        sink: "{ topic: { name: OUT } }",
        traced: share,
        bound: Bound::Clean { name: clean, steps: PARSE_HALF },
        proof: Proof::EvenHalf,
        goal,
        cpu_goal,
        ..DROP
    }
}

/// Records are dropped without work, of topics that differ in one thing alone.
const fn scale(name: &'static str, input: Input, order: &'static str, goal: f64) -> Workload {
    Workload { name, group: Group::Scale, input, order, goal, cpu_goal: None, ..DROP }
}

/// Every record becomes a letter; the breaker must not stop that.
pub(crate) const REJECT: Workload = Workload {
    name: "letters",
    group: Group::Failure,
    input: LETTERS,
    steps: "[{ fail: { class: reject } }]",
    failure: "{ flood: { min: 1000000000 } }",
    proof: Proof::AllDead,
    ..DROP
};

/// Half of the keys are healthy; of the records of the others none fails.
pub(crate) const PACED: Workload = Workload {
    name: "paced",
    input: Input { topic: "bench.paced", ..LETTERS },
    group: Group::Failure,
    order: "key",
    steps: "[]",
    sink: "{ topic: { name: OUT, format: raw } }",
    failure: "{ retry: { first: 200ms, in_place: 0ms } }",
    proof: Proof::SameValues,
    ..DROP
};

/// The same, but of the records of the others a tenth fails once, and what comes later of their keys waits behind them.
pub(crate) const PACED_FAILING: Workload = Workload {
    name: "failing-p99",
    input: Input { topic: "bench.paced.failing", ..LETTERS },
    steps: "[{ fail: { ratio: 10%, times: 1, when: 'key >= \"key-0500\"' } }]",
    ..PACED
};

/// The same where it is the way of one record that is measured.
pub(crate) const PACED_NORMAL: Workload = Workload {
    name: "latency-normal",
    input: Input { topic: "bench.paced.normal", ..LETTERS },
    group: Group::Engine,
    failure: "{}",
    ..PACED
};
/// And every record is sent as soon as it is there.
pub(crate) const PACED_LOW: Workload = Workload {
    name: "latency-low",
    input: Input { topic: "bench.paced.low", ..LETTERS },
    kafka: "latency: low",
    ..PACED_NORMAL
};

/// A step that takes a core's time.
pub(crate) struct Busy {
    pub(crate) workload: Workload,
    /// The condition of its filter, which every record meets.
    pub(crate) condition: &'static str,
    /// The row that tells what a second core gives.
    pub(crate) second: &'static str,
}

/// A condition that is met after so many loops over a hundred products.
macro_rules! products {
    ($factors:literal) => {
        concat!(
            "!",
            $factors,
            ".exists(a, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10].exists(b, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10].exists(c, ",
            "string(a * b * c).contains(\"z\"))))"
        )
    };
}

macro_rules! busy {
    ($name:literal, $second:literal, $records:literal, $factors:literal) => {
        Busy {
            workload: Workload {
                name: $name,
                group: Group::Cores,
                input: Input { topic: concat!("bench.", $name), records: $records, ..SMALL },
                steps: concat!("[{ filter: { drop: '", products!($factors), "' } }]"),
                ..DROP
            },
            condition: products!($factors),
            second: $second,
        }
    };
}

/// About a tenth of a millisecond, one, and five.
pub(crate) const BUSY: [Busy; 3] = [
    busy!("busy-0.1ms", "0.1ms 2 for 1", 80_000, "[1, 2]"),
    busy!("busy-1ms", "1ms 2 for 1", 10_000, "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]"),
    busy!(
        "busy-5ms",
        "5ms 2 for 1",
        2_000,
        "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63, 64, 65]"
    ),
];

/// Two workers share it, then three, then two again.
pub(crate) const MEMBERS: Workload = Workload {
    name: "rebalance",
    input: Input { topic: "bench.members", ..LETTERS },
    group: Group::Rebalance,
    failure: "{}",
    ..PACED
};
/// The same with the newer protocol (KIP-848).
pub(crate) const MEMBERS_848: Workload = Workload {
    name: "rebalance-848",
    input: Input { topic: "bench.members.848", ..LETTERS },
    kafka: "group_protocol: consumer",
    ..MEMBERS
};

/// W1 of the peers, during which the worker is killed twice: 1,000,000 records.
pub(crate) const KILLED: Workload = Workload {
    name: "kills-topic",
    group: Group::Peers,
    input: Input { topic: "bench.large.killed", records: 1_000_000, ..LARGE },
    steps: "[]",
    sink: "{ topic: { name: OUT, format: raw } }",
    proof: Proof::EachAtLeastOnce,
    ..DROP
};
/// JSON logs into a sink with a ledger.
pub(crate) const KILLED_LEDGER: Workload = Workload {
    name: "kills-ledger",
    input: LETTERS,
    steps: "[{ parse: { format: json } }]",
    sink: "{ files: { path: 'FOLDER', format: jsonl, roll: { age: 1s } } }",
    proof: Proof::EachOnceInFiles,
    ..KILLED
};

/// A row of the peers' table.
const fn beside_peers(name: &'static str, rate: f64, cpu: f64, like: Workload) -> Workload {
    Workload {
        name,
        group: Group::Peers,
        bound: Bound::Peers { rate, cpu },
        goal: 1.0,
        cpu_goal: Some(1.0),
        ..like
    }
}

/// JSON logs, one in a thousand of them broken: parsed, half of them dropped, a field added, written.
pub(crate) const W2: &str = "W2-json";

/// All that are measured by their rate.
pub(crate) const ALL: [Workload; 22] = [
    DROP,
    Workload { name: "drop-1kb", input: LARGE, ..DROP },
    PASS,
    Workload {
        name: "json-half",
        input: JSON,
        steps: PARSE_HALF,
        sink: "{ topic: { name: OUT } }",
        bound: Bound::LoopAndFilter,
        proof: Proof::EvenHalf,
        goal: 0.85,
        cpu_goal: None,
        ..DROP
    },
    Workload { name: "key-no-work", order: "key", goal: 0.6, cpu_goal: None, ..DROP },
    KEY_1,
    KEY_10,
    waiting("key-100ms", WAIT_100, "[{ delay: { for: 100ms } }, { filter: { drop: 'true' } }]", 0.1),
    retried(
        "retry-1pct",
        "clean-1pct",
        "[{ parse: { format: json } }, { fail: { ratio: 1%, times: 1 } }, { filter: { drop: 'severity_number < 9' } }]",
        (0.01, 0.97),
    ),
    retried(
        "retry-10pct",
        "clean-10pct",
        "[{ parse: { format: json } }, { fail: { ratio: 10%, times: 1 } }, { filter: { drop: 'severity_number < 9' } }]",
        (0.1, 0.85),
    ),
    // The same twice: what differs there is the machine.
    traced("trace-off", "clean-off", None, (0.97, Some(1.03))),
    traced("trace-1pct", "clean-1-in-100", Some("0.01"), (0.97, Some(1.03))),
    traced("trace-all", "clean-all", Some("1"), (0.5, None)),
    scale("parts-1", ONE_PARTITION, "none", 1.0),
    scale("parts-256", MANY_PARTITIONS, "none", 1.0),
    scale("keys-1k", SMALL, "key", 0.6),
    scale("keys-1m", MANY_KEYS, "key", 0.6),
    // A bare loop in Go had 154,000 a second at 6 to 7.5; Kafka Streams 113,000 at 9 to 12.5, of which 1.3 times is less.
    beside_peers("W1-pass", 154_000.0, 4.5, PASS),
    // Kafka Streams had 115,000 at 8.6; 1.5 times that, at half of it.
    beside_peers(
        W2,
        172_500.0,
        4.3,
        Workload {
            input: BROKEN_JSON,
            steps: "[{ parse: { format: json } }, { filter: { drop: 'severity_number < 9' } }, { set: { region: '\"eu\"' } }]",
            sink: "{ topic: { name: OUT } }",
            proof: Proof::EvenHalfBroken(1_000),
            ..DROP
        },
    ),
    // Parallel Consumer had 17,000, 13,000 and 9,000 a second at 56 to 131: three and four times that at a tenth of its least.
    beside_peers("W3-no-work", 51_000.0, 5.6, Workload { order: "key", ..DROP }),
    beside_peers("W3-1ms", 52_000.0, 5.6, KEY_1),
    beside_peers("W3-10ms", 36_000.0, 5.6, KEY_10),
];

/// Two rows of the scale's table that are to be alike.
pub(crate) struct Alike {
    pub(crate) name: &'static str,
    pub(crate) small: &'static str,
    pub(crate) large: &'static str,
    /// Whether memory too has to stay what it is.
    pub(crate) memory: bool,
}

/// From 1 to 256 partitions a pair each is held, so that memory may grow; keys are nothing that is held.
pub(crate) const ALIKE: [Alike; 2] = [
    Alike { name: "256 for 1", small: "parts-1", large: "parts-256", memory: false },
    Alike { name: "1m for 1k", small: "keys-1k", large: "keys-1m", memory: true },
];
