//! A plan as a Mermaid flow chart, which forges and wikis draw.

use super::graph::{Graph, Lines, Node};
use otto_core::plan::Plan;

/// Prints a plan as a Mermaid flow chart.
#[must_use]
pub fn mermaid(plan: &Plan) -> String {
    let graph = Graph::of(plan);
    let mut out = Lines { text: String::from("flowchart LR\n"), depth: 1 };
    graph.walk(&mut |node| match node {
        Node::Open { id, label } => {
            out.add(&format!("subgraph s{}[\"{}\"]", id.0, escaped(label)));
            out.depth += 1;
        }
        Node::Close => {
            out.depth -= 1;
            out.add("end");
        }
        Node::Leaf { id, label, skipped } => {
            let class = if skipped { ":::skipped" } else { "" };
            out.add(&format!("s{}[\"{}\"]{class}", id.0, escaped(label)));
        }
    });
    for edge in &graph.edges {
        let arrow = if edge.need { "-.->" } else { "-->" };
        out.add(&format!("s{} {arrow} s{}", edge.from.0, edge.to.0));
    }
    if graph.any_skipped() {
        out.add("classDef skipped stroke-dasharray:4 4,opacity:0.6");
    }
    out.text
}

/// Mermaid reads `#name;` as an entity inside quotes, and has no other escape.
fn escaped(label: &str) -> String {
    label
        .chars()
        .map(|c| match c {
            '"' => "#quot;".to_owned(),
            '#' => "#35;".to_owned(),
            '<' => "#lt;".to_owned(),
            '>' => "#gt;".to_owned(),
            '\n' => " ".to_owned(),
            other => other.to_string(),
        })
        .collect()
}
