//! `longshore scaler`: answers for a fleet that may stand at zero, over HTTP and as KEDA's external scaler.

use longshore_settings::Pipeline;
use tokio::net::TcpListener;

use super::check;
use crate::cli::Scaler;
use crate::exit::{End, Exit};
use crate::output::Output;
use crate::scale::{Fleet, Mode, Watch, external, page};
use crate::worker::signals;

pub(crate) fn run(arguments: &Scaler, output: &Output) -> Result<(), End> {
    let loaded = check::load(&arguments.pipeline, &arguments.overrides, output)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let served = runtime.block_on(serve(arguments, &loaded.pipeline, output));
    runtime.shutdown_background();
    served
}

/// Serves until SIGTERM or Ctrl-C.
async fn serve(arguments: &Scaler, pipeline: &Pipeline, output: &Output) -> Result<(), End> {
    let address = arguments.listen;
    let taken = |error| {
        End::new(
            Exit::Configuration,
            format!("cannot listen on {address}: {error}\n  next: choose another with --listen"),
        )
    };
    let listener = TcpListener::bind(address).await.map_err(taken)?;
    let bound = listener.local_addr()?;
    let watch = Watch::start(Fleet::of(pipeline), Mode::Scaler)?;
    output
        .note(format_args!("scaler of {}: gRPC and HTTP (/scale, /livez) bound={bound}", pipeline.pipeline));
    let asked = watch.clone();
    let pages = axum::Router::new()
        .route("/livez", axum::routing::get(|| async { "ok\n" }))
        .route("/scale", axum::routing::get(move || async move { page::scale(&asked) }));
    let served = axum::serve(listener, pages.merge(external::routes(watch)));
    // Whoever is still listening to a stream is not waited for.
    tokio::select! {
        served = served => served.map_err(End::from),
        () = signals::stop() => Ok(()),
    }
}
