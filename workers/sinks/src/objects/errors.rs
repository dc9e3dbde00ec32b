//! Classes of a store's errors.

use longshore_core::{Failure, Reason};
use object_store::Error;
use object_store::path::Path;

/// Classifies an error of a store, by the code in the store's answer where there is one
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>,
/// <https://docs.cloud.google.com/storage/docs/xml-api/reference-status>,
/// <https://learn.microsoft.com/en-us/rest/api/storageservices/blob-service-error-codes>), else by the kind of the error.
///
/// | error | class |
/// |---|---|
/// | no rights, wrong credentials | halt, `sink.denied` |
/// | a request that this store does not know, a wrong region, a name it does not take | halt, `sink.unfit` |
/// | no space on a disk | target, `sink.no-space` |
/// | the bucket or an object of ours is gone | target, `sink.missing`: it may come back, see [`absent`] |
/// | everything else (no answer, 5xx, slow down, credentials that have expired) | target, `sink.unavailable` |
///
/// The answer's text stays out of the detail: it may hold tokens (I10).
pub(super) fn failure(doing: &str, name: &Path, error: &Error) -> Failure {
    let text = error.to_string();
    if let Some(code) = code_of(&text) {
        let detail = format!("{doing} {name}: the store says {code}");
        return match code {
            "AccessDenied"
            | "AccountIsDisabled"
            | "AccountProblem"
            | "AllAccessDisabled"
            | "AuthenticationFailed"
            | "AuthenticationRequired"
            | "AuthorizationFailure"
            | "AuthorizationPermissionMismatch"
            | "InsufficientAccountPermissions"
            | "InvalidAccessKeyId"
            | "SignatureDoesNotMatch" => Failure::halt(Reason::SinkDenied, detail),
            "AuthorizationHeaderMalformed"
            | "EntityTooLarge"
            | "InvalidArgument"
            | "InvalidBucketName"
            | "InvalidRequest"
            | "InvalidResourceName"
            | "InvalidStorageClass"
            | "KeyTooLongError"
            | "MalformedXML"
            | "MethodNotAllowed"
            | "NotImplemented"
            | "PermanentRedirect"
            | "XAmzContentSHA256Mismatch" => Failure::halt(Reason::SinkUnfit, detail),
            "BlobNotFound"
            | "ContainerBeingDeleted"
            | "ContainerNotFound"
            | "NoSuchBucket"
            | "NoSuchKey"
            | "NoSuchUpload" => Failure::target(Reason::SinkMissing, detail),
            _ => Failure::target(Reason::SinkUnavailable, detail),
        };
    }
    // A redirect without a place to go to: Amazon's answer to the wrong region, whose code the client keeps to itself.
    if text.contains("redirect without LOCATION") {
        let detail = format!("{doing} {name}: the store is elsewhere; is `region` the bucket's?");
        return Failure::halt(Reason::SinkUnfit, detail);
    }
    let kind = without_body(&text);
    let detail = format!("{doing} {name}: {kind}{}", cause(error));
    match error {
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            Failure::halt(Reason::SinkDenied, detail)
        }
        Error::NotSupported { .. }
        | Error::NotImplemented { .. }
        | Error::InvalidPath { .. }
        | Error::UnknownConfigurationKey { .. } => Failure::halt(Reason::SinkUnfit, detail),
        Error::NotFound { .. } => Failure::target(Reason::SinkMissing, detail),
        _ => match system_error(error) {
            Some(system) => crate::io::classify(doing, std::path::Path::new(name.as_ref()), system),
            // `Error` grows with its crate; what it does not name is outside and may pass.
            None => Failure::target(Reason::SinkUnavailable, detail),
        },
    }
}

/// An error's words without what the store sent.
fn without_body(text: &str) -> &str {
    let text = text.split_once('<').map_or(text, |(before, _)| before);
    let status = text.find("status code: ").map(|at| at + "status code: ".len());
    let end = status.and_then(|at| Some(at + text.get(at..)?.find(':')?));
    end.and_then(|end| text.get(..end)).unwrap_or(text)
}

/// Why a connection failed, which the client's own words leave out.
fn cause(error: &Error) -> String {
    let mut last: &(dyn std::error::Error + 'static) = error;
    let mut connection = false;
    while let Some(inner) = last.source() {
        connection |= inner.is::<reqwest::Error>();
        last = inner;
    }
    if connection { format!(" ({last})") } else { String::new() }
}

/// Whether the answer says that it is the bucket or container that is not there.
pub(super) fn is_of_place(error: &Error) -> bool {
    matches!(
        code_of(&error.to_string()),
        Some("NoSuchBucket" | "ContainerNotFound" | "ContainerBeingDeleted")
    )
}

/// The code in an answer of S3's protocol, which those of Google and Azure have in the same place.
fn code_of(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("<Code>")?;
    rest.split_once("</Code>").map(|(code, _)| code).filter(|code| code.len() <= 64)
}

/// The error of the operating system that a store on a disk met. One of a connection is no word on the store.
fn system_error(error: &Error) -> Option<&std::io::Error> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(system) = error.downcast_ref::<std::io::Error>() {
            return system.raw_os_error().is_some().then_some(system);
        }
        if error.is::<reqwest::Error>() {
            return None;
        }
        cause = error.source();
    }
    None
}

/// What is missing before anything was written there is a mistake in the pipeline file and will not come by itself.
pub(super) fn absent(failure: Failure) -> Failure {
    match failure.reason {
        Reason::SinkMissing => Failure::halt(Reason::SinkMissing, failure.detail()),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use longshore_core::Class;

    use super::*;

    /// Scenario: a store refuses a request with a code. Guarantee: what only a deployment can mend halts, what passes by itself does not.
    #[test]
    fn what_passes_by_itself_does_not_halt() {
        for (code, halts) in [
            ("AccessDenied", true),
            ("InvalidArgument", true),
            ("InvalidStorageClass", true),
            ("MalformedXML", true),
            ("XAmzContentSHA256Mismatch", true),
            ("ExpiredToken", false),
            ("RequestTimeTooSkewed", false),
            ("SlowDown", false),
            ("NoSuchBucket", false),
            ("AuthorizationPermissionMismatch", true),
            ("ContainerNotFound", false),
            ("ServerBusy", false),
        ] {
            let text = format!("status code: 400 Bad Request: <Error><Code>{code}</Code></Error>");
            let error = Error::Generic { store: "S3", source: text.into() };
            let failure = failure("write", &Path::from("lake/x"), &error);
            assert_eq!(failure.class == Class::Halt, halts, "{failure}");
            assert!(failure.detail().ends_with(code), "{failure}");
        }
    }
}
