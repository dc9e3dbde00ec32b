//! What can be typed.

pub(crate) mod deploy;
pub(crate) mod dlq;
pub(crate) mod retry;
pub(crate) mod rewind;
pub(crate) mod sink;
pub(crate) mod top;
pub(crate) mod why;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use longshore_core::human::Share;

const EXAMPLES: &str = "\
Examples:
  longshore dev                    see it work: broker, workers, a kill, a count
  longshore dev --serve            a broker to try things with
  longshore init logs my-logs      a pipeline of your own to start from
  longshore check my-logs/pipeline.yaml
  longshore topics apply my-logs/pipeline.yaml
  longshore doctor -c my-logs/pipeline.yaml
  longshore run -c my-logs/pipeline.yaml
  longshore publish -c my-logs/pipeline.yaml --key user my-logs/sample.jsonl
  longshore top -c my-logs/pipeline.yaml

Exit codes:
  0 ok   1 a check failed   64 usage   65 bad data   69 broker unavailable
  70 stalled or internal   75 temporary   77 no rights   78 bad configuration";

const PUBLISH_EXAMPLES: &str = "\
Examples:
  longshore publish -c my-logs/pipeline.yaml --key user /var/log/app
  tail -f app.log | longshore publish --broker localhost:9092 -t logs.raw
  longshore publish -c my-docs/pipeline.yaml --unit document docs
  echo user-17 | longshore publish -c users.yaml --unit tombstone";

const TAP_EXAMPLES: &str = "\
Examples:
  longshore tap -c my-logs/pipeline.yaml
  longshore tap -c my-logs/pipeline.yaml --from-beginning --until-end \\
    -t logs.raw.my-logs.dlq
  longshore tap --broker localhost:9092 -t logs.raw -o ndjson | jq .value";

const LAG_EXAMPLES: &str = "\
Examples:
  longshore lag -c my-logs/pipeline.yaml
  longshore lag -c my-logs/pipeline.yaml --watch 5
  longshore lag --broker localhost:9092 -g billing -t orders -o ndjson";

const DOCTOR_EXAMPLES: &str = "\
Examples:
  longshore doctor -c my-logs/pipeline.yaml
  longshore doctor -c my-logs/pipeline.yaml -o json | \\
    jq '.[] | select(.level != \"ok\")'
  kubectl -n logs exec deploy/longshore-my-logs -- \\
    longshore doctor -c /etc/longshore/pipeline.yaml

Exit codes: 0 no error found   1 errors found   69 no broker answers";

const SCALER_EXAMPLES: &str = "\
Examples:
  longshore scaler my-logs/pipeline.yaml
  curl -s localhost:9090/scale
  longshore scaler my-logs/pipeline.yaml --listen 0.0.0.0:9090 \\
    --set scale.min=0";

/// Kafka workers that lose nothing and apply nothing twice.
#[derive(Debug, Parser)]
#[command(name = "longshore", version = VERSION, after_help = EXAMPLES, max_term_width = 80)]
#[command(propagate_version = false, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// Print data as table, json or ndjson.
    #[arg(short = 'o', long = "output", global = true, value_enum, value_name = "FORMAT")]
    #[arg(default_value_t = Format::Table, hide_possible_values = true, help_heading = "Output")]
    pub(crate) output: Format,
    /// Use colour: auto (on terminals without NO_COLOR), always or never.
    #[arg(long = "color", global = true, value_enum, value_name = "WHEN")]
    #[arg(default_value_t = Colour::Auto, hide_possible_values = true, help_heading = "Output")]
    pub(crate) colour: Colour,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The version with the Kafka client's, so that a report says both.
pub(crate) const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (librdkafka 2.12.1)");

/// How data is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// One JSON document.
    Json,
    /// One JSON document a line.
    Ndjson,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    /// On terminals, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// See it work on this machine: broker, workers, a kill -9, a count.
    Dev(Dev),
    /// Run a worker until SIGTERM or Ctrl-C; start as many as you like.
    Run(Run),
    /// Find all mistakes of a pipeline file; needs no broker.
    Check(Check),
    /// Publish files, folders or standard input to a topic, confirmed.
    #[command(after_help = PUBLISH_EXAMPLES)]
    Publish(Publish),
    /// Print records of a topic as they come.
    #[command(after_help = TAP_EXAMPLES)]
    Tap(Tap),
    /// Show how far a pipeline's group is behind, per partition.
    #[command(after_help = LAG_EXAMPLES)]
    Lag(Lag),
    /// Watch the whole fleet: partitions, workers, lag, rates, memory.
    #[command(after_help = top::EXAMPLES)]
    Top(top::Top),
    /// Look at everything a worker needs, and say what to do about what is wrong.
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor(Doctor),
    /// Ask the worker of this machine whether it is well; exit 0 if so, else 1.
    Health(Health),
    /// Find, understand, send again or give up dead letters.
    #[command(after_help = dlq::EXAMPLES)]
    Dlq(dlq::Dlq),
    /// Tell the whole life of one record, and where it is now.
    #[command(after_help = why::EXAMPLES)]
    Why(why::Why),
    /// Show what waits for its next try, or make it due now.
    #[command(after_help = retry::EXAMPLES)]
    Retry(retry::Retry),
    /// Process records again, into a new sink generation; prints its plan and asks.
    #[command(after_help = rewind::EXAMPLES)]
    Rewind(rewind::Rewind),
    /// Show what sinks hold, check it, or merge small files into a new folder.
    #[command(after_help = sink::EXAMPLES)]
    Sink(sink::Sink),
    /// Answer how many pods the fleet needs, for KEDA and over HTTP.
    #[command(after_help = SCALER_EXAMPLES)]
    Scaler(Scaler),
    /// Show or make the topics that a pipeline needs.
    Topics(Topics),
    /// Write what a cluster needs to run a pipeline's fleet.
    #[command(after_help = deploy::EXAMPLES)]
    Deploy(deploy::Deploy),
    /// Check the Avro schemas of a folder.
    Schema(Schema),
    /// Write a pipeline to start from, with records to publish.
    Init(Init),
    /// Print a shell's completions.
    Completions(Completions),
}

