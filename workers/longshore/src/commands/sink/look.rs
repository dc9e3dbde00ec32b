//! From a pipeline file's sink to those who read its store.

use longshore_settings::{Pipeline, SinkEntry, SinkKind};
use longshore_sinks::inspect::{PairSummary, Verified};

use super::Told;
use crate::exit::End;

/// What the ledgers of a sink say; none where no ledger is kept.
pub(super) fn survey(
    pipeline: &Pipeline,
    sink: &SinkEntry,
    generation: Option<u32>,
    told: &Told,
) -> Result<Option<Vec<PairSummary>>, End> {
    match &sink.kind {
        SinkKind::Files(_) | SinkKind::Objects(_) => lake::survey(pipeline, sink, generation, told).map(Some),
        SinkKind::Postgres(options) => {
            let mut pairs = table::survey(pipeline, sink, options)?;
            pairs.retain(|pair| generation.is_none_or(|wanted| wanted == pair.generation));
            Ok(Some(pairs))
        }
        SinkKind::Topic(_) | SinkKind::Stdout(_) => Ok(None),
    }
}

/// What is wrong with what a sink holds; none where no ledger is kept.
pub(super) fn verify(
    pipeline: &Pipeline,
    sink: &SinkEntry,
    generation: Option<u32>,
    rows: bool,
    told: &Told,
) -> Result<Option<Verified>, End> {
    match &sink.kind {
        SinkKind::Files(_) | SinkKind::Objects(_) => {
            lake::verify(pipeline, sink, generation, rows, told).map(Some)
        }
        SinkKind::Postgres(options) => {
            table::verify(pipeline, sink, options, (generation, rows), told).map(Some)
        }
        SinkKind::Topic(_) | SinkKind::Stdout(_) => Ok(None),
    }
}

#[cfg(not(all(feature = "objects", feature = "postgres")))]
pub(super) fn without<T>(sink: &SinkEntry, feature: &str) -> Result<T, End> {
    let message = format!(
        "sink {}: this build was made without the feature `{feature}`, which reads what it holds",
        sink.name
    );
    Err(crate::worker::plan::configuration(message))
}

#[cfg(feature = "objects")]
pub(super) mod lake {
    use std::sync::Arc;

    use longshore_settings::ObjectsSinkOptions;
    use longshore_sinks::objects::Place;
    use longshore_sinks::objects::inspect::{self, Asked, Layout, Source, Tell};
    use tokio::runtime::Runtime;

    use super::*;
    use crate::exit::Exit;
    use crate::worker::objects::place;
    use crate::worker::plan::configuration;

    /// An object of fewer bytes is small: a reader spends more on opening it than on reading it.
    const SMALL_BYTES: u64 = 8 << 20;

    /// The place of a sink that writes files or objects.
    pub(in crate::commands::sink) fn source(
        pipeline: &Pipeline,
        sink: &SinkEntry,
        generation: Option<u32>,
    ) -> Result<Source, End> {
        let (place, layout) = match &sink.kind {
            SinkKind::Files(options) => (Place::Folder(options.path.clone()), Layout::Trailers),
            SinkKind::Objects(options) => {
                let refused = |words| configuration(format!("sink {}: {words}", sink.name));
                (place(options).map_err(refused)?, Layout::Entries)
            }
            SinkKind::Postgres(_) | SinkKind::Topic(_) | SinkKind::Stdout(_) => {
                return Err(configuration(format!("sink {} writes no files", sink.name)));
            }
        };
        let source = Source::new(&place, layout, &pipeline.pipeline, generation);
        Ok(source.map_err(|failure| failure.at(&sink.name))?)
    }

