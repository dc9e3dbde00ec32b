//! One node of a cluster: its folder, its ports and, while it runs, its process.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::BrokerError;
use crate::java::Flags;
use crate::ports::Ports;
use crate::process::{Process, Spawn, tail};

/// A node, running or not.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: u32,
    pub(crate) ports: Ports,
    folder: PathBuf,
    /// Removed when we are killed.
    scratch: Option<PathBuf>,
    process: Option<Process>,
}

impl Node {
    pub(crate) fn new(id: u32, ports: Ports, folder: PathBuf, scratch: Option<PathBuf>) -> Self {
        Self { id, ports, folder, scratch, process: None }
    }

    /// Writes the node's properties and starts its process; it is not ready when this returns.
    pub(crate) fn start(
        &mut self,
        java: &Path,
        flags: &Flags<'_>,
        properties: &str,
    ) -> Result<(), BrokerError> {
        let config = self.folder.join("server.properties");
        let action = || format!("prepare {}", self.folder.display());
        fs::create_dir_all(&self.folder).map_err(BrokerError::io(action()))?;
        fs::write(&config, properties).map_err(BrokerError::io(action()))?;
        let mut args = flags.arguments("kafka.Kafka");
        args.push(config.into());
        let log = self.log();
        let scratch = self.scratch.as_deref();
        let spawn = Spawn { program: java, args, input: None, output: &log, errors: &log, scratch };
        self.process = Some(Process::spawn(&spawn)?);
        Ok(())
    }

    /// The process, if the node was started and not stopped. It may have died by itself.
    pub(crate) fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    /// Process id of the JVM while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Forgets the process; dropping what is returned ends it.
    pub(crate) fn take_process(&mut self) -> Option<Process> {
        self.process.take()
    }

    /// Standard output and error of all runs.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    /// The end of the log, for an error message.
    pub(crate) fn log_tail(&self) -> String {
        let bytes = fs::read(self.log()).unwrap_or_default();
        tail(&String::from_utf8_lossy(&bytes))
    }
}
