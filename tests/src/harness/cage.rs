//! A limit of the kernel on the memory of processes: a control group of the test's own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::report;

/// A control group with a limit of memory, of version 1 or 2 as the machine has it. Dropping it removes it, once its processes are gone.
#[derive(Debug)]
pub struct Cage {
    folder: PathBuf,
    files: &'static Files,
}

/// What the versions call the same.
#[derive(Debug)]
struct Files {
    root: &'static str,
    limit: &'static str,
    events: &'static str,
    peak: &'static str,
}

static VERSIONS: [Files; 2] = [
    Files { root: "/sys/fs/cgroup", limit: "memory.max", events: "memory.events", peak: "memory.peak" },
    Files {
        root: "/sys/fs/cgroup/memory",
        limit: "memory.limit_in_bytes",
        events: "memory.oom_control",
        peak: "memory.max_usage_in_bytes",
    },
];

impl Cage {
    /// A group that may use so many bytes. None where groups cannot be made: then the test returns, and is counted as skipped.
    #[must_use]
    pub fn new(name: &str, bytes: u64) -> Option<Self> {
        let made = VERSIONS.iter().find_map(|files| Self::make(files, name, bytes));
        if made.is_none() {
            report::skipped("no control groups that limit memory can be made here");
        }
        made
    }

    fn make(files: &'static Files, name: &str, bytes: u64) -> Option<Self> {
        let folder = PathBuf::from(files.root).join(format!("longshore-{name}-{}", std::process::id()));
        fs::create_dir(&folder).ok()?;
        let cage = Self { folder, files };
        let limit = cage.folder.join(files.limit);
        // Where memory is not a matter of groups of this kind the file is not there, and must not be made as an ordinary one.
        (limit.is_file() && fs::write(limit, bytes.to_string()).is_ok()).then_some(cage)
    }

    /// A command that runs `program` in the group, under the id that it is started with.
    #[must_use]
    pub fn command(&self, program: &std::path::Path) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", r#"echo $$ >"$0" && exec "$@""#])
            .arg(self.folder.join("cgroup.procs"))
            .arg(program);
        command
    }

    /// The most bytes that were in use, with what the kernel keeps for the processes; none where it does not tell.
    #[must_use]
    pub fn peak(&self) -> Option<u64> {
        fs::read_to_string(self.folder.join(self.files.peak)).ok()?.trim().parse().ok()
    }

    /// How many processes were killed for want of memory.
    ///
    /// # Panics
    /// When the kernel does not tell.
    #[must_use]
    pub fn kills(&self) -> u64 {
        let text = fs::read_to_string(self.folder.join(self.files.events)).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.and_then(|count| count.trim().parse().ok())
            .unwrap_or_else(|| panic!("no count of kills: {text}"))
    }
}

impl Drop for Cage {
    fn drop(&mut self) {
        // One with processes in it stays; they are the test's and end with it.
        let _ = fs::remove_dir(&self.folder);
    }
}
