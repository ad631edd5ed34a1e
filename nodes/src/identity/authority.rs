//! The cluster's certificate authority: made when the cluster is founded, signs who is who.

use super::subject::Subject;
use super::{IdentityError, malformed};
use otto_core::cluster::SKEW;
use otto_core::cluster::state::{Certificate, Holder};
use otto_core::ids::KeyId;
use otto_core::time::{Span, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ED25519,
    PublicKeyData, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivatePkcs8KeyDer};
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

/// How long the authority's own certificate is valid. It is pinned by its fingerprint, and replaced
/// by founding or restoring a cluster.
const LIFE: Span = Span::hours(24 * 365 * 20);

/// The authority with its key.
pub struct Authority {
    certificate: CertificateDer<'static>,
    key: Zeroizing<Vec<u8>>,
    issuer: Issuer<'static, KeyPair>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({})", self.fingerprint().short())
    }
}

impl Authority {
    /// Makes the authority of a new cluster.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn found(now: Timestamp) -> Result<Self, IdentityError> {
        let key = new_key()?;
        let mut params = CertificateParams::default();
        params.not_before = moment(Timestamp(now.0.saturating_sub(SKEW.0))).into();
        params.not_after = moment(now.after(LIFE)).into();
        params.serial_number = Some(SerialNumber::from(1));
        params.distinguished_name =
            name(&format!("otto authority {}", key_fingerprint(&key).short()));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate =
            params.self_signed(&key).map_err(|error| unmade("an authority", &error))?;
        Self::from_der(certificate.der().clone(), Zeroizing::new(key.serialize_der()))
    }

    /// The authority of a certificate and its key.
    ///
    /// # Errors
    /// When they are damaged, or do not belong together.
    pub fn from_der(
        certificate: CertificateDer<'static>,
        key: Zeroizing<Vec<u8>>,
    ) -> Result<Self, IdentityError> {
        let pair = key_from_der(&key)?;
        if spki(&certificate)? != pair.subject_public_key_info() {
            return Err(malformed("the authority's key", "it belongs to another certificate"));
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, pair)
            .map_err(|error| malformed("the authority's certificate", error.to_string()))?;
        Ok(Self { certificate, key, issuer })
    }

    /// Its certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Its key (PKCS #8, DER).
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// How it is pinned.
    #[must_use]
    pub fn fingerprint(&self) -> KeyId {
        fingerprint(&self.certificate)
    }

    /// Signs a certificate. The same words give the same bytes.
    ///
    /// # Errors
    /// When it cannot be made, which is our bug.
    pub fn issue(
        &self,
        subject: Subject,
        key: &PublicKey,
        certificate: Certificate,
    ) -> Result<CertificateDer<'static>, IdentityError> {
        let uri = SanType::URI(
            subject
                .to_string()
                .try_into()
                .map_err(|error: rcgen::Error| unmade("a certificate", &error))?,
        );
        let mut params = CertificateParams::default();
        params.not_before = moment(certificate.not_before).into();
        params.not_after = moment(certificate.not_after).into();
        params.serial_number = Some(SerialNumber::from(certificate.serial));
        params.distinguished_name = name(&format!("otto {}", subject.holder));
        params.subject_alt_names = vec![uri];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match subject.holder {
            Holder::Node(_) => {
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
            }
            Holder::Agent(_) => vec![ExtendedKeyUsagePurpose::ClientAuth],
        };
        params.use_authority_key_identifier_extension = true;
        let signed = params.signed_by(&key.0, &self.issuer);
        Ok(signed.map_err(|error| unmade("a certificate", &error))?.der().clone())
    }
}

/// A public key whose holder proved to have the private one.
pub struct PublicKey(rcgen::PublicKey);

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.fingerprint().short())
    }
}

impl PublicKey {
    /// The key of a signing request. Everything else that it asks for is passed over: who somebody
    /// is, and what they may, is decided by the cluster alone.
    ///
    /// # Errors
    /// When it is no request, its signature does not hold, or its key is of another sort.
    pub fn of_request(request: &[u8]) -> Result<Self, IdentityError> {
        let request = CertificateSigningRequestDer::from(request);
        let parsed = CertificateSigningRequestParams::from_der(&request)
            .map_err(|error| malformed("a signing request", error.to_string()))?;
        if parsed.public_key.algorithm() != &PKCS_ED25519 {
            return Err(malformed("a signing request", "its key is not of the sort Ed25519"));
        }
        Ok(Self(parsed.public_key))
    }

    /// How it is named.
    #[must_use]
    pub fn fingerprint(&self) -> KeyId {
        KeyId::of(&self.0.subject_public_key_info())
    }
}

/// A new private key.
///
/// # Errors
/// When the system gives no randomness.
pub fn new_key() -> Result<KeyPair, IdentityError> {
    KeyPair::generate_for(&PKCS_ED25519).map_err(|error| unmade("a key", &error))
}

/// Reads a private key (PKCS #8, DER).
///
/// # Errors
/// When it is damaged, or of another sort than ours.
pub fn key_from_der(der: &[u8]) -> Result<KeyPair, IdentityError> {
    let der = PrivatePkcs8KeyDer::from(der);
    KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ED25519)
        .map_err(|error| malformed("a private key", error.to_string()))
}

/// A signing request for a key. It asks for nothing but a certificate.
///
/// # Errors
/// When it cannot be made, which is our bug.
pub fn request(key: &KeyPair) -> Result<Vec<u8>, IdentityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = name("otto newcomer");
    let request = params.serialize_request(key).map_err(|error| unmade("a request", &error))?;
    Ok(request.der().to_vec())
}

/// How a public key is named: whoever has the private one shows the same fingerprint.
#[must_use]
pub fn key_fingerprint(key: &KeyPair) -> KeyId {
    KeyId::of(&key.subject_public_key_info())
}

/// How an authority is pinned: by its whole certificate.
#[must_use]
pub fn fingerprint(certificate: &CertificateDer<'_>) -> KeyId {
    KeyId::of(certificate)
}

/// The public key in a certificate, with its algorithm.
pub(super) fn spki(certificate: &CertificateDer<'_>) -> Result<Vec<u8>, IdentityError> {
    let (_, parsed) = X509Certificate::from_der(certificate)
        .map_err(|_| malformed("a certificate", "it is damaged"))?;
    Ok(parsed.public_key().raw.to_vec())
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

/// Certificates count in whole seconds.
fn moment(at: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(at.0 / 1000)
}

fn unmade(what: &'static str, error: &rcgen::Error) -> IdentityError {
    IdentityError::Unmade { what, cause: error.to_string() }
}
