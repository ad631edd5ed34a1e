//! Tools are looked for when an offer needs them.

use crate::house::{Hand, House};
use crate::plans::{needing, sequence, stage};
use otto_core::ids::{RunId, StageId};
use otto_core::plan::Plan;
use otto_core::run::Run;
use otto_core::run::outcome::Outcome;
use otto_core::time::Span;

fn plan(tools: &[&str]) -> Plan {
    sequence(vec![needing(stage("a", &["print here"]), tools)])
}

/// How the search for an agent goes, in words; empty where there is none.
async fn why(house: &House, run: RunId) -> String {
    let why = house.control.why(run, StageId(1)).await;
    let search = why.ok().and_then(|why| why.search);
    search.map(|search| search.to_string()).unwrap_or_default()
}

async fn comes_to(house: &House, run: RunId, words: &str) {
    house.until(words, async || why(house, run).await.contains(words)).await;
}

async fn succeeds(house: &House, run: RunId, hand: &Hand) -> Run {
    let view = house.retired(run).await;
    assert_eq!(view.outcome(), Some(Outcome::Success));
    assert_eq!(hand.ground.sins(), Vec::<String>::new());
    view
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_is_there_is_found_on_demand() {
    let house = House::new().await;
    let hand = house.hire("n1", 1, &["git"]).await;
    hand.ground.install("ansible", "2.14");
    let run = house.run(&plan(&["ansible"])).await;
    comes_to(&house, run, "waits for an agent with (ansible); is looking for ansible").await;
    succeeds(&house, run, &hand).await;
    let again = house.submit("second", &plan(&["ansible", "git"])).await.unwrap().run;
    succeeds(&house, again, &hand).await;
    assert_eq!(hand.ground.looked_for(), ["ansible"], "it is known now");
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_is_absent_is_named_until_it_is_installed() {
    let house = House::new().await;
    let hand = house.hire("n1", 1, &[]).await;
    let run = house.run(&plan(&["ansible"])).await;
    comes_to(&house, run, "n1 comes closest and lacks (ansible)").await;
    tokio::time::sleep(Span::seconds(50).to_duration()).await;
    assert_eq!(hand.ground.looked_for(), ["ansible"], "asked once, for a while");
    hand.ground.install("ansible", "2.14");
    succeeds(&house, run, &hand).await;
    assert_eq!(hand.ground.looked_for(), ["ansible", "ansible"]);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_was_started_anew_looks_again() {
    let house = House::new().await;
    let mut hand = house.hire("n1", 1, &[]).await;
    hand.ground.install("ansible", "2.14");
    let run = house.run(&plan(&["ansible"])).await;
    house.until("it is looking", async || !hand.ground.looked_for().is_empty()).await;
    house.fell(&hand).await;
    comes_to(&house, run, "is looking for ansible").await;
    house.raise(&mut hand).await;
    succeeds(&house, run, &hand).await;
    assert_eq!(hand.ground.looked_for(), ["ansible", "ansible"]);
}

#[tokio::test(start_paused = true)]
async fn an_order_to_look_that_is_lost_is_given_again() {
    let mut house = House::new().await;
    let hand = house.hire("n1", 1, &[]).await;
    hand.ground.install("ansible", "2.14");
    let run = house.run(&plan(&["ansible"])).await;
    house.until("it is looking", async || !hand.ground.looked_for().is_empty()).await;
    house.stop_control().await;
    house.start_control().await;
    succeeds(&house, run, &hand).await;
    assert_eq!(hand.ground.looked_for(), ["ansible"], "the search outlives the control side");
}
