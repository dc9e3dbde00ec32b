//! Looks at the group every few seconds, in a thread of its own, for as long as somebody asks.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use longshore_core::Moment;
use longshore_core::scale::{Answer, Look, Scaler};
use longshore_kafka::Admin;

use super::{Fleet, Unknown};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(5);
/// How long one question to the broker may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// An answer that is older is none.
const STALE: Duration = Duration::from_secs(20);
/// Who was not asked for so long looks no more: an autoscaler asks every minute or less, but any of the workers.
const UNASKED: Duration = Duration::from_secs(3_600);

/// Who watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A worker: once it is asked, and only while the group has members, of which it will be one.
    Worker,
    /// A process of its own, which has to know when the first worker is needed.
    Scaler,
}

/// A watch over a fleet; clones share it.
#[derive(Clone)]
pub(crate) struct Watch {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    asked: Condvar,
}

struct State {
    /// When somebody asked last.
    asked: Option<Instant>,
    /// What the last look said, and when.
    latest: Option<(Instant, Result<Answer, Unknown>)>,
}

impl Watch {
    /// Begins to watch.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub(crate) fn start(fleet: Fleet, mode: Mode) -> std::io::Result<Self> {
        let state = State { asked: None, latest: None };
        let shared = Arc::new(Shared { state: Mutex::new(state), asked: Condvar::new() });
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("longshore-scale".to_owned());
        thread.spawn(move || own.watch(&fleet, mode))?;
        Ok(Self { shared })
    }

    /// How many pods the fleet is to have by the last look.
    pub(crate) fn ask(&self) -> Result<Answer, Unknown> {
        let mut state = self.shared.lock();
        state.asked = Some(Instant::now());
        self.shared.asked.notify_all();
        match &state.latest {
            Some((at, latest)) if at.elapsed() <= STALE => latest.clone(),
            Some(_) => Err(Unknown::new("broker", "the last look at the group is too old")),
            None => Err(Unknown::new("early", "the group was not looked at yet")),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread, for as long as the process lives.
    fn watch(&self, fleet: &Fleet, mode: Mode) {
        let began = Instant::now();
        let mut scaler = Scaler::new(fleet.policy);
        let mut admin = None;
        loop {
            if mode == Mode::Worker && self.wait_until_asked() {
                // What was seen an hour ago is no beginning.
                (scaler, admin) = (Scaler::new(fleet.policy), None);
            }
            let said = look(fleet, mode, &mut admin, &mut scaler, began);
            self.lock().latest = Some((Instant::now(), said));
            // The pause between two looks.
            std::thread::sleep(EVERY);
        }
    }

    /// Waits while nobody wants to know; whether it had to.
    fn wait_until_asked(&self) -> bool {
        let idle = |state: &mut State| state.asked.is_none_or(|asked| asked.elapsed() > UNASKED);
        let mut state = self.lock();
        if !idle(&mut state) {
            return false;
        }
        state.latest = None;
        drop(self.asked.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner));
        true
    }
}

fn look(
    fleet: &Fleet,
    mode: Mode,
    admin: &mut Option<Admin>,
    scaler: &mut Scaler,
    began: Instant,
) -> Result<Answer, Unknown> {
    let open = match admin.take() {
        Some(open) => open,
        None => Admin::with_deadline(&fleet.options, DEADLINE)
            .map_err(|failure| Unknown::new("broker", failure))?,
    };
    let open = admin.insert(open);
    let found = open.fleet(&fleet.group, &fleet.topics).map_err(|failure| Unknown::new("broker", failure))?;
    if mode == Mode::Worker && found.members == 0 {
        return Err(Unknown::new("members", "no worker is a member of the group yet"));
    }
    let at = Moment(began.elapsed());
    let look =
        Look { at, members: found.members, rebalancing: found.rebalancing, partitions: found.partitions };
    scaler.look(&look).map_err(|early| Unknown::new("early", early))
}
