//! Where a node of a cluster lives: what it was told when it was founded or joined, kept in its
//! data folder, so that its next start needs no words.

use super::place::Place;
use crate::replica::ShardsConfig;
use crate::wire::hello::Refused;
use otto_core::cluster::state::JoinRole;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

/// The port at which nodes listen for other machines.
pub(super) const PORT: u16 = 7301;
/// Where a node listens that was told nothing.
const EVERYWHERE: &str = "0.0.0.0:7301";
/// An address of nobody, kept for examples: asking for the way there sends nothing.
const FAR_AWAY: &str = "192.0.2.1:9";

/// What is kept of how a node was started.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Residence {
    /// What the node is.
    pub(super) role: JoinRole,
    /// Where it listens for other machines. Agents dial out, and listen nowhere.
    pub(super) listen: String,
    /// Where others reach it, if that is said.
    #[serde(default)]
    pub(super) advertise: Option<String>,
    /// Whom it joined at: the way there tells which of this machine's addresses is meant.
    #[serde(default)]
    pub(super) joined_at: Option<String>,
    /// Into how many shards its cluster is divided.
    pub(super) shards: u16,
    /// Where artifacts and sealed logs are; in the data folder where left out.
    #[serde(default)]
    pub(super) objects: Option<String>,
    /// The cluster's incarnation when the node came.
    #[serde(default = "first")]
    pub(super) incarnation: u32,
}

/// The incarnation of a cluster that was never restored from a backup.
fn first() -> u32 {
    1
}

/// What a start says of where the node is to live; what is left out stays as it was.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Told {
    /// See [`Residence::listen`].
    pub(super) listen: Option<String>,
    /// See [`Residence::advertise`].
    pub(super) advertise: Option<String>,
    /// See [`Residence::objects`].
    pub(super) objects: Option<String>,
}

impl Residence {
    /// The residence of a new node.
    pub(super) fn new(role: JoinRole, shards: u16) -> Self {
        let listen = EVERYWHERE.to_owned();
        let (advertise, joined_at, objects) = (None, None, None);
        Self { role, listen, advertise, joined_at, shards, objects, incarnation: first() }
    }

    /// The residence of a node that founds a cluster.
    pub(super) fn of_founder() -> Self {
        Self::new(JoinRole::Control, ShardsConfig::default().shards)
    }

    /// The same, as a later start says.
    pub(super) fn told(self, told: Told) -> Self {
        let Told { listen, advertise, objects } = told;
        let objects = objects.or(self.objects);
        let moved = listen.is_some();
        let listen = listen.unwrap_or(self.listen);
        // Where it listens elsewhere, what was said of the old place says nothing.
        let advertise = advertise.or(self.advertise.filter(|_| !moved));
        Self { listen, advertise, objects, ..self }
    }

    /// What is kept in a data folder; `None` where the node belongs to no cluster.
    ///
    /// # Errors
    /// When the file cannot be read, or holds something else.
    pub(super) fn load(place: &Place) -> Result<Option<Self>, Refused> {
        let path = place.residence();
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
                Refused::trouble(
                    format!("failed to read {}: {error}", path.display()),
                    "restore it from a copy of this node, or delete it and name what it said \
                     with --listen",
                )
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Refused::at("read", &path, &error)),
        }
    }

    /// Keeps it: whole, or as it was.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub(super) fn keep(&self, place: &Place) -> Result<(), Refused> {
        let path = place.residence();
        let fresh = path.with_extension("new");
        let written = || -> io::Result<()> {
            let mut file = File::create(&fresh)?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            file.sync_all()?;
            fs::rename(&fresh, &path)?;
            File::open(place.data())?.sync_all()
        };
        written().map_err(|error| Refused::at("write", &path, &error))
    }

    /// Where others reach a node that listens at `bound`; where that is every address of this
    /// machine, the one from which others are reached, or the machine's name.
    pub(super) fn advertised(&self, bound: SocketAddr) -> String {
        if let Some(told) = &self.advertise {
            return told.clone();
        }
        let host = self.listen.rsplit_once(':').map_or("", |(host, _)| host);
        if !bound.ip().is_unspecified() {
            // A name that was given says more than the address that it had just now.
            let is_name = !host.is_empty() && host.parse::<std::net::IpAddr>().is_err();
            let is_name = is_name && !host.starts_with('[');
            return if is_name { format!("{host}:{}", bound.port()) } else { bound.to_string() };
        }
        let way = |to: &str| -> io::Result<SocketAddr> {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            socket.connect(to)?;
            socket.local_addr()
        };
        match way(self.joined_at.as_deref().unwrap_or(FAR_AWAY)) {
            Ok(ours) if !ours.ip().is_unspecified() => {
                SocketAddr::new(ours.ip(), bound.port()).to_string()
            }
            Ok(_) | Err(_) => format!("{}:{}", machine(), bound.port()),
        }
    }
}

