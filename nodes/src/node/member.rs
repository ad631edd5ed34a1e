//! The control process of a node that belongs to a cluster: it founds it, or finds its place again.
//!
//! Founding comes first and is whole by itself: it turns the data folder of a node that is alone,
//! with all its history, into that of a cluster's first node. Everything behind it is the same for
//! each node at each start.

use super::census::{Census, cast_out, let_in_at, refused, understood};
use super::place::Place;
use super::report::Report;
use super::residence::{Residence, machine};
use crate::control::cluster::{Citizen, Entrance, found as grant, part};
use crate::control::{ControlConfig, Ending, OpenStore, Outside, attend};
use crate::identity::door::{Admission, Reception};
use crate::identity::files::{Folder, Stored};
use crate::identity::join::{Introduction, enrol_here};
use crate::identity::renewal::{bridge, keep_valid};
use crate::identity::tls::{ClusterRoutes, Credentials, TlsListener};
use crate::identity::token::{Purpose, Token};
use crate::identity::{IdentityError, founding, starts};
use crate::network::SharedListener;
use crate::replica::{Alone, Shards, ShardsConfig};
use crate::rpc::peer_link::PeerLinks;
use crate::store::{self, Threads};
use crate::wire::hello::{Build, Refused};
use crate::wire::release::Release;
use futures::StreamExt;
use futures::future::{join, join5};
use futures::stream::FuturesUnordered;
use otto_core::cluster::Cluster;
use otto_core::cluster::command::Wish;
use otto_core::cluster::state::{By, Holder, JoinRole};
use otto_core::ids::{KeyId, NodeId, ShardId};
use otto_core::journal::EntityId;
use otto_core::lease::LEASE;
use otto_core::time::Span;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

/// How long the token of the line is valid that a founder prints.
const TOKEN: Span = Span::hours(1);
/// How long the others have to say that this node was removed, before it says that it is ready.
const ASKED: Duration = Duration::from_secs(1);
/// The pause before the agent beside this node is admitted that could not be before.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs the control process of a cluster's node until it leaves. `tell` reaches the supervisor.
///
/// # Errors
/// What keeps it from working, for people.
pub(super) async fn run(
    place: &Place,
    residence: &Residence,
    outside: Outside,
    config: ControlConfig,
    tell: impl FnMut(Report) + Send,
    leave: watch::Receiver<bool>,
) -> Result<Ending, Refused> {
    let identity = Folder::new(place.data());
    if let Some(why) = identity.outcast()? {
        return Err(cast_out(&why));
    }
    let tcp = listen(&residence.listen).await?;
    let bound = tcp.local_addr().map_err(|error| unbound(&residence.listen, &error))?;
    let address = residence.advertised(bound);
    let founds = identity.load()?.is_none();
    if founds {
        found(place, &identity, &address, &outside, &config).await?;
    }
    let address_shown = format!("{address} and {}", config.address);
    let config = ControlConfig { address: address_shown, lease: LEASE, ..config };
    let node = Node::open(place, residence, identity, &config, &outside, tcp).await?;
    let greeting = Greeting { founds, address, tell };
    let ended = node.take_part(place, outside, config, greeting, leave).await;
    if let Err(fault) = node.shards.end().await {
        tracing::error!(%fault, "the store was not closed in good order");
    }
    ended
}

/// Makes this the first node of a new cluster. What a crash leaves of it is used the next time.
async fn found(
    place: &Place,
    identity: &Folder,
    address: &str,
    outside: &Outside,
    config: &ControlConfig,
) -> Result<(), Refused> {
    let introduction = Introduction {
        name: machine(),
        addresses: vec![address.to_owned()],
        levels: Release::ours().levels,
        build: config.build.clone(),
    };
    let founder = founding::begin(identity, &introduction, outside.clock.now())?;
    let disk = store::Folder::lock(place.store()).map_err(|error| Refused::from(&error))?;
    let shards = Shards::open(Box::new(disk), &Threads, config.shards, Arc::new(Alone)).await;
    let shards = shards.map_err(|error| Refused::from(&error))?;
    let (clock, chance) = (outside.clock.clone(), outside.chance.clone());
    let founded = grant(&shards, |count| founder.found(count), clock, chance).await;
    if let Err(fault) = shards.close().await {
        tracing::error!(%fault, "the store was not closed in good order");
    }
    let cluster = founded.map_err(refused)?;
    founder.finish(&cluster)?;
    tracing::info!(address, "founded a cluster");
    Ok(())
}

