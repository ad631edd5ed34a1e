//! Steps that behave as badly as they can, on a kernel that lets stages have namespaces and on one
//! that does not: each ends as it must, what it printed is there, and nothing of it is left.

use super::world::Kernel::{self, AsItIs, NoNamespaces};
use super::world::{World, until};

/// A badly behaved step of a stage of its own.
struct Deed {
    stage: &'static str,
    /// What follows `steps {`; `MARKED` marks all processes that it makes.
    steps: &'static str,
    outcome: &'static str,
    /// How its log ends.
    log_ends: &'static [u8],
    /// How long its log is at least.
    log_bytes: usize,
}

const DEEDS: &[Deed] = &[
    Deed {
        stage: "Stubborn",
        steps: r"sh 'MARKED; trap true TERM; while :; do sleep 0.1; done', timeout: '300ms'",
        outcome: "timed_out",
        log_ends: b"",
        log_bytes: 0,
    },
    Deed {
        stage: "Daemon",
        steps: r#"sh 'MARKED; setsid sh -c "setsid sleep 1000 & exit" > /dev/null 2>&1; echo over'"#,
        outcome: "success",
        log_ends: b"over\n",
        log_bytes: 0,
    },
    Deed {
        stage: "Holder",
        steps: r"sh 'MARKED; setsid sleep 1000 & echo begun'  sh 'echo went on'",
        outcome: "success",
        log_ends: b"went on\n",
        log_bytes: 0,
    },
    Deed {
        stage: "Flood",
        steps: r"sh 'MARKED; seq 1 3000000; echo over'",
        outcome: "success",
        log_ends: b"2999999\n3000000\n+ echo over\nover\n",
        log_bytes: 22_888_896,
    },
    Deed {
        stage: "Line",
        steps: r#"sh 'MARKED; head -c 20000000 /dev/zero | tr "\\0" "x"; echo " over"'"#,
        outcome: "success",
        log_ends: b"xxxx+ echo  over\n over\n",
        log_bytes: 20_000_000,
    },
    Deed {
        stage: "Bytes",
        steps: r#"sh 'MARKED; { set +x; } 2> /dev/null; printf "a\\0b\\377\\376\\033[31mno end"'"#,
        outcome: "success",
        log_ends: b"a\0b\xff\xfe\x1b[31mno end",
        log_bytes: 0,
    },
    Deed {
        stage: "Bomb",
        steps: r"sh '''
          MARKED
          for i in 1 2 3 4 5 6 7 8; do
            (trap true TERM; while :; do setsid sleep 0.01 & wait; done) &
          done
          wait
        ''', timeout: '500ms'",
        outcome: "timed_out",
        log_ends: b"",
        log_bytes: 0,
    },
];

fn check(kernel: Kernel) {
    let stage = |deed: &Deed| {
        let steps = deed.steps.replace("MARKED", "export OTTO_TEST_MARK=OUT");
        format!("stage('{}') {{ steps {{ {steps} }} }}", deed.stage)
    };
    let stages: Vec<String> = DEEDS.iter().map(stage).collect();
    let world = kernel.world(&format!("pipeline {{ parallel {{ {} }} }}", stages.join("\n")));
    let ended = world.run("otto run --json --watch");
    let events = ended.stdout.lines().filter_map(|l| serde_json::from_str(l).ok());
    let events: Vec<serde_json::Value> = events.collect();
    for deed in DEEDS {
        let settled = |e: &&serde_json::Value| {
            let stage = e["stage"].as_str().unwrap_or_default();
            e["event"] == "stage_settled" && stage.rsplit('/').next() == Some(deed.stage)
        };
        let outcome = events.iter().find(settled).map(|event| event["outcome"].as_str());
        assert_eq!(outcome, Some(Some(deed.outcome)), "{}: {ended:?}", deed.stage);
        let log = world.command(&format!("otto logs 1 {}", deed.stage)).output();
        let log = log.expect("otto starts").stdout;
        let tail = String::from_utf8_lossy(&log[log.len().saturating_sub(200)..]).into_owned();
        assert!(log.ends_with(deed.log_ends), "the log of {} ends: {tail:?}", deed.stage);
        assert!(log.len() >= deed.log_bytes, "{}: {} bytes", deed.stage, log.len());
    }
    nothing_left(&world);
    world.end();
}

/// Nobody that a step started outlives the run.
fn nothing_left(world: &World) {
    let left = world.marked("OTTO_TEST_MARK", "out");
    assert!(left.is_empty(), "outlived their stages: {left:?}");
    until("the workspaces to be gone", || {
        std::fs::read_dir(world.data("agent/work")).is_ok_and(|left| left.count() == 0)
    });
}

#[test]
fn bad_steps_in_namespaces() {
    check(AsItIs);
}

#[test]
fn bad_steps_without_namespaces() {
    check(NoNamespaces);
}

/// What a step tries on the node that runs it, told in a few words for each.
const TRIES: &str = r#"
agent=$(pgrep -o -f "^otto-agent.*HOME_OF_NODE" || echo 1)
[ -s HOME_OF_NODE/store/log.redb ] && echo "sees the store" || echo "no store"
cat /proc/$agent/environ > /dev/null 2>&1 && echo "reads memory" || echo "no memory"
python3 - HOME_OF_NODE/otto.sock <<'END'
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(5)
try:
    s.connect(sys.argv[1])
    print("speaks with the node" if s.recv(1) else "no answer")
except (FileNotFoundError, ConnectionError):
    print("no answer")
except TimeoutError:
    print("the node listens")
END
"#;

fn check_reach(kernel: Kernel, expected: &[&str]) {
    let world = kernel.world("pipeline { steps { sh 'sh ./tries > OUT/truth' } }");
    let home = world.path("otto").display().to_string();
    std::fs::write(world.path("shop/tries"), TRIES.replace("HOME_OF_NODE", &home)).expect("a file");
    world.succeed("otto run");
    assert_eq!(world.truth(), expected);
    world.end();
}

#[test]
fn a_step_in_namespaces_finds_nothing_of_the_node() {
    check_reach(AsItIs, &["no store", "no memory", "no answer"]);
}

#[test]
fn a_step_without_namespaces_is_not_answered() {
    check_reach(NoNamespaces, &["sees the store", "no memory", "no answer"]);
}
