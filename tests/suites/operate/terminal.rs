//! A command on a terminal: a pseudo terminal of util-linux's `script`, what stands on its screen, and keys.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longshore_tests::harness::wait_until;

/// A shell on a terminal of 80 columns and 24 lines that runs one command. Dropping it ends both.
pub(crate) struct Terminal {
    child: Child,
    said: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Runs a line of shell there.
    pub(crate) fn run(line: &str) -> Self {
        let line = format!(
            "tty; stty cols 80 rows 24; echo before $(stty -g); {line}; echo ended $?; echo after $(stty -g)"
        );
        let mut command = Command::new("script");
        command.args(["--quiet", "--flush", "--return", "--command", &line, "/dev/null"]);
        command
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .env_remove("COLUMNS")
            .env_remove("KAFKA_BOOTSTRAP");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = child.stdout.take().unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&said);
        std::thread::spawn(move || {
            let mut some = [0; 4096];
            while let Ok(count @ 1..) = out.read(&mut some) {
                all.lock().unwrap().extend_from_slice(&some[..count]);
            }
        });
        Self { child, said }
    }

    /// Everything that came.
    pub(crate) fn said(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().unwrap()).into_owned()
    }

    /// The lines that stand there, as far as they were placed and cleared one by one.
    pub(crate) fn screen(&self) -> Vec<String> {
        let said = self.said();
        let mut rows: BTreeMap<usize, String> = BTreeMap::new();
        let mut row = 0;
        for piece in said.split("\u{1b}[").skip(1) {
            let end = piece.find(|letter: char| letter.is_ascii_alphabetic()).unwrap_or(piece.len());
            let (code, rest) = piece.split_at(end);
            let (kind, text) = rest.split_at(rest.len().min(1));
            match kind {
                "H" => row = code.split(';').next().and_then(|row| row.parse().ok()).unwrap_or(1),
                "K" => drop(rows.insert(row, String::new())),
                _ => {}
            }
            rows.entry(row).or_default().push_str(text);
        }
        rows.remove(&0);
        rows.into_values().collect()
    }

    /// Waits until the screen is as wanted.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, wanted: impl Fn(&[String]) -> bool) {
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_until(what, Duration::from_secs(90), || wanted(&self.screen()));
        }));
        assert!(
            seen.is_ok(),
            "{what}
{}",
            self.screen().join(
                "
"
            )
        );
    }

    /// Types keys.
    pub(crate) fn keys(&mut self, keys: &str) {
        self.child.stdin.as_mut().unwrap().write_all(keys.as_bytes()).unwrap();
    }

    /// Gives the terminal another size, as a window's manager does.
    pub(crate) fn resize(&self, columns: u16, lines: u16) {
        let said = self.said();
        let device =
            said.lines().find_map(|line| line.trim().strip_prefix("/dev/").map(str::to_owned)).unwrap();
        let size = ["cols", &columns.to_string(), "rows", &lines.to_string()].map(str::to_owned);
        let done = Command::new("stty").arg("-F").arg(format!("/dev/{device}")).args(size).status().unwrap();
        assert!(done.success());
    }

    /// Waits for the command's end: its exit code, once the terminal is as it was before.
    #[track_caller]
    pub(crate) fn ended(&self) -> i32 {
        let line = |word: &str| {
            let said = self.said();
            said.lines().find_map(|line| Some(line.split_once(word)?.1.trim().to_owned()))
        };
        wait_until("the command ends", Duration::from_secs(30), || {
            line("after ").is_some_and(|it| it.len() > 20)
        });
        assert_eq!(line("before "), line("after "), "the terminal is not as it was");
        let said = self.said();
        let count = |code: &str| said.matches(code).count();
        // The other screen was left, and the cursor shown again.
        assert_eq!(count("\u{1b}[?1049h"), count("\u{1b}[?1049l"), "{said:?}");
        assert_eq!(count("\u{1b}[?25l"), count("\u{1b}[?25h"), "{said:?}");
        line("ended ").and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{said:?}"))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Its terminal goes with it, and so does what runs there.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
