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
            text.push_str("      steps { sh 'make'  echo 'done' } // and so on\n      timeout = '20m'\n    }\n");
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

fn planned(text: String) -> usize {
    let source = Source { name: "Ottofile".to_owned(), text };
    let (asked, libraries) = (Asked::default(), libraries());
    let surroundings = asked.surroundings("default", &libraries);
    let (plan, warnings) = plan(&parse(&source), &surroundings).expect("a plan");
    assert_eq!(warnings, []);
    plan.stages.len()
}

#[test]
fn ten_thousand_stages_are_planned() {
    assert!(planned(written(9_300)) > 9_900);
    assert!(planned(expanded()) > 9_900);
}

/// Prints how long it takes: `cargo test --release -p otto-lang -- --ignored --nocapture`.
#[test]
#[ignore = "measures, and asserts nothing"]
fn how_long_ten_thousand_stages_take() {
    for (what, text) in [("written", written(9_300)), ("expanded", expanded())] {
        let source = Source { name: "Ottofile".to_owned(), text };
        let (asked, libraries) = (Asked::default(), libraries());
        let surroundings = asked.surroundings("default", &libraries);
        #[expect(clippy::disallowed_methods, reason = "this measures the real time")]
        let now = std::time::Instant::now;
        let start = now();
        let parsed = parse(&source);
        let read = start.elapsed();
        let start = now();
        let (plan, _) = plan(&parsed, &surroundings).expect("a plan");
        let lowered = start.elapsed();
        let stages = plan.stages.len();
        let hash = plan.hash();
        let bytes = source.text.len();
        println!(
            "{what}: {bytes} bytes, {stages} stages, read {read:?}, lowered {lowered:?}, {hash}"
        );
    }
}
