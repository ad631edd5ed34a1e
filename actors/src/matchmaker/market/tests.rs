//! The market, offer by offer.

use super::*;
use otto_core::capability::Capabilities;
use otto_core::ids::{Epoch, ProjectId};

const RUN: RunId = RunId { project: ProjectId(1), number: 1 };

fn offer(stage: u32) -> OfferId {
    OfferId { run: RUN, stage: StageId(stage), attempt: Attempt::FIRST }
}

fn lease(stage: u32) -> LeaseId {
    let OfferId { run, stage, attempt } = offer(stage);
    LeaseId { run, stage, attempt, epoch: Epoch { incarnation: 0, counter: 1 } }
}

fn agent(name: u8, incarnation: u64) -> AgentRef {
    AgentRef { agent: AgentId([name; 16]), incarnation }
}

fn bid(name: u8, free_slots: u32, cost: u32, tools: &[&str]) -> Bid {
    let tool = |tool: &&str| ((*tool).to_owned(), None);
    Bid {
        agent: agent(name, 1),
        name: format!("n{name}"),
        capabilities: Capabilities {
            tools: tools.iter().map(tool).collect(),
            ..Capabilities::default()
        },
        free_slots,
        holds: Vec::new(),
        cost,
        warm: BTreeSet::new(),
    }
}

/// A bid of an agent that has looked for tools in vain.
fn without(name: u8, absent: &[&str]) -> Bid {
    let mut bid = bid(name, 1, 0, &[]);
    bid.capabilities.absent = absent.iter().map(|tool| (*tool).to_owned()).collect();
    bid
}

fn tool(name: &str) -> Need {
    Need::Tool { name: name.to_owned(), version: None }
}

/// The awards of a market as (stage, agent's first byte).
fn awards(market: &mut Market) -> Vec<(u32, u8)> {
    let award = |(offer, agent): (OfferId, AgentRef)| (offer.stage.0, agent.agent.0[0]);
    market.award(|_| true).into_iter().map(award).collect()
}

#[test]
fn the_oldest_offer_goes_first_and_the_cheapest_capable_agent_gets_it() {
    let check = |bids: &[Bid], offers: &[(u32, u64, Need)], expected: &[(u32, u8)]| {
        let mut market = Market::default();
        for bid in bids {
            assert!(market.bid(bid.clone()));
        }
        for (stage, since, need) in offers {
            market.place(offer(*stage), Timestamp(*since), need.clone());
        }
        assert_eq!(awards(&mut market), expected, "{bids:?} {offers:?}");
    };
    let any = Need::default;
    check(&[bid(1, 1, 0, &[])], &[(1, 9, any()), (2, 5, any())], &[(2, 1)]);
    check(&[bid(1, 1, 7, &[]), bid(2, 1, 3, &[])], &[(1, 0, any())], &[(1, 2)]);
    let warm = Bid { warm: BTreeSet::from([RUN.project]), ..bid(2, 1, 3, &[]) };
    check(&[bid(1, 1, 3, &[]), warm.clone()], &[(1, 0, any())], &[(1, 2)]);
    check(&[bid(1, 1, 2, &[]), warm], &[(1, 0, any())], &[(1, 1)]);
    let able = bid(1, 9, 99, &["git"]);
    check(&[able.clone(), bid(2, 9, 0, &[])], &[(1, 0, tool("git"))], &[(1, 1)]);
    // An award makes an agent dearer, so that work spreads.
    let two = [bid(1, 2, 0, &[]), bid(2, 2, 0, &[])];
    check(&two, &[(1, 1, any()), (2, 2, any())], &[(1, 1), (2, 2)]);
    // One that nobody can serve does not hold up those behind it.
    check(&[able], &[(1, 1, tool("docker")), (2, 2, tool("git"))], &[(2, 1)]);
    check(&[bid(1, 0, 0, &[])], &[(1, 1, any())], &[]);
    check(&[], &[(1, 1, any())], &[]);
}