/// What the supervisor is told when calls are answered.
struct Greeting<Tell> {
    /// The cluster was founded by this start: somebody may want to grow it.
    founds: bool,
    address: String,
    tell: Tell,
}

/// A node whose replicas are open.
struct Node {
    me: NodeId,
    identity: Folder,
    credentials: Credentials,
    routes: Arc<ClusterRoutes>,
    links: Arc<PeerLinks>,
    listener: SharedListener,
    shards: Arc<Shards>,
    begun: starts::Begun,
    shared_store: bool,
}

impl Node {
    async fn open(
        place: &Place,
        residence: &Residence,
        identity: Folder,
        config: &ControlConfig,
        outside: &Outside,
        tcp: TcpListener,
    ) -> Result<Self, Refused> {
        let clock = outside.clock.clone();
        let stored = identity.load()?.ok_or_else(|| unfit("it is missing"))?;
        let me = number(&stored)?;
        if starts::has_begun(&identity)? && !place.has_store() {
            return Err(wiped(place, me));
        }
        let authority = identity.authority()?.ok_or_else(|| unfit("its authority is missing"))?;
        let stored = bridge(stored, &identity, &authority, clock.now())?;
        let credentials = Credentials::new(stored)?;
        let routes = Arc::new(ClusterRoutes::new(&credentials, clock.clone())?);
        let links = Arc::new(PeerLinks::new(routes.clone(), config.build.clone()));
        let listener = Arc::new(TlsListener::new(tcp, &credentials, clock)?);
        let disk = store::Folder::lock(place.store()).map_err(|error| Refused::from(&error))?;
        // It was made by founding, or is filled by others.
        let shards =
            ShardsConfig { node: me.0, shards: residence.shards, founds: false, ..config.shards };
        let applied_once = starts::applied(&identity)?;
        let shards = ShardsConfig { incarnation: residence.incarnation, applied_once, ..shards };
        let shards = Shards::open(Box::new(disk), &Threads, shards, links.clone()).await;
        let shards = Arc::new(shards.map_err(|error| Refused::from(&error))?);
        if let Err(refused) = fit_for_all_of_it(&shards) {
            shards.end().await.map_err(|fault| trouble(&fault.to_string()))?;
            return Err(refused);
        }
        let begun = starts::begin(&identity)?;
        let shared_store = residence.objects.is_some();
        let node = Self {
            me,
            identity,
            credentials,
            routes,
            links,
            listener,
            shards,
            begun,
            shared_store,
        };
        Ok(node)
    }

    /// What tells the cluster of this start.
    fn census(&self, citizen: &Citizen, address: &str, config: &ControlConfig) -> Census {
        Census {
            me: self.me,
            begun: self.begun.clone(),
            address: address.to_owned(),
            identity: self.identity.clone(),
            admission: citizen.admission(),
            known: citizen.known(),
            routes: Arc::clone(&self.routes),
            build: config.build.clone(),
        }
    }

