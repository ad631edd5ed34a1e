//! The supervisor: holds the lock and the listening socket, and keeps control and agent running.
//!
//! It is one small loop over descriptors, without a runtime. It never looks into what the others
//! do: a child that ends is started again after a pause, unless it said that the node leaves.

use super::audience::{Audience, Greeting};
use super::build::this_build;
use super::child::{Child, Orders, Role};
use super::lock::Lock;
use super::place::Place;
use super::report::Report;
use super::residence::{Residence, Told};
use super::trace;
use super::trouble::EXIT_INFRASTRUCTURE;
use crate::identity::files::Folder;
use crate::wire::hello::{Refused, refusal_frame};
use otto_core::cluster::state::JoinRole;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// How long a node stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lifetime {
    /// Until it is told to leave.
    Service,
    /// As long as runs are unfinished, and so long beyond; a node of a cluster stays.
    Local {
        /// How long it stays idle.
        idle: Duration,
    },
}

/// Whom a node works with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Circle {
    /// The cluster that its data folder belongs to; nobody, where it belongs to none.
    AsKept,
    /// Nobody.
    Alone,
    /// The cluster that its data folder belongs to, or one that is founded there.
    Cluster(Told),
}

impl Circle {
    /// Where the node lives in its cluster; `None` where it is alone.
    fn residence(self, place: &Place) -> Result<Option<Residence>, Refused> {
        let kept = Residence::load(place)?;
        let belongs = [place.data(), &place.agent()].iter().any(|it| Folder::new(it).has_joined());
        match self {
            Self::AsKept => Ok(kept.filter(|_| belongs)),
            Self::Alone if belongs => Err(Refused::trouble(
                format!(
                    "failed to serve alone: {} belongs to a node of a cluster",
                    place.data().display()
                ),
                "leave out --alone, or name another folder with --data",
            )),
            Self::Alone => Ok(None),
            Self::Cluster(told) => {
                let residence = kept.clone().unwrap_or_else(Residence::of_founder).told(told);
                if kept.as_ref() != Some(&residence) {
                    residence.keep(place)?;
                }
                Ok(Some(residence))
            }
        }
    }
}

/// How a node is to serve.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Serving {
    pub(super) lifetime: Lifetime,
    pub(super) circle: Circle,
    /// The URL of the object store that takes the data folder's place for artifacts and sealed
    /// logs. A node of a cluster keeps it.
    pub(super) objects: Option<String>,
    /// Leave the terminal, and report to whoever reads standard output instead of telling a person.
    pub(super) detached: bool,
}

