//! Large plans: the time must grow with their size and no faster.

use crate::surroundings::{Asked, libraries};
use otto_lang::{Source, explain, parse, plan};
use std::fmt::Write;
use std::time::Duration;

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

/// How often each part is timed: what is printed is the best, since others use the machine too.
const TURNS: usize = if cfg!(debug_assertions) { 1 } else { 10 };

/// Does something, and adds how long it took where that is the best so far.
fn timed<T>(best: &mut Duration, work: impl FnOnce() -> T) -> T {
    #[expect(clippy::disallowed_methods, reason = "this shows the real time, and asserts nothing")]
    let start = std::time::Instant::now();
    let done = work();
    *best = (*best).min(start.elapsed());
    done
}

/// Plans and explains a text, prints how long each part took, and gives the number of stages.
///
/// For figures: `cargo test --release -p otto-lang --test language speed -- --nocapture`.
fn planned(what: &str, text: String) -> usize {
    let source = Source { name: "Ottofile".to_owned(), text };
    let (asked, libraries) = (Asked::default(), libraries());
    let surroundings = asked.surroundings("default", &libraries);
    let mut times = [Duration::MAX; 4];
    let [read, lowered, explained, hashed] = &mut times;
    let mut stages = 0;
    for _ in 0..TURNS {
        let parsed = timed(read, || parse(&source));
        let planned = timed(lowered, || plan(&parsed, &surroundings));
        let (plan, warnings) = planned.expect("a plan");
        assert_eq!(warnings, []);
        let length = timed(explained, || explain::text(&plan)).len();
        assert!(length > plan.stages.len());
        timed(hashed, || plan.hash());
        stages = plan.stages.len();
    }
    println!("{what}: {} bytes, {stages} stages: {times:?}", source.text.len());
    stages
}

#[test]
fn ten_thousand_stages_are_planned() {
    assert!(planned("written", written(9_300)) > 9_900);
    assert!(planned("expanded", expanded()) > 9_900);
}