    /// Takes part in the cluster until there is a reason to leave.
    async fn take_part(
        &self,
        place: &Place,
        outside: Outside,
        config: ControlConfig,
        greeting: Greeting<impl FnMut(Report) + Send>,
        mut leave: watch::Receiver<bool>,
    ) -> Result<Ending, Refused> {
        let citizen = self.enter(&outside).await?;
        let store = OpenStore::of(&self.shards, |journal| journal);
        let asked = tokio::time::timeout(ASKED, self.is_removed(&config.build));
        let (settled, removed) = join(citizen.settle(&store, &config), asked).await;
        settled?;
        if let Ok(Some(why)) = removed {
            self.identity.cast_out(&why)?;
            return Err(cast_out(&why));
        }
        let known = citizen.known();
        let receiving = citizen.receive(self.shards.peer_side(), &config);
        let Outside { clock, chance, .. } = outside.clone();
        let reception = Arc::clone(&citizen.membership.reception);
        let address = greeting.address.clone();
        let census = self.census(&citizen, &address, &config);
        let membership = Some(citizen.membership.clone());
        let outside =
            Outside { membership, neighbours: Some(citizen.neighbours.clone()), ..outside };
        let (ready, is_ready) = oneshot::channel();
        let is_up = move || {
            // Who greets goes on for as long as this does.
            ready.send(()).ok();
        };
        let attending = attend(store, outside, config, is_up);
        let renewing = keep_valid(
            self.credentials.clone(),
            self.identity.clone(),
            Arc::clone(&reception),
            clock,
            chance,
        );
        let admission = citizen.admission();
        let remembering = citizen.remember(|applied| {
            if let Err(error) = starts::keep_applied(&self.identity, applied) {
                tracing::warn!(%error, "it is not kept how far this node is");
            }
        });
        let chores = join5(
            remembering,
            citizen.live(),
            renewing,
            self.admit_agent(place, &address, &reception),
            self.greet(admission, reception.authority.fingerprint(), is_ready, greeting),
        );
        let mut outcast = self.shards.outcast();
        let ended = tokio::select! {
            biased;
            ended = attending => ended,
            _ = leave.wait_for(|leave| *leave) => Ok(Ending::Leave),
            why = outcast.wait_for(Option::is_some) => {
                let why = why.ok().and_then(|why| why.clone()).unwrap_or_default();
                self.identity.cast_out(&why)?;
                Err(cast_out(&why))
            }
            refused = census.stay() => Err(refused),
            _ = chores => Ok(Ending::Leave),
        };
        if ended.is_ok() {
            // Others are answered meanwhile: an heir may need this node's vote.
            let cluster = self.remembered().map_or_else(|| Arc::clone(&known.borrow()), Arc::new);
            tokio::select! {
                biased;
                () = part(self.me, &self.shards, &cluster, &self.links) => {}
                () = receiving => {}
            }
        }
        ended
    }

    async fn enter(&self, outside: &Outside) -> Result<Citizen, Refused> {
        let authority = self.identity.authority()?;
        let entrance = Entrance {
            me: self.me,
            listener: Arc::clone(&self.listener),
            links: Arc::clone(&self.links),
            authority: authority.ok_or_else(|| unfit("its authority is missing"))?,
            shared_store: self.shared_store,
            clock: outside.clock.clone(),
            chance: outside.chance.clone(),
            sabotage: Arc::clone(&outside.sabotage),
        };
        let none = || trouble("there is no shard of the cluster's own");
        let meta = OpenStore::meta(&self.shards).ok_or_else(none)?;
        let citizen = Citizen::enter(entrance, &self.shards, meta).await;
        citizen.map_err(|error| trouble(&error.to_string()))
    }

    /// The cluster as this node's own copy of it is now.
    fn remembered(&self) -> Option<Cluster> {
        let head = self.shards.glimpse(ShardId::META).of(EntityId::CLUSTER).ok()?;
        Cluster::from_head(head.as_ref().map(|stored| &stored.head)).ok()
    }

    /// Why the others do not let this node in any more, as the first of them says that knows it:
    /// one that lets it in may not have heard yet.
    async fn is_removed(&self, build: &Build) -> Option<String> {
        let cluster = self.remembered()?;
        let others = cluster.nodes().filter(|(node, _)| *node != self.me);
        let mut asked: FuturesUnordered<_> = others
            .map(|(_, member)| {
                let way = self.routes.to_any(member.addresses.clone());
                async move { let_in_at(&way, build).await }
            })
            .collect();
        while let Some(answer) = asked.next().await {
            if let Some(Err(why)) = answer {
                return Some(why);
            }
        }
        None
    }

