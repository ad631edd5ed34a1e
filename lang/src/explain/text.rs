//! A plan as a tree that a person reads from top to bottom.

use super::{Verdict, call, judged, literal, manner, place, repeated, verdict, verdicts};
use otto_core::capability::Need;
use otto_core::gate::Gate;
use otto_core::ids::StageId;
use otto_core::plan::{Cache, DEFAULT_QUEUE, Environment, Occasion, Origin, Plan, Stage, StepCall};
use otto_core::run::outcome::Outcome;
use otto_core::wait::{OnTimeout, Wait, WaitKind};
use std::collections::BTreeMap;
use std::fmt::{Display, Write};

/// Prints a whole plan.
#[must_use]
pub fn text(plan: &Plan) -> String {
    let mut page =
        Page { plan, verdicts: verdicts(plan), out: String::new(), indent: String::new() };
    page.head();
    page.parameters();
    page.environments();
    page.libraries();
    page.out.push_str("\nstages\n");
    page.details(StageId::ROOT);
    page.children(StageId::ROOT);
    page.out
}

struct Page<'a> {
    plan: &'a Plan,
    verdicts: Vec<Verdict>,
    out: String,
    /// The branches of the tree to the left of the current line.
    indent: String,
}

impl Page<'_> {
    fn head(&mut self) {
        let plan = self.plan;
        self.line(format_args!("plan {}", plan.hash()));
        self.line(format_args!("  pipeline    {}", plan.pipeline));
        match &plan.origin {
            Origin::File(path) => self.line(format_args!("  from        {path}")),
            Origin::Convention { names, reasons } => {
                self.line(format_args!("  inferred    {}", names.join(", ")));
                for reason in reasons {
                    self.line(format_args!("              {reason}"));
                }
            }
        }
        let revision = [
            ("branch", &plan.revision.branch),
            ("tag", &plan.revision.tag),
            ("commit", &plan.revision.commit),
        ];
        for (what, value) in revision {
            if let Some(value) = value {
                self.line(format_args!("  {what:<12}{value}"));
            }
        }
    }

    fn parameters(&mut self) {
        let values = self.plan.parameters.iter();
        let rows = values.map(|(name, value)| (name.as_str(), literal(value))).collect();
        self.table("parameters", rows);
    }

    fn environments(&mut self) {
        let all = self.plan.environments.iter();
        let rows = all.map(|(name, environment)| (name.as_str(), in_words(environment))).collect();
        self.table("environments", rows);
    }

    fn libraries(&mut self) {
        let all = self.plan.libraries.iter();
        let rows = all.map(|(name, library)| {
            let steps: Vec<&str> = library.steps.keys().map(String::as_str).collect();
            let text =
                format!("{}  {}: {}", library.digest.short(), place(library), steps.join(", "));
            (name.as_str(), text)
        });
        self.table("steps of", rows.collect());
    }

    /// A titled list of names and what belongs to them; nothing where there are none.
    fn table(&mut self, title: &str, rows: Vec<(&str, String)>) {
        let Some(width) = rows.iter().map(|(name, _)| name.chars().count()).max() else { return };
        self.out.push('\n');
        self.line(title);
        for (name, text) in rows {
            self.line(format!("  {name:<width$}  {text}").trim_end());
        }
    }

    fn children(&mut self, id: StageId) {
        let children = self.plan.stage(id).work.children();
        let outer = self.indent.len();
        for (index, child) in children.iter().enumerate() {
            let last = index + 1 == children.len();
            self.title(*child, if last { "└─" } else { "├─" });
            self.indent.push_str(if last { "   " } else { "│  " });
            self.details(*child);
            self.children(*child);
            self.indent.truncate(outer);
        }
    }

    /// The line with the stage's name.
    fn title(&mut self, id: StageId, branch: &str) {
        let stage = self.plan.stage(id);
        let manner = match manner(&stage.work) {
            "" | "one after another" => String::new(),
            manner => format!("  ({manner})"),
        };
        let verdict = match self.verdicts[id.index()] {
            Verdict::Runs => "",
            Verdict::Skipped if self.loses_to_an_arm(id) => "  ⊘ skipped: an earlier arm is taken",
            Verdict::Skipped => "  ⊘ skipped",
            Verdict::Open => "  ? decided by the run",
        };
        self.line(format_args!("{branch} {}{manner}{verdict}", stage.name));
    }

    /// Whether a stage is skipped though neither its own condition nor the stage around it says so.
    fn loses_to_an_arm(&self, id: StageId) -> bool {
        let stage = self.plan.stage(id);
        let own = stage.when.as_ref().map_or(Verdict::Runs, verdict);
        let around = stage.parent.map(|parent| self.verdicts[parent.index()]);
        own != Verdict::Skipped && around != Some(Verdict::Skipped)
    }

    /// Everything that belongs to the stage itself, then its steps in the order in which they run.
    fn details(&mut self, id: StageId) {
        let stage = self.plan.stage(id);
        if let Some(when) = &stage.when {
            self.detail("when", judged(when));
        }
        self.needs(stage);
        self.gates("enter", &stage.gates.enter);
        self.surroundings(stage);
        self.limits(stage);
        self.steps("", stage.work.steps());
        self.steps("finally", &stage.finally);
        self.gates("exit", &stage.gates.exit);
        self.steps("rollback", &stage.rollback);
        for (occasion, steps) in &stage.notify {
            self.steps(on(*occasion), steps);
        }
    }

    fn needs(&mut self, stage: &Stage) {
        let names: Vec<&str> =
            stage.needs.iter().map(|need| self.plan.stage(*need).name.as_str()).collect();
        if !names.is_empty() {
            self.detail("needs", names.join(", "));
        }
    }

    fn gates(&mut self, side: &str, gates: &[Gate]) {
        for gate in gates {
            match gate {
                Gate::Condition(condition) => self.detail(side, judged(condition)),
                Gate::Wait(wait) => self.detail(side, waits_for(wait)),
            }
        }
    }

    /// What the steps find around them.
    fn surroundings(&mut self, stage: &Stage) {
        if !otto_core::capability::Capabilities::default().lacks(&stage.runtime).is_empty() {
            let note =
                if measures(&stage.runtime) { "  (chooses the agent, limits nothing)" } else { "" };
            self.detail("runtime", format_args!("{}{note}", stage.runtime));
        }
        if let Some(environment) = &stage.environment {
            let known = self.plan.environments.get(environment);
            let delivers = known.is_none_or(|known| known.delivers);
            self.detail(if delivers { "delivers to" } else { "runs for" }, environment);
        }
        let nothing = BTreeMap::new();
        let around = stage.parent.map_or(&nothing, |parent| &self.plan.stage(parent).settings);
        let own = stage.settings.iter().filter(|(name, value)| around.get(*name) != Some(value));
        for (name, value) in own {
            self.detail("setting", format_args!("{name} = {value}"));
        }
        if !stage.credentials.is_empty() {
            let names: Vec<&str> = stage.credentials.iter().map(String::as_str).collect();
            self.detail("credentials", names.join(", "));
        }
        for (name, cache) in &stage.caches {
            self.detail("cache", format_args!("{name}: {}", kept(cache)));
        }
        if !stage.checkout && !stage.work.steps().is_empty() {
            self.detail("checkout", "no: it starts with an empty folder");
        }
        for (name, value_type) in &stage.outputs {
            self.detail("output", format_args!("{name}: {value_type}"));
        }
    }

    fn limits(&mut self, stage: &Stage) {
        if let Some(timeout) = stage.timeout {
            self.detail("timeout", timeout);
        }
        if stage.queue != DEFAULT_QUEUE && !stage.work.steps().is_empty() {
            self.detail("queue", format_args!("{} at most", stage.queue));
        }
        if let Some(retry) = &stage.retry {
            self.detail("retry", repeated(retry));
        }
    }

    /// Steps as they would be written, one a line; long scripts keep their lines.
    fn steps(&mut self, section: &str, steps: &[StepCall]) {
        for step in steps {
            let mut words = vec![call(self.plan, step)];
            words.extend((!step.folder.is_empty()).then(|| format!("in {}", step.folder)));
            words.extend(step.timeout.map(|timeout| format!("timeout {timeout}")));
            words.extend(step.settings.iter().map(|(name, value)| format!("{name}={value}")));
            let lines = words.join("  ");
            let gap = if section.is_empty() { "" } else { " " };
            for (index, line) in lines.lines().enumerate() {
                match index {
                    0 => self.line(format_args!("   {section}{gap}› {line}")),
                    _ => self.line(format_args!("     {line}")),
                }
            }
        }
    }

    fn detail(&mut self, what: &str, text: impl Display) {
        self.line(format_args!("   {what}: {text}"));
    }

    fn line(&mut self, text: impl Display) {
        // Writing to a text cannot fail.
        writeln!(self.out, "{}{text}", self.indent).ok();
    }
}

