//! What the ledger's tables say, held against themselves and against the rows, for commands that look. By SQL alone, and the trailers are
//! read as their format says, by none of the writer's types.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;

use futures::TryStreamExt;
use longshore_core::ledger::LedgerView;
use longshore_core::{Failure, Generation, Offset, Reason, RunSet};
use tokio_postgres::{Client, Row};

use super::connect::{Lease, Pool, within};
use super::ledger::{Claim as Owned, Ledger};
use super::options::{PostgresOptions, Source, quoted};
use super::schema::{CHECKPOINTS, LEDGER, PAIRS};
use super::sqlstate::failure;
use crate::inspect::{LastSegment, PairSummary, Passed, Verified};
use crate::verify::{Claim, read_as};

/// What each pair's ledger says, in the order of generation, topic and partition. None while no worker has made the ledger's tables.
///
/// # Errors
/// A server that is away, or lacking rights.
pub async fn survey(
    pipeline: &str,
    sink: &str,
    options: &PostgresOptions,
) -> Result<Vec<PairSummary>, Failure> {
    let look = async {
        let lease = lend(pipeline, options).await?;
        let mut pairs = Vec::new();
        for pair in Pair::all(lease.client(), pipeline, sink, options).await? {
            pairs.push(pair.summary(lease.client(), pipeline, sink, options).await?);
        }
        Ok(pairs)
    };
    within("read the ledger", look).await.map_err(|failure| failure.at(sink))
}

/// Holds the ledger of each pair against itself and, where rows carry their origin and none replaces another, the rows of each segment
/// against its entry. Of all generations, or of one. `tell` is called with the number of rows that were read since it was called before.
///
/// # Errors
/// A server that is away, or lacking rights. What is wrong with the contents is a finding.
pub async fn verify(
    pipeline: &str,
    sink: &str,
    options: &PostgresOptions,
    generation: Option<u32>,
    rows: bool,
    tell: &(dyn Fn(u64) + Send + Sync),
) -> Result<Verified, Failure> {
    let lease = lend(pipeline, options).await?;
    let (client, mut found, mut several) = (lease.client(), Verified::default(), false);
    let look = async {
        let mut judged = Vec::new();
        let pairs = Pair::all(client, pipeline, sink, options).await?;
        let names: BTreeSet<_> = pairs.iter().map(|pair| (pair.topic.clone(), pair.partition)).collect();
        several = names.len() < pairs.len();
        for pair in pairs.into_iter().filter(|pair| generation.is_none_or(|wanted| wanted == pair.generation))
        {
            let segments = pair.segments(client, options).await?;
            judged.push(Judged::of(pair, pipeline, segments, &mut found));
        }
        Ok(judged)
    };
    let judged = within("read the ledger", look).await.map_err(|failure| failure.at(sink))?;
    if rows && several {
        let words = "the rows are not counted: they are of several generations, and do not say of which";
        found.note("uncounted", &options.table, words);
    } else if rows {
        let counted = count(client, options, judged, &mut found, tell).await;
        counted.map_err(|failure| failure.at(sink))?;
    }
    Ok(found.sorted())
}

async fn lend(pipeline: &str, options: &PostgresOptions) -> Result<Lease, Failure> {
    let unfit = |words| Failure::halt(Reason::SinkUnfit, words);
    Pool::new(options, &format!("longshore {pipeline}")).map_err(unfit)?.lend().await
}

/// A pair as the tables know it.
#[derive(Clone, Debug)]
struct Pair {
    id: i64,
    generation: u32,
    topic: String,
    partition: i32,
    epoch: i64,
    /// The first segment behind the checkpoint; none without one.
    checkpoint: Option<i64>,
}

impl Pair {
    async fn all(
        client: &Client,
        pipeline: &str,
        sink: &str,
        options: &PostgresOptions,
    ) -> Result<Vec<Self>, Failure> {
        let fail = |error| failure("read the ledger", &error);
        let [pairs, checkpoints] = [PAIRS, CHECKPOINTS].map(|name| options.table.beside(name));
        let there: bool =
            client.query_one("SELECT to_regclass($1) IS NOT NULL", &[&pairs]).await.map_err(fail)?.get(0);
        if !there {
            return Ok(Vec::new());
        }
        let text = format!(
            "SELECT p.id, p.generation, p.topic, p.partition, p.epoch, c.next FROM {pairs} p \
             LEFT JOIN {checkpoints} c ON c.pair = p.id WHERE p.pipeline = $1 AND p.sink = $2 \
             ORDER BY p.generation, p.topic, p.partition"
        );
        let pair = |row: Row| Self {
            id: row.get(0),
            generation: u32::try_from(row.get::<_, i32>(1)).unwrap_or(0),
            topic: row.get(2),
            partition: row.get(3),
            epoch: row.get(4),
            checkpoint: row.get(5),
        };
        let found = client.query(text.as_str(), &[&pipeline, &sink]).await.map_err(fail)?;
        Ok(found.into_iter().map(pair).collect())
    }

    fn words(&self) -> String {
        format!("{}/{} of generation {}", self.topic, self.partition, self.generation)
    }

