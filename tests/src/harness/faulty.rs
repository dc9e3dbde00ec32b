//! A way to an HTTP server on which requests get lost as a test wants it: refused, cut before they arrive, or answered to nobody.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::wait::pass_time;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is answered with 503 SlowDown and not passed on.
    SlowDown,
    /// The connection is cut before it is passed on.
    Cut,
    /// It is passed on, and the connection is cut when the server's answer is here: it was done, and nobody hears of it.
    LoseAnswer,
    /// It is passed on, and the answer after so long.
    Delay(Duration),
}

/// Which requests meet which fault.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The method, any when empty.
    pub method: &'static str,
    /// A part of the target (path and query), any when empty.
    pub target: String,
    /// So many that match are let through first.
    pub after: usize,
    /// So many meet the fault then.
    pub times: usize,
    /// The fault.
    pub fault: Fault,
}

impl Rule {
    /// All requests, for ever.
    #[must_use]
    pub fn all(fault: Fault) -> Self {
        Self { method: "", target: String::new(), after: 0, times: usize::MAX, fault }
    }

    /// Only those with this method and this part in their target.
    #[must_use]
    pub fn only(mut self, method: &'static str, target: &str) -> Self {
        (self.method, self.target) = (method, target.to_owned());
        self
    }

    /// Only behind the first so many that match.
    #[must_use]
    pub fn after(mut self, requests: usize) -> Self {
        self.after = requests;
        self
    }

    /// Only so many.
    #[must_use]
    pub fn times(mut self, requests: usize) -> Self {
        self.times = requests;
        self
    }
}

/// A request that came by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The header fields, names in lower case.
    pub fields: Vec<(String, String)>,
    /// Bytes of its body.
    pub bytes: usize,
    /// What it met.
    pub fault: Option<Fault>,
    /// The server's status, none while it has not answered.
    pub status: Option<u16>,
}

impl Request {
    /// A header field's value.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Rule>,
    seen: Vec<Request>,
}

