//! `longshore tap`: records of a topic as they come. Reads without a group, so nothing is committed and no worker is
//! disturbed.

mod show;

use std::io::IsTerminal;
use std::time::Duration;

use longshore_kafka::{ReadFrom, ReadUntil, Reader};

use super::connection;
use crate::cli::{Format, Tap};
use crate::exit::{End, Exit};
use crate::output::{Output, counted};

/// How long one look for records takes.
const LOOK: Duration = Duration::from_millis(500);

pub(crate) fn run(arguments: &Tap, output: &Output) -> Result<(), End> {
    if output.format() == Format::Json {
        let words = "tap prints records as they come, so not as one JSON document; use -o ndjson";
        return Err(End::new(Exit::Usage, words));
    }
    let target = connection::target(&arguments.connection, output)?;
    let topic = target.topic(arguments.topic.as_deref())?;
    let from = if arguments.from_beginning { ReadFrom::Start } else { ReadFrom::End };
    let until = if arguments.until_end { ReadUntil::EndNow } else { ReadUntil::Forever };
    let mut reader = Reader::open(&target.options, &topic, from, until)?;
    if std::io::stderr().is_terminal() && !arguments.until_end {
        output.note(format_args!("waiting for records of {topic}; Ctrl-C ends it"));
    }
    let shown = show(&mut reader, &topic, arguments.limit.unwrap_or(u64::MAX), output)?;
    if arguments.until_end {
        output.note(format_args!("{} of {topic}", counted(shown, "record")));
    }
    Ok(())
}

/// Prints until the end, the limit, or until nobody reads our output any more; how many records were printed.
fn show(reader: &mut Reader, topic: &str, limit: u64, output: &Output) -> Result<u64, End> {
    let width = show::terminal_width();
    let mut shown = 0;
    while shown < limit
        && let Some(batch) = reader.next_batch(LOOK)?
    {
        for record in batch {
            match output.format() {
                Format::Table => output.line(show::line(&record, width)),
                Format::Json | Format::Ndjson => output.line(show::json(topic, &record)),
            }
            shown += 1;
            if shown == limit || output.closed() {
                return Ok(shown);
            }
        }
    }
    Ok(shown)
}
