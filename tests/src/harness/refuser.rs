//! A way to a real broker on which requests of one kind are answered with an error code. A broker gives few of its codes when it is asked to, and
//! librdkafka's mock cluster, which gives any, is no broker: here all else is the real one's.

mod answers;

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, RequestHeader};
use kafka_protocol::protocol::decode_request_header_from_buffer;

pub use answers::can_be_refused;

/// A broker that does not take a connection for so long is not there.
const CONNECT: Duration = Duration::from_secs(3);

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is answered with this code and never gets to the broker, as one that is refused is not done.
    Refused(i16),
    /// It is answered with this code though the broker has done it: one that comes too late, or does not know.
    Done(i16),
    /// The broker does it, and the connection ends instead of an answer.
    Unanswered,
}

/// Stands between clients and a broker on 127.0.0.1 that advertises this port (`Listener::Detour`). Clients are known by the part of their
/// `client.id` before its first dot; who is refused nothing gets to the broker and back. Every request has an answer, as from our clients: those that
/// produce without one (`acks=0`) must go another way.
#[derive(Debug)]
pub struct Refuser {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    server: Option<u16>,
    clients: HashMap<String, Client>,
}

/// What is known of a client, and what it is refused.
#[derive(Debug, Default)]
struct Client {
    rule: Option<Rule>,
    refused: usize,
    seen: HashSet<ApiKey>,
}

#[derive(Debug)]
struct Rule {
    request: ApiKey,
    refusal: Refusal,
    left: usize,
}

impl Default for Refuser {
    fn default() -> Self {
        Self::new()
    }
}

impl Refuser {
    /// A way to a broker that is named later ([`Self::lead_to`]), since it wants to know beforehand where it is found.
    ///
    /// # Panics
    /// When no port is free.
    #[must_use]
    pub fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap_or_else(|error| panic!("no port for a way to a broker: {error}"));
        let port = listener.local_addr().map_or(0, |address| address.port());
        let shared = Arc::<Shared>::default();
        let own = Arc::clone(&shared);
        // Ends with the process: a thread that waits for connections holds nothing else.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // On a thread of its own: a broker that starts may let one wait while it takes others.
                let own = Arc::clone(&own);
                thread::spawn(move || own.accept(client));
            }
        });
        Self { port, shared }
    }

    /// From now on clients get to the broker at this port.
    pub fn lead_to(&self, server: u16) {
        self.shared.lock().server = Some(server);
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on so many requests of this kind by this client end so. What it was refused before is over.
    ///
    /// # Panics
    /// When the request is none that can be refused ([`can_be_refused`]).
    pub fn refuse(&self, client: &str, request: ApiKey, refusal: Refusal, times: usize) {
        assert!(can_be_refused(request), "{request:?} cannot be refused");
        self.shared.lock().client(client).rule = Some(Rule { request, refusal, left: times });
    }

    /// Refuses this client nothing more.
    pub fn relent(&self, client: &str) {
        self.shared.lock().client(client).rule = None;
    }

    /// How many of its requests this client was refused.
    #[must_use]
    pub fn refused(&self, client: &str) -> usize {
        self.shared.lock().client(client).refused
    }

    /// The kinds of requests that this client has made.
    #[must_use]
    pub fn seen(&self, client: &str) -> HashSet<ApiKey> {
        self.shared.lock().client(client).seen.clone()
    }
}

impl State {
    fn client(&mut self, name: &str) -> &mut Client {
        self.clients.entry(name.to_owned()).or_default()
    }
}

impl Client {
    fn judge(&mut self, request: ApiKey) -> Option<Refusal> {
        self.seen.insert(request);
        let rule = self.rule.as_mut().filter(|rule| rule.request == request && rule.left > 0)?;
        rule.left -= 1;
        self.refused += 1;
        Some(rule.refusal)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client whose broker is not there is cut off at once, as by a closed port.
    fn accept(self: &Arc<Self>, client: TcpStream) {
        let Some(port) = self.lock().server else { return };
        let server = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), CONNECT);
        let Ok(server) = server else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (Ok(asks), Ok(answers)) = (client.try_clone(), server.try_clone()) else { return };
        let outlet = Arc::new(Mutex::new(Outlet { client, owed: VecDeque::new() }));
        let (shared, other) = (Arc::clone(self), Arc::clone(&outlet));
        thread::spawn(move || {
            // Whatever ends it, both ends of the connection are gone with it.
            let _ = shared.pass_requests(&asks, &server, &outlet);
            let _ = (asks.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
        });
        thread::spawn(move || {
            let _ = pass_answers(&answers, &other);
            let _ = (answers.shutdown(Shutdown::Both), open(&other).client.shutdown(Shutdown::Both));
        });
    }

