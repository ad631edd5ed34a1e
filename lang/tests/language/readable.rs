//! A plan as a few lines that can be reviewed: only what differs from the defaults.

use otto_core::gate::{Condition, Decided};
use otto_core::plan::{DEFAULT_QUEUE, Plan, Stage, StepCall, Work, long_path};
use std::fmt::Write;

pub(crate) fn readable(plan: &Plan) -> String {
    let mut out = format!("pipeline {}\n", plan.pipeline);
    for (name, value) in &plan.parameters {
        writeln!(out, "parameter {name} = {value:?}").expect("a string");
    }
    for (name, environment) in &plan.environments {
        writeln!(out, "environment {name} {:?}", environment.settings).expect("a string");
    }
    for (name, library) in &plan.libraries {
        let steps: Vec<&str> = library.steps.keys().map(String::as_str).collect();
        write!(out, "library {name}: {}", steps.join(", ")).expect("a string");
        for one in library.configuration.iter().filter(|one| one.default.is_some()) {
            write!(out, "; {} = {:?}", one.name, one.default).expect("a string");
        }
        out.push('\n');
    }
    for (id, stage) in plan.ids().zip(&plan.stages) {
        let around = std::iter::successors(stage.parent, |id| plan.stage(*id).parent);
        let depth = around.count();
        let indent = "  ".repeat(depth);
        let work = match &stage.work {
            Work::Steps(_) => "steps",
            Work::Sequence(_) => "sequence",
            Work::Parallel(_) => "parallel",
            Work::Fanout(_) => "fanout",
            Work::Choose(_) => "choose",
            Work::Nothing => "nothing",
        };
        let name = if stage.name.is_empty() { "pipeline" } else { &stage.name };
        let is_short = stage.path != long_path(&plan.stages, id);
        let path = if is_short { format!(" (path {})", stage.path) } else { String::new() };
        writeln!(out, "{indent}{id} {name}: {work}{path}").expect("a string");
        for line in details(plan, stage) {
            writeln!(out, "{indent}   | {line}").expect("a string");
        }
    }
    out
}

fn details(plan: &Plan, stage: &Stage) -> Vec<String> {
    let mut lines = Vec::new();
    if !stage.needs.is_empty() {
        let needs: Vec<String> = stage.needs.iter().map(ToString::to_string).collect();
        lines.push(format!("needs {}", needs.join(", ")));
    }
    if let Some(Condition { text, decided }) = &stage.when {
        lines.push(match decided {
            Decided::Plan { holds, reason } => format!("when {text} => {holds}: {reason}"),
            Decided::Run(expression) => format!("when {text} => the run decides {expression:?}"),
        });
    }
    let needs = stage.runtime.to_string();
    if needs != "nothing in particular" {
        lines.push(format!("runtime {needs}"));
    }
    lines.extend(stage.settings.iter().map(|(name, value)| format!("{name}={value}")));
    if let Some(environment) = &stage.environment {
        lines.push(format!("environment {environment}"));
    }
    if !stage.checkout {
        lines.push("no checkout".to_owned());
    }
    if let Some(timeout) = stage.timeout {
        lines.push(format!("timeout {timeout}"));
    }
    if stage.queue != DEFAULT_QUEUE {
        lines.push(format!("queue {}", stage.queue));
    }
    if let Some(retry) = &stage.retry {
        let on = &retry.on;
        lines.push(format!("retry {} times on {on:?} after {}", retry.attempts, retry.backoff));
    }
    for (name, value_type) in &stage.outputs {
        lines.push(format!("output {name}: {value_type}"));
    }
    lines.extend(stage.work.steps().iter().map(|step| call("", plan, step)));
    lines.extend(stage.finally.iter().map(|step| call("finally ", plan, step)));
    lines
}

fn call(what: &str, plan: &Plan, step: &StepCall) -> String {
    let mut line = format!("{what}{}.{}", step.library, step.symbol);
    assert!(plan.signature(step).is_some(), "the plan holds what it calls");
    for (name, value) in &step.arguments {
        write!(line, " {name}: {value:?}").expect("a string");
    }
    if !step.folder.is_empty() {
        write!(line, " in {}", step.folder).expect("a string");
    }
    for (name, value) in &step.settings {
        write!(line, " {name}={value}").expect("a string");
    }
    if let Some(timeout) = step.timeout {
        write!(line, " within {timeout}").expect("a string");
    }
    line
}
