//! The cluster as its users see it.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::error::{BrokerError, Missing};
use crate::fresh::{self, Root};
use crate::installation::Installation;
use crate::java::Flags;
use crate::node::Node;
use crate::options::{BrokerOptions, Jit, Listener, LogLevel};
use crate::ports::{self, Ports};
use crate::process::{self, TERM_PATIENCE};
use crate::ready;
use crate::tls::Tls;
use crate::tool::{Tool, ToolOutput};
use crate::{config, jars};

/// Another process may take a chosen port before the broker binds it.
const PORT_CHOICES: u32 = 3;

/// What would run, or runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    /// Version of Apache Kafka.
    pub kafka: String,
    /// Full build of the Java it runs on.
    pub java: String,
    /// Whether the jars are in the cache already, so that nothing has to be fetched.
    pub cached: bool,
}

/// A running Apache Kafka of one or three nodes on 127.0.0.1, numbered from 1. Dropping it ends every node: with a given
/// data folder in order (SIGTERM, then SIGKILL after 5 s), with a temporary one at once.
#[derive(Debug)]
pub struct JvmBroker {
    // Before `root`: the nodes end before a temporary folder goes.
    nodes: Vec<Node>,
    root: Root,
    installation: Installation,
    options: BrokerOptions,
    tls: Option<Tls>,
}

impl JvmBroker {
    /// Whether a broker could be started here, and which. Takes about 40 ms and changes nothing.
    ///
    /// # Errors
    /// What has to be installed first.
    pub fn available() -> Result<Versions, Missing> {
        Installation::locate().map(|installation| versions(&installation))
    }

    /// Starts a cluster and returns when its group coordinators answer.
    ///
    /// # Errors
    /// When something is missing, cannot be fetched, or the broker does not become ready; the message says what to do.
    pub fn start(options: BrokerOptions) -> Result<Self, BrokerError> {
        check(&options)?;
        let installation = Installation::locate()?;
        installation.prepare(&options.progress)?;
        let root = Root::open(&options.data)?;
        fresh::format(&root, options.brokers, &installation.template())?;
        let with_tls = options.listeners.iter().any(|listener| listener.uses_tls());
        let tls = with_tls.then(|| installation.tls()).transpose()?;
        let mut broker = Self { nodes: Vec::new(), root, installation, options, tls };
        for choice in 1.. {
            match broker.launch() {
                Err(BrokerError::Died { tail, .. })
                    if choice < PORT_CHOICES && tail.contains("Address already in use") => {}
                result => return result.map(|()| broker),
            }
        }
        Ok(broker)
    }

    /// `bootstrap.servers` of the plaintext listeners: `127.0.0.1:PORT`, comma separated.
    pub fn bootstrap(&self) -> String {
        addresses(&self.nodes, |ports| Some(ports.plaintext))
    }

    /// `bootstrap.servers` of a listener, or an empty text if the options did not ask for it.
    pub fn bootstrap_of(&self, listener: Listener) -> String {
        addresses(&self.nodes, |ports| ports.listeners.get(&listener).copied())
    }

    /// The certificate that clients of TLS listeners have to trust (`ssl.ca.location`), if there are any.
    pub fn certificate_pem(&self) -> Option<&Path> {
        self.tls.as_ref().map(|tls| tls.certificate.as_path())
    }

    /// Process id of a node's JVM while it runs, for signals and for reading its memory and CPU time.
    pub fn pid(&self, node: u32) -> Option<u32> {
        self.nodes.iter().find(|known| known.id == node).and_then(Node::pid)
    }

    /// Process ids of all running nodes.
    pub fn pids(&self) -> Vec<u32> {
        self.nodes.iter().filter_map(Node::pid).collect()
    }

    /// SIGKILL; returns when the process is gone.
    ///
    /// # Errors
    /// When there is no such node or it does not run.
    pub fn kill9(&mut self, node: u32) -> Result<(), BrokerError> {
        self.running(node)?.kill();
        Ok(())
    }