    async fn summary(
        &self,
        client: &Client,
        pipeline: &str,
        sink: &str,
        options: &PostgresOptions,
    ) -> Result<PairSummary, Failure> {
        let ledger = Ledger::new(pipeline, Generation(self.generation), sink, &options.table);
        let (view, broken) = match ledger.recover(client, Owned { pair: self.id, epoch: 0 }).await {
            Ok(view) => (view, None),
            Err(failure) if matches!(failure.reason, Reason::LedgerBroken | Reason::FormatNewer) => {
                (LedgerView::default(), Some(failure.detail().to_owned()))
            }
            Err(failure) => return Err(failure),
        };
        let mut summary = PairSummary {
            generation: self.generation,
            topic: self.topic.clone(),
            partition: self.partition,
            epoch: u64::try_from(self.epoch).unwrap_or(0),
            segments: view.next_sequence.0,
            broken,
            ..PairSummary::default()
        };
        let letters = view.holdings.letters().map(|(offset, replays)| (offset.0, replays)).collect();
        Passed::of(view.holdings.held(), letters).tell(&mut summary);
        let text = format!(
            "SELECT min(sequence), (sum((trailer->>'rows')::bigint))::bigint FROM {} WHERE pair = $1",
            options.table.beside(LEDGER)
        );
        let fail = |error| failure("read the ledger", &error);
        let row = client.query_one(text.as_str(), &[&self.id]).await.map_err(fail)?;
        summary.rows_from = row.get::<_, Option<i64>>(0).and_then(|first| first.try_into().ok()).unwrap_or(0);
        summary.rows = row.get::<_, Option<i64>>(1).and_then(|rows| rows.try_into().ok()).unwrap_or(0);
        let text = format!(
            "SELECT sequence, (extract(epoch FROM published) * 1000)::bigint, trailer::text FROM {} \
             WHERE pair = $1 ORDER BY sequence DESC LIMIT 1",
            options.table.beside(LEDGER)
        );
        if let Some(row) = client.query_opt(text.as_str(), &[&self.id]).await.map_err(fail)?
            && let Ok(claim) = read_as::<Claim>(row.get::<_, &str>(2).as_bytes(), 1)
        {
            summary.last = Some(LastSegment {
                sequence: u64::try_from(row.get::<_, i64>(0)).unwrap_or(0),
                published_ms: row.get(1),
                covers: claim.covers,
                rows: claim.rows,
            });
        }
        Ok(summary)
    }

    /// The entries that are there; those long before the checkpoint are not.
    async fn segments(&self, client: &Client, options: &PostgresOptions) -> Result<Vec<Segment>, Failure> {
        let text = format!(
            "SELECT sequence, epoch, writer, trailer::text FROM {} WHERE pair = $1 ORDER BY sequence",
            options.table.beside(LEDGER)
        );
        let segment = |row: Row| Segment {
            number: row.get(0),
            epoch: row.get(1),
            writer: row.get(2),
            claim: read_as(row.get::<_, &str>(3).as_bytes(), 1),
        };
        let rows = client.query(text.as_str(), &[&self.id]).await;
        Ok(rows.map_err(|error| failure("read the ledger", &error))?.into_iter().map(segment).collect())
    }
}

/// A row of the ledger.
struct Segment {
    number: i64,
    epoch: i64,
    writer: String,
    claim: Result<Claim, String>,
}

/// A pair whose ledger was judged.
struct Judged {
    pair: Pair,
    /// Whether all segments since the first are there.
    whole: bool,
    /// By their first offset, the ends of the runs that segments hold, and the segment. A record's row is in the first one that holds it.
    runs: BTreeMap<i64, (i64, i64)>,
    /// By segment, the rows that its entry says, and those that were met.
    rows: BTreeMap<i64, (u64, u64)>,
    /// Rows in no segment that is there, and the first of them.
    unclaimed: (u64, i64),
}

impl Judged {
    fn of(pair: Pair, pipeline: &str, segments: Vec<Segment>, found: &mut Verified) -> Self {
        found.pairs += 1;
        let words = pair.words();
        let first = segments.first().map(|segment| segment.number);
        let behind = segments.last().map_or(0, |segment| segment.number + 1);
        let checkpoint = pair.checkpoint.unwrap_or(0);
        if first.unwrap_or(0) > checkpoint {
            let words_of = format!("segments {checkpoint} to {} are missing", first.unwrap_or(0) - 1);
            found.fault("gap", &words, words_of);
        }
        if behind < checkpoint {
            let words_of =
                format!("the checkpoint is of {checkpoint} segments, and the newest here is {}", behind - 1);
            found.fault("gap", &words, words_of);
        }
        let whole = first == Some(0) || segments.is_empty();
        let mut judged =
            Self { pair, whole, runs: BTreeMap::new(), rows: BTreeMap::new(), unclaimed: (0, 0) };
        let (mut expected, mut epoch, mut held) = (first.unwrap_or(0), 0, RunSet::default());
        for segment in segments {
            let place = format!("{words}, segment {}", segment.number);
            found.segments += 1;
            if segment.number != expected {
                found.fault(
                    "gap",
                    &words,
                    format!("segments {expected} to {} are missing", segment.number - 1),
                );
            }
            expected = segment.number + 1;
            if segment.epoch < epoch || segment.epoch > judged.pair.epoch {
                let known = judged.pair.epoch;
                let words =
                    format!("of epoch {}, behind one of {epoch}; the pair's is {known}", segment.epoch);
                found.fault("epoch", &place, words);
            }
            epoch = segment.epoch;
            match segment.claim {
                Ok(claim) => {
                    judged.claim(&place, segment.number, (pipeline, &segment.writer), claim, &mut held, found)
                }
                Err(words) => found.fault("entry", &place, format!("cannot be read: {words}")),
            }
        }
        judged
    }

