//! `longshore scaler`: answers for a fleet that may stand at zero, over HTTP and as KEDA's external scaler.

use std::path::Path;

use axum::Router;
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
    let asked = watch.clone();
    let pages = Router::new()
        .route("/livez", axum::routing::get(|| async { "ok\n" }))
        .route("/scale", axum::routing::get(move || async move { page::scale(&asked) }));
    let routes = pages.merge(external::routes(watch));
    let tell = |how: &str| {
        output.note(format_args!(
            "scaler of {}: gRPC and HTTP (/scale, /livez){how} bound={bound}",
            pipeline.pipeline
        ));
    };
    // Whoever is still listening to a stream is not waited for.
    match (&arguments.tls_certificate, &arguments.tls_key) {
        (Some(certificate), Some(key)) => encrypted(listener, certificate, key, routes, tell, output).await,
        _ => {
            tell("");
            tokio::select! {
                served = axum::serve(listener, routes) => served.map_err(End::from),
                () = signals::stop() => Ok(()),
            }
        }
    }
}

#[cfg(feature = "tls")]
async fn encrypted(
    listener: TcpListener,
    certificate: &Path,
    key: &Path,
    routes: Router,
    tell: impl Fn(&str),
    output: &Output,
) -> Result<(), End> {
    use crate::scale::tls::{Files, Tls};

    let files = Files { certificate: certificate.to_path_buf(), key: key.to_path_buf() };
    let (news, mut heard) = tokio::sync::mpsc::channel(8);
    let unfit = |why| {
        let next = "next: two PEM files, the certificate and its key without a password";
        End::new(Exit::Configuration, format!("no TLS: {why}\n  {next}"))
    };
    let listener = Tls::new(listener, files, news).map_err(unfit)?;
    tell(" over TLS");
    let telling = async {
        while let Some(news) = heard.recv().await {
            output.note(news);
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        served = axum::serve(listener, routes) => served.map_err(End::from),
        () = telling => Ok(()),
        () = signals::stop() => Ok(()),
    }
}

#[cfg(not(feature = "tls"))]
async fn encrypted(
    _: TcpListener,
    _: &Path,
    _: &Path,
    _: Router,
    _: impl Fn(&str),
    _: &Output,
) -> Result<(), End> {
    let next = "next: build it with the feature tls";
    Err(End::new(Exit::Configuration, format!("no TLS: this command was built without it\n  {next}")))
}
