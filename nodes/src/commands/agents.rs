//! The agents of a cluster, as `otto nodes` shows them: who is there, and what each works on.

use super::clock;
use super::screen::Paint;
use crate::client::Client;
use crate::rpc::api::AgentView;
use crate::rpc::cluster::{ClusterAgent, ClusterView};
use otto_core::ids::AgentId;
use otto_core::time::{Span, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How long the agents are worth waiting for: the nodes are shown without them, too.
const WORTH: Duration = Duration::from_secs(3);
/// The pause before they are asked for again where none was there.
const PAUSE: Duration = Duration::from_millis(250);
/// An agent that holds nothing asks for work every five seconds at least.
const SILENCE: Span = Span::seconds(12);
/// So many names fit into a line.
const NAMED: usize = 8;

/// The agents of a cluster in the order of their names.
pub(super) struct Agents<'v>(Vec<Agent<'v>>);

struct Agent<'v> {
    member: &'v ClusterAgent,
    now: Now,
}

/// What is known of an agent at this moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Now {
    /// Nobody could be asked.
    Unknown,
    /// It asks for work, or has some.
    There {
        /// On how many stages it works.
        works_on: usize,
        /// How many more it could take.
        free: u32,
    },
    /// It has not been heard for so long, or for so long that nobody remembers.
    Silent(Option<Span>),
}

/// Asks which agents are there; nothing where that cannot be known.
pub(super) async fn seen(client: &Client, view: &ClusterView) -> Option<Vec<AgentView>> {
    // Agents speak with leaders only: where nobody leads, nobody knows of them.
    if view.recalled_by.is_some() {
        return None;
    }
    let client = client.clone().patience(WORTH);
    let mut last = None;
    let until_one_is_there = async {
        loop {
            last = Some(client.agents().await.ok()?);
            let is_there = |agent: &AgentView| agent.bidding || !agent.leases.is_empty();
            if view.agents.is_empty() || last.iter().flatten().any(is_there) {
                return Some(());
            }
            // A node that has just begun has not heard of the agents yet.
            sleep(PAUSE).await;
        }
    };
    // Where none came, that is what is known.
    timeout(WORTH, until_one_is_there).await.ok();
    last
}

impl<'v> Agents<'v> {
    /// The agents that belong to the cluster, with what was seen of them.
    pub(super) fn of(view: &'v ClusterView, seen: Option<&[AgentView]>, now: Timestamp) -> Self {
        let mut lately: BTreeMap<AgentId, &AgentView> = BTreeMap::new();
        for agent in seen.unwrap_or_default() {
            // Of several processes of an agent, the last one counts.
            let latest = lately.entry(agent.agent.agent).or_insert(agent);
            if agent.agent.incarnation > latest.agent.incarnation {
                *latest = agent;
            }
        }
        let with = |member: &'v ClusterAgent| {
            let now = match (seen, lately.get(&member.agent)) {
                (None, _) => Now::Unknown,
                (Some(_), None) => Now::Silent(None),
                (Some(_), Some(agent)) => Now::of(agent, now),
            };
            Agent { member, now }
        };
        let mut agents: Vec<Agent<'v>> = view.agents.iter().map(with).collect();
        agents.sort_by_key(|agent| by_name(&agent.member.name));
        Self(agents)
    }

    /// A line of those that are there, and one of those that are not.
    pub(super) fn lines(&self, paint: Paint) -> String {
        let (silent, there): (Vec<&Agent<'_>>, Vec<&Agent<'_>>) =
            self.0.iter().partition(|agent| matches!(agent.now, Now::Silent(_)));
        let here = listed(&there);
        let gone = paint.error(&format!("agents not reachable: {}", listed(&silent)));
        match (there.is_empty(), silent.is_empty()) {
            (true, true) => "no agents\n".to_owned(),
            (false, true) => format!("agents: {here}\n"),
            (true, false) => format!("{gone}\n"),
            (false, false) => format!("agents: {here}\n{gone}\n"),
        }
    }

    /// What somebody should do something about.
    pub(super) fn warning(&self) -> Option<String> {
        let all = !self.0.is_empty() && self.0.iter().all(|it| matches!(it.now, Now::Silent(_)));
        let what = "no agent is there, and all stages wait: see that `otto-node serve` runs on \
                    their machines";
        all.then(|| what.to_owned())
    }

    /// The same for programs.
    pub(super) fn page(&self) -> Vec<Value> {
        self.0.iter().map(Agent::page).collect()
    }
}

impl Now {
    fn of(agent: &AgentView, now: Timestamp) -> Self {
        let silent = now.since(agent.seen);
        // Who lost what an agent has is told so before it counts as gone here.
        if agent.bidding || !agent.leases.is_empty() || silent < SILENCE {
            return Self::There { works_on: agent.leases.len(), free: agent.free_slots };
        }
        Self::Silent(Some(silent))
    }
}

