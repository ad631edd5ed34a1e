//! Golden journals: what this release wrote must decode and replay to the same for ever.
//!
//! Each story in `golden/v1` is two files: `NAME.journal` holds the bytes as stored (of a run its
//! plan, then each entry, each behind its length in four bytes), `NAME.txt` what they mean, for
//! people. The files of a release are never changed; a later one adds a folder.

mod cluster;

use otto_core::ids::{AgentId, AgentRef, Attempt, CommandId, Digest, ProjectId, RunId, StageId};
use otto_core::journal::{decode, encode};
use otto_core::plan::{Plan, Retry, RetryReason};
use otto_core::run::Run;
use otto_core::run::command::{Command, Continuation, Submission, Wish};
use otto_core::run::event::{ArtifactKept, Entry};
use otto_core::run::outcome::{AttemptEnd, Outcome, Section, StepChange, StepFact, StepPlace};
use otto_core::time::{Span, Timestamp};
use otto_core::value::Value;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

const RUN: RunId = RunId { project: ProjectId(1), number: 7 };

/// When a wish comes, and how it is worded for the run as it is then.
type Told = (u64, fn(&Run) -> Wish);

/// The bytes and the meaning of one story.
struct Golden {
    bytes: Vec<u8>,
    text: String,
    /// What tells the meaning of such bytes.
    meaning: fn(&[u8]) -> String,
}

fn frame(bytes: &mut Vec<u8>, record: &[u8]) {
    let length = u32::try_from(record.len()).expect("golden records are small");
    bytes.extend(length.to_be_bytes());
    bytes.extend(record);
}

fn frames(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let length = usize::try_from(u32::from_be_bytes(*length)).expect("it fits");
        let (record, rest) = rest.split_at(length);
        frames.push(record);
        bytes = rest;
    }
    frames
}

/// What a stored run means, for people: its facts, then what they make of it.
fn meaning(bytes: &[u8]) -> String {
    let frames = frames(bytes);
    let (plan, entries) = frames.split_first().expect("the plan comes first");
    let plan = Arc::new(Plan::from_bytes(plan).expect("a golden plan is read for ever"));
    let mut run = Run::new(RUN, Arc::clone(&plan));
    let mut text = format!("plan {}\n", plan.hash());
    for bytes in entries {
        let entry: Entry = decode("entry", bytes).expect("a golden entry is read for ever");
        run.apply(&entry);
        writeln!(text, "\nat {}", entry.at.0).expect("memory");
        for event in &entry.events {
            let event = serde_json::to_string(event).expect("events are plain data");
            writeln!(text, "  {event}").expect("memory");
        }
        for duty in run.owed().iter() {
            let duty = serde_json::to_string(duty).expect("duties are plain data");
            writeln!(text, "  owes {duty}").expect("memory");
        }
    }
    let summary = serde_json::to_string_pretty(&run.summary()).expect("plain data");
    writeln!(text, "\nsummary {summary}").expect("memory");
    for (id, stage, state) in run.stages() {
        let outcome = state.outcome().map_or("goes on", Outcome::word);
        writeln!(text, "{id} {:?}: {outcome}", stage.path).expect("memory");
    }
    text
}

/// A run of the plan that `golden/v1/plan.json` describes, as this build writes it.
fn tell(change: impl FnOnce(&mut Plan), wishes: &[Told]) -> Golden {
    let json = std::fs::read_to_string(folder().join("plan.json")).expect("the plan is there");
    let mut plan: Plan = serde_json::from_str(&json).expect("it describes a plan");
    change(&mut plan);
    plan.check().expect("it holds together");
    let plan = Arc::new(plan);
    let mut run = Run::new(RUN, Arc::clone(&plan));
    let mut bytes = Vec::new();
    frame(&mut bytes, &plan.to_bytes());
    for (number, (at, wish)) in wishes.iter().enumerate() {
        let id = Some(CommandId::of(&[u8::try_from(number).expect("few wishes")]));
        let events = run.decide(&Command { id, wish: wish(&run) }, Timestamp(*at));
        let entry = Entry { at: Timestamp(*at), events: events.expect("it is granted") };
        run.apply(&entry);
        frame(&mut bytes, &encode(&entry));
    }
    let text = meaning(&bytes);
    Golden { bytes, text, meaning }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/v1")
}

