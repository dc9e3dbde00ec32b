//! A way to any server over TCP on which the connections break at a message of the client's.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Stands between clients and a server on 127.0.0.1.
#[derive(Debug)]
pub struct Line {
    port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Messages that pass before it breaks; none when it is not to break.
    left: Option<usize>,
    /// Whether the message at which it breaks passes all the same, and only its answer does not.
    done: bool,
    broken: bool,
}

/// What becomes of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Passes,
    PassesUnanswered,
    Lost,
}

impl Line {
    /// A way to the server at this port.
    ///
    /// # Panics
    /// When no port is free.
    #[must_use]
    pub fn before(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap_or_else(|error| panic!("no port for a way to a server: {error}"));
        let port = listener.local_addr().map_or(0, |address| address.port());
        let state = Arc::<Mutex<State>>::default();
        let own = Arc::clone(&state);
        // Ends with the process: a thread that waits for connections holds nothing else.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if lock(&own).broken {
                    continue;
                }
                if let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)) {
                    let state = Arc::clone(&own);
                    thread::spawn(move || pass(&client, &server, &state).unwrap_or_default());
                }
            }
        });
        Self { port, state }
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Lets so many messages of clients pass (what one read gives is a message), and then none until [`Self::mend`]: the first that does
    /// not is lost, or (`done`) passes on and its answer is lost. All connections are cut from then on.
    pub fn break_after(&self, messages: usize, done: bool) {
        *lock(&self.state) = State { left: Some(messages), done, broken: false };
    }

    /// Whether a message was lost since.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        lock(&self.state).broken
    }

    /// Lets everything pass again.
    pub fn mend(&self) {
        *lock(&self.state) = State::default();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn fate(state: &Mutex<State>) -> Fate {
    let mut state = lock(state);
    if state.broken {
        return Fate::Lost;
    }
    match &mut state.left {
        None => Fate::Passes,
        Some(0) => {
            state.broken = true;
            if state.done { Fate::PassesUnanswered } else { Fate::Lost }
        }
        Some(left) => {
            *left -= 1;
            Fate::Passes
        }
    }
}

fn pass(client: &TcpStream, server: &TcpStream, state: &Arc<Mutex<State>>) -> std::io::Result<()> {
    for side in [client, server] {
        side.set_nodelay(true)?;
    }
    let cut = Arc::<AtomicBool>::default();
    let (mut answers, mut to_client, own) = (server.try_clone()?, client.try_clone()?, Arc::clone(&cut));
    thread::spawn(move || {
        let mut bytes = [0; 65_536];
        while let Ok(count @ 1..) = answers.read(&mut bytes) {
            // The answer is here, so the server has done what it was asked.
            if own.load(Ordering::Acquire) || to_client.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        let _ = to_client.shutdown(Shutdown::Both);
    });
    // Whatever ends it, a reset by a client that was killed as well, both sides hear of it.
    let passed = pass_messages(client, server, state, &cut);
    let ends = [client, server].map(|side| side.shutdown(Shutdown::Both));
    passed.and(ends.into_iter().collect())
}

fn pass_messages(
    mut client: &TcpStream,
    mut server: &TcpStream,
    state: &Mutex<State>,
    cut: &AtomicBool,
) -> std::io::Result<()> {
    let mut bytes = [0; 65_536];
    loop {
        let count = client.read(&mut bytes)?;
        let fate = fate(state);
        if count == 0 || fate == Fate::Lost {
            return Ok(());
        }
        if fate == Fate::PassesUnanswered {
            cut.store(true, Ordering::Release);
        }
        server.write_all(&bytes[..count])?;
    }
}
