//! The network between machines: TLS 1.3 over TCP, behind the same ports as a socket.
//!
//! Nothing is resumed: each connection shows its certificate anew, so whoever was removed is out at
//! the next one, and the porter ends what is left of the present one.

use super::files::Stored;
use super::subject::{self, Said};
use super::verify::{Callers, Nodes, Wrong, provider};
use super::{IdentityError, malformed};
use crate::network::{
    ConnectError, Connector, Listener, Principal, Routes, SharedConnector, Stream, Who,
};
use crate::wire::hello::{PATIENCE, Refused, RefusedKind};
use async_trait::async_trait;
use otto_actors::ports::clock::SharedClock;
use otto_core::time::Timestamp;
use rcgen::KeyPair;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, Error, ServerConfig, SignatureScheme,
};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector as Handshake};

pub use super::verify::Expected;

/// The most handshakes at a time; whoever comes then waits in the system's queue.
const MAX_HANDSHAKES: usize = 256;
/// How long one address has to answer.
const CONNECT: Duration = Duration::from_secs(5);

/// This process's identity. Clones share it, and see a later certificate as soon as it is there.
#[derive(Clone, Debug)]
pub struct Credentials {
    authority: CertificateDer<'static>,
    key: Arc<KeyPair>,
    current: watch::Sender<Arc<Current>>,
}

#[derive(Debug)]
struct Current {
    said: Said,
    certified: Arc<CertifiedKey>,
}

impl Credentials {
    /// The credentials that were found in a node's folder.
    ///
    /// # Errors
    /// When the key is of a sort that TLS does not take.
    pub fn new(stored: Stored) -> Result<Self, IdentityError> {
        let Stored { said, certificate, authority, key } = stored;
        let certified = certify(&key, certificate, &authority)?;
        let current = watch::Sender::new(Arc::new(Current { said, certified }));
        Ok(Self { authority, key: Arc::new(key), current })
    }

    /// What the present certificate says.
    #[must_use]
    pub fn said(&self) -> Said {
        self.current.borrow().said
    }

    /// The certificate of the cluster's authority.
    #[must_use]
    pub fn authority(&self) -> &CertificateDer<'static> {
        &self.authority
    }

    /// A signing request for the same key.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn request(&self) -> Result<Vec<u8>, IdentityError> {
        super::authority::request(&self.key)
    }

    /// Shows a later certificate from now on.
    ///
    /// # Errors
    /// When it is for somebody else, or was not signed by the cluster's authority.
    pub fn replace(&self, certificate: CertificateDer<'static>) -> Result<(), IdentityError> {
        let said = subject::read(&certificate)?;
        let before = self.said();
        if (said.subject, said.key) != (before.subject, before.key) {
            return Err(malformed("the new certificate", "it is for somebody else"));
        }
        super::verify::signed_by(&certificate, &self.authority)
            .map_err(|cause| malformed("the new certificate", cause))?;
        let certified = certify(&self.key, certificate, &self.authority)?;
        self.current.send_replace(Arc::new(Current { said, certified }));
        Ok(())
    }
}

/// The chain holds the authority, too: a newcomer knows no more of it than its pin.
fn certify(
    key: &KeyPair,
    certificate: CertificateDer<'static>,
    authority: &CertificateDer<'static>,
) -> Result<Arc<CertifiedKey>, IdentityError> {
    let der = PrivatePkcs8KeyDer::from(key.serialize_der());
    let chain = vec![certificate, authority.clone()];
    let certified = CertifiedKey::from_der(chain, der.into(), &provider());
    let unfit = |error: Error| malformed("the certificate with its key", error.to_string());
    Ok(Arc::new(certified.map_err(unfit)?))
}

impl ResolvesServerCert for Credentials {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.borrow().certified.clone())
    }
}

impl ResolvesClientCert for Credentials {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.current.borrow().certified.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The clock port, as TLS asks it.
#[derive(Debug)]
struct Time(SharedClock);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis(self.0.now().0)))
    }
}

/// Takes connections of other machines.
pub struct TlsListener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
    clock: SharedClock,
    /// Handshakes that go on, so that a slow one holds up nobody else.
    handshakes: Mutex<JoinSet<io::Result<(Stream, Principal)>>>,
}

impl std::fmt::Debug for TlsListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TlsListener({:?})", self.tcp.local_addr())
    }
}

