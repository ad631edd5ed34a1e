//! What the actors deny, as clients get it.

use crate::rpc::api::ApiError;
use otto_actors::control::answers::Denial;
use otto_actors::ports::blobs::BlobError;

impl From<Denial> for ApiError {
    fn from(denial: Denial) -> Self {
        match denial {
            Denial::Refused(refusal) => Self::Refused(refusal.to_string()),
            Denial::NoSuchRun(run) => Self::NotFound(format!("run {run}")),
            Denial::Unfit(cause) => Self::Invalid(cause),
            Denial::Quarantined { .. } => Self::Store(denial.to_string()),
            Denial::NotHere { shard } => Self::NotHere { shard },
            Denial::Busy { retry_after } => Self::Busy { retry_after_ms: retry_after.0 },
            Denial::Unanswered(cause) => Self::Unknown(cause),
        }
    }
}

impl From<BlobError> for ApiError {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Absent(digest) => Self::NotFound(format!("blob {digest}")),
            BlobError::Unfit(cause) => Self::Invalid(cause),
            BlobError::Store(cause) => Self::Store(cause),
        }
    }
}
