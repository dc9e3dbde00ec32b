//! The account of a run: published = in files + filtered + open dead letters, nothing missing, nothing twice, the order per
//! key kept. It is counted from what stood in the topics and from the sink's files; no worker is asked.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::Context as _;
use longshore_core::Origin;
use longshore_sinks::verify;
use serde::Serialize;

use super::evidence::{self, Pipeline, Published, Run};
use super::expect::Place;
use super::way::{Way, Ways};

/// At most so many findings are kept; one is enough to fail, a million help nobody.
const FINDINGS_MAX: usize = 50;

/// The account of one pipeline.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Account {
    /// The pipeline.
    pub(crate) pipeline: String,
    /// Records in the input topic.
    pub(crate) published: u64,
    /// Records that the producer got confirmed.
    pub(crate) confirmed: u64,
    /// The table that the rows are in; none when they are in files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) table: Option<String>,
    /// Whether they are in Parquet files.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) parquet: bool,
    /// Distinct records with a row in the files, or in the table.
    pub(crate) in_files: u64,
    /// Records filtered, by reason, as the trailers count them.
    pub(crate) filtered: BTreeMap<String, u64>,
    /// Distinct dead letters that nobody has sent again, by reason.
    pub(crate) dead: BTreeMap<String, u64>,
    /// Second rows of a record.
    pub(crate) duplicates: u64,
    /// Records in no final place.
    pub(crate) missing: u64,
    /// Rows that stand behind a later record of their key.
    pub(crate) out_of_order: u64,
    /// Partitions whose committed offset is not the end of the log.
    pub(crate) uncommitted: u64,
    /// Second copies of a letter (the same letter, so no fault).
    pub(crate) letter_copies: u64,
    /// Where records were on their way.
    pub(crate) way: Way,
    /// What is wrong, in words, each naming its row or record; at most [`FINDINGS_MAX`].
    pub(crate) findings: Vec<String>,
    /// How much is wrong in all.
    pub(crate) faults: u64,
}

impl Account {
    pub(super) fn fault(&mut self, words: String) {
        self.faults += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(words);
        }
    }
}

/// Counts a finished run.
pub(crate) fn count(folder: &Path) -> anyhow::Result<Vec<Account>> {
    let file = folder.join(evidence::RUN_FILE);
    let text = std::fs::read(&file).with_context(|| {
        format!("{} is not a run of `longshore dev`: no {}", folder.display(), evidence::RUN_FILE)
    })?;
    let run: Run =
        serde_json::from_slice(&text).with_context(|| format!("cannot read {}", file.display()))?;
    run.pipelines.iter().map(|pipeline| Count::new(folder, pipeline)?.run(folder, pipeline)).collect()
}

/// Where a record was found.
#[derive(Default)]
struct Found {
    row: Option<String>,
}

pub(super) struct Count {
    pub(super) account: Account,
    published: HashMap<Origin, Published>,
    found: HashMap<Origin, Found>,
    ways: Ways,
    /// Per key: the last origin seen in the files, by partition.
    last: HashMap<(i32, String), Origin>,
}

impl Count {
    fn new(folder: &Path, pipeline: &Pipeline) -> anyhow::Result<Self> {
        let rows: Vec<Published> = evidence::rows(&evidence::topic_file(folder, &pipeline.topic))?;
        let account = Account {
            pipeline: pipeline.name.clone(),
            published: rows.len() as u64,
            confirmed: pipeline.published,
            table: pipeline.table.clone(),
            parquet: pipeline.parquet,
            ..Account::default()
        };
        let published = rows.into_iter().map(|row| (row.origin.clone(), row)).collect();
        Ok(Self { account, published, found: HashMap::new(), ways: Ways::default(), last: HashMap::new() })
    }

    fn run(mut self, folder: &Path, pipeline: &Pipeline) -> anyhow::Result<Account> {
        if self.account.published != self.account.confirmed {
            let (published, confirmed) = (self.account.published, self.account.confirmed);
            self.account.fault(format!(
                "the topic holds {published} records, the producer got {confirmed} confirmed"
            ));
        }
        self.ways = Ways::read(folder, pipeline, &self.published, &mut self.account)?;
        match &pipeline.table {
            Some(table) => self.table(table, folder)?,
            None if pipeline.parquet => self.parquet(pipeline, folder)?,
            None => self.files(&folder.join(&pipeline.files), folder)?,
        }
        self.places();
        self.ways.finish(&self.published, &mut self.account);
        for row in pipeline.committed.iter().filter(|row| row.committed.unwrap_or(0) != row.end) {
            self.account.uncommitted += 1;
            let (partition, committed, end) = (row.partition, row.committed, row.end);
            self.account.fault(format!("partition {partition}: committed {committed:?}, end {end}"));
        }
        Ok(self.account)
    }