/// How a pipeline file is found and overridden.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Overrides {
    /// Override a setting, e.g. sinks.0.files.path=out (also LONGSHORE_A__B).
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub(crate) set: Vec<String>,
}

/// How a broker is reached by commands that need no pipeline file. The variable counts without one alone: a pipeline's letters are not to be
/// looked for, or sent, where a shell was told to try things.
#[derive(Clone, Debug, Args)]
pub(crate) struct Connection {
    /// Broker addresses, HOST:PORT with commas between; without it and -c those
    /// of KAFKA_BOOTSTRAP.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) broker: Option<String>,
    /// Take the connection from a pipeline file.
    #[arg(short = 'c', long = "config", value_name = "PIPELINE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) overrides: Overrides,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// The pipeline file.
    #[arg(short = 'c', long = "config", value_name = "PIPELINE")]
    pub(crate) config: PathBuf,
    #[command(flatten)]
    pub(crate) overrides: Overrides,
}

#[derive(Debug, Args)]
pub(crate) struct Health {
    /// Take the address from a pipeline file.
    #[arg(short = 'c', long = "config", value_name = "PIPELINE", conflicts_with = "address")]
    pub(crate) config: Option<PathBuf>,
    /// Where the worker's pages are.
    #[arg(long, env = "LONGSHORE_HTTP__LISTEN", default_value = "127.0.0.1:8080")]
    pub(crate) address: String,
    /// Ask whether it is ready for records, not only whether it is alive.
    #[arg(long)]
    pub(crate) ready: bool,
    #[command(flatten)]
    pub(crate) overrides: Overrides,
}

