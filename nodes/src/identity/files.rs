//! The folder `identity/` in a node's data folder.
//!
//! ```text
//! key.pem           the private key, made here, readable for its owner alone
//! certificate.pem   who that key is; where it is missing, the node has not joined
//! authority.pem     the certificate of the cluster's authority
//! authority.key     the authority's key, on control nodes alone
//! starts.json       which starts the cluster knows of
//! outcast           why the cluster will not have this node any more
//! ```
//!
//! Each file is written beside itself, synced and renamed, the certificate last: whoever finds it
//! finds everything else. A key that is there is used again, so a join that was cut off is the same
//! join when it is repeated.

use super::authority::{self, Authority};
use super::subject::{self, Said};
use super::{IdentityError, verify};
use otto_core::cluster::state::Holder;
use pem::{EncodeConfig, LineEnding, Pem};
use rcgen::KeyPair;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const KEY: &str = "key.pem";
const CERTIFICATE: &str = "certificate.pem";
const AUTHORITY: &str = "authority.pem";
const AUTHORITY_KEY: &str = "authority.key";
const OUTCAST: &str = "outcast";
/// What to do where the folder's files do not belong together.
const ANEW: &str =
    "restore the folder from a copy of this node, or delete it and join with a new token";

/// The folder in which an identity is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Folder {
    path: PathBuf,
}

/// An identity as it was found.
#[derive(Debug)]
pub struct Stored {
    /// What the certificate says.
    pub said: Said,
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// The certificate of the cluster's authority.
    pub authority: CertificateDer<'static>,
    /// The private key.
    pub key: KeyPair,
}

/// An identity to be kept.
#[derive(Debug)]
pub struct New<'a> {
    /// The certificate.
    pub certificate: &'a CertificateDer<'static>,
    /// The certificate of the cluster's authority.
    pub authority: &'a CertificateDer<'static>,
    /// The authority with its key, on control nodes.
    pub with_key: Option<&'a Authority>,
}

impl Folder {
    /// The folder in a data folder. Nothing is made yet.
    #[must_use]
    pub fn new(data: &Path) -> Self {
        Self { path: data.join("identity") }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is an identity here, usable or not.
    #[must_use]
    pub fn has_joined(&self) -> bool {
        self.path.join(CERTIFICATE).exists()
    }

    /// The identity; `None` where the node has not joined.
    ///
    /// # Errors
    /// When a file is damaged, foreign, missing, or readable for others.
    pub fn load(&self) -> Result<Option<Stored>, IdentityError> {
        let Some(certificate) = self.read(CERTIFICATE)? else { return Ok(None) };
        let certificate = self.certificate(CERTIFICATE, &certificate)?;
        let authority = self.certificate(AUTHORITY, &self.must_read(AUTHORITY)?)?;
        let key = self.parse_key(KEY, &self.must_read_private(KEY)?)?;
        let said = subject::read(&certificate)
            .map_err(|error| self.unfit(CERTIFICATE, error.to_string()))?;
        if said.key != authority::key_fingerprint(&key) {
            return Err(self.unfit(KEY, "it is not the key of the certificate beside it"));
        }
        verify::signed_by(&certificate, &authority)
            .map_err(|cause| self.unfit(CERTIFICATE, cause))?;
        Ok(Some(Stored { said, certificate, authority, key }))
    }

    /// The cluster's authority with its key, where this node has it.
    ///
    /// # Errors
    /// As [`Folder::load`].
    pub fn authority(&self) -> Result<Option<Authority>, IdentityError> {
        if self.read(AUTHORITY_KEY)?.is_none() {
            return Ok(None);
        }
        let key = self.must_read_private(AUTHORITY_KEY)?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(&key)
            .map_err(|error| self.unfit(AUTHORITY_KEY, error.to_string()))?;
        let key = Zeroizing::new(key.secret_pkcs8_der().to_vec());
        let certificate = self.certificate(AUTHORITY, &self.must_read(AUTHORITY)?)?;
        let authority = Authority::from_der(certificate, key);
        authority.map(Some).map_err(|error| self.unfit(AUTHORITY_KEY, error.to_string()))
    }

    /// The private key, made now where there is none.
    ///
    /// # Errors
    /// When it cannot be made or kept, or what is there is none.
    pub fn key(&self) -> Result<KeyPair, IdentityError> {
        if self.read(KEY)?.is_some() {
            return self.parse_key(KEY, &self.must_read_private(KEY)?);
        }
        let key = authority::new_key()?;
        self.write(KEY, &pem("PRIVATE KEY", key.serialized_der()))?;
        Ok(key)
    }

    /// Whether a key was made here.
    #[must_use]
    pub fn has_key(&self) -> bool {
        self.path.join(KEY).exists()
    }

    /// Removes a key that became nobody's.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub(super) fn forget_key(&self) -> Result<(), IdentityError> {
        let path = self.path.join(KEY);
        fs::remove_file(&path).map_err(|source| IdentityError::File {
            doing: "remove",
            path,
            source,
        })
    }

