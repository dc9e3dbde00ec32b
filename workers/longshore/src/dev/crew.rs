//! The demo's worker processes: real children of this command, each with a log file and a status page.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

/// What a worker says of one pair; the part of `/lag` that the demo reads.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct PairSeen {
    pub(crate) partition: i32,
    pub(crate) state: String,
    /// Why it is held or halted.
    pub(crate) reason: Option<String>,
    /// The offset behind the last record received.
    pub(crate) position: i64,
    /// Records received and not settled, those in open segments included.
    pub(crate) unsettled: u64,
    /// Records behind the watermark.
    pub(crate) lag: u64,
}

/// One worker process.
pub(crate) struct Worker {
    /// Its name in messages.
    pub(crate) name: String,
    child: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Worker {
    /// Starts `longshore run -c PIPELINE`, with its log in `folder`.
    pub(crate) fn start(name: &str, pipeline: &Path, folder: &Path) -> anyhow::Result<Self> {
        let address = free_address()?;
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let binary = std::env::current_exe().context("cannot find the longshore binary")?;
        let mut command = Command::new(binary);
        command.arg("run").arg("-c").arg(pipeline).arg("--with-parent");
        command.arg("--set").arg(format!("http.listen={address}"));
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().context("cannot start a worker")?;
        Ok(Self { name: name.to_owned(), child, address, log })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it says of its pairs; none while it does not answer.
    pub(crate) fn pairs(&self) -> Option<Vec<PairSeen>> {
        let body = get(self.address, "/lag").ok()?;
        serde_json::from_slice(&body).ok()
    }

    /// An error that quotes the log when the worker has ended by itself.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        anyhow::bail!("worker {} ended by itself ({status}); its log ends:\n{}", self.name, tail(&self.log))
    }

    /// SIGKILL; the process is gone on return.
    pub(crate) fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to stop by SIGTERM.
    pub(crate) fn terminate(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none())
            && let Some(pid) = Pid::from_raw(self.child.id().cast_signed())
        {
            // The only error left is that it ends in this very moment.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// Waits for the end after [`Self::terminate`]; none when it does not come in time.
    pub(crate) fn ended(&mut self, within: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + within;
        // Safe code has no wait for a child with a deadline, so its state is polled.
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
                _ => return None,
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Errors mean that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The last lines of a log file.
fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

/// A GET of a page on this machine; the body of a 200, an error for anything else.
fn get(address: SocketAddr, path: &str) -> anyhow::Result<Vec<u8>> {
    let patience = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(4 * 1024 * 1024).read_to_end(&mut answer)?;
    let head = answer.windows(4).position(|w| w == b"\r\n\r\n").context("not an HTTP answer")?;
    anyhow::ensure!(
        answer.starts_with(b"HTTP/1.") && answer.get(9..12) == Some(b"200"),
        "not answered with 200"
    );
    Ok(answer.split_off(head + 4))
}
