//! From a node to a file: a picture is read part by part, and written down.

use super::file::Writer;
use crate::client::{Client, ClientError};
use crate::rpc::api::ApiError;
use crate::rpc::backup::{BackUp, BackedUp, Cursor, Picture};
use crate::wire::hello::Refused;
use std::path::Path;

/// Copies everything that a node's cluster has journaled to a file; answers what is in it, and how
/// many bytes that are.
///
/// # Errors
/// Why there is no backup, for people. Nothing is at the path then.
pub(crate) async fn take(client: &Client, path: &Path) -> Result<(Picture, u64), Refused> {
    // Where nothing can be written, the node is not asked: it would keep the picture for a while.
    let mut writer = Writer::begin(path)?;
    let picture = match client.back_up(BackUp::Begin).await.map_err(refused)? {
        BackedUp::Begun(picture) => picture,
        BackedUp::Part { .. } => return Err(garbled()),
    };
    writer.header(&picture)?;
    let mut next = Some(Cursor::default()).filter(|_| !picture.contents.is_empty());
    while let Some(cursor) = next {
        let part = BackUp::Part { picture: picture.picture, cursor };
        let (rows, behind) = match client.back_up(part).await.map_err(refused)? {
            BackedUp::Part { rows, next } => (rows, next),
            BackedUp::Begun(_) => return Err(garbled()),
        };
        if !rows.is_empty() {
            writer.rows(cursor.shard, rows)?;
        }
        next = behind;
    }
    let bytes = writer.finish()?;
    Ok((picture, bytes))
}

fn refused(error: ClientError) -> Refused {
    match error {
        ClientError::Api(ApiError::NotReady(cause)) => Refused::trouble(
            format!("failed to back up: {cause}"),
            "see `otto nodes`: a majority of the nodes must be there, and this one up to date",
        ),
        ClientError::Api(ApiError::Busy { .. }) => Refused::trouble(
            "failed to back up: so many backups are being made here already",
            "try again when they are done",
        ),
        other => other.into_refused(),
    }
}

fn garbled() -> Refused {
    Refused::trouble(
        "failed to understand the node: it answers something else than a part of a backup",
        "use the release that the node has",
    )
}
