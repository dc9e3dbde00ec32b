//! The account as people read it.

use std::collections::BTreeMap;

use super::account::Account;
use crate::exit::{End, Exit};
use crate::output::{Output, counted, grouped};

/// At most so many findings are printed.
const FINDINGS_SHOWN: usize = 10;

/// Prints the accounts; an end with code 1 when anything does not add up.
pub(crate) fn print(accounts: &[Account], output: &Output) -> Result<(), End> {
    if output.format() == crate::cli::Format::Table {
        for account in accounts {
            lines(account, output);
        }
    } else {
        output.json(&accounts)?;
    }
    let faults: u64 = accounts.iter().map(|account| account.faults).sum();
    if faults == 0 {
        output.note(output.green("everything adds up: nothing lost, nothing twice, order kept"));
        return Ok(());
    }
    for account in accounts {
        for finding in account.findings.iter().take(FINDINGS_SHOWN) {
            output.note(format_args!("{} {}: {finding}", output.red("finding:"), account.pipeline));
        }
    }
    Err(End::new(Exit::Failed, format!("the account does not add up: {}", counted(faults, "finding"))))
}

fn lines(account: &Account, output: &Output) {
    let filtered: u64 = account.filtered.values().sum();
    let dead: u64 = account.dead.values().sum();
    let sum = account.in_files + filtered + dead;
    output.line(output.bold(&format!("account of {}", account.pipeline)));
    row(
        output,
        "published",
        account.published,
        &format!("confirmed to the producer: {}", grouped(account.confirmed)),
    );
    match &account.table {
        Some(table) => {
            let words = format!("distinct rows of {table}, read back by SQL");
            row(output, "= in the table", account.in_files, &words);
        }
        None => {
            let format = if account.parquet { "Parquet files" } else { "files" };
            let words = format!("distinct rows, read back from the {format}");
            row(output, "= in files", account.in_files, &words);
        }
    }
    row(output, "+ filtered", filtered, &reasons(&account.filtered));
    row(output, "+ dead letters", dead, &reasons(&account.dead));
    let verdict = if sum == account.published { "adds up" } else { "DOES NOT ADD UP" };
    row(output, "  sum", sum, verdict);
    row(output, "missing", account.missing, "");
    row(output, "duplicates", account.duplicates, "");
    if account.table.is_none() {
        row(output, "out of order", account.out_of_order, "rows behind a later one of their key");
    }
    row(output, "not committed", account.uncommitted, "partitions whose committed offset is not the end");
    on_the_way(account, output);
    if account.letter_copies > 0 {
        row(output, "letter copies", account.letter_copies, "the same letter again, so no fault");
    }
    output.line("");
}

/// Places that are none to stay in.
fn on_the_way(account: &Account, output: &Output) {
    let way = &account.way;
    let retried: u64 = way.retried.values().sum();
    output.line("  on the way, counted from the retry and dead-letter topics:");
    row(output, "retried", retried, &format!("failed and tried again {}", reasons(&way.retried)));
    row(output, "parked", way.parked, "waited in retry behind one of their key");
    row(output, "waiting now", way.waiting, "in the retry topic, and not settled");
    row(output, "letters made", way.letters, "dead letters, those that were sent again included");
    row(output, "replayed", way.replayed, "dead letters that were sent again");
    if let Some(flood) = way.flood {
        let held = grouped(flood.came - flood.letters);
        let words = format!(
            "dead letters of {} records that came while all were rejected; the breaker held back {held}",
            grouped(flood.came)
        );
        row(output, "flood", flood.letters, &words);
    }
}

fn row(output: &Output, name: &str, number: u64, words: &str) {
    output.line(format!("  {name:<15} {:>10}  {words}", grouped(number)).trim_end());
}

/// Reasons and counts, as many as fit the line.
fn reasons(counts: &BTreeMap<String, u64>) -> String {
    let words: Vec<String> =
        counts.iter().map(|(reason, count)| format!("{reason} {}", grouped(*count))).collect();
    words.join(", ")
}