/// Whether a need names an amount, which one might take for a limit.
fn measures(need: &Need) -> bool {
    match need {
        Need::All(needs) | Need::Any(needs) => needs.iter().any(measures),
        Need::Cores(_) | Need::Memory(_) => true,
        Need::Arch(_) | Need::Os(_) | Need::Tool { .. } | Need::Docker { .. } => false,
    }
}

/// What is particular about an environment.
fn in_words(environment: &Environment) -> String {
    let mut words = Vec::new();
    words.extend(environment.after.iter().map(|other| format!("after {other}")));
    words.extend(environment.lock.then(|| "one delivery at a time".to_owned()));
    words.extend(environment.freeze.iter().map(|window| format!("frozen in {window}")));
    if !environment.approvers.is_empty() {
        words.push(format!("approved by {}", environment.approvers.join(", ")));
    }
    words.extend((!environment.delivers).then(|| "does not count as a delivery".to_owned()));
    let settings = environment.settings.iter();
    words.extend(settings.map(|(name, value)| format!("{name} = {value}")));
    words.join(", ")
}

/// Whom a wait is for, for how long, and what happens then.
fn waits_for(wait: &Wait) -> String {
    let whom = match &wait.kind {
        WaitKind::Approval { approvers } if approvers.is_empty() => {
            format!("approval '{}'", wait.name)
        }
        WaitKind::Approval { approvers } => {
            format!("approval '{}' by {}", wait.name, approvers.join(", "))
        }
        WaitKind::Callback => format!("callback '{}'", wait.name),
        WaitKind::Poll { every, .. } => format!("poll '{}' every {every}", wait.name),
    };
    let then = match wait.on_timeout {
        OnTimeout::Fail => Outcome::Failed.word(),
        OnTimeout::Unstable => Outcome::Unstable.word(),
        OnTimeout::Pass => "passed",
    };
    format!("{whom}, {} at most, then {then}", wait.timeout)
}

fn kept(cache: &Cache) -> String {
    match cache {
        Cache::Define { paths, key: None } => format!("{} for this run", paths.join(", ")),
        Cache::Define { paths, key: Some(key) } => {
            format!("{} kept under {}", paths.join(", "), literal(key))
        }
        Cache::Use => "used, not filled".to_owned(),
    }
}

fn on(occasion: Occasion) -> &'static str {
    match occasion {
        Occasion::Success => "on success",
        Occasion::Unstable => "on unstable",
        Occasion::Failure => "on failure",
        Occasion::Always => "always",
    }
}