impl TlsListener {
    /// Takes connections on a bound socket, and shows these credentials.
    ///
    /// # Errors
    /// When the cluster's authority is damaged.
    pub fn new(
        tcp: TcpListener,
        credentials: &Credentials,
        clock: SharedClock,
    ) -> Result<Self, IdentityError> {
        let unfit = |error: Error| malformed("the identity of this node", error.to_string());
        let callers = Callers::new(&credentials.authority).map_err(unfit)?;
        let time = Arc::new(Time(clock.clone()));
        let mut config = ServerConfig::builder_with_details(provider(), time)
            .with_safe_default_protocol_versions()
            .map_err(unfit)?
            .with_client_cert_verifier(Arc::new(callers))
            .with_cert_resolver(Arc::new(credentials.clone()));
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Self { tcp, acceptor, clock, handshakes: Mutex::default() })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

#[async_trait]
impl Listener for TlsListener {
    async fn accept(&self) -> io::Result<(Stream, Principal)> {
        let mut handshakes = self.handshakes.lock().await;
        loop {
            let more = handshakes.len() < MAX_HANDSHAKES;
            tokio::select! {
                biased;
                Some(ended) = handshakes.join_next() => match ended {
                    Ok(Ok(accepted)) => return Ok(accepted),
                    Ok(Err(error)) => tracing::info!(%error, "a connection was no TLS of ours"),
                    Err(error) => tracing::error!(%error, "a handshake's task died"),
                },
                accepted = self.tcp.accept(), if more => {
                    let (tcp, from) = accepted?;
                    let greeting = greet(self.acceptor.clone(), tcp, from, self.clock.clone());
                    handshakes.spawn(greeting);
                }
            }
        }
    }
}

async fn greet(
    acceptor: TlsAcceptor,
    tcp: TcpStream,
    from: SocketAddr,
    clock: SharedClock,
) -> io::Result<(Stream, Principal)> {
    tcp.set_nodelay(true)?;
    let stream = timeout(PATIENCE, acceptor.accept(tcp)).await??;
    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let principal = match shown {
        Some(certificate) => certified(certificate, clock.now()).map_err(io::Error::other)?,
        None => Principal::stranger(from.to_string()),
    };
    Ok((Box::pin(stream), principal))
}

/// Whom a certificate makes its holder, which was verified before.
fn certified(certificate: &CertificateDer<'_>, now: Timestamp) -> Result<Principal, IdentityError> {
    let said = subject::read(certificate)?;
    let mut principal = Principal::certified(said.subject.holder, said.key);
    if said.certificate.not_after < now {
        principal.who = Who::Lapsed(said.subject.holder);
    }
    Ok(principal)
}

/// Connects to a control node.
pub struct TlsConnector {
    addresses: Vec<String>,
    handshake: Handshake,
    /// The address that answered last.
    good: std::sync::atomic::AtomicUsize,
}

impl std::fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TlsConnector({})", self.addresses.join(", "))
    }
}

impl TlsConnector {
    /// Connects to whoever is expected at one of these addresses, which are tried in turn. Without
    /// credentials it comes as a stranger.
    ///
    /// # Errors
    /// When the algorithms of this build do not go together, which is our bug.
    pub fn new(
        addresses: Vec<String>,
        expected: Expected,
        credentials: Option<&Credentials>,
        clock: SharedClock,
    ) -> Result<Self, IdentityError> {
        let builder = ClientConfig::builder_with_details(provider(), Arc::new(Time(clock)))
            .with_safe_default_protocol_versions()
            .map_err(|error| malformed("TLS", error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Nodes::new(expected)));
        let mut config = match credentials {
            Some(credentials) => builder.with_client_cert_resolver(Arc::new(credentials.clone())),
            None => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        let handshake = Handshake::from(Arc::new(config));
        Ok(Self { addresses, handshake, good: 0.into() })
    }

    /// Connects as this one does, to whoever is expected at other addresses.
    #[must_use]
    pub fn towards(&self, addresses: Vec<String>) -> Self {
        Self { addresses, handshake: self.handshake.clone(), good: 0.into() }
    }

    async fn one(&self, address: &str) -> Result<Stream, ConnectError> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        // The name is never looked at: nodes are told by their certificate's own one.
        let name = ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into());
        match self.handshake.connect(name, tcp).await {
            Ok(stream) => Ok(Box::pin(stream)),
            Err(error) => Err(explain(address, error)),
        }
    }
}

