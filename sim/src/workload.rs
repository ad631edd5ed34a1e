//! What clients submit: small pipelines whose steps are scripts of [`crate::processes`].

use crate::setup::Setup;
use otto_core::ids::Digest;
use otto_core::plan::{Plan, Revision};
use otto_core::step::{Entrypoint, Library, LibrarySource, Parameter, Signature};
use otto_core::value::ValueType;
use otto_lang::{Diagnostic, NoRepository, Source, Surroundings, parse, render};
use std::collections::{BTreeMap, BTreeSet};

/// A pipeline by name, as its author writes it.
pub const PIPELINES: &[(&str, &str)] = &[
    ("one", "pipeline { stage('Only') { steps { sh 'print hello; sleep 300ms; print done' } } }"),
    (
        "sequence",
        "pipeline {
           stage('Build')  { steps { sh 'print b1; sleep 500ms; print b2'  sh 'print b3' } }
           stage('Test')   { steps { sh 'print t1; sleep 700ms' } }
           stage('Deploy') { steps { sh 'print d1' } }
         }",
    ),
    (
        "parallel",
        "pipeline {
           parallel {
             stage('A') {
               steps { sh 'print a; sleep 2s; print a2' }
               retry { attempts = 3  on = [lost] }
             }
             stage('B') { steps { sh 'print b; sleep 900ms; exit 1' } }
             stage('C') { steps { sh 'print c; sleep 100ms' }  needs = ['A'] }
           }
           stage('After') { steps { sh 'print never' } }
         }",
    ),
    (
        "fanout",
        "pipeline {
           fanout {
             stage('Slow') { steps { sh 'print slow; sleep 60s; print unreached' } }
             stage('Bad')  { steps { sh 'sleep 800ms; exit 3' } }
           }
         }",
    ),
    (
        "retries",
        "pipeline {
           stage('Flaky') {
             steps { sh 'print try; sleep 200ms; exit 1' }
             retry { attempts = 3  on = [lost, failed]  backoff = '1s' }
           }
         }",
    ),
    (
        "long",
        "pipeline {
           stage('Long') {
             steps { sh 'print l1; sleep 4s; print l2; sleep 4s; print l3' }
             retry { attempts = 5  on = [lost] }
           }
         }",
    ),
    (
        "overdue",
        "pipeline {
           stage('Overdue') {
             steps { sh 'print o1; sleep 90s; print unreached' }
             finally { sh 'print cleaned' }
             timeout = '3s'
           }
         }",
    ),
    (
        "arms",
        "pipeline {
           choose {
             when (branch == 'main') {
               stage('Main') { runtime { make }  steps { sh 'print main' } }
             }
             otherwise { stage('Other') { steps { sh 'print unreached' } } }
           }
           stage('Skipped') { when (branch == 'dev')  steps { sh 'print unreached' } }
           stage('Nested') {
             stage('Inner 1') { steps { sh 'print i1; sleep 50ms' } }
             stage('Inner 2') { steps { sh 'print i2' } }
           }
         }",
    ),
    (
        "wide",
        "pipeline {
           parallel {
             each(n in ['1', '2', '3', '4', '5', '6']) {
               stage(\"Part ${n}\") { steps { sh 'print part; sleep 250ms' } }
             }
           }
         }",
    ),
];

/// The names of all pipelines.
#[must_use]
pub fn names() -> Vec<&'static str> {
    PIPELINES.iter().map(|(name, _)| *name).collect()
}

/// Turns a pipeline into its plan, through the ordinary language.
///
/// # Errors
/// When there is no pipeline of this name, or the language refuses it.
pub fn plan(name: &str) -> Result<Plan, String> {
    let text = PIPELINES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text);
    compile(name, text.ok_or_else(|| format!("there is no pipeline '{name}'"))?)
}

/// Turns a pipeline's text into its plan.
///
/// # Errors
/// When the language refuses it.
pub fn compile(name: &str, text: &str) -> Result<Plan, String> {
    let source = Source { name: format!("{name}.otto"), text: text.to_owned() };
    let libraries = BTreeMap::from([("stdlib".to_owned(), sh())]);
    let surroundings = Surroundings {
        pipeline: name.to_owned(),
        revision: Revision { branch: Some("main".to_owned()), ..Revision::default() },
        parameters: BTreeMap::new(),
        libraries: &libraries,
        planned_steps: &[],
        repository: &NoRepository,
    };
    let refused = |diagnostics: Vec<Diagnostic>| {
        diagnostics.iter().map(|diagnostic| render(diagnostic, &source, false)).collect::<String>()
    };
    otto_lang::plan(&parse(&source), &surroundings).map(|(plan, _)| plan).map_err(refused)
}

/// The plans that a setup submits, by name.
///
/// # Errors
/// As [`plan`].
pub fn plans(setup: &Setup) -> Result<BTreeMap<String, Plan>, String> {
    let submitted = setup.submissions.iter().map(|submission| submission.plan.as_str());
    let names = submitted.chain([crate::clients::PROBED]);
    names.map(|name| Ok((name.to_owned(), plan(name)?))).collect()
}

fn sh() -> Library {
    let script = Parameter {
        name: "script".to_owned(),
        value_type: ValueType::Script,
        default: None,
        optional: false,
        description: "What the scripted process does".to_owned(),
    };
    let sh = Signature {
        symbol: "sh".to_owned(),
        description: "A scripted process".to_owned(),
        parameters: vec![script],
        entrypoint: Entrypoint::Script { parameter: "script".to_owned() },
        architectures: BTreeSet::new(),
        cache: false,
        credentials: BTreeSet::new(),
    };
    Library {
        name: "stdlib".to_owned(),
        source: LibrarySource::Builtin,
        digest: Digest::of(b"scripted"),
        configuration: Vec::new(),
        steps: BTreeMap::from([("sh".to_owned(), sh)]),
    }
}
