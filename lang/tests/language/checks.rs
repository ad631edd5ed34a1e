//! A file can be checked by whoever does not know the values of its parameters.

use crate::surroundings::{Asked, libraries};
use otto_lang::{Source, check, parameters, parse};

const HEAD: &str = "parameters { target { type = string }  jobs { type = number } }\n";

#[track_caller]
fn finds(pipeline: &str, expected: &[&str]) {
    let asked = Asked::read(pipeline);
    let text = format!("{HEAD}pipeline {{ {pipeline} }}");
    let source = Source { name: "Ottofile".to_owned(), text };
    let (parsed, libraries) = (parse(&source), libraries());
    let problems = check(&parsed, &asked.surroundings("default", &libraries));
    let codes: Vec<&str> = problems.iter().map(|problem| problem.id.code()).collect();
    assert_eq!(codes, expected, "{pipeline}: {problems:?}");
    assert_eq!(parameters(&parsed), ["target", "jobs"]);
}

#[test]
fn what_depends_on_a_value_that_is_not_known_is_not_judged() {
    finds("settings { T = params.target } steps { sh 'x' }", &[]);
    let inside = "stage('A') { settings { S = settings.T } steps { sh 'x' } }";
    finds(&format!("settings {{ T = params.target }} {inside}"), &[]);
    finds("timeout = params.target steps { echo \"${params.target}\" }", &[]);
    finds("stage('A') { when (params.jobs > 3 && params.target == 'x') steps { sh 'x' } }", &[]);
    finds("stage('A') { steps { dir \"${params.target}\" { sh 'x' } } }", &[]);
    finds("stage(\"To ${params.target}\") { steps { sh 'x' } }", &[]);
    let named = "stage(\"${params.target}\") { steps { sh 'x' } }
        stage('B') { runtime { from 'prod' } steps { sh 'x' } }";
    finds(named, &[]);
    finds("each(t in ['a', params.target]) { stage(\"T ${t}\") { steps { echo \"${t}\" } } }", &[]);
}

#[test]
fn what_does_not_depend_on_it_is() {
    finds("stage('A') { when (params.jobs > 'many') steps { sh 'x' } }", &["OTTO0306"]);
    finds("stage('A') { when (params.jobs) steps { sh 'x' } }", &["OTTO0306"]);
    finds("stage(\"To ${params.target}\") { stpes { sh 'x' } }", &["OTTO0201"]);
    let each = "each(t in [params.target]) { stage(\"T ${t}\") { steps { shh \"${t}\" } } }";
    finds(each, &["OTTO0501"]);
    finds("stage('A') { steps { dir \"${params.target}\" { shh 'x' } } }", &["OTTO0501"]);
    finds("settings { T = params.target S = settings.T } steps { sh 'x' }", &["OTTO0302"]);
    finds("steps { echo \"${params.traget}\" }", &["OTTO0302"]);
}

/// No process can be given it, in its arguments or its environment.
#[test]
fn the_character_nul_stands_in_no_text() {
    finds("settings { A = 'a\0b' } steps { sh 'x' }", &["OTTO0309"]);
    finds("steps { echo 'a\0b' }", &["OTTO0309"]);
    finds("steps { sh 'a\0b' }", &["OTTO0309"]);
    finds("settings { A = 'b' } steps { echo \"${settings.A}\0\" }", &["OTTO0309"]);
}

#[test]
fn a_value_that_is_given_is_checked() {
    finds("//: param jobs=four\nsteps { sh 'x' }", &["OTTO0603"]);
    finds("//: param jobs=4\nsteps { sh 'x' }", &[]);
    let late = "//: param target=soon\ntimeout = params.target steps { sh 'x' }";
    finds(late, &["OTTO0310"]);
}
