//! Keeps a certificate valid: another one after two thirds of its life.

use super::files::Folder;
use super::join::JoinLink;
use super::tls::Credentials;
use otto_actors::ports::chance::SharedChance;
use otto_actors::ports::clock::SharedClock;
use otto_core::time::Span;

/// The longest sleep: a clock that was set meanwhile is noticed after it.
const LONGEST: Span = Span::seconds(900);
/// The pause after an attempt that failed, up to twice as long by chance.
const PAUSE: Span = Span::seconds(60);

/// Renews for ever. An attempt that fails is repeated, also after the certificate has run out:
/// then it is all that its holder may still do.
pub async fn keep_valid(
    credentials: Credentials,
    folder: Folder,
    link: JoinLink,
    clock: SharedClock,
    chance: SharedChance,
) {
    loop {
        let left = credentials.said().certificate.renewal().since(clock.now());
        if left > Span(0) {
            tokio::time::sleep(left.min(LONGEST).to_duration()).await;
            continue;
        }
        match link.renew(&credentials, &folder).await {
            Ok(_) => {
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
