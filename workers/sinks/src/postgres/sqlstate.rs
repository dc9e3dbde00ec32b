//! What an error of Postgres means, in one table by SQLSTATE
//! (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).

use longshore_core::{Failure, Reason};

/// What is to be done about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// One of the rows is refused, the rest may pass.
    Row(Reason),
    /// The same transaction may pass when it is tried again; nothing is wrong with the server.
    Again(Reason),
    /// The server is away or overloaded: the pair pauses and probes.
    Away(Reason),
    /// Only a person can mend it.
    Halt(Reason),
}

/// What a code means; none for one that is not Postgres's own.
fn known(code: &str) -> Option<Verdict> {
    use Reason::{EncodeValue, Internal, SinkDenied, SinkMissing, SinkNoSpace, SinkRejected};
    use Reason::{SinkTooLarge, SinkUnavailable, SinkUnfit};
    use Verdict::{Again, Away, Halt, Row};
    let class = code.get(..2).unwrap_or_default();
    Some(match (class, code) {
        // Success, warning and "no data" are no errors; whoever sends them as one is not understood.
        ("00" | "01" | "02" | "03", _) => Away(Internal),
        ("08", _) => Away(SinkUnavailable),
        // A view, a foreign table or a partition that cannot take rows.
        ("0A", _) => Halt(SinkUnfit),
        // Features of SQL that we never use, and statements in an order in which we never send them.
        (
            "09" | "0B" | "0F" | "0Z" | "10" | "20" | "21" | "24" | "2B" | "2D" | "2F" | "34" | "38" | "39"
            | "3B",
            _,
        ) => Halt(Internal),
        // A statement that we prepared is not there: a pooler gave us another session.
        ("26", _) => Halt(SinkUnfit),
        ("0L" | "0P" | "28", _) => Halt(SinkDenied),
        // Lines that are no rows of this table: its columns are not those that were checked.
        ("22", "22P04") => Halt(SinkUnfit),
        ("22", _) => Row(EncodeValue),
        ("23", _) => Row(SinkRejected),
        // A standby, or a primary that was told to take no more.
        ("25", "25006") => Away(SinkUnavailable),
        // The server ended a transaction that stood still for too long.
        ("25", "25P03" | "25P04") => Again(SinkUnavailable),
        ("25", _) => Halt(Internal),
        // A trigger changes what is being written, or says no.
        ("27" | "P0", _) => Row(SinkRejected),
        ("3D" | "3F", _) => Halt(SinkMissing),
        // Serialization failure, deadlock.
        ("40", _) => Again(SinkUnavailable),
        ("42", "42501") => Halt(SinkDenied),
        ("42", "42P01" | "42703" | "42704" | "42883") => Halt(SinkMissing),
        ("42", _) => Halt(SinkUnfit),
        ("44", _) => Row(SinkRejected),
        ("53", "53100") => Away(SinkNoSpace),
        ("53", _) => Away(SinkUnavailable),
        // A row too large for a page, an index entry too large.
        ("54", _) => Row(SinkTooLarge),
        ("55", "55006" | "55P03") => Again(SinkUnavailable),
        ("55", _) => Halt(SinkUnfit),
        ("57", "57P04") => Halt(SinkMissing),
        ("57", _) => Away(SinkUnavailable),
        ("58" | "72" | "F0" | "HV", _) => Away(SinkUnavailable),
        // Corrupted data or index.
        ("XX", "XX001" | "XX002") => Halt(SinkUnavailable),
        ("XX", _) => Away(SinkUnavailable),
        _ => return None,
    })
}

/// What a code means. One that the table does not know is outside, temporary or unknown, so it is tried again.
fn verdict(code: &str) -> Verdict {
    known(code).unwrap_or(Verdict::Away(Reason::SinkUnavailable))
}

/// The verdict of an error. What is no word of the server's is a connection that broke.
fn judge(error: &tokio_postgres::Error) -> Verdict {
    error.code().map_or(Verdict::Away(Reason::SinkUnavailable), |code| verdict(code.code()))
}

/// Why one of the rows of an insert is refused; none when it is no row's fault.
pub(super) fn refusal(error: &tokio_postgres::Error) -> Option<Failure> {
    let reason = refused_for(error.code()?.code(), is_raised(error))?;
    Some(Failure::reject(reason, format_args!("insert: {}", words(error))))
}

/// Whether an error is about the rows or the table, so that another way of writing them may come out otherwise.
pub(super) fn is_of_rows_or_table(error: &tokio_postgres::Error) -> bool {
    refusal(error).is_some() || matches!(judge(error), Verdict::Row(_) | Verdict::Halt(_))
}