#[test]
fn an_award_takes_a_slot_until_the_agent_holds_it_or_it_comes_to_nothing() {
    let mut market = Market::default();
    market.bid(bid(1, 1, 0, &[]));
    market.place(offer(1), Timestamp(1), Need::default());
    market.place(offer(2), Timestamp(2), Need::default());
    assert_eq!(awards(&mut market), [(1, 1)]);
    assert_eq!(awards(&mut market), [], "its only slot is taken");
    market.withdraw(offer(1));
    market.leased(lease(1), agent(1, 1));
    market.bid(bid(1, 1, 0, &[]));
    assert_eq!(awards(&mut market), [], "it does not hold it yet, but will");
    market.bid(Bid { holds: vec![lease(1)], ..bid(1, 1, 0, &[]) });
    assert_eq!(awards(&mut market), [(2, 1)], "its own count is the truth");
    market.place(offer(2), Timestamp(2), Need::default());
    assert_eq!(awards(&mut market), [(2, 1)], "what is placed anew is awarded anew");
    market.withdraw(offer(2));
    market.release(offer(2));
    market.place(offer(3), Timestamp(3), Need::default());
    assert_eq!(awards(&mut market), [(3, 1)]);
}

#[test]
fn only_an_agent_that_waits_is_sure_to_be_there() {
    let mut market = Market::default();
    market.bid(bid(1, 1, 0, &[]));
    market.left(AgentId([1; 16]));
    market.place(offer(1), Timestamp(1), Need::default());
    assert_eq!(awards(&mut market), []);
    market.bid(bid(1, 1, 0, &[]));
    assert_eq!(awards(&mut market), [(1, 1)]);
}

#[test]
fn a_newer_process_takes_the_place_of_an_older_one() {
    let mut market = Market::default();
    assert!(market.bid(Bid { agent: agent(1, 2), ..bid(1, 1, 0, &[]) }));
    assert!(!market.bid(bid(1, 1, 0, &[])));
    assert_eq!(market.newest(AgentId([1; 16])), Some(agent(1, 2)));
}

#[test]
fn a_search_says_what_is_in_the_way() {
    let check = |bids: &[Bid], need: Need, expected: &str| {
        let mut market = Market::default();
        for bid in bids {
            market.bid(bid.clone());
        }
        market.place(offer(1), Timestamp(1), Need::default());
        market.place(offer(2), Timestamp(2), need);
        let search = market.search(offer(2)).map(|search| search.to_string());
        assert_eq!(search.as_deref(), Some(expected));
    };
    let git = || tool("git");
    check(&[], git(), "waits for an agent with git: none is connected");
    let looking = "waits for an agent with git; is looking for git";
    check(&[bid(1, 1, 0, &[]), without(2, &["git"])], git(), looking);
    let closest = "waits for an agent with git (0 of 1 have it); n1 comes closest and lacks git";
    check(&[without(1, &["git"])], git(), closest);
    let busy = "waits for a free slot on 1 of 2 agents, behind 1 older offers";
    check(&[bid(1, 0, 0, &["git"]), bid(2, 1, 0, &[])], git(), busy);
}

#[test]
fn an_agent_is_asked_for_a_tool_until_it_answers() {
    let mut market = Market::default();
    let looks = |market: &mut Market, seconds: u64| {
        assert_eq!(awards(market), []);
        market.looks(AgentId([1; 16]), Timestamp(seconds * 1000))
    };
    market.bid(bid(1, 1, 0, &["git"]));
    market.place(offer(1), Timestamp(1), Need::Any(vec![tool("ant"), tool("go")]));
    market.place(offer(2), Timestamp(2), Need::All(vec![tool("git"), tool("go")]));
    assert_eq!(looks(&mut market, 0), ["ant", "go"]);
    market.bid(bid(1, 1, 0, &["git"]));
    assert_eq!(looks(&mut market, 9), [""; 0], "it is looking");
    market.place(offer(3), Timestamp(3), tool("zig"));
    assert_eq!(looks(&mut market, 9), ["zig"]);
    assert_eq!(looks(&mut market, 10), ["ant", "go"], "the order may be lost");
    market.bid(without(1, &["ant", "go"]));
    assert_eq!(looks(&mut market, 19), ["git", "zig"]);
    market.withdraw(offer(3));
    market.bid(Bid { agent: agent(1, 2), ..bid(1, 1, 0, &[]) });
    assert_eq!(looks(&mut market, 20), ["ant", "git", "go"], "it is another process");
}

