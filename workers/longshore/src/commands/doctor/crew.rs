//! Runs looks side by side, each on a thread of its own, and waits for them together: one that hangs is a finding and holds nobody up.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::case::Case;
use super::finding::{Check, Finding, Next};
use crate::output::{Output, Progress};

/// Looks that take longer show how far they are.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often that is shown.
const SHOW: Duration = Duration::from_millis(500);

/// The looks that are under way.
pub(super) struct Crew {
    case: Arc<Case>,
    send: Sender<(usize, Vec<Finding>)>,
    answers: Receiver<(usize, Vec<Finding>)>,
    /// What each look is about, none when it has answered.
    waiting: Vec<Option<(Check, String)>>,
    found: Vec<(usize, Vec<Finding>)>,
    progress: Option<Progress>,
    began: Instant,
    longest: Duration,
}

impl Crew {
    pub(super) fn new(case: &Arc<Case>, longest: Duration) -> Self {
        let (send, answers) = channel();
        Self {
            case: Arc::clone(case),
            send,
            answers,
            waiting: Vec::new(),
            found: Vec::new(),
            progress: None,
            began: Instant::now(),
            longest,
        }
    }

    pub(super) fn case(&self) -> &Arc<Case> {
        &self.case
    }

    /// Begins a look.
    pub(super) fn look(
        &mut self,
        check: Check,
        about: impl Into<String>,
        look: impl FnOnce(&Case) -> Vec<Finding> + Send + 'static,
    ) {
        let (number, about, case) = (self.waiting.len(), about.into(), Arc::clone(&self.case));
        let (send, words) = (self.send.clone(), about.clone());
        self.waiting.push(Some((check, about)));
        let work = move || {
            // A defect of one look is no reason to hear nothing of the others.
            let found = catch_unwind(AssertUnwindSafe(|| look(&case)));
            let found = found.unwrap_or_else(|_| vec![defect(check, &words, "the look panicked")]);
            // Nobody waits any more when the time was up.
            let _ = send.send((number, found));
        };
        if let Err(error) = thread::Builder::new().name("longshore-doctor".to_owned()).spawn(work) {
            let _ = self.send.send((number, vec![defect(check, "", &format!("no thread for it: {error}"))]));
        }
    }

    /// Does something else for them all, and shows meanwhile how far the looks are; none when it does not end in time.
    pub(super) fn meanwhile<T: Send + 'static>(
        &mut self,
        output: &Output,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (send, answer) = channel();
        let begun =
            thread::Builder::new().name("longshore-doctor".to_owned()).spawn(move || drop(send.send(work())));
        begun.ok()?;
        loop {
            match answer.recv_timeout(self.left().min(SHOW)) {
                Ok(done) => return Some(done),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) if self.left().is_zero() => return None,
                Err(RecvTimeoutError::Timeout) => self.show(output),
            }
        }
    }

    /// Waits for all of them.
    pub(super) fn findings(mut self, output: &Output) -> Vec<Finding> {
        let mut left = self.left();
        while self.found.len() < self.waiting.len() {
            match self.answers.recv_timeout(left.min(SHOW)) {
                Ok(answer) => self.take(answer),
                Err(_) if left.is_zero() => break,
                Err(_) => self.show(output),
            }
            left = self.left();
        }
        if let Some(progress) = self.progress {
            progress.finish();
        }
        // Those of one kind stand as they were begun, whoever answered first.
        self.found.sort_by_key(|(number, _)| *number);
        let mut findings: Vec<Finding> = self.found.into_iter().flat_map(|(_, found)| found).collect();
        let longest = self.longest.as_secs();
        findings.extend(self.waiting.into_iter().flatten().map(|(check, about)| {
            let found = format!("no answer within {longest} s");
            let next = Next::Command("ss -tnp (while doctor runs again, for what it waits for)".to_owned());
            Finding::error(check, about, found, next)
        }));
        findings
    }

    fn take(&mut self, (number, found): (usize, Vec<Finding>)) {
        self.waiting[number] = None;
        self.found.push((number, found));
    }

    fn left(&self) -> Duration {
        self.longest.saturating_sub(self.began.elapsed())
    }

    fn show(&mut self, output: &Output) {
        while let Ok(answer) = self.answers.try_recv() {
            self.take(answer);
        }
        if self.began.elapsed() < PATIENCE {
            return;
        }
        let total = self.waiting.len() as u64;
        let progress = self.progress.get_or_insert_with(|| output.progress("look", Some(total), "looks"));
        progress.tick(self.found.len() as u64);
    }
}

fn defect(check: Check, about: &str, found: &str) -> Finding {
    let next = Next::Command("longshore --version, for a report of this defect".to_owned());
    Finding::error(check, about, found, next)
}

#[cfg(test)]
mod tests {
    use longshore_settings::Sources;

    use super::super::finding::Level;
    use super::*;
    use crate::cli::{Colour, Doctor, Format, Overrides};

    fn case() -> Arc<Case> {
        let text = "pipeline: p\nkind: logs\nkafka: { brokers: 'a:1' }\ninput: { topics: [in] }\nsinks: [ { stdout: {} } ]\n";
        let loaded = longshore_settings::load(Sources::text("p.yaml", text)).unwrap();
        let arguments = Doctor { config: "p.yaml".into(), overrides: Overrides::default() };
        Arc::new(Case::new(loaded, &arguments))
    }

    /// Scenario: of three looks one never ends, and one panics. Guarantee: both are errors, in time, and the third is heard.
    #[test]
    fn a_look_that_hangs_is_a_finding() {
        // Long enough for a busy machine to tell of a panic with its backtrace.
        let mut crew = Crew::new(&case(), Duration::from_secs(4));
        crew.look(Check::Sink, "hangs", |_| {
            loop {
                thread::park();
            }
        });
        crew.look(Check::Sink, "panics", |_| panic!("a defect"));
        crew.look(Check::Http, "well", |_| vec![Finding::ok(Check::Http, "well", "free")]);
        let output = Output::new(Format::Json, Colour::Never);
        let began = Instant::now();
        assert_eq!(crew.meanwhile(&output, || 7), Some(7));
        let findings = crew.findings(&output);
        assert!(began.elapsed() < Duration::from_secs(20));
        let told: Vec<_> = findings.iter().map(|found| (found.about.as_str(), found.level)).collect();
        assert_eq!(told, [("panics", Level::Error), ("well", Level::Ok), ("hangs", Level::Error)]);
        assert!(findings[2].found.starts_with("no answer within"), "{findings:?}");
    }
}
