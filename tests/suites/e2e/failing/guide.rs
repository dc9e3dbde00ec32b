//! `docs/when-records-fail.md`, typed again: every command of the guide, in its order, against a real broker.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use longshore_tests::harness::{Longshore, Witness, binary, packed_files, shared_broker, wait_until};

const GUIDE: &str = include_str!("../../../../docs/when-records-fail.md");
/// Where the guide says how to have what it was made with.
const REHEARSAL: &str = "## Try it before it happens";
const LINES: usize = 2_000;
const COMMENTS: usize = 5;

/// A command of the guide and the lines that it shows.
struct Shown {
    command: String,
    lines: Vec<String>,
}

/// The guide, and behind it how to have what it was made with.
fn parts() -> (&'static str, &'static str) {
    GUIDE.split_once(REHEARSAL).unwrap()
}

/// The pipeline file of the rehearsal.
fn pipeline() -> String {
    let (_, rehearsal) = parts();
    let lines = rehearsal.lines().skip_while(|line| !line.starts_with("    pipeline:"));
    let file: Vec<&str> = lines.map_while(|line| line.strip_prefix("    ")).collect();
    file.join("\n") + "\n"
}

/// The command of the rehearsal that makes the lines, which is longer than a line.
fn generator() -> String {
    let (_, rehearsal) = parts();
    let lines = rehearsal.lines().skip_while(|line| !line.starts_with("    $ awk"));
    let command: Vec<&str> = lines.map_while(|line| line.strip_prefix("    ")).collect();
    command.join("\n").trim_start_matches("$ ").to_owned()
}

/// The commands of a part of the guide.
fn shown(part: &str) -> Vec<Shown> {
    let mut all: Vec<Shown> = Vec::new();
    let mut lines = part.lines();
    let mut below_a_command = false;
    while let Some(line) = lines.next() {
        let Some(code) = line.strip_prefix("    ") else {
            // An empty line may stand inside of what a command shows.
            below_a_command &= line.is_empty();
            continue;
        };
        if let Some(command) = code.strip_prefix("$ ") {
            let mut command = command.to_owned();
            while let Some(begun) = command.strip_suffix('\\') {
                command = format!("{}{}", begun, lines.next().unwrap().trim_start());
            }
            all.push(Shown { command, lines: Vec::new() });
            below_a_command = true;
        } else if let Some(last) = all.last_mut().filter(|_| below_a_command) {
            last.lines.push(code.to_owned());
        }
    }
    all
}

/// A line without what differs from run to run: words with a digit in them, and how wide columns are.
fn shape(line: &str) -> String {
    let word = |word: &str| {
        if word.contains(|c: char| c.is_ascii_digit()) { "#".to_owned() } else { word.to_owned() }
    };
    line.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

/// Lines whose number or names differ from run to run.
fn is_fixed(line: &str) -> bool {
    !line.trim().is_empty() && line != "..." && !line.starts_with("user-") && !line.starts_with("who ")
}

struct Desk {
    folder: tempfile::TempDir,
    bootstrap: String,
}

impl Desk {
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).env("KAFKA_BOOTSTRAP", &self.bootstrap);
        command
    }

    /// As a person types it.
    fn typed(&self, line: &str) -> Output {
        let home = binary().parent().map(Path::to_path_buf).unwrap();
        let path = format!("{}:{}", home.display(), std::env::var("PATH").unwrap_or_default());
        self.command("sh").args(["-c", line]).env("PATH", path).output().unwrap()
    }

    fn said(&self, line: &str) -> String {
        let ran = self.typed(line);
        let said =
            format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        assert!(ran.status.success(), "{line}: {}\n{said}", ran.status);
        said
    }

    /// That a command shows the lines that the guide shows.
    fn shows(&self, Shown { command, lines }: &Shown) {
        let said = self.said(command);
        let found: Vec<String> = said.lines().map(shape).collect();
        for line in lines.iter().filter(|line| is_fixed(line)) {
            assert!(found.contains(&shape(line)), "{command}: no line like\n{line}\nin\n{said}");
        }
    }

    fn worker(&self) -> Longshore {
        let mut command = self.command(binary());
        command.args(["run", "-c", "shop/pipeline.yaml"]);
        Longshore::start_command(command)
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.folder.path().join(file), text).unwrap();
    }

    /// Waits until nothing waits in the retry topic.
    fn wait_for_retry(&self) {
        wait_until("nothing waits in the retry topic", Duration::from_secs(60), || {
            let said = self.said("longshore retry ls -c shop/pipeline.yaml");
            said.lines().any(|line| line.starts_with("0 records wait in"))
        });
    }

    /// The first line of a listing that holds these words.
    fn first(&self, listing: &str, words: &str) -> String {
        let said = self.said(listing);
        let line =
            said.lines().find(|line| line.contains(words)).unwrap_or_else(|| panic!("{words}: {said}"));
        line.to_owned()
    }

    /// The id of a letter of a line with single quotes.
    fn open_letter(&self) -> String {
        let of = self.first("longshore dlq ls -c shop/pipeline.yaml -o ndjson", "at byte 1\"");
        let letter: serde_json::Value = serde_json::from_str(&of).unwrap();
        letter["id"].as_str().unwrap().to_owned()
    }

    fn rows(&self) -> usize {
        let texts = packed_files(&self.folder.path().join("out")).into_iter();
        let texts = texts.map(|path| zstd::decode_all(&fs::read(path).unwrap()[..]).unwrap());
        texts.map(|text| text.iter().filter(|byte| **byte == b'\n').count()).sum()
    }
}