    fn claim(
        &mut self,
        place: &str,
        number: i64,
        (pipeline, writer): (&str, &str),
        claim: Claim,
        held: &mut RunSet,
        found: &mut Verified,
    ) {
        let pair = &self.pair;
        let theirs = (claim.pipeline.as_str(), claim.generation, claim.topic.as_str(), claim.partition);
        let ours = (pipeline, pair.generation, pair.topic.as_str(), pair.partition);
        if theirs != ours || claim.sequence as i64 != number || claim.writer != writer {
            let words = format!(
                "its trailer is another's: pipeline {}, generation {}, {}/{}, segment {}, writer {}",
                theirs.0, theirs.1, theirs.2, theirs.3, claim.sequence, claim.writer
            );
            found.fault("identity", place, words);
        }
        let again = RunSet::collect(claim.also.clone()).intersection(held);
        if let Some((first, end)) = again.iter().next() {
            let words = format!("holds offsets [{first}, {end}) once more: an earlier segment has them");
            found.fault("overlap", place, words);
        }
        let mut fresh = RunSet::collect(claim.runs());
        let all = fresh.clone();
        fresh.subtract(held);
        self.runs.extend(fresh.iter().map(|(first, end)| (first.0, (end.0, number))));
        held.union(&all);
        self.rows.insert(number, (claim.rows, 0));
    }

    fn row(&mut self, offset: i64) {
        let run = self.runs.range(..=offset).next_back().filter(|(_, (end, _))| offset < *end);
        match run.and_then(|(_, (_, number))| self.rows.get_mut(number)) {
            Some((_, met)) => *met += 1,
            None => {
                let first = if self.unclaimed.0 == 0 { offset } else { self.unclaimed.1.min(offset) };
                self.unclaimed = (self.unclaimed.0 + 1, first);
            }
        }
    }

    fn tell(&self, found: &mut Verified) {
        let words = self.pair.words();
        for (number, (said, met)) in self.rows.iter().filter(|(_, (said, met))| said != met) {
            let place = format!("{words}, segment {number}");
            found.fault("rows", place, format!("the table has {met} of its rows, its trailer says {said}"));
        }
        let (count, first) = self.unclaimed;
        if count > 0 && self.whole {
            let words_of = format!("rows that no segment claims: {count}, first of offset {}", Offset(first));
            found.fault("row-unclaimed", &words, words_of);
        }
    }
}

/// Reads the origin of each row once and counts the rows of each segment.
async fn count(
    client: &Client,
    options: &PostgresOptions,
    judged: Vec<Judged>,
    found: &mut Verified,
    tell: &(dyn Fn(u64) + Send + Sync),
) -> Result<(), Failure> {
    let record = options.columns.iter().find(|column| matches!(column.source, Source::Record));
    let why_not = match (record, &options.key) {
        (_, Some(_)) => "the rows are not counted: of each key the newest is there alone",
        (None, None) => "the rows are not counted: no column holds the whole record, with its origin",
        (Some(_), None) => "",
    };
    let Some(record) = record.filter(|_| why_not.is_empty()) else {
        found.note("uncounted", &options.table, why_not);
        return Ok(());
    };
    let mut pairs: BTreeMap<(String, i32), Judged> = BTreeMap::new();
    for pair in judged {
        pairs.insert((pair.pair.topic.clone(), pair.pair.partition), pair);
    }
    let fail = |error| failure("count rows", &error);
    client.batch_execute("SET statement_timeout = 0").await.map_err(fail)?;
    let text = format!(
        "SELECT split_part(o, '/', 1), split_part(o, '/', 2)::integer, split_part(o, '/', 3)::bigint \
         FROM (SELECT {}::jsonb->>'_origin' AS o FROM {}) AS rows WHERE o IS NOT NULL",
        quoted(&record.name),
        options.table.quoted()
    );
    let mut rows = pin!(client.query_raw::<_, &str, _>(text.as_str(), []).await.map_err(fail)?);
    while let Some(row) = rows.try_next().await.map_err(fail)? {
        tell(1);
        if let Some(pair) = pairs.get_mut(&(row.get(0), row.get(1))) {
            found.rows += 1;
            pair.row(row.get(2));
        }
    }
    pairs.values().for_each(|pair| pair.tell(found));
    Ok(())
}
