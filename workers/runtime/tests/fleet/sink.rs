//! A ledger-keeping sink and a letter sink in memory, with trouble on demand.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longshore_core::ledger::{LedgerView, Trailer};
use longshore_core::pair::Letter;
use longshore_core::sink::{Encode, Published, SegmentWriter, Sink, WriterContext};
use longshore_core::{Block, BoxFuture, Failure, Item, Offset, PairId, Row};
use longshore_runtime::LetterSink;

/// One row as published.
pub(crate) type Held = (Offset, Vec<u8>);

/// A published segment.
type Segment = (Trailer, Vec<Held>);

#[derive(Default)]
pub(crate) struct Store {
    pub(crate) segments: Mutex<BTreeMap<PairId, Vec<Segment>>>,
    /// What every call answers while it is set.
    pub(crate) trouble: Mutex<Option<Failure>>,
    /// What recovery answers while it is set.
    pub(crate) recovery_trouble: Mutex<Option<Failure>>,
    /// How long a publish takes.
    pub(crate) publish_time: Mutex<Duration>,
}

impl Store {
    pub(crate) fn rows(&self, pair: &PairId) -> Vec<Held> {
        let segments = self.segments.lock().unwrap();
        segments.get(pair).into_iter().flatten().flat_map(|(_, rows)| rows.clone()).collect()
    }

    pub(crate) fn offsets(&self, pair: &PairId) -> Vec<i64> {
        self.rows(pair).into_iter().map(|(offset, _)| offset.0).collect()
    }

    pub(crate) fn filtered(&self, pair: &PairId) -> u64 {
        let segments = self.segments.lock().unwrap();
        segments.get(pair).into_iter().flatten().flat_map(|(trailer, _)| trailer.filtered.values()).sum()
    }

    pub(crate) fn set_trouble(&self, trouble: Option<Failure>) {
        *self.trouble.lock().unwrap() = trouble;
    }

    fn refuse(&self) -> Result<(), Failure> {
        self.trouble.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

pub(crate) struct MemorySink {
    pub(crate) name: String,
    pub(crate) store: Arc<Store>,
}

struct Lines;

impl Encode for Lines {
    fn encode(&self, item: &Item, block: &mut Block) -> Result<(), Failure> {
        let start = block.bytes.len() as u32;
        block.bytes.extend_from_slice(item.raw().unwrap_or_default());
        let value = Some(start..block.bytes.len() as u32);
        block.rows.push(Row { offset: item.source.offset(), key: None, value, headers: Vec::new() });
        Ok(())
    }
}

impl Sink for MemorySink {
    fn name(&self) -> &str {
        &self.name
    }

    fn has_ledger(&self) -> bool {
        true
    }

    fn encoder(&self) -> Arc<dyn Encode> {
        Arc::new(Lines)
    }

    fn open(&self, context: WriterContext) -> Box<dyn SegmentWriter> {
        let store = Arc::clone(&self.store);
        Box::new(MemoryWriter { store, context, open: Vec::new(), sealed: None })
    }
}

struct MemoryWriter {
    store: Arc<Store>,
    context: WriterContext,
    open: Vec<Held>,
    sealed: Option<Vec<Held>>,
}

impl SegmentWriter for MemoryWriter {
    fn recover(&mut self) -> BoxFuture<'_, Result<LedgerView, Failure>> {
        Box::pin(async {
            if let Some(failure) = self.store.recovery_trouble.lock().unwrap().clone() {
                return Err(failure);
            }
            let mut view = LedgerView::default();
            let segments = self.store.segments.lock().unwrap();
            segments
                .get(&self.context.pair)
                .into_iter()
                .flatten()
                .for_each(|(trailer, _)| view.fold(trailer));
            Ok(view)
        })
    }

    fn append<'a>(&'a mut self, block: &'a Block) -> BoxFuture<'a, Result<u64, Failure>> {
        Box::pin(async move {
            self.store.refuse()?;
            for row in &block.rows {
                let value = row.value.clone().unwrap_or_default();
                let bytes = block.bytes[value.start as usize..value.end as usize].to_vec();
                self.open.push((row.offset, bytes));
            }
            Ok(self.open.iter().map(|(_, bytes)| bytes.len() as u64).sum())
        })
    }

    fn seal(&mut self) -> Result<(), Failure> {
        self.store.refuse()?;
        self.sealed = Some(std::mem::take(&mut self.open));
        Ok(())
    }

    fn publish<'a>(&'a mut self, trailer: &'a Trailer) -> BoxFuture<'a, Result<Published, Failure>> {
        Box::pin(async move {
            let wait = *self.store.publish_time.lock().unwrap();
            tokio::time::sleep(wait).await;
            self.store.refuse()?;
            let mut segments = self.store.segments.lock().unwrap();
            let held = segments.entry(self.context.pair.clone()).or_default();
            if let Some((taken, _)) = held.get(trailer.sequence.0 as usize) {
                let ours = taken.writer == trailer.writer;
                return Ok(if ours { Published::TakenByUs } else { Published::TakenByOther(taken.writer) });
            }
            assert_eq!(held.len() as u64, trailer.sequence.0, "a number was skipped");
            let rows = self.sealed.take().expect("sealed before publish");
            assert_eq!(rows.len() as u64, trailer.rows);
            held.push((trailer.clone(), rows));
            Ok(Published::Done(Vec::new()))
        })
    }
}

/// Keeps letters after refusing the first `refusals` tries; while `silent`, it gives no answer at all.
#[derive(Default)]
pub(crate) struct MemoryLetters {
    pub(crate) kept: Mutex<Vec<Letter>>,
    pub(crate) refusals: Mutex<Vec<Failure>>,
    pub(crate) silent: AtomicBool,
    pub(crate) asked: AtomicUsize,
}

impl MemoryLetters {
    pub(crate) fn reasons(&self) -> Vec<(i64, &'static str)> {
        let kept = self.kept.lock().unwrap();
        kept.iter().map(|letter| (letter.record.offset().0, letter.failure.reason.code())).collect()
    }
}

impl LetterSink for MemoryLetters {
    fn send<'a>(&'a self, letters: &'a [Letter], _: i64) -> BoxFuture<'a, Vec<Result<(), Failure>>> {
        Box::pin(async move {
            self.asked.fetch_add(letters.len(), Ordering::SeqCst);
            while self.silent.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            let answer = |letter: &Letter| {
                if let Some(failure) = self.refusals.lock().unwrap().pop() {
                    return Err(failure);
                }
                self.kept.lock().unwrap().push(letter.clone());
                Ok(())
            };
            letters.iter().map(answer).collect()
        })
    }
}
