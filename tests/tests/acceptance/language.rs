//! Wrong pipelines: all mistakes at once, with their places.

use super::session::check;

#[test]
fn all_mistakes_are_told_at_once() {
    let ottofile =
        "pipeline {\n  stage('A') { setps { sh 'x' } }\n  stage('B') { timeout = 20m }\n}\n";
    check(
        "mistakes",
        &[("Ottofile", ottofile)],
        &["otto check", "otto check --json", "otto run", "otto explain"],
    );
}

#[test]
fn named_pipelines_and_parameters() {
    let deliver = "\
parameters {
  target { type = text  default = 'preprod' }
}
pipeline {
  settings { TARGET = \"${params.target}\" }
  steps { sh 'echo to \"$TARGET\"' }
}
";
    check(
        "parameters",
        &[("ci/deliver.otto", deliver)],
        &[
            "otto run deliver -p target=production --progress quiet",
            "otto logs 1",
            "otto run deliver -p nonsense=1",
            "otto run release",
            "otto run deliver -p broken",
        ],
    );
}

/// What `check` calls right, `run` takes: an environment that is no delivery gives its settings.
#[test]
fn what_is_checked_is_also_run() {
    let debug = "\
environments {
  debug { delivers = false  settings { OPTIMIZE = 'no' } }
}
pipeline {
  settings { OPTIMIZE = 'yes' }
  stage('Build') {
    environment -> debug
    steps { sh 'echo \"optimized: $OPTIMIZE\"' }
  }
}
";
    check(
        "environment",
        &[("Ottofile", debug)],
        &["otto check", "otto explain", "otto run --progress quiet", "otto logs 1"],
    );
}

/// A pipeline can be checked by whoever does not know its parameters' values.
#[test]
fn checking_needs_no_values() {
    let deliver = "\
parameters {
  target { type = string }
  jobs   { type = number }
}
pipeline {
  settings { TARGET = params.target }
  stage(\"To ${params.target}\") {
    when (params.jobs > 'many')
    timeout = params.target
    steps { shh 'make' }
  }
}
";
    check(
        "unknown-values",
        &[("ci/deliver.otto", deliver)],
        &[
            "otto check",
            "otto check deliver -p jobs=4 -p target=20m",
            "otto check deliver -p jobs=four",
            "otto check -p job=4",
            "otto check release",
            "otto explain deliver",
        ],
    );
}

#[test]
fn errors_are_json_for_programs() {
    let wrong = "pipeline { stage('A') { setps { sh 'x' } } }\n";
    check(
        "json-errors",
        &[("Ottofile", wrong)],
        &["otto run --json", "otto explain nosuch --json", "otto logs 7 --jsno --json"],
    );
}

#[test]
fn a_step_library_of_the_repository() {
    let manifest = "\
symbol: greet
description: Says hello.
parameters:
  whom: { type: text, description: Whom to greet. }
entrypoint: greet.sh
";
    let program = "#!/bin/sh\necho hello, \"$(otto-step-parameter whom)\"\n";
    let ottofile = "use { './ci/greet' }\npipeline { steps { greet 'world' } }\n";
    check(
        "step-library",
        &[
            ("Ottofile", ottofile),
            ("ci/greet/manifest.yml", manifest),
            ("ci/greet/greet.sh", program),
        ],
        &[
            "otto steps docs greet",
            "otto steps test ci/greet whom=you",
            "otto run --progress quiet",
            "otto logs 1",
        ],
    );
}
