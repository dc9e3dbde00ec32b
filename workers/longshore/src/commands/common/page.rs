//! A page of a worker on this machine, asked for without an HTTP client: a request of one line, and an answer of a bounded size.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// The most of an answer that is read.
const MOST_BYTES: u64 = 1 << 20;

/// Where a worker that listens there is reached from this machine: at no address in particular means at this one.
pub(crate) fn near(listens: SocketAddr) -> SocketAddr {
    let address = match listens.ip() {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    };
    SocketAddr::new(address, listens.port())
}

/// Status and body of a page.
pub(crate) fn get(address: SocketAddr, path: &str, deadline: Duration) -> std::io::Result<(u16, String)> {
    let began = Instant::now();
    let mut stream = TcpStream::connect_timeout(&address, deadline)?;
    // A read waits for the next bytes only, so the whole is bounded by what is left.
    let left = deadline.saturating_sub(began.elapsed()).max(Duration::from_millis(1));
    stream.set_read_timeout(Some(left))?;
    stream.set_write_timeout(Some(left))?;
    // In one piece, so that a server that answers early does not find some of it unread.
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MOST_BYTES).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let odd = || std::io::Error::new(std::io::ErrorKind::InvalidData, "what answers is no worker");
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(odd)?;
    let code = head.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)).ok_or_else(odd)?;
    Ok((code.parse().map_err(|_| odd())?, body.trim_end().to_owned()))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn an_answer_is_read_or_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answers = ["HTTP/1.1 503 No\r\nx: y\r\n\r\nnot yet\n", "SSH-2.0-x\r\n"];
        let server = std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 256];
                assert!(stream.read(&mut request).unwrap() > 0);
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        let patience = Duration::from_secs(30);
        assert_eq!(get(address, "/readyz", patience).unwrap(), (503, "not yet".to_owned()));
        assert!(get(address, "/readyz", patience).is_err());
        server.join().unwrap();
        assert_eq!(near("0.0.0.0:80".parse().unwrap()).to_string(), "127.0.0.1:80");
        assert_eq!(near("[::]:80".parse().unwrap()).to_string(), "[::1]:80");
    }
}