    /// Keeps an identity for the key that is there.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub fn keep(&self, new: &New<'_>) -> Result<(), IdentityError> {
        match new.with_key {
            Some(authority) => self.keep_authority(authority)?,
            None => self.write(AUTHORITY, &pem("CERTIFICATE", new.authority))?,
        }
        self.renew(new.certificate)
    }

    /// Keeps the authority with its key, the key last: whoever finds it finds both.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub fn keep_authority(&self, authority: &Authority) -> Result<(), IdentityError> {
        self.write(AUTHORITY, &pem("CERTIFICATE", authority.certificate()))?;
        self.write(AUTHORITY_KEY, &pem("PRIVATE KEY", authority.key()))
    }

    /// Keeps a later certificate.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub fn renew(&self, certificate: &CertificateDer<'_>) -> Result<(), IdentityError> {
        self.write(CERTIFICATE, &pem("CERTIFICATE", certificate))
    }

    /// Keeps why the cluster will not have this node any more.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub fn cast_out(&self, why: &str) -> Result<(), IdentityError> {
        self.write(OUTCAST, why.as_bytes())
    }

    /// Why the cluster will not have this node any more; `None` where it said nothing of that kind.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn outcast(&self) -> Result<Option<String>, IdentityError> {
        let why = self.read(OUTCAST)?;
        Ok(why.map(|why| String::from_utf8_lossy(&why).into_owned()))
    }

    /// The content of a file; `None` where there is none.
    pub(super) fn read(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, IdentityError> {
        let path = self.path.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(Zeroizing::new(bytes))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(IdentityError::File { doing: "read", path, source }),
        }
    }

    /// Writes a file whole or not at all, for its owner alone.
    pub(super) fn write(&self, name: &str, content: &[u8]) -> Result<(), IdentityError> {
        let path = self.path.join(name);
        let fresh = self.path.join(format!("{name}.new"));
        let written = || -> io::Result<()> {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.path)?;
            // What an earlier attempt left might have been made readable for others.
            match fs::remove_file(&fresh) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&fresh, &path)?;
            File::open(&self.path)?.sync_all()
        };
        written().map_err(|source| IdentityError::File { doing: "write", path, source })
    }

    fn must_read(&self, name: &str) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
        self.read(name)?.ok_or_else(|| self.unfit(name, "it is missing"))
    }

    /// A secret that others could have read is none any more.
    fn must_read_private(&self, name: &str) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
        let content = self.must_read(name)?;
        let path = self.path.join(name);
        let found = fs::metadata(&path).map_err(|source| IdentityError::File {
            doing: "look at",
            path: path.clone(),
            source,
        })?;
        let mode = found.mode() & 0o777;
        if mode | 0o700 == 0o700 {
            return Ok(content);
        }
        let cause = format!("other users may read it (its mode is {mode:03o})");
        let help = "if nobody did, make it private again with chmod 600; otherwise remove this \
                    node from the cluster, and let it join anew";
        Err(IdentityError::Unfit { path, cause, help })
    }

    fn certificate(
        &self,
        name: &str,
        content: &[u8],
    ) -> Result<CertificateDer<'static>, IdentityError> {
        CertificateDer::from_pem_slice(content)
            .map_err(|error| self.unfit(name, format!("it is no certificate ({error})")))
    }

    fn parse_key(&self, name: &str, content: &[u8]) -> Result<KeyPair, IdentityError> {
        let key = PrivatePkcs8KeyDer::from_pem_slice(content)
            .map_err(|error| self.unfit(name, format!("it is no private key ({error})")))?;
        authority::key_from_der(key.secret_pkcs8_der())
            .map_err(|error| self.unfit(name, error.to_string()))
    }

    pub(super) fn unfit(&self, name: &str, cause: impl Into<String>) -> IdentityError {
        IdentityError::Unfit { path: self.path.join(name), cause: cause.into(), help: ANEW }
    }
}

impl Stored {
    /// Whether this identity is a control node's.
    #[must_use]
    pub fn is_node(&self) -> bool {
        match self.said.subject.holder {
            Holder::Node(_) => true,
            Holder::Agent(_) => false,
        }
    }
}

/// A file that other tools read, too.
fn pem(label: &str, der: &[u8]) -> Zeroizing<Vec<u8>> {
    let lines = EncodeConfig::new().set_line_ending(LineEnding::LF);
    Zeroizing::new(pem::encode_config(&Pem::new(label, der), lines).into_bytes())
}
