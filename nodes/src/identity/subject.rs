//! The name in a certificate: `otto://CLUSTER/node/3?role=control`.

use super::{IdentityError, malformed};
use otto_core::cluster::state::{Certificate, Holder};
use otto_core::ids::{AgentId, ClusterId, KeyId, NodeId};
use otto_core::time::Timestamp;
use rustls::pki_types::CertificateDer;
use std::fmt;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Who a certificate is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subject {
    /// The cluster.
    pub cluster: ClusterId,
    /// Who in it.
    pub holder: Holder,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cluster = self.cluster;
        match self.holder {
            Holder::Node(node) => write!(f, "otto://{cluster}/node/{}?role=control", node.0),
            Holder::Agent(agent) => write!(f, "otto://{cluster}/agent/{agent}?role=agent"),
        }
    }
}

impl Subject {
    /// Reads the text back. There is one text for each subject.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (cluster, holder) = text.strip_prefix("otto://")?.split_once('/')?;
        let cluster = ClusterId::parse(cluster)?;
        let node = |rest: &str| rest.strip_suffix("?role=control")?.parse().ok().map(NodeId);
        let agent = |rest: &str| AgentId::parse(rest.strip_suffix("?role=agent")?);
        let holder = match holder.split_once('/')? {
            ("node", rest) => Holder::Node(node(rest)?),
            ("agent", rest) => Holder::Agent(agent(rest)?),
            (_, _) => return None,
        };
        let subject = Self { cluster, holder };
        (subject.to_string() == text).then_some(subject)
    }
}

/// What a certificate says. Who signed it is another question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Said {
    /// Who it is for.
    pub subject: Subject,
    /// Their key.
    pub key: KeyId,
    /// Its number and times, in whole seconds.
    pub certificate: Certificate,
}

/// Reads what a certificate says.
///
/// # Errors
/// When it is no certificate, or not for anybody of Otto.
pub fn read(der: &CertificateDer<'_>) -> Result<Said, IdentityError> {
    let unfit = |cause: &str| malformed("a certificate", cause);
    let (rest, parsed) = X509Certificate::from_der(der).map_err(|_| unfit("it is damaged"))?;
    if !rest.is_empty() {
        return Err(unfit("something follows it"));
    }
    let names = parsed.subject_alternative_name().map_err(|_| unfit("its names are damaged"))?;
    let names = names.map(|it| it.value.general_names.as_slice()).unwrap_or_default();
    let [GeneralName::URI(name)] = names else {
        return Err(unfit("it does not have one name of Otto"));
    };
    let subject = Subject::parse(name).ok_or_else(|| unfit("its name is none of Otto"))?;
    let validity = parsed.validity();
    let moment = |seconds: i64| Timestamp(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000));
    let serial =
        parsed.raw_serial().iter().fold(0_u64, |serial, byte| serial << 8 | u64::from(*byte));
    let certificate = Certificate {
        serial,
        not_before: moment(validity.not_before.timestamp()),
        not_after: moment(validity.not_after.timestamp()),
    };
    Ok(Said { subject, key: KeyId::of(parsed.public_key().raw), certificate })
}
