//! The one place that says what an input or output error of the operating system means for a pair.

use std::io;
use std::path::Path;

use longshore_core::{Failure, Reason};

/// Classifies an error of the operating system. `doing` says what was tried, such as `write`.
///
/// | error | class |
/// |---|---|
/// | no space, quota, file size limit | target, `sink.no-space`: the pair pauses and probes |
/// | no rights, read-only, no hard links here | halt, `sink.denied` |
/// | a folder or file of ours is gone, is no folder, or lies on another file system | halt, `sink.missing` |
/// | everything else (busy, interrupted, a bad disk, too many open files) | target, `sink.unavailable` |
pub fn classify(doing: &str, path: &Path, error: &io::Error) -> Failure {
    let detail = format!("{doing} {}: {error}", path.display());
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge => {
            Failure::target(Reason::SinkNoSpace, detail)
        }
        Kind::PermissionDenied | Kind::ReadOnlyFilesystem | Kind::Unsupported => {
            Failure::halt(Reason::SinkDenied, detail)
        }
        // Folders are made when the ledger is recovered, so one that is missing later was taken away under us, and
        // with it what was not yet published: only a new beginning helps.
        Kind::NotFound
        | Kind::NotADirectory
        | Kind::IsADirectory
        | Kind::CrossesDevices
        | Kind::InvalidFilename
        | Kind::BrokenPipe => Failure::halt(Reason::SinkMissing, detail),
        // `ErrorKind` grows with the standard library; what it does not name yet is outside and may pass.
        _ => Failure::target(Reason::SinkUnavailable, detail),
    }
}

#[cfg(test)]
mod tests {
    use longshore_core::{Class, Scope};

    use super::*;

    /// Scenario: every errno of Linux. Guarantee: each has a class, and the ones named in the table have theirs.
    #[test]
    fn every_errno_has_its_class() {
        const DENIED: [i32; 4] = [1, 13, 30, 95];
        const NO_SPACE: [i32; 3] = [27, 28, 122];
        const MISSING: [i32; 6] = [2, 18, 20, 21, 32, 36];
        for errno in 1..=133 {
            let failure = classify("write", Path::new("x"), &io::Error::from_raw_os_error(errno));
            let target = Class::Retry { scope: Scope::Target, after: None };
            let expected = match errno {
                e if NO_SPACE.contains(&e) => (target, Reason::SinkNoSpace),
                // ENOSYS reads as "unsupported" too.
                e if DENIED.contains(&e) || e == 38 => (Class::Halt, Reason::SinkDenied),
                e if MISSING.contains(&e) => (Class::Halt, Reason::SinkMissing),
                _ => (target, Reason::SinkUnavailable),
            };
            assert_eq!((failure.class, failure.reason), expected, "errno {errno}");
        }
    }
}