#[derive(Debug, Args)]
pub(crate) struct Scaler {
    /// The pipeline file.
    pub(crate) pipeline: PathBuf,
    /// Where KEDA's external scaler (gRPC) and /scale (HTTP) are served.
    #[arg(long, default_value = "127.0.0.1:9090", value_name = "ADDRESS")]
    pub(crate) listen: std::net::SocketAddr,
    /// A certificate (PEM, with those between it and the authority), for both over TLS.
    /// The files may be replaced at any time.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_certificate: Option<PathBuf>,
    /// Its key (PEM, without a password).
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub(crate) tls_key: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) overrides: Overrides,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Dev {
    #[command(subcommand)]
    pub(crate) action: Option<DevAction>,
    #[command(flatten)]
    pub(crate) start: DevStart,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DevAction {
    /// Count a finished run again, from its files alone.
    Verify {
        /// The run's folder.
        dir: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DevStart {
    /// auto, jvm, docker, embedded, or HOST:PORT of a broker that runs already.
    #[arg(long, env = "KAFKA_BOOTSTRAP", default_value = "auto")]
    pub(crate) broker: String,
    /// Where files, logs and pipelines go (with --serve: longshore-broker); an
    /// earlier run's folder is replaced.
    #[arg(long, default_value = "longshore-dev")]
    #[arg(default_value_if("serve", "true", "longshore-broker"))]
    pub(crate) dir: PathBuf,
    /// How many log lines to generate.
    #[arg(long, default_value_t = 200_000)]
    pub(crate) lines: u64,
    /// Worker processes per pipeline.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub(crate) workers: u32,
    /// Partitions per topic.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) partitions: u32,
    /// Seed of the generated lines.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Rehearse: this share of the records fails on purpose. Nine in ten of them go
    /// through at a later try, one is a dead letter and is sent again at the end.
    #[arg(long, value_name = "SHARE", conflicts_with = "serve")]
    pub(crate) fail: Option<Share>,
    /// Where rows go: files, parquet, postgres (a private server, from this machine's
    /// programs), or postgresql://USER@HOST:PORT/DATABASE, with the password in
    /// PGPASSWORD.
    #[arg(long, value_name = "SINK", default_value = "files")]
    pub(crate) sink: String,
    /// Only run a broker, print its address, and wait for Ctrl-C.
    #[arg(long)]
    pub(crate) serve: bool,
    /// With --serve: make this topic; the embedded broker makes none later.
    #[arg(long, requires = "serve", value_name = "NAME")]
    pub(crate) topic: Vec<String>,
    /// With --serve: make all topics of this pipeline.
    #[arg(long, requires = "serve", value_name = "FILE")]
    pub(crate) pipeline: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The pipeline file.
    #[arg(short = 'c', long = "config", value_name = "PIPELINE")]
    pub(crate) config: PathBuf,
    #[command(flatten)]
    pub(crate) overrides: Overrides,
    /// End when the parent process ends.
    #[arg(long, hide = true)]
    pub(crate) with_parent: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The pipeline file.
    #[arg(required_unless_present = "schema")]
    pub(crate) pipeline: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) overrides: Overrides,
    /// Print the JSON Schema of the pipeline file instead.
    #[arg(long)]
    pub(crate) schema: bool,
    /// Print the settings in force, secrets redacted.
    #[arg(long)]
    pub(crate) dump: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Publish {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// The topic; the first input topic of -c when left out.
    #[arg(short, long)]
    pub(crate) topic: Option<String>,
    /// Files or folders (plain, .gz, .zst); - or nothing is standard input.
    pub(crate) paths: Vec<PathBuf>,
    /// What one record is: a line, a whole file, or nothing but a key.
    #[arg(long, value_enum, default_value_t = Unit::Lines)]
    pub(crate) unit: Unit,
    /// Take the key from this field of a JSON line (dots go deeper).
    #[arg(long, value_name = "FIELD")]
    pub(crate) key: Option<String>,
    /// The same key for all records.
    #[arg(long, value_name = "TEXT", conflicts_with = "key")]
    pub(crate) constant_key: Option<String>,
    /// Compression of batches.
    #[arg(long, value_enum, default_value_t = Compression::Lz4)]
    pub(crate) compression: Compression,
    /// Start a trace with each record that the sampler takes (OTEL_*), and name it in its header traceparent.
    #[arg(long)]
    pub(crate) trace: bool,
}

/// What one record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Unit {
    /// Each line that is not empty.
    Lines,
    /// Each file whole.
    File,
    /// Each file whole, as a JSON document {text, source}.
    Document,
    /// Each line is the key of a record without a value: it deletes.
    Tombstone,
}

/// Compression of batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl From<Compression> for longshore_settings::Compression {
    fn from(compression: Compression) -> Self {
        match compression {
            Compression::None => Self::None,
            Compression::Gzip => Self::Gzip,
            Compression::Snappy => Self::Snappy,
            Compression::Lz4 => Self::Lz4,
            Compression::Zstd => Self::Zstd,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Tap {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// The topic; the first input topic of -c when left out.
    #[arg(short, long)]
    pub(crate) topic: Option<String>,
    /// Begin with the first record instead of the next.
    #[arg(long)]
    pub(crate) from_beginning: bool,
    /// Stop after so many records.
    #[arg(short = 'n', long)]
    pub(crate) limit: Option<u64>,
    /// Stop at the end that the topic has now.
    #[arg(long)]
    pub(crate) until_end: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Lag {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// The consumer group; the pipeline's when -c is given.
    #[arg(short, long)]
    pub(crate) group: Option<String>,
    /// The topic; all input topics of -c when left out.
    #[arg(short, long)]
    pub(crate) topic: Option<String>,
    /// Look again every so many seconds (2), with the rate and the time until
    /// nothing is left.
    #[arg(short, long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) watch: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Topics {
    #[command(subcommand)]
    pub(crate) action: TopicsAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TopicsAction {
    /// Show what is missing or differs.
    Plan(TopicsArguments),
    /// Make what is missing and change what differs: settings, and more partitions.
    Apply(TopicsArguments),
}

#[derive(Debug, Args)]
pub(crate) struct TopicsArguments {
    /// The pipeline file.
    pub(crate) pipeline: PathBuf,
    /// Partitions of topics that are made.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) partitions: u32,
    /// Replicas of topics that are made; when left out the broker's default, for the pipeline's own topics the input's.
    #[arg(long)]
    pub(crate) replicas: Option<i32>,
    /// Grow input topics to so many partitions, their retry and dead-letter topics first. Keys move to other partitions.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) grow: Option<u32>,
    #[command(flatten)]
    pub(crate) overrides: Overrides,
}

#[derive(Debug, Args)]
pub(crate) struct Schema {
    #[command(subcommand)]
    pub(crate) action: SchemaAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SchemaAction {
    /// Check index, files, and each version against the one before, both ways.
    Check {
        /// The folder with SUBJECT/vN.avsc and index.json.
        #[arg(default_value = "schemas")]
        dir: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// What the records are.
    pub(crate) kind: Kind,
    /// Where to write; made if missing, refused if it holds a pipeline already.
    pub(crate) dir: PathBuf,
}

/// What the records are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Log lines and events.
    Logs,
    /// Documents for AI training.
    Dataset,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell.
    pub(crate) shell: clap_complete::Shell,
}