/// Runs a node in this process and its children until it leaves.
pub(super) fn serve(place: &Place, serving: Serving) -> ExitCode {
    let detached = serving.detached;
    if detached {
        // Fails where this process leads its group already, and then it has no terminal to leave.
        let _ = rustix::process::setsid();
    }
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let audience = if detached { Audience::Starter } else { Audience::Person };
    let ended = Node::open(place, serving, audience).and_then(|mut node| {
        let ended = node.run();
        node.lock.hold();
        ended
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(report) => {
            audience.tell(&report);
            ExitCode::from(EXIT_INFRASTRUCTURE)
        }
    }
}

/// A child, or the pause before its next start.
#[derive(Debug)]
enum Life {
    Running {
        child: Box<Child>,
        since: Duration,
    },
    Pausing {
        until: Duration,
        /// From here on it is started at once where somebody waits for it.
        on_demand_from: Duration,
    },
}

/// A child over all of its lives.
#[derive(Debug)]
struct Ward {
    role: Role,
    life: Life,
    /// How often it has ended without having lived for [`LONG_LIFE`].
    deaths: u32,
    /// What its last life said of why it could not work.
    trouble: Option<Refused>,
    /// Its cluster will not have it any more: it has no other life.
    is_out: bool,
    /// Somebody was waiting for its present or last life when that began, and it was not ready yet.
    awaited: bool,
}

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// What somebody waits for is not started more often than this, whatever it lacks.
const DEMAND_PAUSE: Duration = Duration::from_millis(250);
/// A child that lived for so long starts again at once.
const LONG_LIFE: Duration = Duration::from_secs(30);
/// How long the node of a starter stays to say why it cannot work.
const PARTING: Duration = Duration::from_secs(1);

struct Node {
    place: Place,
    audience: Audience,
    orders: Orders,
    /// The image that control is started from; this process's own where there is none.
    image: Option<PathBuf>,
    listener: UnixListener,
    /// The first one answers for the node: control, or an agent that is there without it.
    wards: Vec<Ward>,
    greeting: Option<Greeting>,
    was_ready: bool,
    leaving: bool,
    lock: Lock,
    /// Says when something happens to the folder, where the kernel can watch it for us.
    watch: Option<OwnedFd>,
}

impl Node {
    fn open(place: &Place, serving: Serving, audience: Audience) -> Result<Self, Report> {
        let Serving { lifetime, circle, objects, detached: _ } = serving;
        let at = |doing: &str, path: &std::path::Path, error: &io::Error| {
            Report::Trouble(Refused::at(doing, path, error))
        };
        place.make().map_err(Report::Trouble)?;
        let path = place.lock("node");
        let lock = Lock::try_take(&path).map_err(|error| at("write", &path, &error))?;
        let mut lock = lock.ok_or_else(|| match audience {
            Audience::Starter => Report::Taken,
            Audience::Person => Report::Trouble(taken(place)),
        })?;
        lock.sign().map_err(|error| at("write", &path, &error))?;
        audience.mark(place).map_err(|error| at("write", &place.on_demand(), &error))?;
        let residence = circle.residence(place).map_err(Report::Trouble)?;
        trace::begin(&place.traces(), "otto-node")
            .map_err(|error| at("write to", &place.traces(), &error))?;
        let socket = place.socket();
        let listener = listen(&socket).map_err(|error| at("listen at", &socket, &error))?;
        let node_build = this_build().map_err(|error| at("look at", "/proc".as_ref(), &error))?;
        let idle_ms = match (lifetime, &residence) {
            (Lifetime::Service, _) | (Lifetime::Local { .. }, Some(_)) => None,
            (Lifetime::Local { idle }, None) => {
                Some(u64::try_from(idle.as_millis()).unwrap_or(u64::MAX))
            }
        };
        let roles: &[Role] = match residence.as_ref().map(|residence| residence.role) {
            Some(JoinRole::Agent) => &[Role::Agent],
            Some(JoinRole::Control) | None => &[Role::Control, Role::Agent],
        };
        let wards = roles.iter().map(|role| Ward::of(*role)).collect();
        let orders = Orders {
            data: place.data().to_owned(),
            idle_ms,
            node_build,
            member: residence.is_some(),
            objects: objects.or(residence.and_then(|residence| residence.objects)),
        };
        audience.tell(&Report::Listening);
        Ok(Self {
            place: place.clone(),
            audience,
            orders,
            image: None,
            listener,
            wards,
            greeting: None,
            was_ready: false,
            leaving: false,
            watch: watch(place).inspect_err(|error| tracing::warn!(%error, "unwatched")).ok(),
            lock,
        })
    }

    fn run(&mut self) -> Result<(), Report> {
        loop {
            for index in 0..self.wards.len() {
                self.start_if_due(index);
            }
            self.wait();
            if self.is_homeless() {
                return Err(Report::Trouble(Refused::trouble(
                    format!("failed to go on: {} was removed", self.place.data().display()),
                    "start another node; what was in the folder is gone",
                )));
            }
            for index in 0..self.wards.len() {
                self.listen_to(index);
                self.bury(index);
            }
            let first = &self.wards[0];
            let first_runs = matches!(first.life, Life::Running { .. });
            match first.trouble.clone() {
                _ if self.leaving && !first_runs => return Ok(()),
                Some(trouble) if !first_runs && (first.is_out || !self.was_ready) => {
                    self.part(&trouble);
                    return Err(Report::Trouble(trouble));
                }
                _ if first.role == Role::Agent => self.refuse_guests(&no_control()),
                Some(trouble) if !first_runs => self.attend_guests(&trouble),
                Some(_) | None => {}
            }
        }
    }

    fn start_if_due(&mut self, index: usize) {
        let has_guests = self.has_guests();
        let ward = &mut self.wards[index];
        let now = now();
        let is_due = matches!(ward.life, Life::Pausing { until, .. } if until <= now);
        if !is_due || self.leaving || ward.is_out {
            return;
        }
        ward.awaited = has_guests;
        let image = match ward.role {
            Role::Control => self.image.as_deref(),
            Role::Agent => None,
        };
        match Child::start(ward.role, image, &self.orders, &self.listener) {
            Ok(child) => {
                tracing::info!(role = ward.role.name(), pid = child.process.id(), "started");
                ward.life = Life::Running { child: Box::new(child), since: now };
            }
            Err(error) => {
                tracing::warn!(role = ward.role.name(), %error, "could not be started");
                let help =
                    "see that this user may start more processes, and that otto's file is there";
                let what = format!("failed to start {}: {error}", ward.role.name());
                ward.trouble = Some(Refused::trouble(what, help));
                ward.pause(now);
            }
        }
    }

    /// Waits until a child says something or ends, a pause is over, or somebody is to be refused.
    fn wait(&self) {
        let mut descriptors = Vec::new();
        descriptors.extend(self.watch.iter().map(|watch| PollFd::new(watch, PollFlags::IN)));
        let mut until: Option<Duration> = None;
        for ward in &self.wards {
            match &ward.life {
                Life::Running { child, .. } => {
                    descriptors.push(PollFd::new(&child.ended, PollFlags::IN));
                    descriptors.push(PollFd::new(&child.socket, PollFlags::IN));
                }
                Life::Pausing { .. } if ward.is_out => {}
                Life::Pausing { until: end, on_demand_from } => {
                    until = Some(until.map_or(*end, |until| until.min(*end)));
                    // Where it is started as soon as may be, nobody can hasten that.
                    let can_wait = end > on_demand_from;
                    if ward.role == Role::Control && ward.trouble.is_some() && can_wait {
                        descriptors.push(PollFd::new(&self.listener, PollFlags::IN));
                    }
                }
            }
        }
        if self.wards[0].role == Role::Agent {
            descriptors.push(PollFd::new(&self.listener, PollFlags::IN));
        }
        let left = until.map(|until| until.saturating_sub(now()));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        if let Err(error) = poll(&mut descriptors, timeout.as_ref()) {
            tracing::debug!(%error, "waiting was interrupted");
        }
    }

    fn listen_to(&mut self, index: usize) {
        let ward = &mut self.wards[index];
        let Life::Running { child, .. } = &mut ward.life else { return };
        for report in child.reports() {
            match report {
                Report::Ready => {
                    ward.trouble = None;
                    ward.awaited = false;
                    if index == 0 && !self.was_ready {
                        self.was_ready = true;
                        self.audience.greet(&self.place, self.greeting.as_ref());
                    }
                }
                Report::Greeting { node, address, token } => {
                    self.greeting = Some(Greeting { node, address, token });
                }
                Report::Trouble(trouble) => {
                    tracing::error!(what = trouble.what, help = trouble.help, "cannot work");
                    if ward.trouble.as_ref() != Some(&trouble) && self.was_ready {
                        self.audience.tell(&Report::Trouble(trouble.clone()));
                    }
                    ward.trouble = Some(trouble);
                }
                Report::Outcast(trouble) => {
                    tracing::error!(what = trouble.what, help = trouble.help, "cast out");
                    if index > 0 {
                        self.audience.tell(&Report::Outcast(trouble.clone()));
                    }
                    ward.trouble = Some(trouble);
                    ward.is_out = true;
                }
                Report::Leave => {
                    self.leaving = true;
                    // Who follows a run here sees that before the socket is closed, and leaves it
                    // to others to start a node again.
                    fs::remove_file(self.place.on_demand()).ok();
                }
                Report::Successor { path, build } => {
                    tracing::info!(path = %path.display(), %build, "control goes on from another image");
                    self.image = Some(path);
                    ward.deaths = 0;
                }
                Report::Listening | Report::Taken => {}
            }
        }
    }

    fn bury(&mut self, index: usize) {
        let ward = &mut self.wards[index];
        let Life::Running { child, since } = &mut ward.life else { return };
        let ended = match child.process.try_wait() {
            Ok(None) => return,
            Ok(Some(status)) => status.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::info!(role = ward.role.name(), ended, "ended");
        let now = now();
        if now.saturating_sub(*since) >= LONG_LIFE {
            ward.deaths = 0;
        }
        ward.pause(now);
    }

    /// Whether its folder is not what others find at its place any more.
    fn is_homeless(&self) -> bool {
        if let Some(watch) = &self.watch {
            // What happened is seen below; reading makes the watch quiet.
            rustix::io::read(watch, &mut [0; 4096]).ok();
        }
        !self.lock.is_at(&self.place.lock("node"))
    }

    /// Starts control as soon as may be for whoever is connecting: what it lacked may be there by
    /// now. Who has waited for a trial from its beginning is told what that one met.
    fn attend_guests(&mut self, trouble: &Refused) {
        if std::mem::take(&mut self.wards[0].awaited) {
            return self.refuse_guests(trouble);
        }
        if !self.has_guests() {
            return;
        }
        if let Life::Pausing { until, on_demand_from } = &mut self.wards[0].life {
            *until = (*until).min(*on_demand_from);
        }
    }

    /// Whether somebody is connecting and not attended to.
    fn has_guests(&self) -> bool {
        let mut waits = [PollFd::new(&self.listener, PollFlags::IN)];
        let now_or_never = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut waits, Some(&now_or_never)).is_ok_and(|ready| ready > 0)
    }

    /// Stays for a moment until somebody asks, and tells all who do why the node does not come up.
    fn part(&self, trouble: &Refused) {
        if self.audience == Audience::Person {
            return;
        }
        let mut end = now() + PARTING;
        while now() < end {
            let mut descriptors = [PollFd::new(&self.listener, PollFlags::IN)];
            let timeout = Timespec::try_from(end.saturating_sub(now())).ok();
            if poll(&mut descriptors, timeout.as_ref()).is_ok_and(|ready| ready > 0) {
                // Whoever comes from now on starts another node, which looks for itself.
                self.refuse_guests(trouble);
                end = now();
            }
        }
    }

    /// Tells everybody who is connecting why the node cannot work.
    fn refuse_guests(&self, trouble: &Refused) {
        let frame = refusal_frame(trouble);
        while let Ok((mut guest, _)) = self.listener.accept() {
            if let Err(error) = guest.write_all(&frame) {
                tracing::debug!(%error, "a guest left before it could be refused");
            }
        }
    }
}

impl Ward {
    fn of(role: Role) -> Self {
        let life = Life::Pausing { until: Duration::ZERO, on_demand_from: Duration::ZERO };
        Self { role, life, deaths: 0, trouble: None, is_out: false, awaited: false }
    }

    fn pause(&mut self, now: Duration) {
        let pause = match self.deaths {
            0 => Duration::ZERO,
            deaths => (FIRST_PAUSE * 2_u32.saturating_pow(deaths - 1)).min(LONGEST_PAUSE),
        };
        // What said why it cannot work would say the same again at once.
        let pause = if self.trouble.is_some() { pause.max(FIRST_PAUSE) } else { pause };
        self.deaths = (self.deaths + 1).min(16);
        self.life = Life::Pausing { until: now + pause, on_demand_from: now + DEMAND_PAUSE };
    }
}

/// Watches the lock's file, which goes with the folder, and the folder itself, which may be moved.
fn watch(place: &Place) -> io::Result<OwnedFd> {
    let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    let flags = WatchFlags::ATTRIB | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
    for path in [place.lock("node"), place.data().to_owned()] {
        inotify::add_watch(&watch, path, flags)?;
    }
    Ok(watch)
}

/// What a person is told whose data folder another node uses.
pub(super) fn taken(place: &Place) -> Refused {
    let holder =
        Lock::signature(&place.lock("node")).map_or(String::new(), |pid| format!(" ({pid})"));
    Refused::trouble(
        format!("failed to use {}: another node uses it{holder}", place.data().display()),
        "end that one with `otto-node stop` (--busy where runs are unfinished), or name another \
         folder with --data",
    )
}

/// Listens at a path. Whoever holds the lock may remove the socket of an earlier node.
fn listen(socket: &std::path::Path) -> io::Result<UnixListener> {
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(socket)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// What somebody is told who connects to a node that is an agent and nothing else.
fn no_control() -> Refused {
    Refused::trouble(
        "this machine has an agent of a cluster, and no control node",
        "ask a control node of the cluster; `otto nodes` shows there what this agent does",
    )
}

/// Time since boot: what pauses are counted on.
fn now() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or(Duration::ZERO)
}
