//! Ledgers in a sink's folder, which whoever may write there can alter: trailers of files, entries beside plain files, checkpoints.
//!
//! The first byte chooses what the bytes are: a trailer's JSON, which gets its frame and its checksum here; the end of a file as it is; an
//! entry; a checkpoint, which gets its hash; the numbers of a trailer that is made up, so that its lists meet each other. A writer recovers from
//! it, and the reader that judges sinks, which shares no code with the writer, reads the same.

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use arbitrary::Unstructured;
use longshore_core::ledger::LedgerView;
use longshore_core::sink::{Sink, WriterContext};
use longshore_core::source::Assignment;
use longshore_core::{Class, Epoch, Failure, Generation, Offset, PairId, Sequence, WriterId};
use longshore_sinks::files::Format;
use longshore_sinks::verify::{self, Claim};
use longshore_sinks::{FilesOptions, FilesSink};

/// How many kinds of bytes there are.
const CHOICES: u8 = 5;

struct Folders {
    root: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

static FOLDERS: LazyLock<Folders> = LazyLock::new(|| {
    let root = tempfile::tempdir().expect("a folder for sinks");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    for choice in 0..CHOICES {
        let folder = root.path().join(choice.to_string()).join("g0001");
        fs::create_dir_all(folder.join("logs.raw/3")).expect("a folder for files");
        fs::create_dir_all(folder.join("_ledger/logs.raw/3")).expect("a folder for ledgers");
    }
    Folders { root, runtime }
});

/// See the module.
pub fn run(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    let choice = choice % CHOICES;
    let root = FOLDERS.root.path().join(choice.to_string());
    let (files, ledger) = (root.join("g0001/logs.raw/3"), root.join("g0001/_ledger/logs.raw/3"));
    let format = match choice {
        0 => put(files.join(format!("{:020}.jsonl.zst", 0)), &framed(data)),
        1 => put(files.join(format!("{:020}.jsonl.zst", 0)), data),
        2 => {
            // The data that the entry is about; its size is that of most that the fuzzer says.
            put(files.join(format!("{:020}.jsonl", 0)), b"{}\n");
            put(ledger.join(format!("{:020}.entry", 0)), data);
            Format::Jsonl
        }
        3 => {
            let text = [data, b"\n", blake3::hash(data).to_hex().as_bytes(), b"\n"].concat();
            put(ledger.join(format!("{:020}.checkpoint", 64)), &text)
        }
        _ => {
            let Ok(trailer) = made(&mut Unstructured::new(data)) else { return };
            put(files.join(format!("{:020}.jsonl.zst", 0)), &framed(trailer.as_bytes()))
        }
    };
    let recovered = recovered(&root, format);
    if let Ok(view) = &recovered {
        sound(view);
    }
    let claim = (choice != 3).then(|| claimed(&root)).flatten();
    assert!(choice != 4 || recovered.is_ok() && claim.is_some(), "a sound trailer is refused: {recovered:?}");
    if let (Ok(view), Some(claim)) = (&recovered, &claim) {
        same(view, claim);
    }
}

/// JSON lines in zstd, by default.
fn put(path: PathBuf, bytes: &[u8]) -> Format {
    fs::write(path, bytes).expect("the folder takes a file");
    Format::JsonlZst
}

/// By the description in `docs/sinks.md`, not by the code that writes it.
fn framed(json: &[u8]) -> Vec<u8> {
    let size = json.len() as u32;
    let head = [0x184D_2A57_u32.to_le_bytes(), (size + 28).to_le_bytes()].concat();
    let foot = [&blake3::hash(json).as_bytes()[..16], &size.to_le_bytes(), b"LSTRAIL1"].concat();
    [&head[..], json, &foot[..]].concat()
}

/// A sound trailer of few offsets, as JSON.
fn made(from: &mut Unstructured<'_>) -> arbitrary::Result<String> {
    let first: i64 = from.int_in_range(0..=40)?;
    let covers = (first, first + from.int_in_range(0..=40)?);
    let (except, also) = (runs(from)?, runs(from)?);
    let mut dead = BTreeMap::new();
    for _ in 0..from.int_in_range(0..=3)? {
        dead.insert(from.int_in_range(0..=80_i64)?.to_string(), from.int_in_range(0..=3_u32)?);
    }
    let trailer = serde_json::json!({
        "version": 1, "pipeline": "p", "generation": 1, "cluster": "c", "topic": "logs.raw", "topic_id": "t",
        "partition": 3, "partitions": 8, "sequence": 0, "writer": format!("{:032x}", 7),
        "covers": covers, "except": except, "also": also, "dead": dead, "rows": 0, "filtered": {},
    });
    Ok(trailer.to_string())
}

/// Rising runs that do not touch.
fn runs(from: &mut Unstructured<'_>) -> arbitrary::Result<Vec<(i64, i64)>> {
    let (mut runs, mut at) = (Vec::new(), 0);
    for _ in 0..from.int_in_range(0..=3)? {
        let first = at + from.int_in_range(0..=20)?;
        let end = first + from.int_in_range(1..=10)?;
        runs.push((first, end));
        at = end + 1;
    }
    Ok(runs)
}

fn recovered(root: &Path, format: Format) -> Result<LedgerView, Failure> {
    let options = FilesOptions { format, ..FilesOptions::new(root) };
    let sink = FilesSink::new("files", "p", Generation(1), options).expect("sound options");
    let context = WriterContext {
        pair: PairId::new("logs.raw", 3),
        writer: WriterId(7),
        cluster: "c".to_owned(),
        topic_id: "t".to_owned(),
    };
    let mut writer = sink.open(context);
    let view = block_on(writer.recover());
    if let Err(failure) = &view {
        assert_eq!(failure.class, Class::Halt, "a ledger is read wrong, and tried again for ever: {failure}");
    }
    view
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    FOLDERS.runtime.block_on(future)
}

/// What is believed can be asked, folded into a checkpoint and read again.
fn sound(view: &LedgerView) {
    let held = view.holdings.held();
    assert!(held.first().is_none_or(|first| first.0 >= 0), "offset {:?} is held", held.first());
    assert!(held.end() <= view.end());
    for (first, end) in held.iter().take(16) {
        assert!(
            view.holdings.holds(first) && view.holdings.holds(Offset(end.0 - 1)) && !view.holdings.holds(end)
        );
    }
    for (offset, replay) in view.holdings.letters().take(64) {
        assert!(offset.0 >= 0, "offset {offset} is a letter");
        assert_eq!(view.holdings.letter(offset), Some(replay));
    }
    let assignment = Assignment {
        pair: PairId::new("logs.raw", 3),
        epoch: Epoch(1),
        committed: None,
        start: Offset(0),
        log_start: Offset(0),
        log_end: Offset(1 << 40),
        cluster: "c".to_owned(),
        topic_id: "t".to_owned(),
        partitions: 8,
        retry: None,
    };
    if let Err(mismatch) = view.check(&assignment, Some(Sequence(1))) {
        assert_eq!(mismatch.into_failure().class, Class::Halt);
    }
    let text = serde_json::to_string(view).expect("a view is JSON");
    assert_eq!(&serde_json::from_str::<LedgerView>(&text).expect("ours"), view);
}

fn claimed(root: &Path) -> Option<Claim> {
    let listing = verify::list(root).expect("the folder is there");
    let file = listing.files.into_iter().next()?;
    let claim = verify::read_claim(&file).ok()?;
    let runs = claim.runs();
    assert!(runs.windows(2).all(|two| two[0].1 < two[1].0), "{runs:?}");
    Some(claim)
}

/// The writer and the judge believe the same.
fn same(view: &LedgerView, claim: &Claim) {
    assert_eq!(view.next_sequence.0, claim.sequence + 1);
    let edges = claim.except.iter().chain(&claim.also).chain([&claim.covers]);
    for offset in edges.flat_map(|(first, end)| [*first, end.saturating_sub(1), *end]) {
        assert_eq!(view.holdings.holds(Offset(offset)), claim.holds(offset), "offset {offset} of {claim:?}");
    }
    for (offset, replay) in &claim.dead {
        assert_eq!(view.holdings.letter(Offset(*offset)), Some(*replay));
    }
}