    /// Has the agent beside this node belong to the cluster, where it does not yet. It made no key
    /// itself, and waits for what is put into its folder.
    async fn admit_agent(&self, place: &Place, address: &str, reception: &Arc<Reception>) {
        let folder = Folder::new(&place.agent());
        loop {
            match self.try_admit(place, address, reception, &folder).await {
                Ok(()) => return,
                Err(refused) => tracing::info!(what = %refused.what, "the agent must wait"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn try_admit(
        &self,
        place: &Place,
        address: &str,
        reception: &Arc<Reception>,
        folder: &Folder,
    ) -> Result<(), Refused> {
        if folder.load()?.is_some() {
            return Ok(());
        }
        super::ways::remember(place, &[address.to_owned()])?;
        enrol_here(reception, &self.credentials, &machine(), folder).await.map(drop)
    }

    /// Tells the supervisor that calls are answered, and how the cluster grows.
    async fn greet(
        &self,
        admission: Arc<dyn Admission>,
        authority: KeyId,
        is_ready: oneshot::Receiver<()>,
        mut greeting: Greeting<impl FnMut(Report) + Send>,
    ) {
        if is_ready.await.is_err() {
            return;
        }
        let join = if greeting.founds { invite(admission, authority).await } else { None };
        let (node, address) = (self.me.to_string(), greeting.address);
        (greeting.tell)(Report::Greeting { node, address, token: join });
        (greeting.tell)(Report::Ready);
    }
}

/// A token for one more node; none where it could not be made, which is none the worse.
async fn invite(admission: Arc<dyn Admission>, authority: KeyId) -> Option<String> {
    let token = Token::draw(Purpose::Join(JoinRole::Control), authority).ok()?;
    let wish = Wish::CreateToken {
        token: token.hash(),
        role: JoinRole::Control,
        lifetime: TOKEN,
        uses: 1,
        by: By::owner("otto-node serve"),
    };
    match admission.wish(wish).await {
        Ok(_) => Some(token.reveal().to_string()),
        Err(denial) => {
            tracing::warn!(%denial, "no token for another node could be made");
            None
        }
    }
}

/// Refuses to go on where the cluster, as far as this disk knows, may write what this build cannot
/// read. The start is not counted then.
fn fit_for_all_of_it(shards: &Shards) -> Result<(), Refused> {
    let head = shards.glimpse(ShardId::META).of(EntityId::CLUSTER);
    let head = head.map_err(|fault| trouble(&fault.to_string()))?;
    let cluster = Cluster::from_head(head.as_ref().map(|stored| &stored.head));
    understood(&cluster.map_err(|error| trouble(&format!("failed to {error}")))?)
}

/// Which node an identity is.
fn number(stored: &Stored) -> Result<NodeId, Refused> {
    match stored.said.subject.holder {
        Holder::Node(node) => Ok(node),
        Holder::Agent(_) => Err(unfit("it is an agent's")),
    }
}

async fn listen(address: &str) -> Result<TcpListener, Refused> {
    TcpListener::bind(address).await.map_err(|error| unbound(address, &error))
}

/// What keeps this machine from listening at an address.
pub(super) fn unbound(address: &str, error: &io::Error) -> Refused {
    let (what, help) = match error.kind() {
        io::ErrorKind::AddrInUse => (
            format!("failed to listen at {address}: another program listens there already"),
            "end that one, or name another address with --listen",
        ),
        io::ErrorKind::AddrNotAvailable => (
            format!("failed to listen at {address}: this machine has no such address"),
            "name one that it has with --listen, such as 0.0.0.0:7301 for all; what others must \
             use instead is told with --advertise",
        ),
        io::ErrorKind::PermissionDenied => (
            format!("failed to listen at {address}: this user may not"),
            "choose a port above 1023 with --listen",
        ),
        // The operating system has too many kinds for a list to tell anything more.
        _ => (
            format!("failed to listen at {address}: {error}"),
            "name an address of this machine with --listen, such as 0.0.0.0:7301",
        ),
    };
    Refused::trouble(what, help)
}

fn wiped(place: &Place, me: NodeId) -> Refused {
    cast_out(&format!("this node was {me}, and what it had in {} is gone", place.store().display()))
}

fn unfit(cause: &str) -> Refused {
    let what = "the identity of this node";
    IdentityError::Malformed { what, cause: cause.to_owned() }.into()
}

fn trouble(cause: &str) -> Refused {
    Refused::trouble(
        format!("failed to take part in the cluster: {cause}"),
        "look into the node's traces for what came before",
    )
}
