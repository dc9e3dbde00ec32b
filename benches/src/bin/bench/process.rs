//! Child processes, and what they cost: wall time is shaky on a shared machine, processor time is not.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

/// The kernel's unit of processor time in `/proc/<pid>/stat` (`USER_HZ`, the same on all Linux machines we know).
const TICK: Duration = Duration::from_millis(10);
/// How often peak memory is read and ends are looked for.
const GLANCE: Duration = Duration::from_millis(20);

/// What a process took in its whole life.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// User and system time of all its threads.
    pub(crate) cpu: Duration,
    /// The most memory it held (`VmHWM`), in bytes.
    pub(crate) peak_bytes: u64,
}

/// A running child. Dropping it kills it.
pub(crate) struct Running {
    child: Child,
    peak_bytes: u64,
    name: String,
}

impl Running {
    /// Starts a command with its output in files.
    pub(crate) fn start(
        name: &str,
        mut command: Command,
        stdout: &Path,
        stderr: &Path,
    ) -> anyhow::Result<Self> {
        command.stdin(Stdio::null()).stdout(File::create(stdout)?).stderr(File::create(stderr)?);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self { child, peak_bytes: 0, name: name.to_owned() })
    }

    /// Reads the peak of its memory, which is gone with the process.
    pub(crate) fn glance(&mut self) {
        if let Ok(status) = fs::read_to_string(format!("/proc/{}/status", self.child.id())) {
            self.peak_bytes = self.peak_bytes.max(peak_of(&status));
        }
    }

    /// An error when the process has ended.
    pub(crate) fn must_live(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended too early: {status}", self.name),
        }
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) -> anyhow::Result<()> {
        kill_process(self.pid()?, Signal::TERM).with_context(|| format!("cannot stop {}", self.name))
    }

    /// Waits for the end and tells what it all took.
    pub(crate) fn finish(mut self, deadline: Duration) -> anyhow::Result<Cost> {
        let ends = Instant::now() + deadline;
        let pid = self.pid()?;
        // A process that has ended and was not waited for still tells its processor time.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        while waitid(WaitId::Pid(pid), options)?.is_none() {
            self.glance();
            if Instant::now() > ends {
                bail!("{} does not end within {deadline:?}", self.name);
            }
            std::thread::sleep(GLANCE);
        }
        let cpu = cpu_of(pid)?;
        let status: ExitStatus = self.child.wait()?;
        if !status.success() {
            bail!("{} failed: {status}", self.name);
        }
        Ok(Cost { cpu, peak_bytes: self.peak_bytes })
    }

    fn pid(&self) -> anyhow::Result<Pid> {
        Pid::from_raw(i32::try_from(self.child.id())?).context("no process id")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail when it has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `VmHWM` in bytes; 0 when the process has no memory any more.
fn peak_of(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

fn cpu_of(pid: Pid) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))?;
    // The name in parentheses may hold blanks; utime and stime are fields 14 and 15 of proc(5), the name being 2.
    let (_, rest) = stat.rsplit_once(')').context("no name in /proc/pid/stat")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let (Some(user), Some(system)) = (fields.get(11), fields.get(12)) else {
        bail!("/proc/pid/stat is too short");
    };
    Ok(TICK * (user.parse::<u32>()? + system.parse::<u32>()?))
}
