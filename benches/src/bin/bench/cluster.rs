//! The broker and its topics.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use longshore_broker::{BrokerOptions, Jit, JvmBroker, Progress, Versions};

use crate::options::Options;
use crate::report;
use crate::workloads::Input;

/// Partitions of every topic that does not say another number.
pub(crate) const PARTITIONS: u32 = 8;

/// What a topic holds, as the `topic` program tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// Of the values' hashes, or of a field.
    pub(crate) sum: u64,
}

/// What a topic that our worker writes was made of, by the headers that say from where each record is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sources {
    pub(crate) records: u64,
    /// Records of the input that they were made of.
    pub(crate) distinct: u64,
    /// By partition of the input: the longest time in the window in which none came, in milliseconds.
    pub(crate) silences: Vec<u64>,
}

/// A broker of the run's own, and a folder for what the run writes.
pub(crate) struct Cluster {
    broker: JvmBroker,
    tool: PathBuf,
    folder: Folder,
}

enum Folder {
    Temporary(tempfile::TempDir),
    Kept(PathBuf),
}

impl Cluster {
    /// Starts the broker with the JVM's full compiler.
    pub(crate) fn start(options: &Options) -> anyhow::Result<Self> {
        let folder = match &options.keep {
            Some(path) => {
                std::fs::create_dir_all(path)?;
                Folder::Kept(path.clone())
            }
            None => Folder::Temporary(tempfile::tempdir()?),
        };
        let broker = JvmBroker::start(BrokerOptions {
            jit: Jit::Full,
            heap_mib: options.heap_mib,
            progress: Progress::new(report::line),
            ..BrokerOptions::default()
        })?;
        Ok(Self { broker, tool: options.rooflines.join("topic"), folder })
    }

    /// Where to reach it.
    pub(crate) fn bootstrap(&self) -> String {
        self.broker.bootstrap()
    }

    /// What runs.
    pub(crate) fn versions(&self) -> Versions {
        self.broker.versions()
    }

    /// Where pipelines and logs go.
    pub(crate) fn folder(&self) -> &Path {
        match &self.folder {
            Folder::Temporary(folder) => folder.path(),
            Folder::Kept(path) => path,
        }
    }

    /// Makes a topic.
    pub(crate) fn create(&self, topic: &str) -> anyhow::Result<()> {
        self.create_with(topic, PARTITIONS)
    }

    /// Makes a topic with so many partitions.
    pub(crate) fn create_with(&self, topic: &str, partitions: u32) -> anyhow::Result<()> {
        self.tool(&["create", &self.bootstrap(), topic, &partitions.to_string()]).map(drop)
    }

    /// Removes a topic.
    pub(crate) fn delete(&self, topic: &str) -> anyhow::Result<()> {
        self.tool(&["delete", &self.bootstrap(), topic]).map(drop)
    }

    /// Makes a topic whose records have the time at which the broker got them.
    pub(crate) fn create_stamped(&self, topic: &str) -> anyhow::Result<()> {
        let stamps = "message.timestamp.type=LogAppendTime";
        self.tool(&["create", &self.bootstrap(), topic, &PARTITIONS.to_string(), stamps]).map(drop)
    }

    /// Makes a topic and fills it with so many records.
    pub(crate) fn fill(&self, input: &Input, records: u64) -> anyhow::Result<Contents> {
        let Input { topic, kind, keys, codec, partitions, .. } = *input;
        self.create_with(topic, partitions)?;
        let settings = format!(
            "compression.type={codec},linger.ms=20,batch.size=262144,batch.num.messages=100000,acks=all,\
             enable.idempotence=true,partitioner=murmur2_random,queue.buffering.max.messages=500000"
        );
        contents(&self.tool(&[
            "fill",
            &self.bootstrap(),
            &settings,
            topic,
            &records.to_string(),
            kind,
            keys,
        ])?)
    }

    /// Counts a topic; `field` names a whole number in its JSON to add up.
    pub(crate) fn sum(&self, topic: &str, field: Option<&str>) -> anyhow::Result<Contents> {
        let bootstrap = self.bootstrap();
        let mut arguments = vec!["sum", &bootstrap, topic];
        arguments.extend(field);
        contents(&self.tool(&arguments)?)
    }

    /// What a topic was made of; the window, in milliseconds since 1970 by the broker's clock, is where silences are looked for.
    pub(crate) fn sources(&self, topic: &str, window: Option<[u64; 2]>) -> anyhow::Result<Sources> {
        let bootstrap = self.bootstrap();
        let window = window.unwrap_or_default().map(|edge| edge.to_string());
        let answer = self.tool(&["sources", &bootstrap, topic, &window[0], &window[1]])?;
        let figures: Vec<u64> = answer.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        match figures.as_slice() {
            [records, distinct, silences @ ..] => {
                Ok(Sources { records: *records, distinct: *distinct, silences: silences.to_vec() })
            }
            _ => bail!("no figures: {answer}"),
        }
    }

    /// The sums of a group's committed offsets and of the topic's ends.
    pub(crate) fn committed(&self, group: &str, input: &Input) -> anyhow::Result<(u64, u64)> {
        let partitions = input.partitions.to_string();
        let answer = self.tool(&["committed", &self.bootstrap(), group, input.topic, &partitions])?;
        let [committed, end] = figures(&answer)?;
        Ok((committed, end))
    }

    fn tool(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = Command::new(&self.tool).args(arguments).output().context("cannot start `topic`")?;
        if !output.status.success() {
            bail!("topic {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8(output.stdout)?)
    }
}

fn contents(text: &str) -> anyhow::Result<Contents> {
    let [records, bytes, sum] = figures(text)?;
    Ok(Contents { records, bytes, sum })
}

/// So many whole numbers with blanks between.
fn figures<const N: usize>(text: &str) -> anyhow::Result<[u64; N]> {
    let found: Vec<u64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    found.try_into().map_err(|_| anyhow::anyhow!("not {N} figures: {text}"))
}
