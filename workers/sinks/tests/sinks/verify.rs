//! The independent reader finds what was planted, and names it.

use std::path::Path;

use longshore_core::RunSet;
use longshore_core::ledger::Trailer;
use longshore_sinks::files::Format;
use longshore_sinks::verify::{Finding, Problem, list, read_claim, verify};

use crate::helper::*;

/// Three files of ten rows each.
async fn three_files(root: &Path, format: Format) {
    let (mut writer, _) = writer(root, format, 1).await;
    for sequence in 0..3 {
        let start = sequence as i64 * 10;
        assert_eq!(write_segment(&mut *writer, sequence, 1, start..start + 10).await, done());
    }
}

/// Writes a published file anew with other rows, its trailer as it was.
fn edit(path: &Path, format: Format, change: impl FnOnce(&mut Vec<String>)) {
    let bytes = std::fs::read(path).unwrap();
    let (text, trailer) = match format {
        Format::Jsonl => (bytes, Vec::new()),
        Format::JsonlZst => {
            let foot = bytes.len() - 12;
            let json = u32::from_le_bytes(bytes[foot..foot + 4].try_into().unwrap()) as usize;
            let trailer = bytes[bytes.len() - json - 36..].to_vec();
            (zstd::stream::decode_all(&bytes[..]).unwrap(), trailer)
        }
    };
    let mut lines: Vec<String> = String::from_utf8(text).unwrap().lines().map(str::to_owned).collect();
    change(&mut lines);
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let mut edited = match format {
        Format::Jsonl => text.into_bytes(),
        Format::JsonlZst => zstd::stream::encode_all(text.as_bytes(), 1).unwrap(),
    };
    edited.extend(trailer);
    std::fs::write(path, edited).unwrap();
}

fn findings(root: &Path) -> Vec<Finding> {
    let mut findings = verify(root, |_| {}).unwrap().findings;
    findings.retain(|finding| finding.problem != Problem::ContentChanged);
    findings
}

