//! The object store that the nodes of a cluster share: a folder that all of them mount, or S3.
//!
//! Which one it is, a URL says; how to reach an S3 service, the variables say that its other tools
//! read too (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT`).

use crate::wire::hello::Refused;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt, RetryConfig};
use std::sync::Arc;
use std::time::Duration;

/// A store that all nodes of a cluster use.
#[derive(Clone, Debug)]
pub struct SharedObjects {
    store: Arc<dyn ObjectStore>,
    name: String,
}

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(20);
/// How long a request may be repeated before the caller hears of it.
const RETRIES: Duration = Duration::from_secs(30);
/// What is written and read once, so that a mistake shows at the start.
const TRIAL: &[u8] = b"otto was here";

impl SharedObjects {
    /// The store at a URL: `file:///folder`, or `s3://bucket/prefix` with these variables.
    ///
    /// # Errors
    /// When the URL names no store that can be opened, with what to write in its place.
    pub fn at(
        url: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Refused> {
        let name = url.trim_end_matches('/').to_owned();
        let store: Arc<dyn ObjectStore> = match name.split_once("://") {
            Some(("file", folder)) if folder.starts_with('/') => {
                if !std::path::Path::new(folder).is_dir() {
                    return Err(Refused::trouble(
                        format!(
                            "failed to use {name} as the shared object store: {folder} is no folder"
                        ),
                        "make or mount it on every node first",
                    ));
                }
                let store = LocalFileSystem::new_with_prefix(folder);
                Arc::new(store.map_err(|error| unusable(&name, &error))?.with_fsync(true))
            }
            Some(("s3", rest)) if !rest.is_empty() => {
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                let store = s3(bucket, variables).map_err(|error| unusable(&name, &error))?;
                let prefix = Path::parse(prefix).map_err(|error| unusable(&name, &error.into()))?;
                Arc::new(PrefixStore::new(store, prefix))
            }
            Some(_) | None => {
                return Err(Refused::trouble(
                    format!("failed to use {url} as the shared object store: it is no such place"),
                    "write file:///a/folder/that/all/nodes/mount or s3://bucket/prefix",
                ));
            }
        };
        Ok(Self { store, name })
    }

    /// A part of the store, below a name.
    #[must_use]
    pub fn part(&self, name: &str) -> Arc<dyn ObjectStore> {
        Arc::new(PrefixStore::new(Arc::clone(&self.store), Path::from(name)))
    }

    /// Writes, reads and removes a small object.
    ///
    /// # Errors
    /// What did not work, so that it is told at the start and not in the middle of a run.
    pub async fn try_out(&self, who: &str) -> Result<(), Refused> {
        let path = Path::from_iter(["trials", who]);
        let tried = async {
            self.store.put(&path, TRIAL.into()).await?;
            let found = self.store.get(&path).await?.bytes().await?;
            self.store.delete(&path).await?;
            Ok(found)
        };
        let found = tried.await.map_err(|error| unusable(&self.name, &error))?;
        if found != TRIAL {
            return Err(Refused::trouble(
                format!("failed to use {}: it gave back other bytes than it was given", self.name),
                "see whether something between this node and the store changes them",
            ));
        }
        Ok(())
    }
}

/// An S3 service, as the variables describe it.
fn s3(
    bucket: &str,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<impl ObjectStore, object_store::Error> {
    // Fails where it was installed before, which is as good.
    rustls::crypto::ring::default_provider().install_default().ok();
    let retry = RetryConfig { retry_timeout: RETRIES, ..RetryConfig::default() };
    let mut plain = false;
    let mut builder = AmazonS3Builder::new().with_bucket_name(bucket).with_retry(retry);
    for (name, value) in variables {
        let Some(key) = name.strip_prefix("AWS_") else { continue };
        plain |= key.starts_with("ENDPOINT") && value.starts_with("http://");
        if let Ok(key) = format!("aws_{}", key.to_ascii_lowercase()).parse() {
            builder = builder.with_config(key, value);
        }
    }
    let client = ClientOptions::new().with_timeout(REQUEST).with_allow_http(plain);
    builder.with_client_options(client).build()
}

fn unusable(name: &str, error: &object_store::Error) -> Refused {
    // Its own words are about its parts; what went wrong is what the last of them met.
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    tracing::warn!(%error, store = name, "the shared object store cannot be used");
    Refused::trouble(
        format!("failed to use {name} as the shared object store: {cause}"),
        "look at the URL, at the rights on it, and at the AWS_ variables of this process",
    )
}

#[cfg(test)]
mod tests {
    use super::SharedObjects;

    #[tokio::test]
    async fn a_folder_that_works_is_taken_and_others_are_refused_with_what_to_write() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("file://{}/", folder.path().display());
        let shared = SharedObjects::at(&url, []).unwrap();
        shared.try_out("node-1").await.unwrap();
        for (url, said) in [
            ("file:///not/here", "object store: /not/here is no folder"),
            ("file://relative", "no such place"),
            ("ftp://host/x", "no such place"),
            ("s3://", "no such place"),
            ("bucket", "no such place"),
        ] {
            let refused = SharedObjects::at(url, []).unwrap_err();
            assert!(refused.what.contains(said), "{url}: {}", refused.what);
        }
    }

    #[tokio::test]
    async fn a_service_that_does_not_answer_is_named() {
        let variables = [
            ("AWS_ENDPOINT", "http://127.0.0.1:9"),
            ("AWS_ACCESS_KEY_ID", "a"),
            ("AWS_SECRET_ACCESS_KEY", "b"),
            ("AWS_REGION", "us-east-1"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let shared = SharedObjects::at("s3://bucket/otto", variables).unwrap();
        let trying = tokio::time::timeout(std::time::Duration::from_millis(50), async {
            shared.try_out("node-1").await
        });
        match trying.await {
            Ok(tried) => assert!(tried.unwrap_err().what.contains("s3://bucket/otto")),
            // It is still trying again, which is what it should do with a service that is down.
            Err(_) => assert_eq!(shared.name, "s3://bucket/otto"),
        }
    }
}
