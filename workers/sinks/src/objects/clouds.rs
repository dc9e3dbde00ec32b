//! Google Cloud Storage and Azure Blob Storage, each behind a feature of the build. Who we are, and where a store is that is not the cloud's own,
//! comes from the environment or the machine's role, as their own tools have it.

#[cfg(test)]
#[cfg(all(feature = "gcp", feature = "azure"))]
mod tests;

use std::sync::Arc;

use object_store::ObjectStore;

use super::options::{Cloud, CloudKind};
use super::store::Parts;

/// A cloud's store, and its uploads in parts.
pub(super) type Opened = (Arc<dyn ObjectStore>, Arc<dyn Parts>);

/// The store. Connects to nothing yet.
///
/// # Errors
/// What is wrong with the environment, or that this build has not got such stores.
pub(super) fn open(cloud: &Cloud) -> Result<Opened, String> {
    match cloud.kind {
        #[cfg(feature = "gcp")]
        CloudKind::Google => with::google(&cloud.name, &cloud.environment),
        #[cfg(feature = "azure")]
        CloudKind::Azure => with::azure(&cloud.name, &cloud.environment),
        #[cfg(not(all(feature = "gcp", feature = "azure")))]
        kind => Err(without(kind)),
    }
}

/// What a build without the feature says.
#[cfg(any(test, not(all(feature = "gcp", feature = "azure"))))]
fn without(kind: CloudKind) -> String {
    let feature = match kind {
        CloudKind::Google => "gcp",
        CloudKind::Azure => "azure",
    };
    format!(
        "`{}` needs the feature `{feature}`, which this build was made without: \
         cargo build --release --package longshore --features {feature}",
        kind.scheme()
    )
}

#[cfg(any(feature = "gcp", feature = "azure"))]
mod with {
    use std::str::FromStr;

    use super::super::store::{client, retry};
    use super::{Arc, Opened};

    /// What the variables say that begin with `prefix`, by the client's names for it. One that is empty says nothing.
    fn told<K: FromStr>(environment: &[(String, String)], prefix: &str) -> Vec<(K, String)> {
        let own = environment.iter().filter(|(name, value)| name.starts_with(prefix) && !value.is_empty());
        own.filter_map(|(name, value)| Some((name.to_ascii_lowercase().parse().ok()?, value.clone())))
            .collect()
    }

    /// A bucket. Its conditional PUT is `x-goog-if-generation-match: 0`
    /// (<https://docs.cloud.google.com/storage/docs/request-preconditions>).
    #[cfg(feature = "gcp")]
    pub(super) fn google(bucket: &str, environment: &[(String, String)]) -> Result<Opened, String> {
        use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};

        let builder = GoogleCloudStorageBuilder::new().with_client_options(client()).with_retry(retry());
        let builder = told::<GoogleConfigKey>(environment, "GOOGLE_")
            .into_iter()
            .fold(builder, |builder, (key, value)| builder.with_config(key, value));
        let store = builder.with_bucket_name(bucket).build().map_err(|error| error.to_string())?;
        let store = Arc::new(store);
        Ok((Arc::clone(&store) as _, store))
    }

    /// A container. Its conditional PUT is `If-None-Match: *`, as S3's
    /// (<https://learn.microsoft.com/en-us/rest/api/storageservices/specifying-conditional-headers-for-blob-service-operations>). Parts that a dead
    /// worker has left are nobody's to give up there: the store drops them after a week.
    #[cfg(feature = "azure")]
    pub(super) fn azure(container: &str, environment: &[(String, String)]) -> Result<Opened, String> {
        use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};

        let builder = MicrosoftAzureBuilder::new().with_client_options(client()).with_retry(retry());
        let builder = told::<AzureConfigKey>(environment, "AZURE_")
            .into_iter()
            .fold(builder, |builder, (key, value)| builder.with_config(key, value));
        let store = builder.with_container_name(container).build().map_err(|error| error.to_string())?;
        let store = Arc::new(store);
        Ok((Arc::clone(&store) as _, store))
    }
}