/// Stands before a server on 127.0.0.1. Without rules it passes everything on.
#[derive(Debug)]
pub struct Faulty {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl Faulty {
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
                let state = Arc::clone(&own);
                // Whoever fails on the way, the connection is over: that is all that a client may notice of it.
                thread::spawn(move || serve(&client, server, &state).unwrap_or_default());
            }
        });
        Self { port, state }
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address to give a client.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Adds a rule. Of several that match the first one counts.
    pub fn rule(&self, rule: Rule) {
        lock(&self.state).rules.push(rule);
    }

    /// Takes all rules away.
    pub fn heal(&self) {
        lock(&self.state).rules.clear();
    }

    /// The requests so far, and forgets them.
    #[must_use]
    pub fn take_seen(&self) -> Vec<Request> {
        std::mem::take(&mut lock(&self.state).seen)
    }

    /// How many requests met a fault since [`Self::take_seen`].
    #[must_use]
    pub fn faults(&self) -> usize {
        lock(&self.state).seen.iter().filter(|request| request.fault.is_some()).count()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A message's head: its first line, its fields with names in lower case, and all its bytes as they came.
struct Head {
    line: String,
    fields: Vec<(String, String)>,
    bytes: Vec<u8>,
}

impl Head {
    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Requests of one connection, one after the other.
fn serve(client: &TcpStream, server: u16, state: &Mutex<State>) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let mut from_client = BufReader::new(client.try_clone()?);
    let mut upstream: Option<BufReader<TcpStream>> = None;
    while let Some(head) = read_head(&mut from_client)? {
        let body = read_body(&mut from_client, &head, false)?;
        let (place, method, fault) = note(state, &head, body.len());
        match fault {
            Some(Fault::Cut) => break,
            Some(Fault::SlowDown) => {
                (&mut &*client).write_all(&slow_down())?;
                continue;
            }
            Some(Fault::LoseAnswer | Fault::Delay(_)) | None => {}
        }
        let from_server = match &mut upstream {
            Some(known) => known,
            none => {
                let server = TcpStream::connect((Ipv4Addr::LOCALHOST, server))?;
                server.set_nodelay(true)?;
                none.insert(BufReader::new(server))
            }
        };
        from_server.get_mut().write_all(&head.bytes)?;
        from_server.get_mut().write_all(&body)?;
        let Some(answer) = read_head(from_server)? else { break };
        let rest = read_body(from_server, &answer, method == "HEAD")?;
        answered(state, place, &answer);
        match fault {
            Some(Fault::LoseAnswer) => break,
            Some(Fault::Delay(span)) => pass_time(span),
            Some(Fault::SlowDown | Fault::Cut) | None => {}
        }
        (&mut &*client).write_all(&answer.bytes)?;
        (&mut &*client).write_all(&rest)?;
    }
    client.shutdown(Shutdown::Both)
}

/// Notes a request and finds its fault: its place among the noted ones, its method, and what it meets.
fn note(state: &Mutex<State>, head: &Head, bytes: usize) -> (usize, String, Option<Fault>) {
    let mut parts = head.line.split(' ');
    let mut part = || parts.next().unwrap_or_default().to_owned();
    let (method, target) = (part(), part());
    let mut state = lock(state);
    let matching = |rule: &&mut Rule| {
        (rule.method.is_empty() || rule.method == method) && target.contains(&rule.target) && rule.times > 0
    };
    let fault = state.rules.iter_mut().find(matching).and_then(|rule| {
        if rule.after > 0 {
            rule.after -= 1;
            return None;
        }
        rule.times -= usize::from(rule.times != usize::MAX);
        Some(rule.fault)
    });
    let fields = head.fields.clone();
    state.seen.push(Request { method: method.clone(), target, fields, bytes, fault, status: None });
    (state.seen.len() - 1, method, fault)
}

fn answered(state: &Mutex<State>, place: usize, answer: &Head) {
    let status = answer.line.split(' ').nth(1).and_then(|status| status.parse().ok());
    // Forgotten meanwhile when the test took what was seen.
    if let Some(request) = lock(state).seen.get_mut(place) {
        request.status = status;
    }
}

fn slow_down() -> Vec<u8> {
    let body = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>SlowDown</Code>\
                <Message>Please reduce your request rate.</Message></Error>";
    let head = "HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: ";
    format!("{head}{}\r\n\r\n{body}", body.len()).into_bytes()
}

/// None when the other side has closed the connection.
fn read_head(from: &mut impl BufRead) -> std::io::Result<Option<Head>> {
    let (mut bytes, mut lines) = (Vec::new(), Vec::new());
    loop {
        let start = bytes.len();
        if from.read_until(b'\n', &mut bytes)? == 0 {
            return Ok(None);
        }
        let line = String::from_utf8_lossy(&bytes[start..]).trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let field = |line: &String| {
        line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
    };
    let fields = lines.iter().skip(1).filter_map(field).collect();
    Ok(Some(Head { line: lines.into_iter().next().unwrap_or_default(), fields, bytes }))
}

/// A message's body as it came, chunks and all.
fn read_body(from: &mut impl BufRead, head: &Head, answers_head: bool) -> std::io::Result<Vec<u8>> {
    let status = head.line.strip_prefix("HTTP/").and_then(|line| line.split(' ').nth(1));
    let mut bytes = Vec::new();
    if answers_head || matches!(status, Some("204" | "304")) {
        return Ok(bytes);
    }
    if let Some(length) = head.field("content-length").and_then(|length| length.parse().ok()) {
        bytes.resize(length, 0);
        from.read_exact(&mut bytes)?;
    } else if head.field("transfer-encoding").is_some() {
        while read_chunk(from, &mut bytes)? > 0 {}
    } else if status.is_some() {
        from.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Adds a chunk with its lines around it (behind the last one also those of the trailer); gives its length.
fn read_chunk(from: &mut impl BufRead, bytes: &mut Vec<u8>) -> std::io::Result<usize> {
    let start = bytes.len();
    from.read_until(b'\n', bytes)?;
    let line = String::from_utf8_lossy(&bytes[start..]).into_owned();
    let length = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16).unwrap_or(0);
    if length == 0 {
        while from.read_until(b'\n', bytes)? > 2 {}
        return Ok(0);
    }
    let end = bytes.len() + length + 2;
    let start = bytes.len();
    bytes.resize(end, 0);
    from.read_exact(&mut bytes[start..])?;
    Ok(length)
}