/// Scenario: somebody on call types the guide from top to bottom. Guarantee: every command ends with 0 and shows the lines that the
/// guide shows, apart from numbers, times and names; in the end no letter is open, nothing waits, and every record is in the
/// files but those that were given up.
#[test]
fn the_guide_holds_from_top_to_bottom() {
    let Some(broker) = shared_broker() else { return };
    let desk = Desk { folder: tempfile::tempdir().unwrap(), bootstrap: broker.bootstrap() };
    fs::create_dir(desk.folder.path().join("shop")).unwrap();
    let pipeline = pipeline();
    desk.write("shop/pipeline.yaml", &pipeline);
    desk.said(&generator());
    let witness = Witness::new(&desk.bootstrap);
    let (guide, rehearsal) = parts();
    let made_with = shown(rehearsal);
    let [_, apply, run, publish] = &made_with[..] else { panic!("other commands") };
    desk.shows(apply);
    assert_eq!(run.command, "longshore run -c shop/pipeline.yaml 2> worker.log &");
    let mut worker = desk.worker();
    desk.shows(publish);
    let committed = || -> i64 {
        witness.committed("longshore.shop", "shop.logs").values().map(|position| position.offset).sum()
    };
    wait_until("the input is committed", Duration::from_secs(60), || committed() == LINES as i64);

    let shown = shown(guide);
    assert!(shown.len() >= 21, "{} commands", shown.len());
    let mut letter = None;
    for Shown { command, lines } in shown {
        let mut command = command;
        if command.starts_with("cat quotes.yaml") {
            desk.write("quotes.yaml", &(lines.join("\n") + "\n"));
        } else if command.starts_with("longshore check") {
            worker.signal(rustix::process::Signal::TERM);
            assert!(worker.wait(Duration::from_secs(30)).success());
            let mended: Vec<&str> = pipeline.lines().filter(|line| !line.contains("- fail:")).collect();
            desk.write("shop/pipeline.yaml", &mended.join("\n"));
            worker = desk.worker();
        } else if let Some((show, _)) = command.split_once(" shop.logs.shop.dlq/") {
            // Handled later on, and asked for again.
            let id = letter.get_or_insert_with(|| desk.open_letter());
            command = format!("{show} {id}");
        } else if let Some((status, _)) = command.split_once("status -c shop/pipeline.yaml ") {
            let run = desk.first("longshore dlq replay ls -c shop/pipeline.yaml", " replay ");
            let id = run.split_whitespace().next().unwrap();
            command = format!("{status}status -c shop/pipeline.yaml {id}");
        } else if !command.starts_with("longshore ") {
            continue;
        }
        desk.shows(&Shown { command: command.clone(), lines });
        if command.contains("--yes") {
            desk.wait_for_retry();
        }
    }
    assert!(desk.said("longshore dlq ls -c shop/pipeline.yaml").contains("0 open letters"));
    worker.signal(rustix::process::Signal::TERM);
    assert!(worker.wait(Duration::from_secs(30)).success());
    assert_eq!(desk.rows(), LINES - COMMENTS);
}