    /// A place that was named on the command line, with row groups and a level as the sink's. A bucket is reached as the sink's own is.
    pub(in crate::commands::sink) fn out(sink: &SinkEntry, url: &str) -> Result<(Place, u64, i32), End> {
        let refused = |words: String| End::new(Exit::Usage, format!("--out {url}: {words}"));
        let mut options = match &sink.kind {
            SinkKind::Objects(options) => (**options).clone(),
            _ => {
                let plain = serde_json::json!({ "url": url });
                serde_json::from_value::<ObjectsSinkOptions>(plain)
                    .map_err(|error| refused(error.to_string()))?
            }
        };
        options.url = url.to_owned();
        let place = place(&options).map_err(refused)?;
        Ok((place, options.row_group.get(), options.level))
    }

    /// A runtime on all cores.
    pub(in crate::commands::sink) fn runtime() -> Result<Runtime, End> {
        Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
    }

    pub(super) fn survey(
        pipeline: &Pipeline,
        sink: &SinkEntry,
        generation: Option<u32>,
        told: &Told,
    ) -> Result<Vec<PairSummary>, End> {
        let source = source(pipeline, sink, generation)?;
        let read = runtime()?.block_on(inspect::survey(&source, &tell(told)));
        Ok(read.map_err(|failure| failure.at(&sink.name))?)
    }

    pub(super) fn verify(
        pipeline: &Pipeline,
        sink: &SinkEntry,
        generation: Option<u32>,
        rows: bool,
        told: &Told,
    ) -> Result<Verified, End> {
        let source = source(pipeline, sink, generation)?;
        let asked = Asked { rows, small: SMALL_BYTES };
        let read = runtime()?.block_on(inspect::verify(&source, asked, &tell(told)));
        Ok(read.map_err(|failure| failure.at(&sink.name))?)
    }

    pub(in crate::commands::sink) fn tell(told: &Told) -> Tell {
        let told = told.clone();
        Arc::new(move |count| told.more(count))
    }
}

#[cfg(not(feature = "objects"))]
mod lake {
    use super::*;

    pub(super) fn survey(
        _: &Pipeline,
        sink: &SinkEntry,
        _: Option<u32>,
        _: &Told,
    ) -> Result<Vec<PairSummary>, End> {
        without(sink, "objects")
    }

    pub(super) fn verify(
        _: &Pipeline,
        sink: &SinkEntry,
        _: Option<u32>,
        _: bool,
        _: &Told,
    ) -> Result<Verified, End> {
        without(sink, "objects")
    }
}

#[cfg(feature = "postgres")]
mod table {
    use longshore_settings::PostgresSinkOptions;
    use longshore_sinks::postgres::inspect;

    use super::*;
    use crate::commands::common::answer::runtime;
    use crate::worker::postgres::given;

    pub(super) fn survey(
        pipeline: &Pipeline,
        sink: &SinkEntry,
        options: &PostgresSinkOptions,
    ) -> Result<Vec<PairSummary>, End> {
        let given = given(sink, options)?;
        Ok(runtime()?.block_on(inspect::survey(&pipeline.pipeline, &sink.name, &given))?)
    }

    pub(super) fn verify(
        pipeline: &Pipeline,
        sink: &SinkEntry,
        options: &PostgresSinkOptions,
        (generation, rows): (Option<u32>, bool),
        told: &Told,
    ) -> Result<Verified, End> {
        let (given, tell) = (given(sink, options)?, |count| told.more(count));
        let read = inspect::verify(&pipeline.pipeline, &sink.name, &given, generation, rows, &tell);
        Ok(runtime()?.block_on(read)?)
    }
}

#[cfg(not(feature = "postgres"))]
mod table {
    use longshore_settings::PostgresSinkOptions;

    use super::*;

    pub(super) fn survey(
        _: &Pipeline,
        sink: &SinkEntry,
        _: &PostgresSinkOptions,
    ) -> Result<Vec<PairSummary>, End> {
        without(sink, "postgres")
    }

    pub(super) fn verify(
        _: &Pipeline,
        sink: &SinkEntry,
        _: &PostgresSinkOptions,
        _: (Option<u32>, bool),
        _: &Told,
    ) -> Result<Verified, End> {
        without(sink, "postgres")
    }
}
