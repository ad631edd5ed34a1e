//! Small plans, exhaustively: every order of moves, late, doubled and missing ones, until no new
//! state is found. States that differ in nothing that can matter are explored once.

use super::moves::moves;
use super::plans::{
    Node, choose, decided, fanout, nothing, parallel, plan, sequence, steps, verdict_is,
};
use super::verdict::{Decider, Watched, heart};
use crate::gate::Gate;
use crate::ids::CommandId;
use crate::plan::RetryReason::{Failed, Lost, TimedOut};
use std::collections::{BTreeSet, VecDeque};

/// One plan for each construct, and some for how they meet.
pub(crate) fn plans() -> Vec<(&'static str, Node)> {
    let good = || steps("b").when(verdict_is(1, "good"));
    vec![
        ("one", sequence("", [steps("a")])),
        ("steps at the top", steps("")),
        ("nothing", sequence("", [nothing("a"), steps("b")])),
        ("sequence", sequence("", [steps("a"), good(), steps("c")])),
        ("parallel", sequence("", [parallel("p", [steps("a"), steps("b")]), steps("c")])),
        ("fanout", sequence("", [fanout("f", [steps("a"), steps("b")]), steps("c")])),
        ("needs", parallel("", [steps("a"), steps("b").needs(&["a"]), steps("c").needs(&["b"])])),
        ("two needs", parallel("", [steps("a"), steps("b"), steps("c").needs(&["a", "b"])])),
        ("fanout with needs", fanout("", [steps("a"), steps("b"), steps("c").needs(&["a"])])),
        (
            "choose",
            sequence(
                "",
                [steps("a"), choose("c", [steps("d").when(verdict_is(1, "bad")), steps("e")])],
            ),
        ),
        ("skipped", sequence("", [sequence("g", [steps("a")]).when(decided(false)), steps("b")])),
        (
            "exit",
            sequence("", [steps("a").exit(Gate::Condition(verdict_is(1, "bad"))), steps("b")]),
        ),
        ("retry", sequence("", [steps("a").retry(3, &[Lost, Failed], 10), steps("b")])),
        ("limit", sequence("", [steps("a").timeout(20).retry(2, &[TimedOut], 0).queue(50)])),
        ("limit around", sequence("", [parallel("p", [steps("a"), steps("b")]).timeout(30)])),
        (
            "limit around a retry",
            sequence("g", [steps("a").retry(2, &[TimedOut, Lost], 40).timeout(25)]).timeout(30),
        ),
        (
            "ended beside a retry",
            parallel("", [steps("a").retry(2, &[Failed], 10), sequence("s", [steps("b"), good()])]),
        ),
        (
            "nested",
            fanout("", [sequence("s", [steps("a"), steps("b")]), parallel("p", [steps("c")])]),
        ),
    ]
}

/// Explores every state that can be reached, unless there are more than `most`; answers how many.
pub(crate) fn explore(root: Node, decider: Decider, most: usize) -> Result<usize, String> {
    let begin = Watched::begin(&plan(root), decider)?;
    let mut known = BTreeSet::new();
    let mut todo = VecDeque::from([begin]);
    while let Some(state) = todo.pop_front() {
        if !known.insert(CommandId::of(state.key().as_bytes())) {
            continue;
        }
        if known.len() > most {
            return Err(format!("there are more than {most} states"));
        }
        let check = || state.replays().and_then(|()| state.ends());
        check().map_err(|complaint| format!("{complaint}\n{}", state.timeline()))?;
        for next in moves(&state.run, &state.referee, state.now) {
            let mut after = state.clone();
            let changed = after.make(next.clone()).map_err(|complaint| {
                format!("{complaint}\nafter {next:?}\n{}", after.timeline())
            })?;
            if changed {
                todo.push_back(after);
            }
        }
    }
    Ok(known.len())
}

#[test]
fn every_order_of_moves_keeps_what_must_hold() {
    for (name, root) in plans() {
        match explore(root, heart, 20_000) {
            Ok(states) => println!("{name}: {states} states"),
            Err(complaint) => panic!("{name}: {complaint}"),
        }
    }
}
