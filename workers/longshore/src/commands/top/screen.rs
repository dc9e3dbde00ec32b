//! The terminal: taken, drawn on, and given back as it was, whatever ends the process in order.

use std::io::{IsTerminal, Write};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen,
    LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use crossterm::{execute, queue};

use super::frame::Size;
use super::line::Line;

/// What a terminal has that tells nothing, as a pipe.
const COLUMNS: usize = 80;

/// Whether keys can be read and a screen be drawn.
pub(super) fn is_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// The width for a frame that is printed once.
pub(super) fn printed_width() -> usize {
    let told =
        std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok()).filter(|columns| *columns > 0);
    let terminal =
        || std::io::stdout().is_terminal().then(size)?.ok().map(|(columns, _)| usize::from(columns));
    told.or_else(terminal).filter(|columns| *columns > 0).unwrap_or(COLUMNS)
}

/// Whether the terminal is ours at the moment.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// A terminal of our own until it is dropped, or the process panics.
#[derive(Debug)]
pub(super) struct Screen;

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// When it cannot be switched.
    pub(super) fn take() -> std::io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                // First, so that what is said of the panic is seen.
                give_back();
                before(panic);
            }));
        });
        enable_raw_mode()?;
        TAKEN.store(true, Ordering::SeqCst);
        let screen = Self;
        execute!(std::io::stdout(), EnterAlternateScreen, Hide)?;
        Ok(screen)
    }

    /// As large as it is now.
    pub(super) fn size(&self) -> Size {
        let (columns, lines) = size().unwrap_or((COLUMNS as u16, 24));
        Size { width: usize::from(columns.max(1)), height: Some(usize::from(lines.max(1))) }
    }

    /// Draws all lines over what was there.
    ///
    /// # Errors
    /// When the terminal has gone.
    pub(super) fn draw(&self, lines: &[Line], colour: bool) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        queue!(out, BeginSynchronizedUpdate)?;
        for (row, line) in (0_u16..).zip(lines) {
            // Cleared first: behind a line of the full width the cursor still stands on its last letter.
            queue!(out, MoveTo(0, row), Clear(ClearType::UntilNewLine))?;
            out.write_all(line.text(colour).as_bytes())?;
        }
        queue!(out, EndSynchronizedUpdate)?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Once, and with nothing left to do when the terminal has gone.
fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        let _ = execute!(std::io::stdout(), Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
    }
}