    fn files(&mut self, files: &Path, folder: &Path) -> anyhow::Result<()> {
        let report = verify::verify(files, |row| {
            let file = row.file.path.strip_prefix(folder).unwrap_or(&row.file.path);
            let place = format!("{}:{} ({})", file.display(), row.line, row.origin);
            if self.row(&place, row.origin, row.json) {
                self.in_order(&place, row.origin);
            }
        })
        .with_context(|| format!("cannot read the sink's folder {}", files.display()))?;
        self.account.filtered = report.filtered();
        for finding in report.findings {
            self.account.fault(finding.to_string());
        }
        Ok(())
    }

    /// Counts a row; false when it should not be there.
    pub(super) fn row(&mut self, place: &str, origin: &Origin, json: &str) -> bool {
        let Some(published) = self.published.get(origin) else {
            self.account.fault(format!("foreign row: {place} was never published"));
            return false;
        };
        if published.place != Place::File {
            let expected = format!("{:?}", published.place);
            self.account.fault(format!("unexpected row: {place} should be {expected}"));
            return false;
        }
        if let Some(expected) = &published.text
            && text_digest(json).as_ref() != Some(expected)
        {
            self.account.fault(format!("changed row: {place} does not hold the published text"));
        }
        let found = self.found.entry(origin.clone()).or_default();
        if let Some(first) = &found.row {
            self.account.duplicates += 1;
            let words = format!("doubled row: {place} stands at {first} already");
            self.account.fault(words);
            return false;
        }
        found.row = Some(place.to_owned());
        self.account.in_files += 1;
        true
    }

    /// Holds a row against the one before it of its key.
    pub(super) fn in_order(&mut self, place: &str, origin: &Origin) {
        // A dead letter leaves the order of its key, and its replay comes late.
        let key = self.published.get(origin).and_then(|published| published.key.clone());
        let Some(key) = key.filter(|_| !self.ways.is_replayed(origin)) else { return };
        let last = self.last.insert((origin.partition.0, key), origin.clone());
        if let Some(last) = last.filter(|last| last.offset > origin.offset) {
            self.account.out_of_order += 1;
            self.account.fault(format!("row out of order: {place} stands behind {last} of the same key"));
        }
    }

    /// Every published record must have been found where it belongs.
    fn places(&mut self) {
        let mut filtered: BTreeMap<&str, u64> = BTreeMap::new();
        let mut missing: Vec<(&Origin, &Place)> = Vec::new();
        let mut doubled = Vec::new();
        for (origin, published) in &self.published {
            let has_row = self.found.get(origin).is_some_and(|found| found.row.is_some());
            let letter = self.ways.open_letter(origin);
            if let Some(reason) = letter {
                *self.account.dead.entry(reason.to_owned()).or_default() += 1;
                if has_row {
                    doubled.push(format!("row and letter: {origin} is in the files, and its letter is open"));
                }
            }
            let there = match &published.place {
                _ if letter.is_some() => true,
                Place::File => has_row,
                Place::Dead(_) => false,
                Place::Filtered(reason) => {
                    *filtered.entry(reason).or_default() += 1;
                    true
                }
            };
            if !there {
                missing.push((origin, &published.place));
            }
        }
        missing.sort();
        let missing: Vec<String> = missing
            .into_iter()
            .map(|(origin, place)| format!("missing: {origin} should be {place:?}"))
            .collect();
        let filtered: BTreeMap<String, u64> = filtered.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        self.account.missing = missing.len() as u64;
        for words in missing.into_iter().chain(doubled) {
            self.account.fault(words);
        }
        if filtered != self.account.filtered {
            let told = format!("{:?}", self.account.filtered);
            self.account.fault(format!(
                "filtered: the trailers count {told}, the topic's records call for {filtered:?}"
            ));
        }
    }
}

/// The digest of a row's text: a log's body or a document's text.
fn text_digest(json: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Row<'a> {
        #[serde(borrow, default)]
        body: Option<std::borrow::Cow<'a, str>>,
        #[serde(borrow, default)]
        text: Option<std::borrow::Cow<'a, str>>,
    }
    let row: Row<'_> = serde_json::from_str(json).ok()?;
    row.text.or(row.body).map(|text| evidence::digest(text.as_bytes()))
}