#[test]
fn nobody_is_asked_for_a_tool_while_an_agent_can_serve() {
    let mut market = Market::default();
    market.bid(bid(1, 1, 0, &["git"]));
    market.bid(bid(2, 1, 0, &[]));
    market.place(offer(1), Timestamp(1), tool("git"));
    assert_eq!(awards(&mut market), [(1, 1)]);
    assert_eq!(market.looks(AgentId([2; 16]), Timestamp(1)), [""; 0]);
    market.place(offer(2), Timestamp(2), tool("git"));
    assert_eq!(awards(&mut market), []);
    assert_eq!(market.looks(AgentId([1; 16]), Timestamp(2)), [""; 0], "it is busy, and has it");
    assert_eq!(market.looks(AgentId([2; 16]), Timestamp(2)), ["git"]);
}

#[test]
fn whoever_has_left_unseen_is_awarded_nothing() {
    let mut market = Market::default();
    market.bid(bid(1, 1, 0, &[]));
    market.bid(bid(2, 1, 5, &[]));
    market.place(offer(1), Timestamp(1), Need::default());
    market.place(offer(2), Timestamp(2), Need::default());
    let awarded = market.award(|agent| agent != AgentId([1; 16]));
    assert_eq!(awarded, [(offer(1), agent(2, 1))], "the cheapest is not there");
    assert_eq!(awards(&mut market), [], "nor later, before it bids again");
    market.bid(bid(1, 1, 0, &[]));
    assert_eq!(awards(&mut market), [(2, 1)]);
}

#[test]
fn a_need_is_new_while_nobody_serves_it() {
    let mut market = Market::default();
    market.bid(bid(1, 1, 0, &["git"]));
    market.place(offer(1), Timestamp(1), tool("git"));
    assert_eq!(awards(&mut market), [(1, 1)]);
    assert!(!market.needs_more(), "it is served");
    market.place(offer(2), Timestamp(2), tool("git"));
    assert_eq!(awards(&mut market), []);
    assert!(market.needs_more());
    market.place(offer(3), Timestamp(3), tool("git"));
    assert!(!market.needs_more(), "another one of the same");
}

proptest::proptest! {
    /// The lists by which agents are found say what looking at every agent would.
    #[test]
    fn the_lists_agree_with_looking_at_all(acts in acts()) {
        let mut market = Market::default();
        for (act, name, number, project) in acts {
            match act % 6 {
                0 | 1 => {
                    let tools = [&[][..], &["git"], &["git", "go"]][usize::from(number % 3)];
                    let mut bid = bid(name, u32::from(number % 3), u32::from(number % 4), tools);
                    bid.warm = (0..project % 3).map(|p| ProjectId(u64::from(p))).collect();
                    bid.holds = (0..number % 3).map(|n| lease(u32::from(n))).collect();
                    market.bid(bid);
                }
                2 => market.left(AgentId([name; 16])),
                3 => market.release(offer(u32::from(number))),
                4 => market.leased(lease(u32::from(number)), agent(name, 1)),
                _ => {
                    let need = [Need::default(), tool("git")][usize::from(number % 2)].clone();
                    market.place(offer(u32::from(number)), Timestamp(u64::from(name)), need);
                    market.award(|_| true);
                }
            }
            for need in [Need::default(), tool("git"), tool("go"), tool("zig")] {
                for project in [0, 1, 7].map(ProjectId) {
                    let able = market.bidders.values().filter(|it| it.waiting && it.free() > 0);
                    let able = able.filter(|it| it.bid.capabilities.lacks(&need).is_empty());
                    let all = able.map(|it| {
                        (it.cost(), !it.bid.warm.contains(&project), it.bid.agent)
                    });
                    let expected = all.min().map(|(_, _, agent)| agent);
                    proptest::prop_assert_eq!(market.ready.cheapest(&need, project), expected);
                }
            }
            let pending = market.bidders.iter();
            let pending: BTreeSet<(OfferId, AgentId)> = pending
                .flat_map(|(agent, it)| it.pending.iter().map(|offer| (*offer, *agent)))
                .collect();
            proptest::prop_assert_eq!(&market.takers, &pending);
        }
    }
}

fn acts() -> impl proptest::strategy::Strategy<Value = Vec<(u8, u8, u8, u8)>> {
    proptest::collection::vec((0..6_u8, 0..5_u8, 0..6_u8, 0..4_u8), 1..60)
}
