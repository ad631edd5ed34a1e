//! `retry { … }` and `outputs { … }` of a stage.

use super::{Lowering, Scope, words};
use crate::diagnostic::{Diagnostic, Id, nearest};
use crate::tree::{Expression, Shape, Statement};
use otto_core::plan::{Retry, RetryReason};
use otto_core::time::Span;
use otto_core::value::ValueType;
use std::collections::{BTreeMap, BTreeSet};

/// How often steps are tried where `retry` does not say it, the first time counted.
const DEFAULT_ATTEMPTS: u32 = 3;
/// The most attempts that may be asked for.
const MAX_ATTEMPTS: u64 = 100;
const REASONS: [&str; 3] = ["lost", "failed", "timed_out"];

impl Lowering<'_> {
    /// When a stage's steps are repeated.
    pub(super) fn retry(&mut self, statement: &Statement, scope: &Scope) -> Option<Retry> {
        let body = self.block(statement, "attempts = 3")?;
        let on = BTreeSet::from([RetryReason::Lost]);
        let mut retry = Retry { attempts: DEFAULT_ATTEMPTS, on, backoff: Span(0) };
        let mut met = BTreeMap::new();
        for part in &body.statements {
            if !self.once(&mut met, part) {
                continue;
            }
            match part.name.text.as_str() {
                "attempts" => {
                    let value = self.property(part, "3");
                    if let Some(attempts) = value.and_then(|value| self.attempts(value, scope)) {
                        retry.attempts = attempts;
                    }
                }
                "on" => {
                    let value = self.property(part, "[lost, failed]");
                    if let Some(on) = value.and_then(|value| self.reasons(value, scope)) {
                        retry.on = on;
                    }
                }
                "backoff" => {
                    let value = self.property(part, "'10s'");
                    if let Some(backoff) = value.and_then(|value| self.duration(value, scope)) {
                        retry.backoff = backoff;
                    }
                }
                _ => self.unknown_word(part, "retry", words::RETRY),
            }
        }
        Some(retry)
    }

    fn attempts(&mut self, value: &Expression, scope: &Scope) -> Option<u32> {
        let attempts = self.count(value, scope)?;
        if attempts > MAX_ATTEMPTS {
            let message = format!("{attempts} attempts are more than {MAX_ATTEMPTS}");
            self.error(Id::TooMany, value.place, message);
            return None;
        }
        u32::try_from(attempts).ok()
    }

    fn reasons(&mut self, value: &Expression, scope: &Scope) -> Option<BTreeSet<RetryReason>> {
        let mut reasons = BTreeSet::new();
        for item in value.items() {
            let word = self.name_of(item, scope)?;
            reasons.insert(match word.as_str() {
                "lost" => RetryReason::Lost,
                "failed" => RetryReason::Failed,
                "timed_out" | "timed-out" => RetryReason::TimedOut,
                _ => {
                    let message = format!("`{word}` is no reason to try again");
                    let problem = Diagnostic::error(Id::NotOneOf, item.place, message);
                    self.tell(match nearest(&word, REASONS) {
                        Some(near) => problem.help(format!("did you mean `{near}`?")),
                        None => problem.help(format!("reasons are: {}", REASONS.join(", "))),
                    });
                    return None;
                }
            });
        }
        if reasons.is_empty() {
            self.error(Id::Missing, value.place, "without a reason nothing is tried again");
            return None;
        }
        Some(reasons)
    }

    /// The values that a stage's steps may capture.
    pub(super) fn outputs(&mut self, statement: &Statement) -> BTreeMap<String, ValueType> {
        let mut outputs = BTreeMap::new();
        let Some(body) = self.block(statement, "color { type = string }") else { return outputs };
        let mut met = BTreeMap::new();
        for output in &body.statements {
            let Some(body) = self.block(output, "type = string") else { continue };
            if !self.once(&mut met, output) {
                continue;
            }
            let (mut written, mut values) = (None, None);
            let mut within = BTreeMap::new();
            for part in &body.statements {
                if !self.once(&mut within, part) {
                    continue;
                }
                match (part.name.text.as_str(), &part.shape) {
                    ("type", Shape::Property(value)) => written = Some(value),
                    ("values", Shape::Property(value)) => values = Some(value),
                    ("description", Shape::Property(value)) => {
                        self.text(value, &Scope::default());
                    }
                    _ => {
                        self.unknown_word(part, "an output", &["type", "values", "description"]);
                    }
                }
            }
            let value_type = if let Some(written) = written {
                self.type_of(written, values)
            } else {
                let message = format!("the output `{}` has no type", output.name.text);
                let problem = Diagnostic::error(Id::Missing, output.name.place, message)
                    .help("write `type = string`, `number` or `boolean`");
                self.tell(problem);
                None
            };
            if let Some(value_type) = value_type {
                outputs.insert(output.name.text.clone(), value_type);
            }
        }
        outputs
    }
}
