//! The rehearsal's flood: a mistake makes the steps reject every record for a while. The breaker holds the partitions instead of
//! emptying the topic into the dead letters; the mistake is mended while the workers run, and they go on by themselves.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use longshore_kafka::Admin;

use super::{Demo, generate, publish};
use crate::cli::DevStart;
use crate::exit::{End, Exit};
use crate::output::{Output, grouped};

/// Lines for each partition that trip its breaker; the pipeline file says 20.
const WAVE: u64 = 100;
/// What ended before the mistake counts for two seconds, so the first wave may not do.
const WAVES_MAX: u64 = 15;
/// How long a wave has to trip every breaker before the next one comes.
const PATIENCE: Duration = Duration::from_secs(2);
/// While the partitions hold, one more line comes for so many of the run's.
const MEANWHILE_ONE_IN: u64 = 10;
/// What the status page says of a pair whose breaker is open.
const FLOOD: &str = "reject.flood";

/// What came while everything was rejected.
#[derive(Debug, Default)]
pub(crate) struct Flood {
    /// To which pipeline.
    pub(crate) pipeline: &'static str,
    /// How many records.
    pub(crate) published: u64,
    /// By partition, the offset of the first.
    pub(crate) from: Vec<i64>,
}

impl Demo<'_> {
    /// Plays the flood on the first pipeline.
    pub(super) fn flood(&mut self, arguments: &DevStart, output: &Output) -> Result<Flood, End> {
        let (name, topic, mistake) = {
            let pipeline = &self.prepared[0];
            (pipeline.name, pipeline.topic, pipeline.mistake.clone())
        };
        let rows = Admin::new(&self.target.options)?
            .lag(&longshore_kafka::default_group(name), &[topic.to_owned()])?;
        let from: Vec<i64> = rows.iter().map(|row| row.end).collect();
        let mut flood = Flood { pipeline: name, published: 0, from };

        std::fs::write(&mistake, "while this file is there, the steps reject every record\n")?;
        output.note(format_args!("a mistake: from now on the steps of {name} reject every record"));
        let wave = WAVE * flood.from.len() as u64;
        let reason = loop {
            if flood.published >= wave * WAVES_MAX {
                let words = format!("{} rejected records did not trip every breaker", flood.published);
                return Err(End::new(Exit::Failed, words));
            }
            flood.published += self.send(topic, arguments.seed + 1 + flood.published, wave, output)?;
            if let Some(reason) = self.held(flood.from.len())? {
                break reason;
            }
        };
        output.note(format_args!("all {} partitions hold: {reason}", flood.from.len()));
        let more = (arguments.lines / MEANWHILE_ONE_IN).max(wave);
        flood.published += self.send(topic, arguments.seed + 1 + flood.published, more, output)?;
        output.note(format_args!("{} lines more wait in the input, and are no dead letters", grouped(more)));
        std::fs::remove_file(&mistake)?;
        output.note("the mistake is mended; the breakers probe, and the same workers go on by themselves");
        let mended = Instant::now();
        self.drain(output)?;
        output.note(format_args!("that took {:.1} s", mended.elapsed().as_secs_f64()));
        Ok(flood)
    }

    fn send(&self, topic: &str, seed: u64, count: u64, output: &Output) -> Result<u64, End> {
        publish(self.target, topic, generate::lines(seed, count), count, output)
    }

    /// Waits until the breakers of so many partitions are open, and gives what one of them says; none when it takes too long.
    fn held(&mut self, partitions: usize) -> Result<Option<String>, End> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut held: BTreeMap<i32, String> = BTreeMap::new();
            for worker in &mut self.crews[0] {
                worker.check()?;
                for pair in worker.pairs().unwrap_or_default() {
                    let reason = pair.reason.filter(|reason| pair.state == "held" && reason.contains(FLOOD));
                    held.extend(reason.map(|reason| (pair.partition, reason)));
                }
            }
            if held.len() >= partitions {
                return Ok(held.into_values().next());
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            // The page can only be asked for.
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
