//! Tools that `scripts/tools.sh` prepares once for each user.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::report;

/// The path of a tool, which is built first where it is not there yet. None where it cannot be had: then the test returns,
/// and is counted as skipped.
///
/// # Panics
/// With `CI` set when it cannot be had; the script's words stand above.
#[must_use]
pub fn tool(name: &str) -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/tools.sh");
    let output = Command::new(&script).arg(name).stderr(Stdio::inherit()).output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}", script.display()));
    let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() && !path.is_empty() {
        return Some(PathBuf::from(path));
    }
    assert!(std::env::var("CI").is_err(), "CI is set, and {name} cannot be had: {}", output.status);
    report::skipped(&format!("no {name}"));
    None
}
