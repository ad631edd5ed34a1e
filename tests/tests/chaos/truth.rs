//! What was really executed: steps write it down themselves, outside of their workspaces.

use otto_core::ids::{AgentId, AgentRef, Attempt, Epoch, ProjectId, RunId, StageId};
use otto_core::lease::LeaseId;
use otto_core::run::outcome::{Outcome, Section, StepPlace};
use otto_sim::history::{Fact, Moment};
use std::fs;
use std::path::Path;

/// What the scripts of the steps have in common; `OUT` stands for the folder of the truth.
const SCRIPT: &str = r#"
{ set +x; } 2> /dev/null
lease=$(basename "$(dirname "$PWD")")
say() { echo "$(date +%s%3N) $lease $*" >> OUT/truth; }
# Nothing of an earlier attempt may be left; a daemon of this one holds the lock to its end.
alone() {
  stage=${lease%-*-*-*}
  exec 9> "OUT/lock.$stage"
  flock -n 9 || say overlaps
}
begins() { if test "$1" = 0; then alone; fi; say begins "$1"; }
ends() { say ends "$1" "$2"; test "$2" = success; }
"#;

/// Writes the script that steps begin with.
pub(crate) fn prepare(out: &Path) {
    let script = SCRIPT.replace("OUT", &out.display().to_string());
    fs::write(out.join("truth.sh"), script).expect("a file");
}

/// What was written down, in its order; what contradicts itself is told beside it.
pub(crate) fn read(out: &Path) -> (Vec<Moment>, Vec<String>) {
    let text = fs::read_to_string(out.join("truth")).unwrap_or_default();
    let (mut moments, mut contradictions) = (Vec::new(), Vec::new());
    for line in text.lines() {
        match fact(line) {
            Some((at_ms, Some(fact))) => {
                moments.push(Moment { at_ms, host: "steps".to_owned(), fact });
            }
            Some((_, None)) => contradictions.push(format!("two attempts at once: {line}")),
            None => contradictions.push(format!("a step wrote what cannot be read: {line}")),
        }
    }
    (moments, contradictions)
}

fn fact(line: &str) -> Option<(u64, Option<Fact>)> {
    let mut words = line.split(' ');
    let at_ms = words.next()?.parse().ok()?;
    let lease = lease(words.next()?)?;
    let what = words.next()?;
    if what == "overlaps" {
        return Some((at_ms, None));
    }
    let index = words.next()?.parse().ok()?;
    let step = StepPlace { section: Section::Steps, index };
    let fact = match (what, words.next()) {
        ("begins", None) => {
            let agent = AgentRef { agent: AgentId([0; 16]), incarnation: 0 };
            Fact::StepBegan { lease, step, agent }
        }
        ("ends", Some("success")) => Fact::StepEnded { lease, step, outcome: Outcome::Success },
        ("ends", Some("failed")) => Fact::StepEnded { lease, step, outcome: Outcome::Failed },
        _ => return None,
    };
    Some((at_ms, Some(fact)))
}

/// A lease by the name of its folder.
fn lease(name: &str) -> Option<LeaseId> {
    let mut fields = name.split('-');
    let project = ProjectId(u64::from_str_radix(fields.next()?, 16).ok()?);
    let mut number = || fields.next()?.parse::<u64>().ok();
    let run = RunId { project, number: number()? };
    let stage = StageId(u32::try_from(number()?).ok()?);
    let attempt = Attempt(u32::try_from(number()?).ok()?);
    let epoch = Epoch { incarnation: u32::try_from(number()?).ok()?, counter: number()? };
    Some(LeaseId { run, stage, attempt, epoch })
}

/// The project that a moment is about, where it is about a step.
pub(crate) fn project(moment: &Moment) -> Option<ProjectId> {
    match &moment.fact {
        Fact::StepBegan { lease, .. } | Fact::StepEnded { lease, .. } => Some(lease.run.project),
        _ => None,
    }
}