/// Compares a story with its files. With `OTTO_GOLDEN=write`, writes those that are missing.
fn check(name: &str, golden: &Golden) {
    let (journal, text) =
        (folder().join(format!("{name}.journal")), folder().join(format!("{name}.txt")));
    if !journal.exists() && std::env::var_os("OTTO_GOLDEN").is_some_and(|word| word == "write") {
        std::fs::write(&journal, &golden.bytes).expect("the folder is writable");
        std::fs::write(&text, &golden.text).expect("the folder is writable");
    }
    let stored = std::fs::read(&journal).expect("run once with OTTO_GOLDEN=write for a new story");
    let told = std::fs::read_to_string(&text).expect("the meaning lies beside the journal");
    let means = (golden.meaning)(&stored);
    assert!(
        means == told,
        "{name}: a journal that was written by this release means something else now.\n\
         What is on disk would change. Do not touch the golden files: give the event a new \
         kind or the field a default, so that the old bytes mean what they meant.\n{means}"
    );
    assert!(
        stored == golden.bytes,
        "{name}: this build writes other bytes for the same story.\n\
         The old journal still reads. If no release was made with the old bytes, delete \
         {name}.journal and {name}.txt and run with OTTO_GOLDEN=write; otherwise keep them as they \
         are, and add this story as golden/v2.\n{}",
        golden.text
    );
}

fn submit(run: &Run) -> Wish {
    Wish::Submit(Submission {
        plan: run.plan().hash(),
        project: "shop".to_owned(),
        by: "ada".to_owned(),
        snapshot: Some(Digest([3; 32])),
        continues: None,
    })
}

/// Submits what continues run 6, whose first stage had succeeded.
fn submit_again(run: &Run) -> Wish {
    let Wish::Submit(mut submission) = submit(run) else { return Wish::Wake };
    let blue = BTreeMap::from([("color".to_owned(), Value::Text("blue".to_owned()))]);
    let site = ArtifactKept { digest: Digest([1; 32]), stage: StageId(1) };
    submission.continues = Some(Continuation {
        number: 6,
        carried: vec![StageId(1)],
        captured: BTreeMap::from([(StageId(1), blue)]),
        artifacts: BTreeMap::from([("site-1".to_owned(), site)]),
    });
    Wish::Submit(submission)
}

fn award<const STAGE: u32>(run: &Run) -> Wish {
    let tried = run.stage(StageId(STAGE)).map_or(0, |state| state.attempts.len());
    Wish::Award {
        stage: StageId(STAGE),
        attempt: Attempt(u32::try_from(tried).expect("few attempts") + 1),
        agent: AgentRef { agent: AgentId([9; 16]), incarnation: 4 },
        incarnation: 1,
    }
}

fn finish<const STAGE: u32>(run: &Run, outcome: Outcome) -> Wish {
    let stage = StageId(STAGE);
    let leased = run.stage(stage).and_then(|state| state.leased()).expect("it is leased");
    let step = StepPlace { section: Section::Steps, index: 0 };
    let detail = if outcome.goes_on() { "exit code 0" } else { "exit code 1" }.to_owned();
    let facts = vec![
        StepFact { step, at: Timestamp(5), what: StepChange::Began },
        StepFact {
            step,
            at: Timestamp(6),
            what: StepChange::Ended { outcome, detail, log_bytes: None },
        },
    ];
    let cause = if outcome.goes_on() { String::new() } else { "sh: exit code 1".to_owned() };
    let end = AttemptEnd {
        outcome,
        cause,
        captured: BTreeMap::from([("color".to_owned(), Value::Text("blue".to_owned()))]),
        artifacts: BTreeMap::from([(
            format!("site-{STAGE}"),
            Digest([STAGE.to_le_bytes()[0]; 32]),
        )]),
        log_bytes: Some(1024),
        ends_run: false,
    };
    Wish::Finish { stage, attempt: leased.attempt, epoch: leased.epoch, facts, end }
}

fn success<const STAGE: u32>(run: &Run) -> Wish {
    finish::<STAGE>(run, Outcome::Success)
}