impl Agent<'_> {
    fn words(&self) -> String {
        let name = &self.member.name;
        match self.now {
            Now::There { works_on: 0, .. } | Now::Unknown | Now::Silent(None) => name.clone(),
            Now::There { works_on, .. } => format!("{name} (works on {works_on})"),
            Now::Silent(Some(span)) => format!("{name} (for {})", Span::seconds(span.0 / 1000)),
        }
    }

    fn page(&self) -> Value {
        let (reachable, silent, works_on, free) = match self.now {
            Now::Unknown => (None, None, None, None),
            Now::There { works_on, free } => (Some(true), None, Some(works_on), Some(free)),
            Now::Silent(span) => (Some(false), span, None, None),
        };
        json!({
            "agent": self.member.agent,
            "name": self.member.name,
            "reachable": reachable,
            "silent_ms": silent.map(|span| span.0),
            "works_on": works_on,
            "free_slots": free,
            "joined": clock::for_programs(self.member.joined),
            "certificate_until": clock::for_programs(self.member.certificate_until),
        })
    }
}

fn listed(agents: &[&Agent<'_>]) -> String {
    let names: Vec<String> = agents.iter().take(NAMED).map(|agent| agent.words()).collect();
    let names = names.join(", ");
    match agents.len().saturating_sub(NAMED) {
        0 => names,
        more => format!("{names}, and {more} more"),
    }
}

/// The order of names that end in numbers: `vm-2` is in front of `vm-10`.
fn by_name(name: &str) -> (String, u64, String) {
    let stem = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    let number = name[stem.len()..].parse().unwrap_or(0);
    (stem.trim_end_matches('-').to_owned(), number, name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Agents, by_name};
    use crate::commands::nodes::tests::healthy;
    use crate::commands::screen::Paint;
    use crate::rpc::api::AgentView;
    use crate::rpc::cluster::{ClusterAgent, ClusterView};
    use otto_core::capability::Capabilities;
    use otto_core::ids::{AgentId, AgentRef};
    use otto_core::time::Timestamp;

    fn cluster(agents: &[(u8, &str)]) -> ClusterView {
        let agent = |(number, name): &(u8, &str)| ClusterAgent {
            agent: AgentId([*number; 16]),
            name: (*name).to_owned(),
            joined: Timestamp(0),
            certificate_until: Timestamp(0),
        };
        ClusterView { agents: agents.iter().map(agent).collect(), ..healthy() }
    }

    fn seen(number: u8, incarnation: u64, at: u64, bidding: bool) -> AgentView {
        AgentView {
            agent: AgentRef { agent: AgentId([number; 16]), incarnation },
            name: String::new(),
            capabilities: Capabilities::default(),
            free_slots: 2,
            leases: Vec::new(),
            seen: Timestamp(at),
            bidding,
        }
    }

    #[test]
    fn agents_that_are_gone_are_told_from_those_that_are_there() {
        let view = cluster(&[(1, "vm-10"), (2, "vm"), (3, "vm-2"), (4, "vm-3")]);
        let now = Timestamp(100_000);
        let lately = [seen(1, 1, 60_000, true), seen(2, 1, 0, true), seen(2, 2, 60_000, false)];
        let lately = [lately.as_slice(), &[seen(3, 1, 95_000, false)]].concat();
        let agents = Agents::of(&view, Some(&lately), now);
        let expected = "agents: vm-2, vm-10\nagents not reachable: vm (for 40s), vm-3\n";
        assert_eq!(agents.lines(Paint::plain()), expected);
        assert_eq!(agents.warning(), None);
        let page = agents.page();
        assert_eq!((&page[0]["name"], &page[0]["silent_ms"]), (&"vm".into(), &40_000.into()));
        assert_eq!((&page[1]["reachable"], &page[1]["free_slots"]), (&true.into(), &2.into()));
    }

    #[test]
    fn a_cluster_whose_agents_are_all_gone_is_warned_of() {
        let view = cluster(&[(1, "a"), (2, "b")]);
        let gone = Agents::of(&view, Some(&[]), Timestamp(0));
        assert!(gone.warning().is_some_and(|warning| warning.contains("no agent is there")));
        let unknown = Agents::of(&view, None, Timestamp(0));
        assert_eq!(unknown.lines(Paint::plain()), "agents: a, b\n");
        assert_eq!(
            (unknown.warning(), Agents::of(&healthy(), Some(&[]), Timestamp(0)).warning()),
            (None, None)
        );
    }

    #[test]
    fn names_are_in_the_order_of_their_numbers() {
        let mut names = ["vm-10", "b", "vm", "vm-2", "9"];
        names.sort_by_key(|name| by_name(name));
        assert_eq!(names, ["9", "b", "vm", "vm-2", "vm-10"]);
    }
}
