//! The page: that it can be read by any browser, and that nothing of a history breaks out of it.

use super::{lanes, page};
use crate::history::{Fact, Moment};
use crate::report::Report;
use crate::traffic::Message;
use otto_core::ids::{Attempt, Epoch, NodeId, ProjectId, RunId, ShardId, StageId};
use otto_core::lease::LeaseId;
use serde_json::{Value, json};

fn moment(at_ms: u64, host: &str, fact: Fact) -> Moment {
    Moment { at_ms, host: host.to_owned(), fact }
}

fn fault(at_ms: u64, what: &str) -> Moment {
    moment(at_ms, "world", Fact::Fault { what: what.to_owned() })
}

fn message(what: &str, arrived_ms: Option<u64>) -> Message {
    let (from, to) = ("agent-1".to_owned(), "control-1".to_owned());
    Message { from, to, sent_ms: 1, arrived_ms, what: what.to_owned() }
}

fn report() -> Report {
    serde_json::from_value(json!({
        "seed": 3, "pipeline": null, "planted": null, "crash_at": null, "history_hash": "h",
        "moments": 3, "simulated_ms": 2000, "took_ms": 1, "disk_operations": 0, "runs": 0,
        "marks": [], "controls": 1, "violations": ["I1: <lost> & gone"],
    }))
    .unwrap()
}

fn lease() -> LeaseId {
    let run = RunId { project: ProjectId(1), number: 4 };
    LeaseId { run, stage: StageId(1), attempt: Attempt::FIRST, epoch: Epoch::default() }
}

/// A history in which something of every kind happens.
fn history() -> Vec<Moment> {
    let path = "Build </script><b>".to_owned();
    let leads =
        |term| Fact::Leads { node: NodeId(1), shard: ShardId(0), term, voters: [NodeId(1)].into() };
    vec![
        moment(1, "control-1", leads(1)),
        moment(1, "control-1", Fact::Serves),
        moment(2, "agent-1", Fact::Serves),
        moment(2, "control-10", Fact::Serves),
        moment(2, "control-2", Fact::Serves),
        moment(3, "agent-1", Fact::StageBegan { lease: lease(), path }),
        fault(5, "SlowDisk { control: 1, by_ms: 7, for_ms: 100 }"),
        fault(6, "KillControl { control: 0 }"),
        moment(8, "agent-1", Fact::StageEnded { lease: lease() }),
        moment(9, "control-1", Fact::Serves),
        moment(9, "client", Fact::Submits { key: "k".to_owned(), plan: "<p>\u{2028}".to_owned() }),
        moment(20, "client", Fact::Mark { name: "end".to_owned() }),
    ]
}

/// The elements of a page without end tags.
const VOID: [&str; 3] = ["meta", "input", "br"];

/// What is wrong with how a page's elements are nested; what scripts and styles hold is raw text.
fn ill_formed(page: &str) -> Result<Vec<String>, String> {
    let mut open: Vec<String> = Vec::new();
    let mut seen = Vec::new();
    let mut rest = page.strip_prefix("<!doctype html>\n").ok_or("it does not say what it is")?;
    while let Some(start) = rest.find('<') {
        if rest[..start].contains('>') {
            return Err(format!("a bare > in {:?}", &rest[..start]));
        }
        let end = rest.find('>').ok_or("a tag does not end")?;
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        let name = tag.split([' ', '/']).find(|part| !part.is_empty()).unwrap_or_default();
        if !name.chars().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit()) {
            return Err(format!("<{tag}> is no tag"));
        }
        if tag.matches('"').count() % 2 != 0 {
            return Err(format!("<{tag}> has a quote too many"));
        }
        if tag.starts_with('/') {
            let last = open.pop();
            if last.as_deref() != Some(name) {
                return Err(format!("</{name}> ends {last:?}"));
            }
        } else if !VOID.contains(&name) {
            seen.push(name.to_owned());
            open.push(name.to_owned());
            if name == "script" || name == "style" {
                rest = &rest[rest.find(&format!("</{name}>")).ok_or("raw text does not end")?..];
            }
        }
    }
    if open.is_empty() { Ok(seen) } else { Err(format!("{open:?} are not ended")) }
}

fn data(page: &str) -> Value {
    let (_, rest) = page.split_once("<script type=\"application/json\" id=\"data\">").unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn a_page_is_well_formed_whatever_happened() {
    let page = page(&report(), &history(), &[message("submit </script>", None)]);
    let seen = ill_formed(&page).unwrap();
    for element in ["h1", "canvas", "table", "noscript"] {
        assert!(seen.iter().any(|it| it == element), "{element} of {seen:?}");
    }
    assert_eq!(seen.iter().filter(|it| *it == "script").count(), 2, "no script but its own");
    assert!(page.contains("<li>I1: &lt;lost&gt; &amp; gone</li>"), "{page}");
    for outside in ["http://", "https://", "src=", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}: the page needs nothing else");
    }
    for broken in ["<!doctype html>\n<p><b></p></b>", "<!doctype html>\n<p>a > b</p>", "<p></p>"] {
        assert!(ill_formed(broken).is_err(), "{broken}");
    }
}

#[test]
fn what_happened_is_told_as_it_was() {
    let traffic = [message("bid", Some(2)), message("submit <x>", None), message("bid", Some(9))];
    let data = data(&page(&report(), &history(), &traffic));
    assert_eq!(data["end_ms"], 20);
    let hosts = json!([
        ["world", 0],
        ["client", 0],
        ["control-1", 2],
        ["control-2", 0],
        ["control-10", 0],
        ["agent-1", 1],
    ]);
    assert_eq!(data["hosts"], hosts);
    assert_eq!(data["words"], json!(["bid", "submit <x>"]));
    let messages = json!([[5, 2, 1, 2, 0, true], [5, 2, 1, null, 1, false], [5, 2, 1, 9, 0, true]]);
    assert_eq!(data["messages"], messages);
    assert_eq!(data["moments"].as_array().map(Vec::len), Some(history().len()));
    assert_eq!(
        data["moments"][5][3],
        "stage Build </script><b> of ".to_owned() + &lease().to_string() + " begins"
    );
}

#[test]
fn what_lasts_is_a_bar_from_its_beginning_to_its_end() {
    let data = data(&page(&report(), &history(), &[]));
    let bars = data["bars"].as_array().unwrap().iter().map(|bar| {
        let field = |name: &str| bar[name].to_string().trim_matches('"').to_owned();
        ["host", "row", "kind", "from_ms", "to_ms"].map(field).join(" ")
    });
    let mut bars: Vec<String> = bars.collect();
    bars.sort();
    let expected = [
        "2 0 down 6 9",
        "2 0 up 1 6",
        "2 0 up 9 20",
        "2 2 leads 1 6",
        "3 0 ail 5 20",
        "3 0 up 2 20",
        "4 0 up 2 20",
        "5 0 up 2 20",
        "5 1 lease 3 8",
    ];
    assert_eq!(bars, expected);
}

#[test]
fn lanes_are_in_the_order_of_a_cluster() {
    let history = ["agent-2", "control-10", "control-9", "world", "agent-10", "client"]
        .map(|host| moment(1, host, Fact::Serves));
    let mut hosts: Vec<(usize, &str)> =
        lanes(&history).into_iter().map(|(host, (_, lane))| (lane, host)).collect();
    hosts.sort_unstable();
    let hosts: Vec<&str> = hosts.into_iter().map(|(_, host)| host).collect();
    assert_eq!(hosts, ["world", "client", "control-9", "control-10", "agent-2", "agent-10"]);
}
