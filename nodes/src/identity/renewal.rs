//! Keeps a certificate valid: another one after two thirds of its life.

use super::IdentityError;
use super::authority::{Authority, PublicKey, request};
use super::files::{Folder, Stored};
use super::tls::Credentials;
use crate::wire::hello::Refused;
use async_trait::async_trait;
use otto_actors::ports::chance::SharedChance;
use otto_actors::ports::clock::SharedClock;
use otto_core::cluster::state::Certificate;
use otto_core::cluster::{CERTIFICATE, SKEW};
use otto_core::time::{Span, Timestamp};

/// The longest sleep: a clock that was set meanwhile is noticed after it.
const LONGEST: Span = Span::seconds(900);
/// The pause after an attempt that failed, up to twice as long by chance.
const PAUSE: Span = Span::seconds(60);

/// Where a later certificate comes from.
#[async_trait]
pub trait Renewal: Send + Sync {
    /// Gets a later certificate; it is shown and kept from then on.
    ///
    /// # Errors
    /// Why there is none.
    async fn renew(&self, credentials: &Credentials, folder: &Folder) -> Result<(), Refused>;
}

/// Renews for ever. An attempt that fails is repeated, also after the certificate has run out:
/// then it is all that its holder may still do.
pub async fn keep_valid(
    credentials: Credentials,
    folder: Folder,
    source: impl Renewal,
    clock: SharedClock,
    chance: SharedChance,
) {
    loop {
        let left = credentials.said().certificate.renewal().since(clock.now());
        if left > Span(0) {
            tokio::time::sleep(left.min(LONGEST).to_duration()).await;
            continue;
        }
        match source.renew(&credentials, &folder).await {
            Ok(()) => {
                let until = credentials.said().certificate.not_after.0;
                tracing::info!(until, "the certificate was renewed");
                // Where the cluster's clock is behind, the new one is due at once: ask slowly.
                tokio::time::sleep(PAUSE.to_duration()).await;
            }
            Err(refused) => {
                tracing::warn!(what = %refused.what, "the certificate was not renewed");
                let pause = Span(PAUSE.0 + chance.below(PAUSE.0));
                tokio::time::sleep(pause.to_duration()).await;
            }
        }
    }
}

/// The identity of a control node that was off until its certificate ran out, with one that the
/// node has signed itself: where all nodes were off, nobody else could. It has the authority's key,
/// so this is nothing that it could not do anyway; whoever was removed is known by the key, and
/// stays out.
///
/// # Errors
/// When it cannot be signed or kept.
pub fn bridge(
    stored: Stored,
    folder: &Folder,
    authority: &Authority,
    now: Timestamp,
) -> Result<Stored, IdentityError> {
    if now < stored.said.certificate.not_after {
        return Ok(stored);
    }
    let not_before = Timestamp(now.0.saturating_sub(SKEW.0) / 1000 * 1000);
    let serial = stored.said.certificate.serial;
    // For an hour: one that the cluster knows of follows long before.
    let not_after = not_before.after(Span(CERTIFICATE.0 / 24));
    let certificate = Certificate { serial, not_before, not_after };
    let key = PublicKey::of_request(&request(&stored.key)?)?;
    let certificate = authority.issue(stored.said.subject, &key, certificate)?;
    folder.renew(&certificate)?;
    tracing::info!("the certificate had run out while the node was off");
    Ok(Stored { said: super::subject::read(&certificate)?, certificate, ..stored })
}
