//! A child process that cannot outlive us.
//!
//! Linux could end a child with its parent (`PR_SET_PDEATHSIG`), but setting that takes `unsafe` code between fork and
//! exec, and it follows the parent *thread*. A shell does it with plain means: its standard input is a pipe that only we
//! hold; when we end in whatever way, the kernel closes the pipe, and a guard that reads from it ends the child.
//! Between starting the child and guarding it is no moment at which our death goes unseen.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::error::BrokerError;

/// How long a child may take to end after SIGTERM before it is killed.
pub(crate) const TERM_PATIENCE: Duration = Duration::from_secs(5);

/// There is no portable way to wait for a child with a deadline in safe code, so its state is polled; this is short
/// against what starts and ends here (seconds).
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Arguments: input file, output file, error file, folder to remove when abandoned (or empty), program and arguments.
///
/// The guard ignores SIGTERM once it is at work, because the outer shell sends it one when the child ends. A child whose
/// folder goes has nothing to put in order, so it is killed at once.
const WATCHER: &str = r#"
input=$1 output=$2 errors=$3 scratch=$4
shift 4
exec 3<&0
"$@" <"$input" >>"$output" 2>>"$errors" 3<&- &
child=$!
wait_five_seconds() {
    tries=0
    while kill -0 "$child" && [ "$tries" -lt 50 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
}
(
    while read -r _ <&3; do :; done
    trap '' TERM
    if [ -z "$scratch" ]; then
        kill -TERM "$child"
        wait_five_seconds
    fi
    kill -KILL "$child"
    wait_five_seconds
    if [ -n "$scratch" ]; then rm -rf -- "$scratch"; fi
) >/dev/null 2>&1 &
guard=$!
echo "$child"
exec >/dev/null 3<&- </dev/null
wait "$child"
status=$?
kill "$guard" 2>/dev/null
exit "$status"
"#;

/// What to run and where its input and output go.
pub(crate) struct Spawn<'a> {
    /// Path or name of the program.
    pub(crate) program: &'a Path,
    /// Its arguments.
    pub(crate) args: Vec<OsString>,
    /// Its standard input; empty without.
    pub(crate) input: Option<&'a Path>,
    /// Standard output is appended here.
    pub(crate) output: &'a Path,
    /// Standard error is appended here; may be the same file.
    pub(crate) errors: &'a Path,
    /// A folder to remove if we are killed while the child runs.
    pub(crate) scratch: Option<&'a Path>,
}

/// A running child. Dropping it ends it: SIGTERM, then SIGKILL after [`TERM_PATIENCE`].
#[derive(Debug)]
pub(crate) struct Process {
    /// The shell. It owns the write end of the pipe (its `stdin`), which is the child's lifeline.
    watcher: Child,
    child: Pid,
}

