//! Files that are hardly files: bytes that are no text, sizes that are no settings.

use longshore_settings::{Code, Sources, load};

use crate::GOOD;

fn message(bytes: impl Into<Vec<u8>>) -> String {
    let report = load(Sources::text("f", bytes)).unwrap_err();
    assert_eq!(report.len(), 1, "{report}");
    report.lines()[0].message.clone()
}

#[test]
fn a_byte_order_mark_is_passed_over() {
    assert!(load(Sources::text("f", format!("\u{feff}{GOOD}"))).is_ok());
}

#[test]
fn other_encodings_are_named() {
    assert_eq!(message([0xff, 0xfe, b'a', 0]), "this is UTF-16: save it as UTF-8");
    assert_eq!(message(b"pipeline: a\nkind: \xe4\n".to_vec()), "not UTF-8 at line 2, column 7");
}

#[test]
fn a_large_file_is_refused_before_it_is_read() {
    let text = "a: b\n".repeat(200_000);
    assert_eq!(message(text), "larger than 256 KiB: this is no pipeline file");
}

#[test]
fn a_file_that_is_not_there_is_one_line() {
    let report = load(Sources::file("/no/such/pipeline.yaml")).unwrap_err();
    assert_eq!(report.lines()[0].code, Code::File);
    assert!(report.to_string().contains("cannot read the file: no such file"), "{report}");
}

#[test]
fn thousands_of_mistakes_are_cut() {
    let text = format!("{GOOD}{}", (0..5_000).map(|index| format!("x{index}: 1\n")).collect::<String>());
    let report = load(Sources::text("f", text)).unwrap_err();
    assert_eq!(report.len(), 5_000);
    assert!(report.render(false).contains("... and 4950 more"));
}

/// Whatever the bytes, the answer is a report, never a panic; and caret positions stay inside the text.
#[test]
fn cut_and_garbled_files_never_panic() {
    for end in (0..GOOD.len()).filter(|end| GOOD.is_char_boundary(*end)) {
        if let Err(report) = load(Sources::text("f", &GOOD[..end])) {
            report.render(false);
        }
        let garbled = format!("{}\u{e4}{{'\"[&*!\n{}", &GOOD[..end], &GOOD[end..]);
        if let Err(report) = load(Sources::text("f", garbled)) {
            report.render(false);
        }
    }
}