/// A person's code in a trigger may choose any code for its refusal. Those of Postgres that say "later" say that there, too.
fn refused_for(code: &str, raised: bool) -> Option<Reason> {
    match known(code) {
        Some(Verdict::Row(reason)) => Some(reason),
        None | Some(Verdict::Halt(_)) if raised => Some(Reason::SinkRejected),
        None | Some(Verdict::Halt(_) | Verdict::Again(_) | Verdict::Away(_)) => None,
    }
}

/// Whether the error was made by a person's code in the database: by `RAISE` of PL/pgSQL, whose place in the server's source says so in
/// any language, or by another language of that family, which says where.
fn is_raised(error: &tokio_postgres::Error) -> bool {
    let Some(server) = error.as_db_error() else { return false };
    let foreign = |context: &str| known(server.code().code()).is_none() && context.contains("PL/");
    server.routine() == Some("exec_stmt_raise") || server.where_().is_some_and(foreign)
}

/// The failure that an error is, of a statement that holds no row. `doing` says what was tried.
pub(super) fn failure(doing: &str, error: &tokio_postgres::Error) -> Failure {
    let detail = format!("{doing}: {}", words(error));
    match judge(error) {
        // What is wrong with a row elsewhere is wrong with the server's settings or with the ledger's tables.
        Verdict::Row(_) => Failure::halt(Reason::SinkUnfit, detail),
        Verdict::Again(reason) => Failure::retry(reason, detail),
        Verdict::Away(reason) => Failure::target(reason, detail),
        Verdict::Halt(reason) => Failure::halt(reason, detail),
    }
}

/// An error in words that hold nothing of a row (I9): the server quotes values, and what a trigger raises may say anything.
fn words(error: &tokio_postgres::Error) -> String {
    let Some(server) = error.as_db_error() else {
        let source = std::error::Error::source(error).map_or(String::new(), |source| format!(": {source}"));
        return format!("{error}{source}");
    };
    let code = server.code().code();
    let mut words = code.to_owned();
    if !code.starts_with("P0") && known(code).is_some() && !is_raised(error) {
        words.push(' ');
        words.push_str(&unquoted(server.message()));
    }
    let names = [("constraint", server.constraint()), ("table", server.table()), ("column", server.column())];
    for (what, name) in names {
        if let Some(name) = name {
            words.push_str(&format!(", {what} {name}"));
        }
    }
    if matches!(code, "26000" | "42P05") {
        words.push_str("; a pooler in between has to be in session mode");
    }
    words
}

/// What the server's messages quote with in the languages that it has.
const QUOTES: [char; 12] = ['"', '\u{ab}', '\u{bb}', '„', '“', '”', '‘', '’', '「', '」', '『', '』'];

