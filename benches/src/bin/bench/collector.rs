//! Where spans go in a run that is traced: a listener that takes what comes and looks at none of it. A real Collector would work on the
//! same cores, and the run would measure it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

/// Takes requests of HTTP/1.1 for as long as this process lives; returns what `OTEL_EXPORTER_OTLP_ENDPOINT` is to say.
pub(crate) fn start() -> anyhow::Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    std::thread::Builder::new().name("collector".to_owned()).spawn(move || {
        for stream in listener.incoming().flatten() {
            // A connection that breaks is the worker's to open again; what it could not send it counts as lost.
            std::thread::spawn(move || drop(answer(&stream)));
        }
    })?;
    Ok(endpoint)
}

fn answer(stream: &TcpStream) -> std::io::Result<()> {
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    loop {
        let (mut line, mut length) = (String::new(), 0);
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some(bytes) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = bytes.trim().parse().unwrap_or_default();
            }
        }
        std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink())?;
        writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
    }
}