    /// Orderly shutdown (SIGTERM, SIGKILL after 5 s); returns when the process is gone.
    ///
    /// # Errors
    /// When there is no such node or it does not run.
    pub fn stop(&mut self, node: u32) -> Result<(), BrokerError> {
        self.running(node)?.terminate(TERM_PATIENCE);
        Ok(())
    }

    /// Starts a node again on its ports and data, after stopping it if it runs; returns when the cluster is ready.
    ///
    /// # Errors
    /// When there is no such node, or it does not become ready.
    pub fn restart(&mut self, node: u32) -> Result<(), BrokerError> {
        let position = self.position(node)?;
        drop(self.nodes[position].take_process());
        self.start_node(position)?;
        ready::wait(&mut self.nodes)
    }

    /// Output of all runs of a node. Gone with a temporary data folder.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn log_path(&self, node: u32) -> Result<PathBuf, BrokerError> {
        Ok(self.nodes[self.position(node)?].log())
    }

    /// The folder that holds all nodes' folders.
    pub fn data(&self) -> &Path {
        self.root.path()
    }

    /// What runs here.
    pub fn versions(&self) -> Versions {
        versions(&self.installation)
    }

    /// Runs a command-line program of Kafka against the plaintext listener (`--bootstrap-server` is added). Takes about half
    /// a second. Give programs that wait for ever, such as the console consumer, their own time-out.
    ///
    /// # Errors
    /// When it ends with another exit code than 0; what it wrote is in the error.
    pub fn tool(&self, tool: Tool, arguments: &[&str]) -> Result<ToolOutput, BrokerError> {
        self.run_tool(tool, &[&["--bootstrap-server", &self.bootstrap()], arguments].concat(), None)
    }

    /// As [`JvmBroker::tool`], with `input` as standard input.
    ///
    /// # Errors
    /// As [`JvmBroker::tool`].
    pub fn tool_with_input(
        &self,
        tool: Tool,
        arguments: &[&str],
        input: &[u8],
    ) -> Result<ToolOutput, BrokerError> {
        self.run_tool(tool, &[&["--bootstrap-server", &self.bootstrap()], arguments].concat(), Some(input))
    }

    /// As [`JvmBroker::tool`], through `listener` and with the credentials that it asks for (`--command-config`).
    ///
    /// # Errors
    /// As [`JvmBroker::tool`], and when the options did not ask for that listener.
    pub fn tool_via(
        &self,
        listener: Listener,
        tool: Tool,
        arguments: &[&str],
    ) -> Result<ToolOutput, BrokerError> {
        let bootstrap = self.bootstrap_of(listener);
        if bootstrap.is_empty() {
            return Err(BrokerError::Options(format!("this cluster has no listener {listener:?}")));
        }
        let file = self.root.path().join(format!("client-{listener:?}.properties"));
        let properties = config::client_properties(listener, self.certificate_pem());
        std::fs::write(&file, properties).map_err(BrokerError::io(format!("write {}", file.display())))?;
        let file = file.to_string_lossy();
        let common = ["--bootstrap-server", &bootstrap, "--command-config", &file];
        self.run_tool(tool, &[&common, arguments].concat(), None)
    }

    fn run_tool(
        &self,
        tool: Tool,
        arguments: &[&str],
        input: Option<&[u8]>,
    ) -> Result<ToolOutput, BrokerError> {
        let class_path = self.installation.class_path();
        let flags = Flags {
            jit: Jit::Quick,
            heap_mib: 256,
            log_level: LogLevel::Warn,
            archive: self.installation.archive(),
            class_path: &class_path,
        };
        let mut args = flags.arguments(tool.main_class());
        args.extend(arguments.iter().map(Into::into));
        let finished = process::run(&self.installation.java.program, args, input)?;
        if finished.status.success() {
            return Ok(ToolOutput { stdout: finished.stdout, stderr: finished.stderr });
        }
        Err(BrokerError::Program {
            program: format!("{tool:?} {}", arguments.join(" ")),
            status: finished.status.to_string(),
            output: finished.tail(),
        })
    }

    /// Chooses ports, starts all nodes and waits for them.
    fn launch(&mut self) -> Result<(), BrokerError> {
        let ports = ports::choose(self.options.brokers, &self.options.listeners)?;
        self.nodes = (1..)
            .zip(ports)
            .map(|(id, ports)| Node::new(id, ports, self.root.node(id), self.root.scratch()))
            .collect();
        for position in 0..self.nodes.len() {
            self.start_node(position)?;
        }
        ready::wait(&mut self.nodes)
    }

    fn start_node(&mut self, position: usize) -> Result<(), BrokerError> {
        let ports: Vec<Ports> = self.nodes.iter().map(|node| node.ports.clone()).collect();
        let id = self.nodes[position].id;
        let log_folder = fresh::log_folder(&self.root.node(id));
        let properties = config::server_properties(id, &ports, &log_folder, &self.options, self.tls.as_ref());
        let class_path = self.installation.class_path();
        let flags = Flags {
            jit: self.options.jit,
            heap_mib: self.options.heap_mib,
            log_level: self.options.log_level,
            archive: self.installation.archive(),
            class_path: &class_path,
        };
        self.nodes[position].start(&self.installation.java.program, &flags, &properties)
    }

    fn position(&self, node: u32) -> Result<usize, BrokerError> {
        let problem = || format!("this cluster has nodes 1 to {}", self.nodes.len());
        let position = self.nodes.iter().position(|known| known.id == node);
        position.ok_or_else(|| BrokerError::Node { node, problem: problem() })
    }

    fn running(&mut self, node: u32) -> Result<process::Process, BrokerError> {
        let position = self.position(node)?;
        let process = self.nodes[position].take_process();
        process.ok_or_else(|| BrokerError::Node { node, problem: "it does not run".to_owned() })
    }
}

