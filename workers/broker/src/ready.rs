//! Waiting until a cluster serves consumer groups.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::BrokerError;
use crate::node::Node;
use crate::probe;

/// A start takes 2 to 20 s; a machine that needs longer than this is not usable for tests.
const DEADLINE: Duration = Duration::from_secs(120);
/// There is nothing to subscribe to before a broker is up, so it is asked again and again; each question is cheap.
const POLL_INTERVAL: Duration = Duration::from_millis(25);

/// Returns when every running node sees every other running node, and every group coordinator answers.
///
/// # Errors
/// When a node dies meanwhile, or after two minutes.
pub(crate) fn wait(nodes: &mut [Node]) -> Result<(), BrokerError> {
    let started = Instant::now();
    loop {
        if let Some(dead) = first_dead(nodes) {
            return Err(BrokerError::Died { node: dead.id, log: dead.log(), tail: dead.log_tail() });
        }
        let Err(missing) = all_ready(nodes) else { return Ok(()) };
        if started.elapsed() > DEADLINE {
            let (log, tail) = nodes.first().map(|node| (node.log(), node.log_tail())).unwrap_or_default();
            return Err(BrokerError::NotReady { waited: DEADLINE, missing: missing.to_string(), log, tail });
        }
        thread::sleep(POLL_INTERVAL);
    }
}

fn first_dead(nodes: &mut [Node]) -> Option<&Node> {
    let dead =
        nodes.iter_mut().position(|node| node.process().is_some_and(|process| process.ended().is_some()))?;
    nodes.get(dead)
}

fn all_ready(nodes: &[Node]) -> io::Result<()> {
    let running: Vec<&Node> = nodes.iter().filter(|node| node.pid().is_some()).collect();
    for node in &running {
        let seen = probe::live_nodes(node.ports.plaintext)?;
        if let Some(unseen) = running.iter().find(|other| !seen.contains(&other.id)) {
            let text = format!("node {} does not see node {}", node.id, unseen.id);
            return Err(io::Error::other(text));
        }
    }
    let first = running.first().ok_or_else(|| io::Error::other("no node runs"))?;
    probe::GROUPS.iter().try_for_each(|group| probe::coordinator_ready(first.ports.plaintext, group))
}