    fn pass_requests(
        &self,
        mut client: &TcpStream,
        mut server: &TcpStream,
        outlet: &Mutex<Outlet>,
    ) -> io::Result<()> {
        loop {
            let frame = read_frame(&mut client)?;
            let asked = Asked::read(frame.clone());
            let refusal = self.lock().client(asked.client()).judge(asked.api);
            let (correlation, answer) = (asked.header.correlation_id, Answer::to(asked, refusal));
            let is_passed_on = !matches!(answer, Answer::Own(_));
            // Before it is passed on: the broker's answer must find what is owed.
            open(outlet).owe(Owed { correlation, answer })?;
            if is_passed_on {
                write_frame(&mut server, &frame)?;
            }
        }
    }
}

/// A request as it came.
#[derive(Debug)]
struct Asked {
    api: ApiKey,
    header: RequestHeader,
    /// What stands behind the header.
    body: Bytes,
}

impl Asked {
    /// # Panics
    /// When no client of ours can have sent it; that ends the connection.
    fn read(mut frame: Bytes) -> Self {
        let header = decode_request_header_from_buffer(&mut frame);
        let header = header.unwrap_or_else(|error| panic!("no header of a request: {error}"));
        let api = ApiKey::try_from(header.request_api_key);
        let api = api.unwrap_or_else(|()| panic!("no request: {header:?}"));
        Self { api, header, body: frame }
    }

    fn version(&self) -> i16 {
        self.header.request_api_version
    }

    fn client(&self) -> &str {
        let name = self.header.client_id.as_ref().map_or("", |name| name.as_str());
        name.split('.').next().unwrap_or(name)
    }
}

/// Where answers go to a client, in the order of its requests, as a broker gives them.
#[derive(Debug)]
struct Outlet {
    client: TcpStream,
    owed: VecDeque<Owed>,
}

#[derive(Debug)]
struct Owed {
    correlation: i32,
    answer: Answer,
}

#[derive(Debug)]
enum Answer {
    /// The broker's.
    Brokers,
    /// The broker's, in which everything is refused with this code.
    Changed(Asked, i16),
    /// This one, when the broker's has come.
    Instead(Bytes),
    /// None, when the broker's has come.
    Withheld,
    /// This one; the broker was not asked.
    Own(Bytes),
}

impl Answer {
    fn to(asked: Asked, refusal: Option<Refusal>) -> Self {
        match refusal {
            None => Self::Brokers,
            Some(Refusal::Unanswered) => Self::Withheld,
            // Whatever it says of topics, a broker names the brokers and the cluster.
            Some(Refusal::Refused(code) | Refusal::Done(code)) if asked.api == ApiKey::Metadata => {
                Self::Changed(asked, code)
            }
            Some(Refusal::Refused(code)) => Self::Own(answers::refusal(&asked, code)),
            Some(Refusal::Done(code)) => Self::Instead(answers::refusal(&asked, code)),
        }
    }
}

impl Outlet {
    fn owe(&mut self, owed: Owed) -> io::Result<()> {
        self.owed.push_back(owed);
        self.give_own()
    }

    /// Gives those of ours whose turn it is.
    fn give_own(&mut self) -> io::Result<()> {
        while let Some(Answer::Own(answer)) = self.owed.front().map(|owed| &owed.answer) {
            write_frame(&mut self.client, answer)?;
            self.owed.pop_front();
        }
        Ok(())
    }

    /// The broker has answered what has been owed for longest.
    fn answered(&mut self, frame: Bytes) -> io::Result<()> {
        let Some(Owed { correlation, answer }) = self.owed.pop_front() else {
            panic!("the broker answered what nobody asked");
        };
        assert_eq!(frame[..4], correlation.to_be_bytes(), "the broker answered out of turn");
        let answer = match answer {
            Answer::Brokers => frame,
            Answer::Changed(asked, code) => answers::changed(&asked, frame, code),
            Answer::Instead(answer) | Answer::Own(answer) => answer,
            Answer::Withheld => return Err(io::ErrorKind::ConnectionAborted.into()),
        };
        write_frame(&mut self.client, &answer)?;
        self.give_own()
    }
}

fn pass_answers(mut server: &TcpStream, outlet: &Mutex<Outlet>) -> io::Result<()> {
    loop {
        let frame = read_frame(&mut server)?;
        open(outlet).answered(frame)?;
    }
}

fn open(outlet: &Mutex<Outlet>) -> MutexGuard<'_, Outlet> {
    outlet.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What stands behind the four bytes of its length.
fn read_frame(from: &mut impl Read) -> io::Result<Bytes> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    from.read_exact(&mut frame)?;
    Ok(frame.into())
}

fn write_frame(to: &mut impl Write, frame: &[u8]) -> io::Result<()> {
    let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
    to.write_all(&[&length.to_be_bytes(), frame].concat())
}
