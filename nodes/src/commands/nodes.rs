//! `otto nodes`: the nodes and agents of the cluster, and how many of them may be lost.

use super::agents::Agents;
use super::fault::{Exit, Fault, Id};
use super::screen::Paint;
use super::{Context, agents, clock, session};
use crate::rpc::cluster::{ChangeMember, ClusterAgent, ClusterView, NodeView};
use clap::{Args, Subcommand};
use otto_core::cluster::state::{Standing, Wanted};
use otto_core::ids::{AgentId, NodeId};
use otto_core::time::Span;
use serde_json::{Value, json};

/// The command's arguments.
#[derive(Args, Debug)]
pub(super) struct Nodes {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Show them [default]
    List,
    /// Let a node lead nothing, so that it can be stopped without anybody noticing
    Drain {
        /// Which node, such as n2
        #[arg(value_parser = node)]
        node: NodeId,
    },
    /// Let a drained node lead again
    Resume {
        /// Which node
        #[arg(value_parser = node)]
        node: NodeId,
    },
    /// Let a node or an agent leave for good: its identity never comes back
    Remove {
        /// Which node, such as n2, or which agent: its name, or the beginning of its identity
        #[arg(value_name = "NODE|AGENT")]
        member: String,
    },
}

/// Reads the name of a node.
fn node(text: &str) -> Result<NodeId, String> {
    NodeId::parse(text).ok_or_else(|| "a node is called n1, n2 and so on".to_owned())
}

impl Nodes {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Fault> {
        session::block_on(async {
            let client = session::connect(context).await?;
            let view = client.cluster().await.map_err(session::refusal)?;
            let change = match self.what {
                None | Some(What::List) => {
                    let seen = agents::seen(&client, &view).await;
                    let agents = Agents::of(&view, seen.as_deref(), clock::now());
                    return show(context, &view, &agents);
                }
                Some(What::Drain { node }) => ChangeMember::Drain(node),
                Some(What::Resume { node }) => ChangeMember::Resume(node),
                Some(What::Remove { member }) => removal(&view, &member)?,
            };
            client.change_member(change).await.map_err(session::refusal)?;
            context.screen.tell(granted(&view, change));
            Ok(Exit::Done)
        })
    }
}

/// Who is meant to leave.
fn removal(view: &ClusterView, member: &str) -> Result<ChangeMember, Fault> {
    if let Some(node) = NodeId::parse(member).filter(|_| member.starts_with('n')) {
        return Ok(ChangeMember::Remove(node));
    }
    let named: Vec<&ClusterAgent> = view.agents.iter().filter(|it| it.name == member).collect();
    let begins = |agent: &&ClusterAgent| agent.agent.to_string().starts_with(member);
    let meant = match named.len() {
        0 if member.is_empty() => Vec::new(),
        0 => view.agents.iter().filter(begins).collect(),
        _ => named,
    };
    match meant.as_slice() {
        [one] => Ok(ChangeMember::RemoveAgent(one.agent)),
        [] => Err(Fault::usage(Id::BadArgument, format!("nobody is called '{member}'"))
            .help("name a node, such as n2, or an agent; see `otto nodes`")),
        several => {
            let ids: Vec<String> = several.iter().map(|it| it.agent.to_string()).collect();
            Err(Fault::usage(Id::BadArgument, format!("several agents may be meant by '{member}'"))
                .help(format!("write the beginning of one identity: {}", ids.join(", "))))
        }
    }
}

fn granted(view: &ClusterView, change: ChangeMember) -> String {
    let name = |agent: AgentId| {
        let known = view.agents.iter().find(|it| it.agent == agent);
        known.map_or_else(|| agent.short(), |known| known.name.clone())
    };
    match change {
        ChangeMember::Drain(node) => format!("{node} gives away what it leads"),
        ChangeMember::Resume(node) => format!("{node} may lead again"),
        ChangeMember::Remove(node) => format!("{node} leaves; `otto nodes` shows when it is gone"),
        ChangeMember::RemoveAgent(agent) => format!("agent {} is removed", name(agent)),
    }
}

fn show(context: &Context, view: &ClusterView, agents: &Agents<'_>) -> Result<Exit, Fault> {
    if context.json {
        context.screen.data(format!("{}\n", page(view, agents)))?;
        return Ok(Exit::Done);
    }
    context.screen.data(table(view, agents, context.screen.out))?;
    for warning in warnings(view, agents) {
        context.screen.tell(format!("{} {warning}", context.screen.err.warning("warning:")));
    }
    Ok(Exit::Done)
}

