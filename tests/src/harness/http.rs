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

/// The sum of all samples in `page` whose line begins with `prefix` (a metric's name, with a part of its labels or not).
#[must_use]
pub fn metric(page: &str, prefix: &str) -> f64 {
    let values =
        page.lines().filter(|line| line.starts_with(prefix)).filter_map(|line| line.rsplit(' ').next());
    values.filter_map(|value| value.parse::<f64>().ok()).sum()
}
