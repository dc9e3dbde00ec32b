//! This machine's clock, the workers' and the brokers'. Kafka has no request for the time, and nothing may be written, so the newest
//! records of the retry and dead-letter topics are read: a broker stamped them as they came (`LogAppendTime`), and the worker that sent
//! them wrote in a header when the record had failed.
//!
//! - A stamp that lies in our future proves that the clock here is behind the broker's, at least by so much.
//! - A failure that lies behind its own stamp proves that the worker's clock is ahead of the broker's, at least by so much.
//! - The other two cannot be proven: a stamp in our past, and one behind its failure, are how it should be.

use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_core::Failure;
use longshore_core::headers::LAST_FAILED;
use longshore_kafka::{
    Admin, KafkaOptions, ReadFrom, ReadRecord, ReadUntil, Reader, dead_letter_topic, retry_topic,
};

use super::crew::Crew;
use super::finding::{Check, Finding, Next};
use crate::commands::common::when;

/// The most partitions of a topic whose newest record is read.
const PARTITIONS: usize = 16;

/// How long reading them may take.
const READ: Duration = Duration::from_secs(8);

/// Less is nothing that a retry or a trace would notice.
const WARN_MS: i64 = 2_000;

/// More, and delays and ages are wrong by a minute.
const ERROR_MS: i64 = 60_000;

/// A record that a broker has stamped.
struct Stamped {
    place: String,
    stamp_ms: i64,
    failed_ms: Option<i64>,
}

pub(super) fn looks(crew: &mut Crew, admin: &Arc<Admin>) {
    let admin = Arc::clone(admin);
    crew.look(Check::Clock, "this machine", move |case| {
        let name = &case.pipeline().pipeline;
        let mut stamped = Vec::new();
        for input in &case.pipeline().input.topics {
            for topic in [retry_topic(input, name), dead_letter_topic(input, name)] {
                // A topic that is missing, or may not be read, is told elsewhere.
                stamped.extend(newest(&admin, &case.options, &topic).unwrap_or_default());
            }
        }
        judged(&stamped, when::now_ms())
    });
}

/// The newest records of a topic, if its brokers stamp them.
fn newest(admin: &Admin, options: &KafkaOptions, topic: &str) -> Result<Vec<Stamped>, Failure> {
    let settings = admin.describe_topic_settings(topic)?.unwrap_or_default();
    if settings.get("message.timestamp.type").map(String::as_str) != Some("LogAppendTime") {
        return Ok(Vec::new());
    }
    let places = admin.offsets(topic)?.into_iter().filter(|place| place.end > place.start);
    let places: Vec<(i32, i64)> =
        places.take(PARTITIONS).map(|place| (place.partition, place.end - 1)).collect();
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let mut reader = Reader::open(options, topic, ReadFrom::At(places), ReadUntil::EndNow)?;
    let (began, mut stamped) = (Instant::now(), Vec::new());
    while let Some(records) = reader.next_batch(Duration::from_millis(250))? {
        stamped.extend(records.iter().map(|record| of(topic, record)));
        if began.elapsed() >= READ {
            break;
        }
    }
    Ok(stamped)
}

fn of(topic: &str, record: &ReadRecord) -> Stamped {
    Stamped {
        place: format!("{topic}/{}/{}", record.partition, record.offset),
        stamp_ms: record.timestamp_ms,
        failed_ms: record.header(LAST_FAILED).and_then(|value| value.parse().ok()),
    }
}

fn judged(stamped: &[Stamped], now_ms: i64) -> Vec<Finding> {
    let mut findings = Vec::new();
    let ahead = stamped.iter().max_by_key(|record| record.stamp_ms);
    if let Some(record) = ahead.filter(|record| record.stamp_ms - now_ms > WARN_MS) {
        let by = record.stamp_ms - now_ms;
        let found = format!(
            "its clock is at least {} behind the broker's, which stamped {}",
            when::span(by),
            record.place
        );
        findings.push(skewed("this machine", found, by));
    }
    let early = |record: &Stamped| record.failed_ms.map_or(i64::MIN, |failed| failed - record.stamp_ms);
    if let Some(record) =
        stamped.iter().max_by_key(|record| early(record)).filter(|record| early(record) > WARN_MS)
    {
        let by = early(record);
        let found = format!(
            "the clock of the one that sent {} is at least {} ahead of the broker's",
            record.place,
            when::span(by)
        );
        findings.push(skewed("a worker", found, by));
    }
    if findings.is_empty() {
        let found = match ahead {
            None => {
                "not to be told: the retry and dead-letter topics hold no record that a broker has stamped"
                    .to_owned()
            }
            Some(record) => format!(
                "no difference shows in {} records of the retry and dead-letter topics, the newest of {} (a clock that is ahead here would not)",
                stamped.len(),
                when::shown(record.stamp_ms)
            ),
        };
        findings.push(Finding::ok(Check::Clock, "this machine", found));
    }
    findings
}

fn skewed(about: &str, found: String, by: i64) -> Finding {
    let finding = if by > ERROR_MS { Finding::error } else { Finding::warn };
    finding(
        Check::Clock,
        about,
        found,
        Next::Command("timedatectl set-ntp true (there and on the brokers)".to_owned()),
    )
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn levels(records: &[(i64, Option<i64>)], now_ms: i64) -> Vec<(String, Level)> {
        let record = |(stamp_ms, failed_ms): &(i64, Option<i64>)| Stamped {
            place: "t/0/0".to_owned(),
            stamp_ms: *stamp_ms,
            failed_ms: *failed_ms,
        };
        let stamped: Vec<_> = records.iter().map(record).collect();
        judged(&stamped, now_ms).into_iter().map(|finding| (finding.about, finding.level)).collect()
    }

    /// Guarantee: only what is proven is told: a stamp in our future, a failure behind its own stamp.
    #[test]
    fn clocks_are_judged_by_what_they_prove() {
        let here = |level| vec![("this machine".to_owned(), level)];
        let now = 1_700_000_000_000;
        assert_eq!(levels(&[], now), here(Level::Ok));
        assert_eq!(
            levels(&[(now - 86_400_000, Some(now - 86_400_100)), (now + 1_500, None)], now),
            here(Level::Ok)
        );
        assert_eq!(levels(&[(now + 5_000, None)], now), here(Level::Warn));
        assert_eq!(levels(&[(now + 3_600_000, None)], now), here(Level::Error));
        assert_eq!(
            levels(&[(now - 9_000, Some(now - 1_000))], now),
            vec![("a worker".to_owned(), Level::Warn)]
        );
    }
}