/// Ends well, and ends the run; tells how long the log was behind its step.
fn ending<const STAGE: u32>(run: &Run) -> Wish {
    let mut wish = success::<STAGE>(run);
    if let Wish::Finish { facts, end, .. } = &mut wish {
        end.ends_run = true;
        for fact in facts {
            if let StepChange::Ended { log_bytes, .. } = &mut fact.what {
                *log_bytes = Some(1000);
            }
        }
    }
    wish
}

fn failure<const STAGE: u32>(run: &Run) -> Wish {
    finish::<STAGE>(run, Outcome::Failed)
}

fn decline<const STAGE: u32>(run: &Run) -> Wish {
    let leased = run.stage(StageId(STAGE)).and_then(|state| state.leased()).expect("leased");
    Wish::Decline { stage: StageId(STAGE), attempt: leased.attempt, epoch: leased.epoch }
}

fn lose<const STAGE: u32>(run: &Run) -> Wish {
    let leased = run.stage(StageId(STAGE)).and_then(|state| state.leased()).expect("leased");
    let (attempt, epoch) = (leased.attempt, leased.epoch);
    Wish::Lose { stage: StageId(STAGE), attempt, epoch, cause: "its agent died".to_owned() }
}

fn cancel(_: &Run) -> Wish {
    Wish::Cancel { by: "ada".to_owned(), reason: Some("wrong branch".to_owned()) }
}

fn wake(_: &Run) -> Wish {
    Wish::Wake
}

#[test]
fn a_run_that_succeeds() {
    let wishes: &[Told] = &[
        (1_000, submit),
        (1_010, award::<1>),
        (1_020, decline::<1>),
        (1_030, award::<1>),
        (1_100, success::<1>),
        (1_110, award::<3>),
        (1_120, award::<4>),
        (1_130, success::<4>),
        (1_140, success::<3>),
        (1_150, award::<6>),
        (1_160, success::<6>),
    ];
    check("success", &tell(|_| {}, wishes));
}

#[test]
fn a_run_that_fails_after_a_retry_and_a_time_limit() {
    let limited = |plan: &mut Plan| {
        let on = [RetryReason::Lost].into();
        plan.stages[1].retry = Some(Retry { attempts: 2, on, backoff: Span(500) });
        plan.stages[4].timeout = Some(Span(50));
    };
    let wishes: &[Told] = &[
        (1_000, submit),
        (1_010, award::<1>),
        (1_100, lose::<1>),
        (1_600, wake),
        (1_610, award::<1>),
        (1_700, success::<1>),
        (1_710, award::<3>),
        (1_720, award::<4>),
        (1_770, wake),
        (1_780, success::<4>),
        (1_790, failure::<3>),
    ];
    check("failure", &tell(limited, wishes));
}

/// How a run begins whose first stage succeeds, until two others are leased side by side.
const BEGUN: [Told; 5] = [
    (1_000, submit),
    (1_010, award::<1>),
    (1_100, success::<1>),
    (1_110, award::<3>),
    (1_120, award::<4>),
];

#[test]
fn a_run_that_a_step_ends() {
    let ends: [Told; 2] = [(1_130, ending::<4>), (1_140, success::<3>)];
    check("ended", &tell(|_| {}, &[&BEGUN[..], &ends].concat()));
}

#[test]
fn a_run_that_is_cancelled() {
    let ends: [Told; 2] = [(1_120, cancel), (1_130, lose::<3>)];
    check("cancelled", &tell(|_| {}, &[&BEGUN[..4], &ends].concat()));
}

#[test]
fn a_fanout_that_ends_early() {
    let fanout = |plan: &mut Plan| {
        let inside = plan.stages[2].work.children().to_vec();
        plan.stages[2].work = otto_core::plan::Work::Fanout(inside);
    };
    let ends: [Told; 2] = [(1_130, failure::<4>), (1_140, success::<3>)];
    check("fanout", &tell(fanout, &[&BEGUN[..], &ends].concat()));
}

#[test]
fn a_run_that_continues_another() {
    let wishes: &[Told] = &[
        (1_000, submit_again),
        (1_010, award::<3>),
        (1_020, award::<4>),
        (1_030, success::<3>),
        (1_040, success::<4>),
        (1_050, award::<6>),
        (1_060, success::<6>),
    ];
    check("continued", &tell(|_| {}, wishes));
}