/// The machine's name.
pub(super) fn machine() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Reads where to listen, or where a node is: `10.0.0.5:7301`, `10.0.0.5`, `[::1]:7301`, `n1.lan`.
pub(super) fn address(text: &str) -> Result<String, String> {
    let text = text.trim();
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (host, port) = match (bracketed, text.rsplit_once(':')) {
        (Some((host, "")), _) => (format!("[{host}]"), None),
        (Some((host, rest)), _) => (format!("[{host}]"), rest.strip_prefix(':').or(Some(rest))),
        (None, Some((host, _))) if host.contains(':') => (format!("[{text}]"), None),
        (None, Some((host, port))) => (host.to_owned(), Some(port)),
        (None, None) => (text.to_owned(), None),
    };
    let port = match port.map(str::parse::<u16>) {
        None => PORT,
        Some(Ok(0) | Err(_)) => return Err("its port is no number from 1 to 65535".to_owned()),
        Some(Ok(port)) => port,
    };
    let strange = |letter: char| letter.is_whitespace() || "/@?#".contains(letter);
    match host.as_str() {
        "" => Ok(format!("0.0.0.0:{port}")),
        host if host.contains(strange) => {
            Err("an address is a machine and a port, such as 10.0.0.5:7301".to_owned())
        }
        host => Ok(format!("{host}:{port}")),
    }
}

#[cfg(test)]
mod tests {
    use super::{Residence, Told, address};
    use crate::node::place::Place;
    use otto_core::cluster::state::JoinRole;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for (text, read) in [
            ("10.0.0.5:7301", Some("10.0.0.5:7301")),
            ("10.0.0.5", Some("10.0.0.5:7301")),
            (":7400", Some("0.0.0.0:7400")),
            ("[::1]:7400", Some("[::1]:7400")),
            ("[::1]", Some("[::1]:7301")),
            ("fd00::5", Some("[fd00::5]:7301")),
            ("n1.lan", Some("n1.lan:7301")),
            ("n1.lan:80", Some("n1.lan:80")),
            ("n1.lan:http", None),
            ("10.0.0.5:0", None),
            ("10.0.0.5:70000", None),
            ("[::1]x:1", None),
            ("http://n1.lan", None),
            ("n1 .lan", None),
        ] {
            assert_eq!(address(text).ok().as_deref(), read, "{text}");
        }
    }

    #[test]
    fn others_are_told_an_address_that_they_can_use() {
        let listening = |listen: &str, advertise: Option<&str>| {
            let told = Told {
                listen: Some(listen.to_owned()),
                advertise: advertise.map(ToOwned::to_owned),
                objects: None,
            };
            Residence::of_founder().told(told)
        };
        let advertised = |residence: &Residence, bound: &str| {
            let joined_at = Some("127.0.0.1:9".to_owned());
            let joined = Residence { joined_at, ..residence.clone() };
            joined.advertised(bound.parse().unwrap())
        };
        let said = listening("0.0.0.0:7301", Some("otto.example:443"));
        assert_eq!(advertised(&said, "0.0.0.0:7301"), "otto.example:443");
        let one = listening("127.0.0.2:7301", None);
        assert_eq!(advertised(&one, "127.0.0.2:7301"), "127.0.0.2:7301");
        let named = listening("localhost:7301", None);
        assert_eq!(advertised(&named, "127.0.0.1:7301"), "localhost:7301");
        let all = listening("0.0.0.0:7301", None);
        assert_eq!(advertised(&all, "0.0.0.0:7301"), "127.0.0.1:7301");
        let moved = said.told(Told { listen: Some("127.0.0.3:1".to_owned()), ..Told::default() });
        assert_eq!(moved.advertise, None);
    }

    #[test]
    fn what_was_told_is_there_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(folder.path()).unwrap();
        assert_eq!(Residence::load(&place).unwrap(), None);
        let residence = Residence { shards: 3, ..Residence::new(JoinRole::Agent, 8) };
        residence.keep(&place).unwrap();
        assert_eq!(Residence::load(&place).unwrap(), Some(residence.clone()));
        assert_eq!(residence.clone().told(Told::default()), residence);
        std::fs::write(place.residence(), "{").unwrap();
        assert!(Residence::load(&place).is_err());
    }
}
