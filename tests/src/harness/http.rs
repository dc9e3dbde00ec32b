//! A worker's status pages.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Fetches a page; none while nobody answers.
#[must_use]
pub fn get(address: SocketAddr, path: &str) -> Option<String> {
    answer(address, path).map(|(_, body)| body)
}

/// The same with the status code.
#[must_use]
pub fn answer(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: longshore\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let code = head.split(' ').nth(1)?.parse().ok()?;
    Some((code, body.to_owned()))
}

/// An answer with what stands above its body.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status code.
    pub code: u16,
    /// Status line and headers, in lower case.
    pub head: String,
    /// The body.
    pub body: String,
}

impl Reply {
    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The same reply, checked to have this code.
    ///
    /// # Panics
    /// When it has another.
    #[must_use]
    #[track_caller]
    pub fn with(self, code: u16) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}

/// Sends a request as a browser or an attacker would: `head` are whole header lines, sent after a `Host` that is the address unless one
/// of them is a `Host`.
///
/// # Panics
/// When nobody answers, or not with HTTP.
#[must_use]
pub fn send(address: SocketAddr, method: &str, path: &str, head: &[&str], body: &str) -> Reply {
    let spoken = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let host = format!("Host: {address}");
        let named = head.iter().any(|line| line.starts_with("Host:"));
        let mut lines = if named { Vec::new() } else { vec![host.as_str()] };
        lines.extend(head);
        let (length, lines) = (body.len(), lines.join("\r\n"));
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\n{lines}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = spoken().unwrap_or_else(|error| panic!("{method} {path}: {error}"));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{method} {path}: {answer}"));
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let code = code.unwrap_or_else(|| panic!("{method} {path}: {head}"));
    Reply { code, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

/// The sum of all samples in `page` whose line begins with `prefix` (a metric's name, with a part of its labels or not).
#[must_use]
pub fn metric(page: &str, prefix: &str) -> f64 {
    let values =
        page.lines().filter(|line| line.starts_with(prefix)).filter_map(|line| line.rsplit(' ').next());
    values.filter_map(|value| value.parse::<f64>().ok()).sum()
}
