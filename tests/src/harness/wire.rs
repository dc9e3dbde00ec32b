//! A way to any server over TCP on which bytes are late, stand still, or go nowhere. Own code instead of toxiproxy: that one closes the
//! connections of a fault when the fault ends, so none of them is ever left half-open, and what a network held back never arrives.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From clients to the server.
    There = 0,
    /// From the server to clients.
    Back = 1,
}

/// Stands between clients and a server on 127.0.0.1. Without a fault it passes everything on.
#[derive(Debug)]
pub struct Wire {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    server: Option<u16>,
    /// No connection lives, and none is made.
    cut: bool,
    /// Bytes of these ways wait until the fault is over, as what a network drops is sent again.
    held: [bool; 2],
    /// How late bytes of these ways arrive.
    delay: [Duration; 2],
    /// Connections below this number carry nothing any more and stay open.
    dead_below: usize,
    /// Both ends of each connection, by its number.
    connections: Vec<[TcpStream; 2]>,
}

impl Default for Wire {
    fn default() -> Self {
        Self::new()
    }
}

impl Wire {
    /// A way to a server that is named later ([`Self::lead_to`]), since a broker wants to know beforehand where it is found.
    ///
    /// # Panics
    /// When no port is free.
    #[must_use]
    pub fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap_or_else(|error| panic!("no port for a way to a server: {error}"));
        let port = listener.local_addr().map_or(0, |address| address.port());
        let shared = Arc::<Shared>::default();
        let own = Arc::clone(&shared);
        // Ends with the process: a thread that waits for connections holds nothing else.
        thread::spawn(move || listener.incoming().flatten().for_each(|client| own.accept(client)));
        Self { port, shared }
    }

    /// A way to the server at this port.
    ///
    /// # Panics
    /// When no port is free.
    #[must_use]
    pub fn before(server: u16) -> Self {
        let wire = Self::new();
        wire.lead_to(server);
        wire
    }

    /// From now on clients get to the server at this port.
    pub fn lead_to(&self, server: u16) {
        self.shared.change(|state| state.server = Some(server));
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Closes all connections, and each new one at once.
    pub fn cut(&self) {
        self.shared.change(|state| {
            state.cut = true;
            state.close();
        });
    }

    /// Holds back whatever goes this way, also on new connections, until [`Self::mend`]: then it arrives, late and whole.
    pub fn hold(&self, way: Way) {
        self.shared.change(|state| state.held[way as usize] = true);
    }

    /// Lets everything arrive so much later, on both ways.
    pub fn delay(&self, span: Duration) {
        self.shared.change(|state| state.delay = [span; 2]);
    }

    /// Leaves all connections of this moment open on both ends and carries not a byte on them any more, as when a peer is gone without a
    /// word. New connections work.
    pub fn abandon(&self) {
        self.shared.change(|state| state.dead_below = state.connections.len());
    }

    /// Lets everything pass again. What is abandoned stays so.
    pub fn mend(&self) {
        self.shared.change(|state| {
            (state.cut, state.held, state.delay) = (false, [false; 2], [Duration::ZERO; 2]);
        });
    }
}

impl State {
    fn close(&self) {
        for end in self.connections.iter().flatten() {
            // One that is closed already is as it should be.
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    fn stands_still(&self, connection: usize, way: Way) -> bool {
        self.held[way as usize] || connection < self.dead_below
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// A client whose server is not there is cut off at once, as by a closed port.
    fn accept(self: &Arc<Self>, client: TcpStream) {
        let mut state = self.lock();
        let open = state.server.filter(|_| !state.cut);
        let server = open.and_then(|port| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok());
        let Some(server) = server else { return };
        let copies = [&client, &server].map(TcpStream::try_clone);
        let [Ok(client_end), Ok(server_end)] = copies else { return };
        let number = state.connections.len();
        state.connections.push([client_end, server_end]);
        drop(state);
        for (from, to, way) in [(&client, &server, Way::There), (&server, &client, Way::Back)] {
            if let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) {
                self.carry(number, way, from, to);
            }
        }
    }

    /// Two threads: one takes bytes and notes when they came, the other hands them on when their time is there.
    fn carry(self: &Arc<Self>, number: usize, way: Way, mut from: TcpStream, mut to: TcpStream) {
        let queue = Arc::new((Mutex::new(VecDeque::new()), Condvar::new()));
        let (filled, shared) = (Arc::clone(&queue), Arc::clone(self));
        thread::spawn(move || {
            let mut bytes = [0; 65_536];
            loop {
                let count = from.read(&mut bytes).unwrap_or(0);
                let arrived = (Instant::now(), bytes[..count].to_vec());
                filled.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(arrived);
                filled.1.notify_one();
                if count == 0 {
                    return;
                }
            }
        });
        thread::spawn(move || {
            let _ = to.set_nodelay(true);
            loop {
                let (came, bytes) = next(&queue);
                shared.wait_for_passage(number, way, came);
                if bytes.is_empty() || to.write_all(&bytes).is_err() {
                    let _ = to.shutdown(Shutdown::Both);
                    return;
                }
            }
        });
    }

    /// Returns when what came at this moment may go on.
    fn wait_for_passage(&self, connection: usize, way: Way, came: Instant) {
        let mut state = self.lock();
        loop {
            let left = (came + state.delay[way as usize]).saturating_duration_since(Instant::now());
            if !state.stands_still(connection, way) && left.is_zero() {
                return;
            }
            let longest = if left.is_zero() { Duration::from_secs(3600) } else { left };
            let waited = self.changed.wait_timeout(state, longest);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

type Arrived = (Instant, Vec<u8>);

fn next(queue: &(Mutex<VecDeque<Arrived>>, Condvar)) -> Arrived {
    let mut waiting = queue.0.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if let Some(arrived) = waiting.pop_front() {
            return arrived;
        }
        waiting = queue.1.wait(waiting).unwrap_or_else(PoisonError::into_inner);
    }
}
