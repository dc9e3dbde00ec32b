//! Clients for a target: whom they believe over TLS, and who they are.

use reqwest::redirect::Policy;
use reqwest::{ClientBuilder, Url};

use super::target::Target;
use crate::trace::TraceError;

/// A client that goes nowhere but to its target: headers with credentials would follow a redirect to another host (I10).
///
/// # Errors
/// When TLS is wanted and not there, or a file has not what its variable promises.
pub(super) fn client_to(target: &Target, endpoint: &Url) -> Result<ClientBuilder, TraceError> {
    let builder = reqwest::Client::builder().redirect(Policy::none());
    if endpoint.scheme() == "https" { secured(builder, target) } else { Ok(builder) }
}

#[cfg(not(feature = "tls"))]
fn secured(_: ClientBuilder, _: &Target) -> Result<ClientBuilder, TraceError> {
    Err(TraceError::new(
        "this build does not speak TLS; next: an endpoint with http://, or build with --features tls",
    ))
}

#[cfg(feature = "tls")]
fn secured(builder: ClientBuilder, target: &Target) -> Result<ClientBuilder, TraceError> {
    let trust = &target.trust;
    let builder = match &trust.authorities {
        Some(file) => builder.tls_certs_only(authorities(file)?),
        None => builder,
    };
    match (&trust.certificate, &trust.key) {
        (Some(certificate), Some(key)) => Ok(builder.identity(identity(certificate, key)?)),
        (None, None) => Ok(builder),
        (Some(_), None) | (None, Some(_)) => {
            Err(TraceError::new(format!("{CERTIFICATE} and {KEY} go together; next: set both")))
        }
    }
}

#[cfg(feature = "tls")]
const AUTHORITIES: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";
#[cfg(feature = "tls")]
const CERTIFICATE: &str = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE";
#[cfg(feature = "tls")]
const KEY: &str = "OTEL_EXPORTER_OTLP_CLIENT_KEY";

#[cfg(feature = "tls")]
fn authorities(file: &std::path::Path) -> Result<Vec<reqwest::Certificate>, TraceError> {
    // A file without any block is read as one without any authority, which nobody would be believed by.
    let found = reqwest::Certificate::from_pem_bundle(&bytes(file, AUTHORITIES)?).ok();
    let found = found.filter(|found| !found.is_empty());
    found.ok_or_else(|| TraceError::new(format!("the file of {AUTHORITIES} has no certificate as PEM")))
}

#[cfg(feature = "tls")]
fn identity(certificate: &std::path::Path, key: &std::path::Path) -> Result<reqwest::Identity, TraceError> {
    let identity = reqwest::Identity::from_pkcs8_pem(&bytes(certificate, CERTIFICATE)?, &bytes(key, KEY)?);
    identity.map_err(|_| {
        let wanted = "a certificate and its key as PKCS #8, each as PEM";
        let next = "`openssl pkcs8 -topk8 -nocrypt` makes one of a key that says RSA or EC";
        TraceError::new(format!("{CERTIFICATE} and {KEY} are to be {wanted}; next: {next}"))
    })
}

#[cfg(feature = "tls")]
fn bytes(file: &std::path::Path, variable: &str) -> Result<Vec<u8>, TraceError> {
    std::fs::read(file).map_err(|error| TraceError::new(format!("the file of {variable}: {error}")))
}
