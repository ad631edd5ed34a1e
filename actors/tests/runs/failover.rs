//! Leadership that comes and goes with runs in flight: no step is lost, repeated, or doubled.

use crate::cluster::{Cluster, faults};
use crate::memory::journal::Fault;
use crate::plans::{again, parallel, sequence, stage};
use otto_actors::control::answers::Denial;
use otto_actors::ports::control::{Bid, Control, LinkError, Order, Report};
use otto_core::capability::Capabilities;
use otto_core::ids::{AgentId, AgentRef, RunId, ShardId, StageId};
use otto_core::lease::LeaseId;
use otto_core::plan::{RetryReason, Stage};
use otto_core::time::Span;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

const ONE: ShardId = ShardId(0);
const TWO: ShardId = ShardId(1);

async fn pause(span: Span) {
    tokio::time::sleep(span.to_duration()).await;
}

/// A stage that works for so long, and is repeated when its agent is lost.
fn work(name: &str, long: &str) -> Stage {
    again(stage(name, &["print begun", &format!("sleep {long}"), "print done"]), RetryReason::Lost)
}

async fn lease_of(cluster: &Cluster, run: RunId, stage: u32) -> LeaseId {
    loop {
        let view = cluster.view(run).await;
        if let Some(leased) = view.stage(StageId(stage)).unwrap().leased() {
            let (attempt, epoch) = (leased.attempt, leased.epoch);
            return LeaseId { run, stage: StageId(stage), attempt, epoch };
        }
        pause(Span(100)).await;
    }
}

fn agent(name: &str) -> AgentRef {
    AgentRef { agent: AgentId::of(name.as_bytes()), incarnation: 1 }
}

#[tokio::test(start_paused = true)]
async fn a_question_goes_to_whoever_leads_its_shard() {
    let cluster = Cluster::new(2).await;
    let hand = cluster.hire("n1", 2).await;
    cluster.shift(TWO, 1).await;
    let plan = sequence(vec![work("a", "3s")]);
    let (one, two) = (cluster.run(ONE, "k", &plan).await, cluster.run(TWO, "k", &plan).await);
    let (first, second) = (&cluster.nodes[0].side, &cluster.nodes[1].side);
    assert_eq!((first.leads(), second.leads()), (vec![ONE], vec![TWO]));
    let not_here = Denial::NotHere { shard: TWO };
    assert_eq!(first.view(two).await, Err(not_here.clone()));
    assert_eq!(first.follow(two, 0, Span::seconds(5)).await, Err(not_here));
    assert!(first.view(one).await.is_ok() && second.view(two).await.is_ok());
    let listed = |side: otto_actors::control::ControlSide| async move {
        let listed = side.list(None, None, 10).await.unwrap();
        listed.into_iter().map(|listed| listed.run).collect::<Vec<_>>()
    };
    assert_eq!(listed(first.clone()).await, [one]);
    assert_eq!(listed(second.clone()).await, [two]);
    let lease = lease_of(&cluster, two, 1).await;
    let renewed = first.renew(agent("n1"), vec![lease]).await;
    assert_eq!(renewed, Err(LinkError::NotHere { shard: TWO }));
    cluster.succeeds(one, &[1], &[]).await;
    cluster.succeeds(two, &[1], &[&hand]).await;
}