/// Scenario: a row is removed, doubled, made foreign, taken from an earlier file, taken from nowhere, or broken.
/// Guarantee: the finding names the file, the line and the origin; a plain file is always found changed as well.
#[tokio::test]
async fn planted_rows_are_named() {
    let origin = |line: &str| line.split("\"_origin\":\"").nth(1).unwrap().trim_end_matches("\"}").to_owned();
    for format in FORMATS {
        let plant = |change: fn(&mut Vec<String>)| async move {
            let folder = tempfile::tempdir().unwrap();
            three_files(folder.path(), format).await;
            edit(&data_file(folder.path(), 1, format), format, change);
            let report = verify(folder.path(), |_| {}).unwrap();
            let changed = report.findings.iter().any(|finding| finding.problem == Problem::ContentChanged);
            assert_eq!(changed, format == Format::Jsonl);
            findings(folder.path())
        };
        let removed = plant(|lines| drop(lines.remove(4))).await;
        assert_eq!(removed.len(), 1);
        assert_eq!(removed[0].problem, Problem::RowCount { claimed: 10, found: 9 });
        assert!(removed[0].path.ends_with(format!("00000000000000000001.{}", format.extension())));

        let doubled = plant(|lines| lines.insert(9, lines[2].clone())).await;
        assert_eq!(doubled[0].problem, Problem::RowTwice(3));
        assert_eq!((doubled[0].line, origin_of(&doubled[0])), (Some(10), "logs.raw/3/12/0".to_owned()));

        let foreign = plant(|lines| lines[0] = lines[0].replace("raw/3/", "raw/4/")).await;
        assert_eq!((foreign[0].problem.clone(), foreign[0].line), (Problem::RowForeign, Some(1)));

        let earlier = plant(|lines| lines[5] = lines[5].replace("raw/3/15/", "raw/3/2/")).await;
        assert_eq!(
            (earlier[0].problem.clone(), origin_of(&earlier[0])),
            (Problem::RowHeldEarlier, origin(r#""_origin":"logs.raw/3/2/0"}"#))
        );

        let unclaimed = plant(|lines| lines[5] = lines[5].replace("raw/3/15/", "raw/3/77/")).await;
        assert_eq!(unclaimed[0].problem, Problem::RowUnclaimed);

        for broken in [
            plant(|lines| lines[5] = "{".into()).await,
            plant(|lines| lines[5] = "{}".into()).await,
            plant(|lines| lines[5] = r#"{"_origin":"x"}"#.into()).await,
            plant(|lines| lines[5] = format!("{0}{0}", lines[5])).await,
        ] {
            assert!(matches!(broken[0].problem, Problem::RowBroken(_)), "{}", broken[0]);
            assert_eq!(broken[0].line, Some(6));
        }
    }
}

fn origin_of(finding: &Finding) -> String {
    finding.origin.as_ref().unwrap().to_string()
}

/// Scenario: a file is missing, stray, exchanged for another, cut, or without its ledger entry. Guarantee: each is found.
#[tokio::test]
async fn planted_files_are_named() {
    for format in FORMATS {
        let folder = tempfile::tempdir().unwrap();
        three_files(folder.path(), format).await;
        assert_eq!(findings(folder.path()), []);
        let path = |sequence| data_file(folder.path(), sequence, format);

        std::fs::write(data_folder(folder.path()).join("notes.txt"), "").unwrap();
        assert_eq!(findings(folder.path())[0].problem, Problem::Stray);
        std::fs::remove_file(data_folder(folder.path()).join("notes.txt")).unwrap();

        let middle = std::fs::read(path(1)).unwrap();
        std::fs::remove_file(path(1)).unwrap();
        assert!(findings(folder.path()).iter().any(|finding| finding.problem == Problem::SequenceMissing(1)));

        std::fs::copy(path(0), path(1)).unwrap();
        assert!(findings(folder.path()).iter().any(|finding| finding.problem == Problem::RowHeldEarlier));

        std::fs::write(path(1), &middle[..middle.len() - 40]).unwrap();
        let cut = verify(folder.path(), |_| {}).unwrap().findings;
        assert!(!cut.is_empty() && cut.iter().all(|finding| finding.path == path(1)), "{cut:#?}");
    }
}

/// Scenario: a pair whose trailers hold late records, letters and filtered ones. Guarantee: the reader agrees with the
/// ledger about every offset.
#[tokio::test]
async fn claims_are_read_as_the_ledger_reads_them() {
    let folder = tempfile::tempdir().unwrap();
    let (mut writer, _) = writer(folder.path(), FORMATS[0], 1).await;
    let runs = |pairs: &[(i64, i64)]| {
        let mut set = RunSet::default();
        pairs.iter().for_each(|(first, end)| {
            set.insert_range(longshore_core::Offset(*first), longshore_core::Offset(*end));
        });
        set
    };
    let first = Trailer {
        except: runs(&[(0, 1), (3, 5), (9, 10)]),
        also: runs(&[(15, 16)]),
        dead: [(longshore_core::Offset(9), 0)].into(),
        filtered: [("filter.2".to_owned(), 2)].into(),
        rows: 5,
        ..trailer(0, 1, 0..10)
    };
    for offsets in [1..3, 5..7, 15..16] {
        writer.append(&block(offsets)).await.unwrap();
    }
    writer.seal().unwrap();
    writer.publish(&first).await.unwrap();
    // A late record and a range that passes over what is held already.
    let second = Trailer { also: runs(&[(3, 4)]), rows: 2, ..trailer(1, 1, 10..20) };
    for offsets in [3..4, 12..13] {
        writer.append(&block(offsets)).await.unwrap();
    }
    writer.seal().unwrap();
    writer.publish(&second).await.unwrap();
    assert_eq!(offsets(folder.path()), [1, 2, 5, 6, 15, 3, 12]);

    let files = list(folder.path()).unwrap().files;
    let claims: Vec<_> = files.iter().map(|file| read_claim(file).unwrap()).collect();
    assert_eq!(claims[0].runs(), [(1, 3), (5, 9), (15, 16)]);
    assert_eq!(claims[1].runs(), [(3, 4), (10, 20)]);
    let mut view = longshore_core::ledger::LedgerView::default();
    view.fold(&first);
    view.fold(&second);
    for offset in 0..25 {
        let held = claims.iter().any(|claim| claim.holds(offset));
        assert_eq!(held, view.holdings.holds(longshore_core::Offset(offset)), "{offset}");
    }
    assert_eq!(verify(folder.path(), |_| {}).unwrap().filtered(), [("filter.2".to_owned(), 2)].into());
}