impl Drop for JvmBroker {
    fn drop(&mut self) {
        let mut processes: Vec<process::Process> =
            self.nodes.iter_mut().filter_map(Node::take_process).collect();
        // All together: the last of three has no quorum left and would wait in vain for a controlled shutdown.
        let signal = match self.root {
            Root::Temporary(_) => Signal::KILL,
            Root::At(_) => Signal::TERM,
        };
        for process in &mut processes {
            process.signal(signal);
        }
        // Each waits for its end when it is dropped.
    }
}

fn versions(installation: &Installation) -> Versions {
    Versions {
        kafka: jars::KAFKA_VERSION.to_owned(),
        java: installation.java.build.clone(),
        cached: installation.has_jars(),
    }
}

fn check(options: &BrokerOptions) -> Result<(), BrokerError> {
    if !matches!(options.brokers, 1 | 3) {
        return Err(BrokerError::Options(format!("a cluster has 1 or 3 nodes, not {}", options.brokers)));
    }
    if options.brokers > 1 && options.listeners.iter().any(|listener| matches!(listener, Listener::Detour(_)))
    {
        return Err(BrokerError::Options("a detour leads to one node".to_owned()));
    }
    let mut listeners = options.listeners.clone();
    listeners.sort_unstable();
    listeners.dedup();
    if listeners.len() != options.listeners.len() {
        return Err(BrokerError::Options("a listener is named twice".to_owned()));
    }
    Ok(())
}

fn addresses(nodes: &[Node], port: impl Fn(&Ports) -> Option<u16>) -> String {
    nodes.iter().filter_map(|node| port(&node.ports)).fold(String::new(), |mut text, port| {
        let comma = if text.is_empty() { "" } else { "," };
        let _ = write!(text, "{comma}127.0.0.1:{port}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_options_are_refused_before_anything_starts() {
        let two = BrokerOptions { brokers: 2, ..BrokerOptions::default() };
        assert!(matches!(JvmBroker::start(two), Err(BrokerError::Options(_))));
        let twice =
            BrokerOptions { listeners: vec![Listener::Tls, Listener::Tls], ..BrokerOptions::default() };
        assert!(matches!(JvmBroker::start(twice), Err(BrokerError::Options(_))));
    }
}