#[tokio::test(start_paused = true)]
async fn leadership_that_moves_all_the_time_costs_no_step() {
    let plan = sequence(vec![work("a", "10s"), work("b", "5s"), work("c", "1s")]);
    for rhythm in [Span(130), Span(900), Span::seconds(4)] {
        let cluster = Cluster::new(3).await;
        let hand = cluster.hire("n1", 2).await;
        let run = cluster.run(ONE, "k", &plan).await;
        let storm = async {
            for turn in 0_usize.. {
                pause(rhythm).await;
                cluster.shift(ONE, turn % 3).await;
                cluster.shift(TWO, (turn + 1) % 3).await;
                if turn % 5 == 4 {
                    // It resigns, and nobody leads for a while; then the same one leads again.
                    cluster.nodes[turn % 3].side.resign(ONE);
                    pause(rhythm).await;
                    cluster.shift(ONE, turn % 3).await;
                }
            }
        };
        let hands = [&hand];
        tokio::select! {
            biased;
            () = cluster.succeeds(run, &[1, 1, 1], &hands) => {}
            () = storm => {}
        }
        assert_eq!(cluster.log(run, 1, 1).await, "begun\ndone\n", "{rhythm}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deposed_leader_that_does_not_know_it_changes_nothing() {
    let cluster = Cluster::new(2).await;
    let hand = cluster.hire("n1", 1).await;
    let run = cluster.run(ONE, "k", &sequence(vec![work("a", "40s"), work("b", "1s")])).await;
    let lease = lease_of(&cluster, run, 1).await;
    pause(Span::seconds(2)).await;
    cluster.elect(ONE, 1).await;
    let old = &cluster.nodes[0].side;
    assert_eq!(old.leads(), [ONE, TWO], "it does not know");
    let renewed = old.renew(agent("n1"), vec![lease]).await;
    assert!(matches!(renewed, Err(LinkError::Unreachable(_))), "{renewed:?}");
    assert!(matches!(old.view(run).await, Err(Denial::Unanswered(_))));
    let unknown = LeaseId { stage: StageId(2), ..lease };
    let finished = vec![Report::Declined { lease: unknown }];
    let told = old.report(agent("n1"), finished).await;
    assert!(matches!(told, Err(LinkError::Unreachable(_))), "only a leader says no: {told:?}");
    pause(Span::seconds(20)).await;
    cluster.learn(0);
    cluster.succeeds(run, &[1, 1], &[&hand]).await;
}

#[tokio::test(start_paused = true)]
async fn a_deposed_leader_that_does_not_know_it_starts_nothing() {
    let cluster = Cluster::new(2).await;
    let old = &cluster.nodes[0].side;
    let bid = || Bid {
        agent: agent("n1"),
        name: "n1".to_owned(),
        capabilities: Capabilities::default(),
        free_slots: 1,
        holds: Vec::new(),
        cost: 0,
        warm: BTreeSet::new(),
    };
    let starts = async || {
        // The first answer tells of nothing but routes.
        for _ in 0..2 {
            let orders = old.bid(bid()).await.unwrap().orders;
            if orders.iter().any(|order| matches!(order, Order::Start(_))) {
                return true;
            }
        }
        false
    };
    cluster.run(ONE, "k", &sequence(vec![work("a", "1s")])).await;
    assert!(starts().await, "the stage is awarded, and the agent does not take it");
    pause(Span::seconds(2)).await;
    assert!(starts().await, "so it is told again");
    cluster.elect(ONE, 1).await;
    pause(Span::seconds(2)).await;
    assert!(!starts().await, "its lease may be over by now, for all that this node knows");
}

#[tokio::test(start_paused = true)]
async fn whoever_resigns_says_so_at_once_and_keeps_nothing() {
    let cluster = Cluster::new(1).await;
    let _hand = cluster.hire("n1", 1).await;
    let run = cluster.run(ONE, "k", &sequence(vec![work("a", "1h")])).await;
    lease_of(&cluster, run, 1).await;
    pause(Span::seconds(2)).await;
    let side = &cluster.nodes[0].side;
    let version = side.view(run).await.unwrap().version();
    let asked = tokio::time::Instant::now();
    let (followed, ()) = tokio::join!(side.follow(run, version, Span::seconds(5)), async {
        pause(Span::seconds(1)).await;
        side.resign(ONE);
    });
    assert_eq!(followed, Err(Denial::NotHere { shard: ONE }));
    assert_eq!(asked.elapsed().as_secs(), 1, "whoever waits is told at once");
    pause(Span(10)).await;
    let agents = side.agents().await.unwrap();
    assert_eq!(agents[0].leases, [], "another leader renews them by now");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_in_a_failover_is_not_acted_on_twice() {
    for fault in [Fault::AppliedUnknown, Fault::LateUnknown, Fault::LostUnknown] {
        for place in 0..8 {
            let cluster = Cluster::new(2).await;
            let hand = cluster.hire("n1", 1).await;
            let mut script = vec![Fault::Fine; place];
            script.push(fault);
            faults(&cluster, ONE, &script);
            let plan = sequence(vec![work("a", "1s"), work("b", "1s")]);
            let (run, ()) = tokio::join!(cluster.run(ONE, "k", &plan), async {
                pause(Span(40 * place as u64)).await;
                cluster.shift(ONE, 1).await;
            });
            assert_eq!(run.number, 1);
            cluster.succeeds(run, &[1, 1], &[&hand]).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_leader_is_ridden_through() {
    let cluster = Cluster::new(3).await;
    let hand = cluster.hire("n1", 2).await;
    let plan = parallel(vec![work("a", "20s"), work("b", "60s")]);
    let run = cluster.run(ONE, "k", &plan).await;
    pause(Span::seconds(10)).await;
    // The node is gone with all its connections; a new leader is there after some seconds.
    cluster.nodes[0].wire.cut();
    cluster.nodes[0].side.stop().await;
    pause(Span::seconds(4)).await;
    cluster.elect(ONE, 1).await;
    cluster.elect(TWO, 2).await;
    cluster.learn(1);
    cluster.succeeds(run, &[1, 1], &[&hand]).await;
    assert_eq!(cluster.log(run, 2, 1).await, "begun\ndone\n");
}

#[tokio::test(start_paused = true)]
async fn a_log_goes_on_at_the_next_leader_before_anything_new_is_printed() {
    let cluster = Cluster::new(2).await;
    let hand = cluster.hire("n1", 1).await;
    let run = cluster.run(ONE, "k", &sequence(vec![work("a", "100s")])).await;
    pause(Span::seconds(5)).await;
    cluster.shift(ONE, 1).await;
    pause(Span::seconds(2)).await;
    let lease = lease_of(&cluster, run, 1).await;
    assert_eq!(cluster.nodes[1].logs.all(lease.into()), b"begun\n");
    cluster.succeeds(run, &[1], &[&hand]).await;
    assert_eq!(cluster.log(run, 1, 1).await, "begun\ndone\n");
}

#[tokio::test(start_paused = true)]
async fn leaders_that_award_at_once_overbook_nobody() {
    let cluster = Cluster::new(2).await;
    cluster.shift(TWO, 1).await;
    let hand = cluster.hire("n1", 1).await;
    let most = std::sync::atomic::AtomicUsize::new(0);
    let plan = parallel((0..6).map(|n| work(&format!("s{n}"), "2s")).collect());
    let watch = async {
        loop {
            most.fetch_max(hand.ground.working(), Ordering::Relaxed);
            pause(Span(10)).await;
        }
    };
    let runs = async {
        let (one, two) = tokio::join!(cluster.run(ONE, "k", &plan), cluster.run(TWO, "k", &plan));
        cluster.succeeds(one, &[1; 6], &[]).await;
        cluster.succeeds(two, &[1; 6], &[&hand]).await;
    };
    tokio::select! {
        biased;
        () = runs => {}
        () = watch => {}
    }
    assert_eq!(most.load(Ordering::Relaxed), 1, "one slot, one stage at a time");
}

#[tokio::test(start_paused = true)]
async fn beyond_its_lease_a_cut_off_agent_ends_and_its_late_word_has_no_effect() {
    let cluster = Cluster::new(2).await;
    let cut_off = cluster.hire("n1", 1).await;
    let run = cluster.run(ONE, "k", &sequence(vec![work("a", "30s")])).await;
    let stale = lease_of(&cluster, run, 1).await;
    pause(Span::seconds(2)).await;
    for node in &cluster.nodes {
        node.wire.cut();
    }
    // Longer than the lease, and not so long that the old leader gives it up.
    pause(Span::seconds(14)).await;
    assert!(cut_off.ground.is_still(), "an agent that cannot renew ends its stages");
    // It is gone for good. Leadership moves once more: the new leader waits for a lease that may
    // have been renewed until then.
    cut_off.side.stop().await;
    cluster.shift(ONE, 1).await;
    let begun = tokio::time::Instant::now();
    for node in &cluster.nodes {
        node.wire.mend(node.side.clone());
    }
    let other = cluster.hire("n2", 1).await;
    let waited = loop {
        if cluster.view(run).await.stage(StageId(1)).unwrap().attempts.len() == 2 {
            break begun.elapsed().as_secs();
        }
        pause(Span(100)).await;
    };
    assert!((16..=21).contains(&waited), "lease and margin from its take-over on: {waited} s");
    let side = &cluster.nodes[1].side;
    assert_eq!(side.renew(agent("n1"), vec![stale]).await, Ok(vec![stale]));
    let log = side.log(agent("n1"), stale, 0, b"ghost\n".to_vec()).await;
    assert!(matches!(log, Err(LinkError::Refused(_))), "{log:?}");
    cluster.succeeds(run, &[2], &[&other]).await;
    assert_eq!(cluster.log(run, 1, 2).await, "begun\ndone\n");
}

#[tokio::test(start_paused = true)]
async fn what_is_too_much_is_refused_in_so_many_words() {
    let cluster = Cluster::new(1).await;
    let plan = sequence(vec![stage("a", &["ok"])]);
    let keys: Vec<String> = (0..3000).map(|n| format!("k{n}")).collect();
    let side = &cluster.nodes[0].side;
    let wish = |key: &String| crate::house::request(key, &plan);
    let all = futures::future::join_all(keys.iter().map(|key| side.submit(wish(key)))).await;
    let busy = |answer: &&Result<_, Denial>| matches!(answer, Err(Denial::Busy { .. }));
    let refused = all.iter().filter(busy).count();
    assert!(refused > 0 && refused < 1000, "{refused} of 3000 were refused");
    assert_eq!(all.iter().filter(|answer| answer.is_ok()).count() + refused, 3000);
    assert!(side.submit(wish(&"later".to_owned())).await.is_ok(), "it comes back, and is served");
}
