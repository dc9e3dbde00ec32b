//! Tries mutants with tests, the likeliest and quickest first.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::tree::Programs;

/// A test of this length is asked when all the others noticed nothing.
const SLOW: Duration = Duration::from_millis(150);
/// So many times its usual length, and so much more, a program may compute: a mutant may go round for ever.
const PATIENCE: u32 = 10;
const PATIENCE_MORE: Duration = Duration::from_secs(5);
/// Nor may it take all the memory.
const MEMORY_KIB: u32 = 3_000_000;

/// The unit tests by their length, from a run without a mutant.
pub struct Tests {
    /// Where they run.
    folder: PathBuf,
    quick: Vec<Timed>,
    slow: Vec<Timed>,
    /// How long the seeds take.
    seeds: Duration,
}

#[derive(Clone)]
struct Timed {
    name: String,
    length: Duration,
}

impl Tests {
    /// Runs all of them once.
    pub fn measure(programs: &Programs, folder: PathBuf) -> Result<Self, Box<dyn Error>> {
        let units = measured(&programs.units, &folder)?;
        let seeds = measured(&programs.seeds, &folder)?.iter().map(|test| test.length).sum();
        let (slow, quick) = units.into_iter().partition(|test| test.length > SLOW);
        Ok(Self { folder, quick, slow, seeds })
    }

    /// Whether a test fails with this mutant, 0 for none. Asked first are the tests of its own module, and the seeds, of which one ends all: whatever is
    /// quicker.
    pub fn notice(&self, programs: &Programs, number: u32, module: &str) -> bool {
        let own = |test: &&Timed| test.name.starts_with(&format!("{module}::"));
        let (first, rest): (Vec<&Timed>, Vec<&Timed>) = self.quick.iter().partition(own);
        let (slow, slowest): (Vec<&Timed>, Vec<&Timed>) = self.slow.iter().partition(own);
        let units = |tests: &[&Timed]| {
            let names: Vec<&str> = tests.iter().map(|test| test.name.as_str()).collect();
            !names.is_empty() && self.fails(&programs.units, &names, length(tests), number)
        };
        let seeds = || self.fails(&programs.seeds, &[], self.seeds, number);
        let soon =
            if length(&first) < self.seeds { units(&first) || seeds() } else { seeds() || units(&first) };
        soon || units(&rest) || units(&slow) || units(&slowest)
    }

    /// Whether a program fails, or does not end.
    fn fails(&self, program: &Path, names: &[&str], usual: Duration, number: u32) -> bool {
        let most = usual * PATIENCE + PATIENCE_MORE;
        let limits =
            format!("ulimit -t {}; ulimit -v {MEMORY_KIB}; ulimit -c 0; exec \"$@\"", most.as_secs());
        let mut command = Command::new("sh");
        command.args(["-c", &limits, "sh"]).arg(program).args(["--test-threads=1", "--exact"]).args(names);
        command.current_dir(&self.folder).env("MUTANT", number.to_string());
        // What fails is not to be remembered for the next mutant.
        command.env("PROPTEST_FAILURE_PERSISTENCE", "off").env("RUST_BACKTRACE", "0");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        !command.status().is_ok_and(|status| status.success())
    }
}

fn length(tests: &[&Timed]) -> Duration {
    tests.iter().map(|test| test.length).sum()
}

/// Runs the tests of a program one after the other and takes their times.
fn measured(program: &Path, folder: &Path) -> Result<Vec<Timed>, Box<dyn Error>> {
    let mut command = Command::new(program);
    command.arg("--test-threads=1").current_dir(folder).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let (mut tests, mut began) = (Vec::new(), Instant::now());
    for line in BufReader::new(child.stdout.take().ok_or("no output")?).lines() {
        let line = line?;
        if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... ok")) {
            tests.push(Timed { name: name.to_owned(), length: began.elapsed() });
        }
        began = Instant::now();
    }
    if !child.wait()?.success() || tests.is_empty() {
        return Err(format!("{} fails without any mutant", program.display()).into());
    }
    Ok(tests)
}
