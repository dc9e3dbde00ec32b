//! Asks a broker whether it is ready, with three hand-written requests of the Kafka protocol.
//!
//! Field layouts: <https://kafka.apache.org/42/design/protocol/>, in the oldest versions that Kafka 4 still answers
//! (KIP-896); none of them is flexible, so there are no tagged fields.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::time::Duration;

const METADATA: (i16, i16) = (3, 1);
const FIND_COORDINATOR: (i16, i16) = (10, 0);
const DESCRIBE_GROUPS: (i16, i16) = (15, 0);

/// A broker on this machine that takes longer is not ready.
const TIMEOUT: Duration = Duration::from_secs(5);
/// No honest answer to these requests is larger.
const ANSWER_LIMIT_BYTES: usize = 1 << 20;

/// Java's `String.hashCode` of these is 97 to 100, so they name all four partitions of `__consumer_offsets`.
pub(crate) const GROUPS: [&str; 4] = ["a", "b", "c", "d"];

/// Node ids that the broker at `port` sees alive.
pub(crate) fn live_nodes(port: u16) -> io::Result<BTreeSet<u32>> {
    let mut answer = ask(port, METADATA, &0_i32.to_be_bytes())?;
    (0..answer.int32()?)
        .map(|_| {
            let node = answer.int32()?;
            answer.string()?;
            answer.int32()?;
            answer.string()?;
            Ok(node.unsigned_abs())
        })
        .collect()
}

/// Whether the coordinator of `group` is elected, has loaded its partition and answers.
pub(crate) fn coordinator_ready(port: u16, group: &str) -> io::Result<()> {
    let mut answer = ask(port, FIND_COORDINATOR, &string(group))?;
    no_error(answer.int16()?)?;
    answer.int32()?;
    answer.string()?;
    let coordinator = u16::try_from(answer.int32()?).map_err(|_| malformed())?;
    let mut answer = ask(coordinator, DESCRIBE_GROUPS, &[&1_i32.to_be_bytes()[..], &string(group)].concat())?;
    answer.int32()?;
    no_error(answer.int16()?)
}

fn no_error(code: i16) -> io::Result<()> {
    match code {
        0 => Ok(()),
        code => Err(io::Error::other(format!("the coordinator answers with error code {code}"))),
    }
}

/// One request on a connection of its own.
fn ask(port: u16, (key, version): (i16, i16), body: &[u8]) -> io::Result<Answer> {
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let mut stream = TcpStream::connect_timeout(&address.into(), TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let correlation = 7_i32.to_be_bytes();
    let header =
        [&key.to_be_bytes()[..], &version.to_be_bytes(), &correlation, &string("longshore-probe")].concat();
    let length = i32::try_from(header.len() + body.len()).map_err(|_| malformed())?;
    stream.write_all(&[&length.to_be_bytes()[..], &header, body].concat())?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(i32::from_be_bytes(length)).map_err(|_| malformed())?;
    if length > ANSWER_LIMIT_BYTES {
        return Err(malformed());
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    let mut answer = Answer { bytes, read: 0 };
    answer.int32()?;
    Ok(answer)
}

fn string(text: &str) -> Vec<u8> {
    let length = i16::try_from(text.len()).unwrap_or(i16::MAX);
    [&length.to_be_bytes()[..], text.as_bytes()].concat()
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "this is no answer of a Kafka broker")
}

/// Reads an answer from front to back.
struct Answer {
    bytes: Vec<u8>,
    read: usize,
}

impl Answer {
    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let bytes = self.bytes.get(self.read..).and_then(|rest| rest.first_chunk()).ok_or_else(malformed)?;
        self.read += N;
        Ok(*bytes)
    }

    fn int16(&mut self) -> io::Result<i16> {
        self.take().map(i16::from_be_bytes)
    }

    fn int32(&mut self) -> io::Result<i32> {
        self.take().map(i32::from_be_bytes)
    }

    /// Skips a string or a null string.
    fn string(&mut self) -> io::Result<()> {
        let length = self.int16()?;
        self.read += usize::try_from(length).unwrap_or(0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A server that reads one request and sends `answer` with its length in front.
    fn server(answer: Vec<u8>) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut length = [0; 4];
            stream.read_exact(&mut length).unwrap();
            let mut request = vec![0; u32::from_be_bytes(length) as usize];
            stream.read_exact(&mut request).unwrap();
            stream.write_all(&u32::try_from(answer.len()).unwrap().to_be_bytes()).unwrap();
            stream.write_all(&answer).unwrap();
        });
        port
    }

    #[test]
    fn metadata_lists_live_nodes() {
        let node = |id: i32| {
            [&id.to_be_bytes()[..], &string("h"), &9_i32.to_be_bytes(), &(-1_i16).to_be_bytes()].concat()
        };
        let answer = [&7_i32.to_be_bytes()[..], &2_i32.to_be_bytes(), &node(1), &node(3)].concat();
        assert_eq!(live_nodes(server(answer)).unwrap(), BTreeSet::from([1, 3]));
    }

    /// Scenario: something that is no broker answers, or nobody. Guarantee: an error, no panic, no huge allocation.
    #[test]
    fn strangers_are_errors() {
        assert!(live_nodes(server(b"HTTP".to_vec())).is_err());
        assert!(live_nodes(server(Vec::new())).is_err());
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        assert!(coordinator_ready(port, "a").is_err());
    }
}
