//! One check for all four forms: a plan goes in, the golden files say what comes out.

use super::samples::{Sketch, everything, sh};
use super::{dot, json, mermaid, text};
use otto_core::ids::StageId;
use otto_core::plan::{Origin, Plan, Work};

fn check(name: &str, plan: &Plan) {
    plan.check().expect("samples are plans");
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(format!("{name}.text"), text(plan));
        insta::assert_snapshot!(format!("{name}.json"), json(plan));
        insta::assert_snapshot!(format!("{name}.mermaid"), mermaid(plan));
        insta::assert_snapshot!(format!("{name}.dot"), dot(plan));
    });
}

#[test]
fn a_plan_with_one_step_is_one_line() {
    check("least", &Sketch::new(Work::Steps(vec![sh("echo hello")])).0);
}

#[test]
fn an_inferred_plan_says_why() {
    let mut sketch = Sketch::new(Work::Parallel(Vec::new()));
    sketch.0.origin = Origin::Convention {
        names: vec!["rust".to_owned()],
        reasons: vec!["Cargo.toml: fmt, clippy, test, build".to_owned()],
    };
    sketch.add(StageId::ROOT, "fmt", Work::Steps(vec![sh("cargo fmt --check")]));
    sketch.add(StageId::ROOT, "test", Work::Steps(vec![sh("cargo test")]));
    check("inferred", &sketch.0);
}

#[test]
fn everything_that_a_plan_can_hold_is_shown() {
    check("everything", &everything());
}

#[test]
fn ten_thousand_stages_are_explained() {
    let mut sketch = Sketch::new(Work::Parallel(Vec::new()));
    for index in 1..10_000 {
        let name = format!("Stage {index}");
        sketch.add(StageId::ROOT, &name, Work::Steps(vec![sh("make test")]));
    }
    for (form, print) in
        [("text", text as fn(&Plan) -> String), ("json", json), ("mermaid", mermaid), ("dot", dot)]
    {
        assert!(print(&sketch.0).contains("Stage 9999"), "{form}");
    }
}
