//! `longshore top`: the whole fleet, looked at again and again.

mod cells;
mod choice;
mod frame;
mod line;
mod panel;
mod screen;

use std::sync::Arc;
use std::time::Duration;

use crossterm::event::{Event, KeyEventKind};
use longshore_core::Failure;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use self::frame::{Known, Size, draw};
use self::panel::{Panel, Wish};
use self::screen::Screen;
use super::connection;
use crate::cli::Format;
use crate::cli::top::Top;
use crate::exit::{End, Exit};
use crate::fleet::Looker;
use crate::fleet::view::View;
use crate::output::Output;
use crate::worker::signals;

pub(crate) fn run(arguments: &Top, output: &Output) -> Result<(), End> {
    let usage = |wrong: String| End::new(Exit::Usage, wrong);
    let panel = Panel::new(&arguments.sort, arguments.reverse, &arguments.filter).map_err(usage)?;
    let why = "its group is how the fleet is found";
    let (loaded, options) = connection::pipeline(&arguments.connection, why, output)?;
    let looker = Looker::new(&loaded.pipeline, loaded.fingerprint(), options);
    let threads = |error| End::new(Exit::Internal, format!("cannot start threads: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(threads)?;
    let once = arguments.once || output.format() != Format::Table || !screen::is_terminal();
    let result = if once {
        runtime.block_on(looker.look()).map_err(End::from).and_then(|view| print(&view, panel, output))
    } else {
        let top = Watch {
            looker,
            panel,
            colour: output.data_colour(),
            every: Duration::from_secs(arguments.interval),
        };
        runtime.block_on(top.run())
    };
    // A question to a broker that is away goes on for seconds; nobody waits for its answer any more.
    runtime.shutdown_background();
    result
}

/// One frame of text, or the view as JSON with the partitions that were chosen.
fn print(view: &View, mut panel: Panel, output: &Output) -> Result<(), End> {
    match output.format() {
        Format::Table => {
            let size = Size { width: screen::printed_width(), height: None };
            let frame = draw(&Known { view: Some(view), trouble: None }, &mut panel, size);
            frame.lines.iter().for_each(|line| output.line(line.text(output.data_colour())));
            Ok(())
        }
        Format::Json | Format::Ndjson => output.document(&choice::chosen(view, &panel.filter, panel.sort)),
    }
}

type Look = JoinHandle<Result<Arc<View>, Failure>>;

/// The screen, until somebody leaves.
struct Watch {
    looker: Looker,
    panel: Panel,
    colour: bool,
    every: Duration,
}

impl Watch {
    async fn run(mut self) -> Result<(), End> {
        // First, so that no signal leaves the terminal as it is taken.
        let stop = signals::stop();
        let screen = Screen::take()?;
        let mut keys = read_keys()?;
        let (mut view, mut trouble): (Option<Arc<View>>, Option<String>) = (None, None);
        let mut look: Option<Look> = Some(self.look());
        let mut next = Instant::now();
        tokio::pin!(stop);
        loop {
            let known = Known { view: view.as_deref(), trouble: trouble.as_deref() };
            let drawn = draw(&known, &mut self.panel, screen.size());
            screen.draw(&drawn.lines, self.colour)?;
            let idle = look.is_none();
            let looked = async {
                match look.as_mut() {
                    Some(look) => look.await,
                    None => std::future::pending().await,
                }
            };
            // Every branch is cancel-safe: a look goes on in its own task, a key stays in the channel.
            tokio::select! {
                () = &mut stop => return Ok(()),
                event = keys.recv() => match event {
                    Some(Event::Key(key)) if key.kind != KeyEventKind::Release => {
                        if self.panel.key(key, drawn.page) == Wish::Leave {
                            return Ok(());
                        }
                    }
                    // A new size is seen at the next drawing, as is whatever else came.
                    Some(_) => {}
                    // The terminal has gone.
                    None => return Ok(()),
                },
                said = looked => {
                    look = None;
                    next = Instant::now() + self.every;
                    match said {
                        Ok(Ok(seen)) => (view, trouble) = (Some(seen), None),
                        Ok(Err(failure)) => trouble = Some(told(&failure, view.as_deref())),
                        Err(broken) => return Err(End::new(Exit::Internal, format!("the look broke: {broken}"))),
                    }
                }
                () = sleep_until(next), if idle => look = Some(self.look()),
            }
        }
    }

    /// Looks in a task of its own, so that keys are served meanwhile.
    fn look(&self) -> Look {
        let looker = self.looker.clone();
        tokio::spawn(async move { looker.look().await })
    }
}

/// Why there is no news, and how old what is shown is.
fn told(failure: &Failure, view: Option<&View>) -> String {
    match view.and_then(|view| view.at.get(11..19)) {
        Some(time) => format!("as of {time}; not seen since: {failure}"),
        None => format!("not seen yet: {failure}"),
    }
}

/// What is pressed, and new sizes, read by a thread of its own; the channel ends when the terminal does.
fn read_keys() -> Result<UnboundedReceiver<Event>, End> {
    let (send, keys) = unbounded_channel();
    let read = move || {
        while let Ok(event) = crossterm::event::read() {
            if send.send(event).is_err() {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name("longshore-keys".to_owned()).spawn(read);
    thread.map_err(|error| End::new(Exit::Internal, format!("cannot start a thread: {error}")))?;
    Ok(keys)
}
