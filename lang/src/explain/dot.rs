//! A plan as a DOT graph, for Graphviz.

use super::graph::{Edge, Graph, Lines, Node};
use otto_core::plan::Plan;

/// Prints a plan as a DOT graph.
#[must_use]
pub fn dot(plan: &Plan) -> String {
    let graph = Graph::of(plan);
    let head = format!("digraph \"{}\" {{\n", escaped(&plan.pipeline));
    let mut out = Lines { text: head, depth: 1 };
    for line in ["rankdir=LR;", "compound=true;", "node [shape=box, style=rounded];"] {
        out.add(line);
    }
    graph.walk(&mut |node| match node {
        Node::Open { id, label } => {
            out.add(&format!("subgraph cluster_{} {{", id.0));
            out.depth += 1;
            out.add(&format!("label=\"{}\";", escaped(label)));
        }
        Node::Close => {
            out.depth -= 1;
            out.add("}");
        }
        Node::Leaf { id, label, skipped } => {
            let style = if skipped { ", style=\"rounded,dashed\"" } else { "" };
            out.add(&format!("s{} [label=\"{}\"{style}];", id.0, escaped(label)));
        }
    });
    for edge in &graph.edges {
        out.add(&arrow(&graph, edge));
    }
    out.depth = 0;
    out.add("}");
    out.text
}

/// An arrow from box to box, cut off at the frames that it is really between.
fn arrow(graph: &Graph<'_>, edge: &Edge) -> String {
    let (from, to) = (graph.last_leaf(edge.from), graph.first_leaf(edge.to));
    let attributes: Vec<String> = [
        (edge.from != from).then(|| format!("ltail=cluster_{}", edge.from.0)),
        (edge.to != to).then(|| format!("lhead=cluster_{}", edge.to.0)),
        edge.need.then(|| "style=dashed".to_owned()),
    ]
    .into_iter()
    .flatten()
    .collect();
    let attributes = match attributes.as_slice() {
        [] => String::new(),
        some => format!(" [{}]", some.join(", ")),
    };
    format!("s{} -> s{}{attributes};", from.0, to.0)
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
