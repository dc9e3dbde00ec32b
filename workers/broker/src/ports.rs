//! Free ports below the range that the kernel hands out by itself.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};

use crate::error::BrokerError;
use crate::options::Listener;

/// Linux and macOS take outgoing ports from 32768 or 49152 upwards. A broker that is killed and restarted needs its port
/// back, so it must not come from there: any outgoing connection could take it meanwhile.
const RANGE: std::ops::Range<u16> = 12_000..32_000;

/// The ports of one node, kept over its restarts.
#[derive(Debug, Clone)]
pub(crate) struct Ports {
    pub(crate) plaintext: u16,
    pub(crate) controller: u16,
    pub(crate) listeners: BTreeMap<Listener, u16>,
}

/// Chooses ports for `nodes` nodes. All are held open until all are chosen, so they differ; another process may still
/// take one before the broker binds it, which the caller sees as a bind error and answers by choosing anew.
pub(crate) fn choose(nodes: u32, listeners: &[Listener]) -> Result<Vec<Ports>, BrokerError> {
    let mut held = Vec::new();
    let mut next = || -> Result<u16, BrokerError> {
        let listener = bind_any()?;
        let port = listener.local_addr().map_err(BrokerError::io("ask for a port"))?.port();
        held.push(listener);
        Ok(port)
    };
    (0..nodes)
        .map(|_| {
            let (plaintext, controller) = (next()?, next()?);
            let listeners = listeners.iter().map(|listener| Ok((*listener, next()?)));
            Ok(Ports { plaintext, controller, listeners: listeners.collect::<Result<_, BrokerError>>()? })
        })
        .collect()
}

fn bind_any() -> Result<TcpListener, BrokerError> {
    let mut last = None;
    for _ in 0..200 {
        let width = u64::from(RANGE.end - RANGE.start);
        let port = RANGE.start + u16::try_from(random() % width).unwrap_or(0);
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = Some(error),
        }
    }
    let source = last.unwrap_or_else(|| std::io::ErrorKind::AddrInUse.into());
    Err(BrokerError::Io { action: "find a free port on 127.0.0.1 below 32000".to_owned(), source })
}

/// Randomness without a dependency: the standard library seeds each of these from the operating system.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ports_differ_and_stay_below_the_kernels_own() {
        let nodes = choose(3, &[Listener::Tls, Listener::SaslScram]).unwrap();
        let ports: BTreeSet<u16> = nodes
            .iter()
            .flat_map(|node| {
                [node.plaintext, node.controller].into_iter().chain(node.listeners.values().copied())
            })
            .collect();
        assert_eq!(ports.len(), 12);
        assert!(ports.iter().all(|port| RANGE.contains(port)));
    }
}
