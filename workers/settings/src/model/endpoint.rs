//! The address of a store with S3's protocol: that of the pipeline file, or of the environment.

use std::fmt;

use super::ObjectsSinkOptions;

/// The variables that name it where the file does not, as Amazon's own tools read them; the first one that is not empty counts
/// (<https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html>).
const VARIABLES: [&str; 3] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];

/// An address that no store can have. The address itself is not in it, since it may hold a password (I10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointError {
    /// The variable that it comes from; none when it is the file's.
    pub variable: Option<&'static str>,
    /// What was expected.
    pub expected: &'static str,
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.variable {
            Some(variable) => write!(f, "{variable} in the environment: {}", self.expected),
            None => write!(f, "endpoint: {}", self.expected),
        }
    }
}

impl ObjectsSinkOptions {
    /// The store's address, the file's or the environment's (`told` has its variables), in the one way in which it may be compared; none for
    /// Amazon's.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn store_endpoint(
        &self,
        told: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<String>, EndpointError> {
        let of_environment = || {
            VARIABLES
                .into_iter()
                .find_map(|name| Some((Some(name), told(name).filter(|url| !url.is_empty())?)))
        };
        let Some((variable, url)) = self.endpoint.clone().map(|url| (None, url)).or_else(of_environment)
        else {
            return Ok(None);
        };
        plain(&url).map(Some).map_err(|expected| EndpointError { variable, expected })
    }
}

/// An address with its host in small letters, without the port that its scheme has anyway, and without slashes at its end.
fn plain(url: &str) -> Result<String, &'static str> {
    let whole = "expected `http://` or `https://` and a host";
    let (scheme, rest) = url.split_once("://").ok_or(whole)?;
    let scheme = scheme.to_ascii_lowercase();
    let port = match scheme.as_str() {
        "http" => ":80",
        "https" => ":443",
        _ => return Err(whole),
    };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if host.contains('@') {
        return Err(
            "expected no user and no password in it: `access_key_id` and `secret_access_key`, or the `AWS_*` variables, say who we are",
        );
    }
    if rest.contains(['?', '#'])
        || rest.contains(|letter: char| letter.is_whitespace() || letter.is_control())
    {
        return Err("expected an address without `?`, `#` and blanks");
    }
    let host = host.to_ascii_lowercase();
    let host = host.strip_suffix(port).unwrap_or(&host);
    if host.is_empty() || host.starts_with(':') {
        return Err(whole);
    }
    Ok(format!("{scheme}://{host}{}", path.trim_end_matches('/')))
}

/// Whether an address is one of Amazon's, where a bucket's name is one bucket, whatever the address.
pub(crate) fn is_amazons(endpoint: &str) -> bool {
    let host = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let host = host.split(['/', ':']).next().unwrap_or_default();
    [".amazonaws.com", ".amazonaws.com.cn"].iter().any(|tail| host.ends_with(tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(file: Option<&str>, told: &[(&str, &str)]) -> Result<Option<String>, EndpointError> {
        let options = serde_json::json!({ "url": "s3://bucket/prefix", "endpoint": file });
        let options: ObjectsSinkOptions = serde_json::from_value(options).unwrap();
        let told = told.to_vec();
        options.store_endpoint(|name| {
            told.iter().find(|(known, _)| *known == name).map(|(_, url)| (*url).to_owned())
        })
    }

    #[test]
    fn one_address_is_written_in_one_way() {
        for url in ["http://minio", "HTTP://MinIO/", "http://minio:80", "http://minio:80//"] {
            assert_eq!(endpoint(Some(url), &[]).unwrap().as_deref(), Some("http://minio"), "{url}");
        }
        for url in ["https://minio:9000", "https://host/storage/v1/s3", "http://[::1]:9000"] {
            assert_eq!(endpoint(Some(url), &[]).unwrap().as_deref(), Some(url));
        }
        assert_eq!(endpoint(None, &[]), Ok(None));
        let told = [("AWS_ENDPOINT_URL", "http://b"), ("AWS_ENDPOINT_URL_S3", "")];
        assert_eq!(endpoint(None, &told).unwrap().as_deref(), Some("http://b"));
        assert_eq!(endpoint(Some("http://a"), &told).unwrap().as_deref(), Some("http://a"));
        assert!(
            is_amazons("https://s3.eu-west-1.amazonaws.com") && !is_amazons("https://amazonaws.com.example")
        );
    }

    /// Guarantee (I10): what is wrong is said of the file's address and of the environment's alike, and never with the address.
    #[test]
    fn addresses_that_no_store_has_are_refused() {
        for url in [
            "minio:9000",
            "ftp://minio",
            "http://",
            "http://:9000",
            "http://a b",
            "http://a?b",
            "http://ann:hunter2@minio",
        ] {
            let of_file = endpoint(Some(url), &[]).unwrap_err();
            let of_environment = endpoint(None, &[("AWS_ENDPOINT_URL", url)]).unwrap_err();
            assert_eq!((of_file.variable, of_environment.variable), (None, Some("AWS_ENDPOINT_URL")));
            assert_eq!(of_file.expected, of_environment.expected);
            assert!(
                !of_environment.to_string().contains("hunter2")
                    && !of_environment.to_string().contains("minio")
            );
        }
    }
}