#[async_trait]
impl Connector for TlsConnector {
    async fn connect(&self) -> Result<Stream, ConnectError> {
        use std::sync::atomic::Ordering::Relaxed;
        let first = self.good.load(Relaxed);
        let mut last = None;
        for index in (0..self.addresses.len()).map(|index| (first + index) % self.addresses.len()) {
            let address = &self.addresses[index];
            match timeout(CONNECT, self.one(address)).await {
                Ok(Ok(stream)) => {
                    self.good.store(index, Relaxed);
                    return Ok(stream);
                }
                Ok(Err(error)) => last = Some(error),
                Err(_) => {
                    let text = format!("{address} did not answer in {} s", CONNECT.as_secs());
                    let silent = io::Error::new(io::ErrorKind::TimedOut, text);
                    // What somebody said counts more than that somebody else said nothing.
                    last = last.or(Some(ConnectError::Passing(silent)));
                }
            }
        }
        let nowhere = || io::Error::new(io::ErrorKind::InvalidInput, "no address is known");
        Err(last.unwrap_or_else(|| ConnectError::Passing(nowhere())))
    }
}

/// Finds the control nodes of one's own cluster, by their addresses.
#[derive(Debug)]
pub struct ClusterRoutes(TlsConnector);

impl ClusterRoutes {
    /// Ways to any control node of the cluster that these credentials belong to.
    ///
    /// # Errors
    /// As [`TlsConnector::new`].
    pub fn new(credentials: &Credentials, clock: SharedClock) -> Result<Self, IdentityError> {
        let cluster = credentials.said().subject.cluster;
        let expected = Expected::AnyNode { cluster, authority: credentials.authority.clone() };
        TlsConnector::new(Vec::new(), expected, Some(credentials), clock).map(Self)
    }

    /// What connects to whichever of these answers.
    #[must_use]
    pub fn to_any(&self, addresses: Vec<String>) -> TlsConnector {
        self.0.towards(addresses)
    }
}

impl Routes for ClusterRoutes {
    fn to(&self, address: &str) -> SharedConnector {
        Arc::new(self.to_any(vec![address.to_owned()]))
    }
}

/// Tells what another attempt would meet again, in words, from what may pass.
fn explain(address: &str, error: io::Error) -> ConnectError {
    let Some(cause) = error.get_ref().and_then(|it| it.downcast_ref::<Error>()) else {
        return ConnectError::Passing(error);
    };
    let clocks = "compare the clocks of both machines: date --utc";
    let (what, help) = match cause {
        Error::InvalidCertificate(CertificateError::ExpiredContext { time, not_after }) => (
            format!(
                "the certificate of {address} ran out at {}, and it is {} here",
                moment(*not_after),
                moment(*time)
            ),
            clocks,
        ),
        Error::InvalidCertificate(CertificateError::NotValidYetContext { time, not_before }) => (
            format!(
                "the certificate of {address} is valid from {} on, and it is {} here",
                moment(*not_before),
                moment(*time)
            ),
            clocks,
        ),
        Error::InvalidCertificate(CertificateError::Other(other)) => {
            let wrong = other.0.downcast_ref::<Wrong>().map(ToString::to_string);
            let wrong = wrong.unwrap_or_else(|| other.to_string());
            (
                format!("failed to trust {address}: {wrong}"),
                "see that the address is right, and make a new token on a node of the cluster",
            )
        }
        Error::InvalidCertificate(_) => (
            format!("failed to trust {address}: no authority of this cluster vouches for it"),
            "see that the address is right, and that the node belongs to this cluster",
        ),
        Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired,
        ) => (
            format!("{address} does not accept the certificate of this node"),
            "see that this node belongs to the same cluster, and that both clocks are right",
        ),
        Error::InvalidMessage(_) => (
            format!("what listens at {address} does not speak TLS"),
            "use the address that `otto nodes` shows for nodes",
        ),
        // Everything else may be a connection that broke in the middle.
        _ => return ConnectError::Passing(error),
    };
    let kind = RefusedKind::Forbidden;
    ConnectError::Final(Refused { kind, what, help: help.to_owned() })
}

fn moment(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| "?".to_owned(), |it| it.to_string())
}
