//! `longshore health`: asks the worker of this machine, for those who end what is not well and have no HTTP client, such as the health
//! check of a container without a shell.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use longshore_settings::Listen;

use super::check;
use super::common::page;
use crate::cli::Health;
use crate::exit::{End, Exit};
use crate::output::Output;

/// The pages answer at once, or something is wrong.
const ANSWER: Duration = Duration::from_secs(3);

pub(crate) fn run(arguments: &Health, output: &Output) -> Result<(), End> {
    let address = address(arguments, output)?;
    let path = if arguments.ready { "/readyz" } else { "/livez" };
    match page::get(page::near(address), path, ANSWER) {
        Ok((200, words)) => {
            output.line(words);
            Ok(())
        }
        Ok((code, words)) => Err(End::new(Exit::Failed, format!("{path} of {address} says {code}: {words}"))),
        // Docker keeps every code but 0 and 1 for itself.
        Err(error) => {
            let next =
                "does a worker run here, and is this its `http.listen`? -c PIPELINE takes it from the file";
            Err(End::new(Exit::Failed, format!("no answer of {path} at {address}: {error}\n  next: {next}")))
        }
    }
}

fn address(arguments: &Health, output: &Output) -> Result<SocketAddr, End> {
    if let Some(path) = &arguments.config {
        return match check::load(path, &arguments.overrides, output)?.pipeline.http.listen {
            Listen::At(address) => Ok(address),
            Listen::Off => Err(End::new(Exit::Usage, "`http.listen` is off in this pipeline file")),
        };
    }
    let text = &arguments.address;
    let found = text.to_socket_addrs().ok().and_then(|mut found| found.next());
    found.ok_or_else(|| {
        End::new(Exit::Usage, format!("--address {text}: write an address such as 127.0.0.1:8080"))
    })
}
