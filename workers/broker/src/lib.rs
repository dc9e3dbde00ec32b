//! A real Apache Kafka for development and tests, with nothing to install but Java and Maven.
//!
//! [`JvmBroker::start`] runs Apache Kafka 4.2.0 in KRaft combined mode (one or three nodes) from Maven Central jars. The
//! first start of a user fetches 36 jars (38 MB) by the `pom.xml` in this crate, checks them against `jars.sha256`, formats a
//! template folder and records a class archive; all of it stays in a per-user cache. Later starts copy the template and map
//! the archive.
//!
//! | measured on 2 cores, Java 17, load 1 to 2 | seconds |
//! |---|---|
//! | first start of a user: fetch 9, template 1, archive 4, start | 12 to 18 |
//! | later start, one node, until every group coordinator answers | 0.8 to 1.2 (146 MB resident) |
//! | the same with [`Jit::Full`] | 1.8 |
//! | later start, three nodes | 2.6 to 3.2 |
//! | kill -9 of the only node to ready again; of one of three | 2.4 to 3.2; 1.5 to 2.5 |
//! | drop with a temporary folder; with a given one | 0.03; 0.3 to 0.5 |
//! | a command-line tool | 0.4 to 0.7 |
//!
//! - The cache is `$LONGSHORE_CACHE`, or `$XDG_CACHE_HOME/longshore`, or `~/.cache/longshore`. Callers in several processes
//!   wait for each other with a file lock; what is there is complete, since it is verified aside and renamed.
//! - Nothing outlives its owner: dropping the broker ends it by its pid, and when the owner is killed, a small shell
//!   that waits on a pipe from it ends the broker (see `process.rs`).
//! - Ready means that every coordinator partition answers, so that a consumer group can form at once. After a node was
//!   killed, callers still have to retry `NOT_COORDINATOR` for some seconds, as on any cluster.
//!
//! [`postgres`] runs a private Postgres in the same manner, for demos and measurements.
//!
//! ```no_run
//! use longshore_broker::{BrokerOptions, JvmBroker, Tool};
//!
//! let broker = JvmBroker::start(BrokerOptions::default())?;
//! broker.tool(Tool::Topics, &["--create", "--topic", "logs", "--partitions", "4"])?;
//! println!("bootstrap.servers={}", broker.bootstrap());
//! # Ok::<(), longshore_broker::BrokerError>(())
//! ```

mod broker;
mod cache;
mod config;
mod error;
mod fresh;
mod installation;
mod jars;
mod java;
mod node;
mod options;
mod ports;
pub mod postgres;
mod probe;
mod process;
mod ready;
mod tls;
mod tool;

pub use broker::{JvmBroker, Versions};
pub use error::{BrokerError, Missing};
pub use options::{BrokerOptions, Data, Jit, Listener, LogLevel, Progress, SASL_PASSWORD, SASL_USER};
pub use tool::{Tool, ToolOutput};
