//! The `longshore` command as a child process.

use std::env;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::wait::{wait_for, wait_until};

/// The binary under test: `LONGSHORE_BIN`, else the one of this build.
///
/// # Panics
/// When it was not built; the message says how.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(path) = env::var_os("LONGSHORE_BIN") {
        return path.into();
    }
    // A test binary is target/PROFILE/deps/NAME, and the command target/PROFILE/longshore.
    let own = env::current_exe().unwrap_or_default();
    let built = own.parent().and_then(|deps| deps.parent()).map(|profile| profile.join("longshore"));
    match built.filter(|path| path.is_file()) {
        Some(path) => path,
        None => panic!("no longshore binary beside {}; run `make build` or set LONGSHORE_BIN", own.display()),
    }
}

/// A running `longshore` command whose output is collected. Dropping it kills it.
#[derive(Debug)]
pub struct Longshore {
    child: Child,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Longshore {
    /// Starts `longshore ARGUMENTS...`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Self {
        let mut command = Command::new(binary());
        command.args(arguments);
        Self::start_command(command)
    }

    /// Starts a prepared command (environment, working folder); its input is empty and its output collected.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_command(mut command: Command) -> Self {
        command.stdin(Stdio::null());
        Self::spawn(command)
    }

    /// The same with an input that stays open until [`Self::close_input`].
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_fed(mut command: Command) -> Self {
        command.stdin(Stdio::piped());
        Self::spawn(command)
    }

    /// Ends the command's input.
    pub fn close_input(&mut self) {
        drop(self.child.stdin.take());
    }

    fn spawn(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => panic!("cannot start {command:?}: {error}"),
        };
        let (stdout, stderr) = (Arc::default(), Arc::default());
        let mut readers = Vec::new();
        readers.extend(child.stdout.take().map(|pipe| collect(pipe, Arc::clone(&stdout))));
        readers.extend(child.stderr.take().map(|pipe| collect(pipe, Arc::clone(&stderr))));
        Self { child, stdout, stderr, readers }
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// Standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// Waits until either output contains `text`.
    ///
    /// # Panics
    /// When it does not within `deadline`, or the command ends without it; shows all output.
    #[track_caller]
    pub fn wait_for_output(&mut self, text: &str, deadline: Duration) {
        wait_until(&format!("longshore prints {text:?}"), deadline, || {
            let ended = self.has_ended();
            if ended {
                self.join_readers();
            }
            let found = self.stdout().contains(text) || self.stderr().contains(text);
            assert!(found || !ended, "longshore ended before it printed {text:?}\n{}", self.transcript());
            found
        });
    }

    /// Sends a signal; one to a command that has ended does nothing.
    pub fn signal(&mut self, signal: Signal) {
        if !self.has_ended()
            && let Some(pid) = Pid::from_raw(self.child.id().cast_signed())
        {
            // The only error left is that it ends in this very moment.
            let _ = kill_process(pid, signal);
        }
    }

    /// SIGKILL; returns when the process is gone.
    pub fn kill9(&mut self) {
        // Errors mean that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.join_readers();
    }

    /// Whether the command has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// Waits for the end of the command and of its output.
    ///
    /// # Panics
    /// When it does not end within `deadline`.
    #[track_caller]
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let status = wait_for("longshore ends", deadline, || self.child.try_wait().ok().flatten());
        self.join_readers();
        status
    }

    /// Both outputs, for messages of assertions.
    #[must_use]
    pub fn transcript(&self) -> String {
        format!("--- stdout\n{}\n--- stderr\n{}", self.stdout(), self.stderr())
    }

    fn join_readers(&mut self) {
        for reader in self.readers.drain(..) {
            // A reader has no reason to panic; if it does, what it read so far still counts.
            let _ = reader.join();
        }
    }
}

impl Drop for Longshore {
    fn drop(&mut self) {
        // The readers are not joined here: a grandchild may hold the pipes open.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(pipe: impl Read + Send + 'static, into: Arc<Mutex<String>>) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            into.lock().unwrap_or_else(PoisonError::into_inner).push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    })
}

fn read(text: &Arc<Mutex<String>>) -> String {
    text.lock().unwrap_or_else(PoisonError::into_inner).clone()
}