impl Process {
    /// Starts the child in its own process group, so that Ctrl-C in a terminal reaches us first and an orderly
    /// shutdown still finds its broker.
    pub(crate) fn spawn(spawn: &Spawn<'_>) -> Result<Self, BrokerError> {
        let action = format!("start {}", spawn.program.display());
        let mut watcher = Command::new("sh")
            .arg("-c")
            .arg(WATCHER)
            .arg("longshore-watcher")
            .arg(spawn.input.unwrap_or(Path::new("/dev/null")))
            .arg(spawn.output)
            .arg(spawn.errors)
            .arg(spawn.scratch.unwrap_or(Path::new("")))
            .arg(spawn.program)
            .args(&spawn.args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(BrokerError::io(action.clone()))?;
        let mut line = String::new();
        if let Some(stdout) = watcher.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).map_err(BrokerError::io(action.clone()))?;
        }
        let child = line.trim().parse().ok().and_then(Pid::from_raw);
        let child = child.ok_or_else(|| std::io::Error::other("the shell gave no process id"));
        Ok(Self { watcher, child: child.map_err(BrokerError::io(action))? })
    }

    /// Process id of the child itself, not of its watcher.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_raw_nonzero().get().unsigned_abs()
    }

    /// The child's exit status if it has ended. A signal shows as 128 plus its number, as in any shell.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.watcher.try_wait().ok().flatten()
    }

    /// Waits for the end of the child, without a deadline.
    pub(crate) fn wait(&mut self) -> Result<ExitStatus, BrokerError> {
        // `Child::wait` would close our end of the pipe first, and the guard would take that for our death.
        loop {
            if let Some(status) = self.watcher.try_wait().map_err(BrokerError::io("wait for a child"))? {
                return Ok(status);
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// SIGKILL, and waits until the process is gone.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.gone_within(TERM_PATIENCE);
    }

    /// SIGTERM, and SIGKILL after `patience`; returns when the process is gone.
    pub(crate) fn terminate(&mut self, patience: Duration) {
        self.signal(Signal::TERM);
        if !self.gone_within(patience) {
            self.kill();
        }
    }

    /// Sends a signal if the child still runs.
    pub(crate) fn signal(&mut self, signal: Signal) {
        // The shell reaps the child only right before it ends itself, so while the shell lives the id is the child's.
        if self.ended().is_none() {
            // An error means that it ended in this very moment, which is what the signal was for.
            let _ = kill_process(self.child, signal);
        }
    }

    fn gone_within(&mut self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while self.ended().is_none() {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(POLL_INTERVAL);
        }
        true
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.terminate(TERM_PATIENCE);
    }
}

/// Runs a program to its end; its output is returned whether it succeeds or not.
///
/// # Errors
/// When it cannot be started or its files cannot be read.
pub(crate) fn run(
    program: &Path,
    args: Vec<OsString>,
    input: Option<&[u8]>,
) -> Result<Finished, BrokerError> {
    let folder = tempfile::tempdir().map_err(BrokerError::io("make a temporary folder"))?;
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    let (input_file, output, errors) = (path("input"), path("output"), path("errors"));
    if let Some(input) = input {
        std::fs::write(&input_file, input).map_err(BrokerError::io("write a program's input"))?;
    }
    let mut process = Process::spawn(&Spawn {
        program,
        args,
        input: input.map(|_| input_file.as_path()),
        output: &output,
        errors: &errors,
        scratch: Some(folder.path()),
    })?;
    let status = process.wait()?;
    let read = |file: &Path| std::fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok(Finished {
        status,
        stdout: read(&output).map_err(BrokerError::io("read a program's output"))?,
        stderr: read(&errors).map_err(BrokerError::io("read a program's errors"))?,
    })
}

/// What a program left behind.
pub(crate) struct Finished {
    /// Exit status; a signal shows as 128 plus its number.
    pub(crate) status: ExitStatus,
    /// All of its standard output.
    pub(crate) stdout: String,
    /// All of its standard error.
    pub(crate) stderr: String,
}

impl Finished {
    /// The last lines of both outputs, for an error message.
    pub(crate) fn tail(&self) -> String {
        tail(&format!("{}{}", self.stdout, self.stderr))
    }
}

/// The last 20 lines of a text.
pub(crate) fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(folder: &Path, ignore_term: bool) -> Process {
        let trap = if ignore_term { "trap '' TERM; " } else { "" };
        Process::spawn(&Spawn {
            program: Path::new("sh"),
            args: vec!["-c".into(), format!("{trap}echo ready; exec sleep 60").into()],
            input: None,
            output: &folder.join("out"),
            errors: &folder.join("err"),
            scratch: None,
        })
        .unwrap()
    }

    fn is_alive(pid: u32) -> bool {
        let pid = Pid::from_raw(pid.cast_signed()).unwrap();
        rustix::process::test_kill_process(pid).is_ok()
    }

    /// Scenario: a child is dropped. Guarantee: it is gone when drop returns.
    #[test]
    fn dropped_child_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let process = sleeper(folder.path(), false);
        let pid = process.pid();
        assert!(is_alive(pid));
        drop(process);
        assert!(!is_alive(pid));
    }

    /// Scenario: a child ignores SIGTERM. Guarantee: it is killed after the patience.
    #[test]
    fn stubborn_child_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = sleeper(folder.path(), true);
        while std::fs::read_to_string(folder.path().join("out")).unwrap_or_default().is_empty() {
            thread::yield_now();
        }
        process.terminate(Duration::from_millis(100));
        assert!(!is_alive(process.pid()));
    }

    /// Scenario: a program reads its input, writes to both outputs and fails. Guarantee: all three are reported.
    #[test]
    fn run_reports_outputs_and_status() {
        let args = vec!["-c".into(), "cat; echo wrong >&2; exit 3".into()];
        let finished = run(Path::new("sh"), args, Some(b"given")).unwrap();
        assert_eq!(finished.status.code(), Some(3));
        assert_eq!((finished.stdout.as_str(), finished.stderr.as_str()), ("given", "wrong\n"));
        assert_eq!(finished.tail(), "givenwrong");
    }

    #[test]
    fn tail_is_the_last_twenty_lines() {
        let text: String = (0..30).map(|line| format!("{line}\n")).collect();
        assert_eq!(tail(&text).lines().next(), Some("10"));
        assert_eq!(tail("one"), "one");
    }
}
