//! Mistakes of our own, planted one at a time: each is found, and docs/reliability.md says by what.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use longshore_core::rules::Rule;
use longshore_testkit::sabotage::Sabotage;

use super::play;

/// Every planted mistake is found within so many seeds, except for those of [`BY_TESTS`].
pub(super) const SEEDS: u64 = 30_000;

/// Rules of the machine that no seed breaks when they are switched off, with tests of the machine that fail then:
/// `LONGSHORE_RULE_OFF=NAME cargo test --package longshore-core --features rules-off`.
const BY_TESTS: &[(Rule, &str)] = &[
    (Rule::CoverOrigin, "a_copy_is_committed_behind_its_origin_alone"),
    (Rule::RefusedKeyWaits, "what_is_too_large_to_follow_stays_until_the_letter_is_decided"),
    (Rule::StraysByName, "a_spare_copy_is_told_of_however_much_waits_before_it"),
    (Rule::StraysInherited, "what_an_owner_told_of_strays_the_next_ones_tell_again"),
    (Rule::RetentionKeepsRuns, "a_lane_begins_where_its_commit_fits_the_log"),
    (Rule::ReplayOutranks, "a_replay_does_not_lend_its_number_to_a_next_copy_of_older_bytes"),
];

const PAGE: &str = "../docs/reliability.md";
const BEGIN: &str = "<!-- planted: written by the suite sim -->\n";
const END: &str = "<!-- end of planted -->";

/// Scenario: one known mistake is planted between machine and world, or one rule of the machine does not hold. Guarantee: a seed finds it, or a test of
/// the machine that says nothing of the switch. The page tells of all of them; `UPDATE_EXPECT=1` writes its table.
#[test]
fn planted_mistakes_are_found() {
    let mut table = "| mistake | traps | found by | as |\n|---|---|---|---|\n".to_owned();
    let mut names = BTreeSet::new();
    for sabotage in Sabotage::ALL.into_iter().chain(Rule::ALL.map(Sabotage::Without)) {
        let (traps, about) = sabotage.about();
        let traps: Vec<String> = traps.iter().map(ToString::to_string).collect();
        let by_test = BY_TESTS.iter().find(|(rule, _)| sabotage == Sabotage::Without(*rule));
        let (found, what) = match by_test {
            Some((_, test)) => (format!("`{test}`"), "a test of the machine".to_owned()),
            None => {
                let (_, broken) = play(SEEDS, Some(sabotage), false);
                let Some(broken) = broken else { panic!("{sabotage:?} was not found within {SEEDS} seeds") };
                println!("{sabotage:?}: seed {}: {}", broken.case, broken.what);
                let seeds = broken.case.seed + 1;
                (
                    format!("{seeds} {}", if seeds == 1 { "seed" } else { "seeds" }),
                    broken.what.replace('|', "/"),
                )
            }
        };
        let what: String = what.chars().take(90).collect();
        let _ = writeln!(table, "| {about} | {} | {found} | {what} |", traps.join(", "));
        names.insert(about);
    }
    println!("{table}");
    assert!(names.len() >= 25, "{} mistakes", names.len());
    hold_against_the_page(&table, &names);
}

/// The page names each mistake; how many seeds it took changes with the simulation and is not compared.
fn hold_against_the_page(table: &str, names: &BTreeSet<&str>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (present, after) = rest.split_once(END).unwrap();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    let rows = present.lines().skip(2).filter_map(|line| line.split('|').nth(1));
    let told: BTreeSet<&str> = rows.map(str::trim).filter(|name| !name.is_empty()).collect();
    assert_eq!(&told, names, "the table of docs/reliability.md is old: UPDATE_EXPECT=1 writes it anew");
}
