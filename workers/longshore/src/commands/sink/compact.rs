//! `longshore sink compact`: the files of a sink once more, fewer and larger, in a new place.

use longshore_settings::{Pipeline, SinkEntry, SinkKind};

use super::{chosen, pipeline};
use crate::cli::sink::SinkCompact;
use crate::exit::{End, Exit};
use crate::output::Output;

pub(super) fn run(arguments: &SinkCompact, output: &Output) -> Result<(), End> {
    let pipeline = pipeline(&arguments.meant, output)?;
    let sinks = chosen(&pipeline, &arguments.meant, output)?;
    let sink = match &sinks[..] {
        [sink] => sink,
        _ => {
            let names: Vec<&str> = sinks.iter().map(|sink| sink.name.as_str()).collect();
            let words = format!("name the sink, one of {}", names.join(", "));
            return Err(End::new(Exit::Usage, words));
        }
    };
    if let SinkKind::Postgres(options) = &sink.kind {
        let words = format!(
            "sink {} keeps its rows in table {}: there are no files to merge",
            sink.name, options.table
        );
        return Err(End::new(Exit::Usage, words));
    }
    merged(&pipeline, sink, arguments, output)
}

#[cfg(not(feature = "objects"))]
fn merged(_: &Pipeline, sink: &SinkEntry, _: &SinkCompact, _: &Output) -> Result<(), End> {
    super::look::without(sink, "objects")
}

#[cfg(feature = "objects")]
fn merged(
    pipeline: &Pipeline,
    sink: &SinkEntry,
    arguments: &SinkCompact,
    output: &Output,
) -> Result<(), End> {
    use longshore_sinks::objects::inspect::{Compaction, compact};

    use super::look::lake;
    use super::{Told, size};
    use crate::cli::Format;
    use crate::output::{counted, grouped};

    let generation = arguments.meant.generation.unwrap_or(pipeline.generation);
    let source = lake::source(pipeline, sink, Some(generation))?;
    let (out, row_group, level) = lake::out(sink, &arguments.out)?;
    let asked = Compaction { out, bytes: arguments.bytes.get(), row_group, level };
    let told = Told::new(output, &format!("merge {}", sink.name), "objects");
    let done = lake::runtime()?.block_on(compact(&source, &asked, &lake::tell(&told)));
    told.finish();
    let done = done.map_err(|failure| failure.at(&sink.name))?;
    if output.format() != Format::Table {
        return output.json(&done);
    }
    let what = if done.resumed {
        "an earlier run had made the files: they have their names now".to_owned()
    } else {
        format!("{} of {}", counted(done.objects_before, "object"), size(done.bytes_before))
    };
    output.line(format_args!(
        "{}: {what}; now {} of {} with {} rows in {}",
        sink.name,
        counted(done.objects, "object"),
        size(done.bytes),
        grouped(done.rows),
        arguments.out
    ));
    Ok(())
}
