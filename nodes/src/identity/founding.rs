//! Founds a cluster: the first node makes its own authority, and is the first whom it signs.
//!
//! It happens in two halves around the cluster's decision, and either may be repeated: what the
//! first one made is on disk, and a crash in between finds it there.

use super::authority::{self, Authority, PublicKey};
use super::files::{Folder, New, Stored};
use super::join::Introduction;
use super::subject::{self, Subject};
use super::{IdentityError, malformed};
use otto_core::cluster::Cluster;
use otto_core::cluster::command::{Newcomer, Wish};
use otto_core::cluster::state::Holder;
use otto_core::ids::ClusterId;
use otto_core::time::Timestamp;
use rcgen::KeyPair;

/// What a founder has before its cluster is.
#[derive(Debug)]
pub struct Founder {
    folder: Folder,
    key: KeyPair,
    authority: Authority,
    newcomer: Newcomer,
}

/// Makes the authority and the key of the first node; both are kept before this returns.
///
/// # Errors
/// When they cannot be made or kept, or the folder holds something else.
pub fn begin(
    folder: &Folder,
    introduction: &Introduction,
    now: Timestamp,
) -> Result<Founder, IdentityError> {
    let authority = if let Some(made_before) = folder.authority()? {
        made_before
    } else {
        let authority = Authority::found(now)?;
        folder.keep_authority(&authority)?;
        authority
    };
    let key = folder.key()?;
    let newcomer = Newcomer {
        name: introduction.name.clone(),
        addresses: introduction.addresses.clone(),
        key: authority::key_fingerprint(&key),
        levels: introduction.levels,
    };
    Ok(Founder { folder: folder.clone(), key, authority, newcomer })
}

impl Founder {
    /// What is wished of a cluster that was not founded yet. Its name follows from its authority.
    #[must_use]
    pub fn found(&self, shards: u16) -> Wish {
        let authority = self.authority.fingerprint();
        let cluster = ClusterId::of(&authority.0);
        Wish::Found { cluster, shards, authority, node: self.newcomer.clone() }
    }

    /// What is wished of a cluster that came out of a backup.
    #[must_use]
    pub fn restore(&self) -> Wish {
        Wish::Restore { node: self.newcomer.clone(), authority: self.authority.fingerprint() }
    }

    /// Keeps the first node's identity, once the cluster has granted the wish.
    ///
    /// # Errors
    /// When it cannot be kept, or the cluster does not know this node.
    pub fn finish(self, cluster: &Cluster) -> Result<(Stored, Authority), IdentityError> {
        let Self { folder, key, authority, newcomer } = self;
        let unknown = || malformed("the cluster", "it does not know this node");
        let founded = cluster.founded().ok_or_else(unknown)?;
        let holder = cluster.holder(newcomer.key).ok_or_else(unknown)?;
        let Holder::Node(_) = holder else { return Err(unknown()) };
        let (_, certificate) = cluster.credentials(holder).ok_or_else(unknown)?;
        let subject = Subject { cluster: founded.cluster, holder };
        let public = PublicKey::of_request(&authority::request(&key)?)?;
        let certificate = authority.issue(subject, &public, certificate)?;
        let said = subject::read(&certificate)?;
        folder.keep(&New {
            certificate: &certificate,
            authority: authority.certificate(),
            with_key: Some(&authority),
        })?;
        let signed_by = authority.certificate().clone();
        Ok((Stored { said, certificate, authority: signed_by, key }, authority))
    }
}
