//! What both ends of a TLS connection check of each other.

use super::authority;
use super::subject::{self, Subject};
use super::token::Pin;
use otto_core::cluster::state::Holder;
use otto_core::ids::{ClusterId, NodeId};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    PeerIncompatible, RootCertStore, SignatureScheme,
};
use std::sync::Arc;

/// Where the algorithms come from.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Whom a connection is made to.
#[derive(Clone, Debug)]
pub enum Expected {
    /// A control node of the cluster whose authority is pinned.
    Pinned(Pin),
    /// A control node of this cluster.
    AnyNode {
        /// The cluster.
        cluster: ClusterId,
        /// Its authority's certificate.
        authority: CertificateDer<'static>,
    },
    /// This control node of this cluster.
    Node {
        /// The cluster.
        cluster: ClusterId,
        /// Its authority's certificate.
        authority: CertificateDer<'static>,
        /// Which node.
        node: NodeId,
    },
}

/// Why the other end is not who it should be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Wrong {
    #[error("it is a node of another cluster than the token is for")]
    Pin,
    #[error("it belongs to another cluster")]
    Cluster,
    #[error("it is {found}, not {expected}")]
    Node { found: Holder, expected: NodeId },
    #[error("it is {found}, which is no control node")]
    Role { found: Holder },
    #[error("{0}")]
    Unreadable(String),
}

impl From<Wrong> for Error {
    fn from(wrong: Wrong) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(wrong))))
    }
}

/// Checks the node that a connection was made to. Names of machines do not count.
#[derive(Debug)]
pub(super) struct Nodes {
    expected: Expected,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Nodes {
    pub(super) fn new(expected: Expected) -> Self {
        Self { expected, algorithms: provider().signature_verification_algorithms }
    }

    /// The authority that counts, out of what was shown where only its pin is known.
    fn authority(&self, shown: &[CertificateDer<'_>]) -> Result<CertificateDer<'static>, Wrong> {
        match &self.expected {
            Expected::AnyNode { authority, .. } | Expected::Node { authority, .. } => {
                Ok(authority.clone())
            }
            Expected::Pinned(pin) => {
                let pinned = |it: &&CertificateDer<'_>| Pin::of(authority::fingerprint(it)) == *pin;
                shown.iter().find(pinned).map(|it| it.clone().into_owned()).ok_or(Wrong::Pin)
            }
        }
    }

    fn is_expected(&self, subject: Subject) -> Result<(), Wrong> {
        let found = subject.holder;
        let Holder::Node(node) = found else { return Err(Wrong::Role { found }) };
        let (cluster, expected) = match &self.expected {
            Expected::Pinned(_) => (subject.cluster, node),
            Expected::AnyNode { cluster, .. } => (*cluster, node),
            Expected::Node { cluster, node, .. } => (*cluster, *node),
        };
        if cluster != subject.cluster {
            return Err(Wrong::Cluster);
        }
        if expected != node {
            return Err(Wrong::Node { found, expected });
        }
        Ok(())
    }
}

impl ServerCertVerifier for Nodes {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let roots = roots(&self.authority(intermediates)?)?;
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &roots, &[], now, algorithms)?;
        let said = subject::read(end_entity);
        let said = said.map_err(|error| Wrong::Unreadable(error.to_string()))?;
        self.is_expected(said.subject)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Checks whoever connects, where they show a certificate at all. One that has run out passes: the
/// porter lets it renew, and nothing else.
#[derive(Debug)]
pub(super) struct Callers(Arc<dyn ClientCertVerifier>);

impl Callers {
    pub(super) fn new(authority: &CertificateDer<'static>) -> Result<Self, Error> {
        let builder =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots(authority)?), provider());
        let verifier = builder.allow_unauthenticated().build();
        Ok(Self(verifier.map_err(|error| Error::General(error.to_string()))?))
    }
}

impl ClientCertVerifier for Callers {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.0.verify_client_cert(end_entity, intermediates, now) {
            Err(Error::InvalidCertificate(CertificateError::ExpiredContext {
                not_after, ..
            })) => self.0.verify_client_cert(end_entity, intermediates, not_after),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Whether an authority signed a certificate, whenever it is valid.
pub(super) fn signed_by(
    certificate: &CertificateDer<'_>,
    authority: &CertificateDer<'_>,
) -> Result<(), String> {
    let callers = Callers::new(&authority.clone().into_owned());
    let callers = callers.map_err(|_| "the authority beside it is damaged".to_owned())?;
    let said = subject::read(certificate).map_err(|error| error.to_string())?;
    let then = std::time::Duration::from_millis(said.certificate.not_before.0);
    let verdict = callers.verify_client_cert(certificate, &[], UnixTime::since_unix_epoch(then));
    verdict.map(|_| ()).map_err(|_| "the authority beside it did not sign it".to_owned())
}

fn roots(authority: &CertificateDer<'_>) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone().into_owned())?;
    Ok(roots)
}

fn only_tls13() -> Error {
    Error::PeerIncompatible(PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig)
}