/// One line for each node, then the agents, then what may be lost.
fn table(view: &ClusterView, agents: &Agents<'_>, paint: Paint) -> String {
    let name_width = view.nodes.iter().map(|node| node.name.chars().count()).max().unwrap_or(0);
    let states: Vec<String> = view.nodes.iter().map(state).collect();
    let state_width = states.iter().map(|state| state.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (node, state) in view.nodes.iter().zip(&states) {
        let id = format!("{:<4}", node.node.to_string());
        let padded = format!("{state:<state_width$}");
        let padded = if node.live.reachable { padded } else { paint.error(&padded) };
        let name = format!("{:<name_width$}", node.name);
        let address = node.addresses.first().map_or("", String::as_str);
        let line = format!("{}{padded}   {name}   {}", paint.strong(&id), paint.faint(address));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.push_str(&agents.lines(paint));
    let survival = view.survival.to_string();
    let survival =
        if view.survival.is_worrying() { paint.warning(&survival) } else { paint.good(&survival) };
    let survives = view.survival.losses.is_some_and(|losses| losses > 0);
    let store = if survives && !view.shared_store { ONE_COPY } else { "" };
    text + &format!("{survival}{store}\n")
}

/// What becomes of logs and artifacts when a node is lost, where no store is shared by all.
const ONE_COPY: &str = "; logs and artifacts where another node has a copy";

/// What a node does, in words.
fn state(node: &NodeView) -> String {
    let mut parts = Vec::new();
    if !node.live.reachable {
        let span = Span::seconds(node.live.silent_ms / 1000);
        parts.push(match span.0 {
            0 => "not reachable".to_owned(),
            _ => format!("not reachable for {span}"),
        });
    }
    match (node.standing, node.live.leads) {
        (Standing::Joined, _) => parts.push("joins".to_owned()),
        (Standing::Learner, _) => parts.push("receives all shards".to_owned()),
        (Standing::Voter, 0) if node.live.reachable => parts.push("follows".to_owned()),
        (Standing::Voter, 0) => {}
        (Standing::Voter, leads) => parts.push(format!("leader of {leads}")),
    }
    if node.live.lag > 0 && node.live.reachable {
        parts.push(format!("{} entries behind", node.live.lag));
    }
    match node.wanted {
        Wanted::Serve => {}
        Wanted::Drain if node.live.leads > 0 => parts.push("drains".to_owned()),
        Wanted::Drain => parts.push("drained".to_owned()),
        Wanted::Leave { .. } => parts.push("leaves for good".to_owned()),
    }
    parts.join(", ")
}

/// What somebody should do something about.
fn warnings(view: &ClusterView, agents: &Agents<'_>) -> Vec<String> {
    let survival = view.survival.advice();
    let lost = |node: &&NodeView| !node.live.reachable;
    let lost = view.nodes.iter().filter(lost).map(|it| {
        let at = it.addresses.first().map_or(&it.name, |address| address);
        format!("{} does not answer at {at}: see that `otto-node serve` runs there", it.node)
    });
    let recalled = view.recalled_by.map(|node| {
        let why = "nobody leads the cluster at the moment";
        format!("{why}: this is what {node} knows, and may be a little old")
    });
    let possible = Some(view.possible_level()).filter(|level| *level > view.level);
    let level = possible.map(|to| format!("the level can be raised to {to}: otto upgrade --raise"));
    let agents = agents.warning();
    recalled.into_iter().chain(survival).chain(lost).chain(agents).chain(level).collect()
}

fn page(view: &ClusterView, agents: &Agents<'_>) -> Value {
    let node = |node: &NodeView| {
        json!({
            "node": node.node.to_string(),
            "name": node.name,
            "addresses": node.addresses,
            "standing": node.standing,
            "draining": node.wanted == Wanted::Drain,
            "leaving": matches!(node.wanted, Wanted::Leave { .. }),
            "reachable": node.live.reachable,
            "silent_ms": node.live.silent_ms,
            "leads": node.live.leads,
            "lag": node.live.lag,
            "joined": clock::for_programs(node.joined),
            "certificate_until": clock::for_programs(node.certificate_until),
        })
    };
    json!({
        "cluster": view.cluster,
        "shards": view.shards,
        "level": view.level,
        "nodes": view.nodes.iter().map(node).collect::<Vec<_>>(),
        "agents": agents.page(),
        "voters": view.survival.voters,
        "reachable_voters": view.survival.reachable,
        "survivable_losses": view.survival.losses,
        "shared_store": view.shared_store,
        "recalled_by": view.recalled_by.map(|node| node.to_string()),
        "warnings": warnings(view, agents),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::removal;
    use crate::commands::agents::Agents;
    use crate::commands::screen::Paint;
    use crate::rpc::cluster::{ChangeMember, ClusterAgent, ClusterView, Live, NodeView};
    use otto_core::cluster::state::{Levels, Standing, Wanted};
    use otto_core::cluster::survival::Survival;
    use otto_core::ids::{AgentId, ClusterId, KeyId, NodeId};
    use otto_core::time::Timestamp;

    fn unasked(view: &ClusterView) -> Agents<'_> {
        Agents::of(view, None, Timestamp(0))
    }

    fn table(view: &ClusterView, paint: Paint) -> String {
        super::table(view, &unasked(view), paint)
    }

    fn warnings(view: &ClusterView) -> Vec<String> {
        super::warnings(view, &unasked(view))
    }

    fn node(number: u64, standing: Standing, wanted: Wanted, live: Live) -> NodeView {
        NodeView {
            node: NodeId(number),
            name: format!("machine-{number}"),
            addresses: vec![format!("10.0.0.{number}:7301")],
            standing,
            wanted,
            joined: Timestamp(0),
            certificate_until: Timestamp(86_400_000),
            live,
            levels: Some(Levels { oldest: 1, newest: 1 }),
            release: None,
        }
    }

    fn view(nodes: Vec<NodeView>, survival: Survival, shared_store: bool) -> ClusterView {
        ClusterView {
            cluster: ClusterId([7; 16]),
            authority: KeyId([1; 32]),
            shards: 8,
            level: 1,
            nodes,
            agents: Vec::new(),
            survival,
            shared_store,
            recalled_by: None,
        }
    }

    pub(in crate::commands) fn healthy() -> ClusterView {
        let live = |leads, lag| Live { reachable: true, leads, lag, silent_ms: 0 };
        let nodes = vec![
            node(1, Standing::Voter, Wanted::Serve, live(5, 0)),
            node(2, Standing::Voter, Wanted::Drain, live(0, 3)),
            node(10, Standing::Voter, Wanted::Serve, live(4, 0)),
        ];
        view(nodes, Survival::of(3, 3), true)
    }

    #[test]
    fn a_healthy_cluster_is_a_few_lines() {
        let mut view = healthy();
        let expected = "\
n1  leader of 5                          machine-1    10.0.0.1:7301
n2  follows, 3 entries behind, drained   machine-2    10.0.0.2:7301
n10 leader of 4                          machine-10   10.0.0.10:7301
no agents
survives the loss of 1 node
";
        assert_eq!(table(&view, Paint::plain()), expected);
        assert_eq!(warnings(&view), [""; 0]);
        let agent = |number: u8| ClusterAgent {
            agent: AgentId([number; 16]),
            name: format!("w{number}"),
            joined: Timestamp(0),
            certificate_until: Timestamp(0),
        };
        view.agents = (1..=10).map(agent).collect();
        let text = table(&view, Paint::plain());
        assert!(text.contains("agents: w1, w2, w3, w4, w5, w6, w7, w8, and 2 more\n"), "{text}");
        let colored = table(&view, Paint { colored: true });
        assert!(colored.contains("\x1b[32msurvives"), "{colored}");
    }

    #[test]
    fn what_worries_is_said() {
        let gone = Live { silent_ms: 75_400, ..Live::default() };
        let here = Live { reachable: true, leads: 9, lag: 0, silent_ms: 0 };
        let nodes = vec![
            node(1, Standing::Voter, Wanted::Serve, here),
            node(2, Standing::Voter, Wanted::Serve, gone),
            node(3, Standing::Learner, Wanted::Serve, Live { leads: 0, lag: 120, ..here }),
            node(4, Standing::Joined, Wanted::Leave { emptied: false }, gone),
        ];
        let mut view = view(nodes, Survival::of(2, 1), false);
        view.recalled_by = Some(NodeId(1));
        let text = table(&view, Paint::plain());
        for part in [
            "n2  not reachable for 1m15s  ",
            "n3  receives all shards, 120 entries behind  ",
            "n4  not reachable for 1m15s, joins, leaves for good  ",
            "no majority: 1 of 2 voters is there, and 2 must be\n",
        ] {
            assert!(text.contains(part), "{part:?} is missing in\n{text}");
        }
        let warnings = warnings(&view);
        for (warning, part) in warnings.iter().zip([
            "this is what n1 knows",
            "start the missing nodes again",
            "n2 does not answer at 10.0.0.2:7301",
            "n4 does not answer at",
        ]) {
            assert!(warning.contains(part), "{part:?} is missing in {warnings:?}");
        }
        assert_eq!(warnings.len(), 4, "{warnings:?}");
        let page = super::page(&view, &unasked(&view));
        assert_eq!(page["survivable_losses"], serde_json::Value::Null);
        assert_eq!(page["nodes"][3]["leaving"], true);
        assert_eq!(page["nodes"][0]["node"], "n1");
    }

    #[test]
    fn who_leaves_is_named_without_doubt() {
        let mut view = healthy();
        let agent = |first: u8| ClusterAgent {
            agent: AgentId([first, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]),
            name: format!("w-{first}"),
            joined: Timestamp(0),
            certificate_until: Timestamp(0),
        };
        view.agents = vec![agent(0xa1), agent(0xa2)];
        let named = ChangeMember::RemoveAgent(agent(0xa2).agent);
        assert_eq!(removal(&view, "w-162").ok(), Some(named));
        for nobody in ["", "w-16", "n"] {
            assert!(removal(&view, nobody).is_err(), "{nobody:?}");
        }
        assert_eq!(removal(&view, "n2").ok(), Some(ChangeMember::Remove(NodeId(2))));
        let one = ChangeMember::RemoveAgent(agent(0xa1).agent);
        assert_eq!(removal(&view, "a102").ok(), Some(one));
        assert!(removal(&view, "a").is_err());
        assert!(removal(&view, "2").is_err(), "a number alone may be an agent's");
    }
}