/// A message without what stands between its first and its last quote, and without bytes that it names.
fn unquoted(message: &str) -> String {
    let cut = match (message.find(QUOTES), message.rfind(QUOTES)) {
        (Some(first), Some(last)) if first < last => {
            let rest = message[last..].chars().next().map_or(last, |quote| last + quote.len_utf8());
            format!("{}\"...\"{}", &message[..first], &message[rest..])
        }
        _ => message.to_owned(),
    };
    let named = |word: &&str| !word.starts_with("0x");
    if cut.contains("0x") { cut.split(' ').filter(named).collect::<Vec<_>>().join(" ") } else { cut }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The classes of the appendix for Postgres 17, and what a code of each that has no word of its own means.
    const CLASSES: [(&str, Verdict); 43] = {
        use Reason::*;
        use Verdict::*;
        [
            ("00", Away(Internal)),
            ("01", Away(Internal)),
            ("02", Away(Internal)),
            ("03", Away(Internal)),
            ("08", Away(SinkUnavailable)),
            ("09", Halt(Internal)),
            ("0A", Halt(SinkUnfit)),
            ("0B", Halt(Internal)),
            ("0F", Halt(Internal)),
            ("0L", Halt(SinkDenied)),
            ("0P", Halt(SinkDenied)),
            ("0Z", Halt(Internal)),
            ("10", Halt(Internal)),
            ("20", Halt(Internal)),
            ("21", Halt(Internal)),
            ("22", Row(EncodeValue)),
            ("23", Row(SinkRejected)),
            ("24", Halt(Internal)),
            ("25", Halt(Internal)),
            ("26", Halt(SinkUnfit)),
            ("27", Row(SinkRejected)),
            ("28", Halt(SinkDenied)),
            ("2B", Halt(Internal)),
            ("2D", Halt(Internal)),
            ("2F", Halt(Internal)),
            ("34", Halt(Internal)),
            ("38", Halt(Internal)),
            ("39", Halt(Internal)),
            ("3B", Halt(Internal)),
            ("3D", Halt(SinkMissing)),
            ("3F", Halt(SinkMissing)),
            ("40", Again(SinkUnavailable)),
            ("42", Halt(SinkUnfit)),
            ("44", Row(SinkRejected)),
            ("53", Away(SinkUnavailable)),
            ("54", Row(SinkTooLarge)),
            ("55", Halt(SinkUnfit)),
            ("57", Away(SinkUnavailable)),
            ("58", Away(SinkUnavailable)),
            ("72", Away(SinkUnavailable)),
            ("F0", Away(SinkUnavailable)),
            ("HV", Away(SinkUnavailable)),
            ("P0", Row(SinkRejected)),
        ]
    };

    /// Guarantee: every class has its meaning, codes with a meaning of their own have that, and what is no code at all is
    /// tried again and never taken for a row's fault.
    #[test]
    fn every_class_has_its_verdict() {
        for (class, meaning) in CLASSES {
            assert_eq!(verdict(&format!("{class}ZZZ")), meaning, "{class}");
        }
        let own = [
            ("22P04", Verdict::Halt(Reason::SinkUnfit)),
            ("23505", Verdict::Row(Reason::SinkRejected)),
            ("23514", Verdict::Row(Reason::SinkRejected)),
            ("25006", Verdict::Away(Reason::SinkUnavailable)),
            ("25P03", Verdict::Again(Reason::SinkUnavailable)),
            ("40001", Verdict::Again(Reason::SinkUnavailable)),
            ("40P01", Verdict::Again(Reason::SinkUnavailable)),
            ("42501", Verdict::Halt(Reason::SinkDenied)),
            ("42P01", Verdict::Halt(Reason::SinkMissing)),
            ("42703", Verdict::Halt(Reason::SinkMissing)),
            ("53100", Verdict::Away(Reason::SinkNoSpace)),
            ("55P03", Verdict::Again(Reason::SinkUnavailable)),
            ("57P01", Verdict::Away(Reason::SinkUnavailable)),
            ("57P04", Verdict::Halt(Reason::SinkMissing)),
            ("XX000", Verdict::Away(Reason::SinkUnavailable)),
            ("XX001", Verdict::Halt(Reason::SinkUnavailable)),
        ];
        for (code, meaning) in own {
            assert_eq!(verdict(code), meaning, "{code}");
        }
        for code in ["", "?", "ZZ000", "é"] {
            assert_eq!(verdict(code), Verdict::Away(Reason::SinkUnavailable), "{code}");
        }
    }

    /// Guarantee: a trigger's own refusal is the row's, whatever code it chose, unless that says "later"; an unknown code that nobody
    /// raised is not.
    #[test]
    fn a_trigger_may_choose_its_code() {
        for (code, raised, plain) in [
            ("AB123", Some(Reason::SinkRejected), None),
            ("42501", Some(Reason::SinkRejected), None),
            ("23514", Some(Reason::SinkRejected), Some(Reason::SinkRejected)),
            ("22003", Some(Reason::EncodeValue), Some(Reason::EncodeValue)),
            ("40001", None, None),
            ("53300", None, None),
        ] {
            assert_eq!((refused_for(code, true), refused_for(code, false)), (raised, plain), "{code}");
        }
    }

    /// Guarantee (I9): no value of a row is in the words.
    #[test]
    fn values_are_cut_out_of_messages() {
        let cut = unquoted(r#"invalid input syntax for type integer: "a"b""#);
        assert_eq!(cut, r#"invalid input syntax for type integer: "...""#);
        assert_eq!(unquoted("integer out of range"), "integer out of range");
        assert_eq!(unquoted("one \" alone"), "one \" alone");
        let german = "ung\u{fc}ltige Eingabesyntax f\u{fc}r Typ integer: \u{bb}pier 39\u{ab}";
        assert_eq!(unquoted(german), "ung\u{fc}ltige Eingabesyntax f\u{fc}r Typ integer: \"...\"");
        assert_eq!(unquoted("「値」 。"), "\"...\" 。");
        let bytes = r#"character with byte sequence 0xe2 0x82 0xac in encoding "UTF8" has no equivalent in encoding "LATIN1""#;
        assert_eq!(unquoted(bytes), r#"character with byte sequence in encoding "...""#);
        let bytes = r#"invalid byte sequence for encoding "UTF8": 0xe9 0x20"#;
        assert_eq!(unquoted(bytes), r#"invalid byte sequence for encoding "...":"#);
    }
}
