//! Large plans: the time must grow with their size and no faster.

use crate::surroundings::{Asked, libraries};
use otto_lang::{Source, parse, plan};
use std::fmt::Write;

/// A file that writes all of its stages out, in blocks that hold each other.
fn written(stages: usize) -> String {
    let mut text = "pipeline {\n  settings { RACK_ENV = 'test' }\n".to_owned();
    for block in 0..stages / 10 {
        let kind = ["stages", "parallel", "fanout"][block % 3];
        writeln!(text, "  {kind} {{").expect("a string");
        for stage in 0..10 {
            let number = block * 10 + stage;
            write!(text, "    stage('Stage {number}') {{\n      runtime {{ cores = 2 }}\n")
                .expect("a string");
            if kind != "stages" && stage > 0 {
                writeln!(text, "      needs = ['Stage {}']", number - 1).expect("a string");
            }
            text.push_str("      steps { sh 'make'  echo 'done' } // and so on\n");
            text.push_str("      timeout = '20m'\n    }\n");
        }
        text.push_str("  }\n");
    }
    text + "}\n"
}

/// A file that gets its stages from `each`.
fn expanded() -> String {
    let values: Vec<String> = (0..248).map(|value| format!("'{value}'")).collect();
    let each =
        "each(v in [VALUES]) { stage(\"S ${v}\") { when (branch == 'main') steps { sh 'make' } } }";
    let each = each.replace("VALUES", &values.join(", "));
    let blocks = format!("parallel {{ {each} }}\n").repeat(40);
    format!("pipeline {{ {blocks} }}")
}

/// Plans a text, prints how long it took, and gives the number of stages.
///
/// For figures: `cargo test --release -p otto-lang --test language speed -- --nocapture`.
fn planned(what: &str, text: String) -> usize {
    let source = Source { name: "Ottofile".to_owned(), text };
    let (asked, libraries) = (Asked::default(), libraries());
    let surroundings = asked.surroundings("default", &libraries);
    #[expect(clippy::disallowed_methods, reason = "this shows the real time, and asserts nothing")]
    let now = std::time::Instant::now;
    let start = now();
    let parsed = parse(&source);
    let (read, start) = (start.elapsed(), now());
    let (plan, warnings) = plan(&parsed, &surroundings).expect("a plan");
    let (lowered, stages) = (start.elapsed(), plan.stages.len());
    println!("{what}: {} bytes, {stages} stages: {read:?}, {lowered:?}", source.text.len());
    assert_eq!(warnings, []);
    stages
}

#[test]
fn ten_thousand_stages_are_planned() {
    assert!(planned("written", written(9_300)) > 9_900);
    assert!(planned("expanded", expanded()) > 9_900);
}
